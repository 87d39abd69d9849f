"""Spikformer against its published code, in both forms: logits and the rate of every neuron in order of execution.

Would break it: a threshold of 1 in the attention, another scale, a neuron missing or moved, a lost bias, a key map that
mixes up q and k.
"""

import pytest
import torch
from parity import Reference, close

import snnkit
from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.neurons import LIF

SIZES = {
    "spikformer_v1_small_T4": "spikformer_8_512",
    "spikformer_v1_cifar_small_T4": "spikformer_cifar_4_256",
}
TOLERANCE = 1e-9


def published(name):
    """The reference and snnkit's model of its sizes, filled with its weights."""
    golden = Reference(name)
    config = golden.config
    model = snnkit.create_model(
        SIZES[name],
        embed_dim=config["embed_dims"],
        depth=config["depths"],
        num_heads=config["num_heads"],
        num_classes=config["num_classes"],
        timesteps=config["T"],
    )
    report = snnkit.load_weights(model.double().eval(), {"state_dict": golden.state()})
    assert report.complete
    assert report.source == "published (Spikformer)"
    return golden, model, report


@pytest.mark.parametrize("name", SIZES)
@torch.no_grad()
def test_published_logits_and_rates(name):
    golden, model, _ = published(name)
    with snnkit.record(model) as tape:
        logits = model(golden.input)
    close(logits, golden["logits"], TOLERANCE)
    rates = [layer.spikes.mean().item() for layer in tape.layers.values()]
    close(rates, golden["rates"], TOLERANCE)
    own = [key.replace("attend.lif", "attn_neuron").rsplit(".", 1)[-1] for key in tape]
    ends = {"proj_neuron": "proj", "attn_neuron": "attn", "neuron1": "fc1", "neuron2": "fc2"}
    ends |= {"position_neuron": "rpe", **{f"{c}_neuron": c for c in "qkv"}}
    theirs = [str(key).rsplit(".", 1)[-1].removesuffix("_lif") for key in golden.arrays["rate_names"]]
    assert [ends[key] for key in own[4:]] == theirs[4:]


@pytest.mark.parametrize("name", SIZES)
def test_only_dead_norms_are_left_out(name):
    golden, model, report = published(name)
    assert len(report.ignored) == 4 * golden.config["depths"]
    assert all(".norm1." in key or ".norm2." in key for key in report.ignored)
    dead = 4 * golden.config["depths"] * golden.config["embed_dims"]
    assert sum(p.numel() for p in model.parameters()) == golden.config["params"] - dead


@torch.no_grad()
def test_the_reference_sees_every_detail():
    """Wrong threshold of the attention, wrong reset, no decay of the input, another scale: each moves the logits."""
    mutations = {
        "threshold": lambda neuron: setattr(neuron, "v_threshold", 1.0) if neuron.v_threshold == 0.5 else None,
        "reset": lambda neuron: setattr(neuron, "v_reset", None),
        "decay": lambda neuron: setattr(neuron, "decay_input", False),
        "tau": lambda neuron: setattr(neuron, "tau", 1.5),
    }
    for name, mutate in mutations.items():
        golden, model, _ = published("spikformer_v1_small_T4")
        for module in model.modules():
            if isinstance(module, LIF):
                mutate(module)
        assert (model(golden.input) - golden["logits"]).abs().max() > 0.1, name
    golden, model, _ = published("spikformer_v1_small_T4")
    for block in model.blocks:
        block.attention.attend.scale = (128 // 8) ** -0.5
    assert (model(golden.input) - golden["logits"]).abs().max() > 0.1


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("spikformer_8_384", 16.81),
        ("spikformer_8_512", 29.68),
        ("spikformer_8_768", 66.34),
        ("spikformer_cifar_4_384", 9.32),
    ],
)
def test_published_parameter_counts(name, millions):
    with torch.device("meta"):
        count = sum(p.numel() for p in snnkit.create_model(name).parameters())
    assert snnkit.model_info(name).params == count
    assert abs(count / 1e6 - millions) < 0.01


def small(**settings):
    sizes = {"embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 3, "timesteps": 2}
    return snnkit.create_model("spikformer_8_384", **{**sizes, **settings})


@pytest.mark.parametrize("side", [(17, 40), (1, 5)])
def test_any_image_size_serves(side):
    model = small(features_only=True).eval()
    assert model.feature_info.reduction() == [2, 4, 8, 16]
    for y, reduction in zip(model(torch.rand(2, 3, *side)), model.feature_info.reduction(), strict=True):
        assert y.shape[-2:] == tuple(-(-s // reduction) for s in side)


def test_stochastic_depth_leaves_out_whole_branches():
    torch.manual_seed(0)
    block = small(drop_path_rate=0.5).blocks[1].train()
    x = torch.rand(3, 64, 16, 2, 2)
    change = block(x) - x
    assert {2.0} < set(change.round(decimals=3).unique().tolist()) <= {0.0, 2.0, 4.0}, "kept branches count 1 / (1 - p)"
    dropped = sum(not change[:, i].any() for i in range(64))
    assert 4 < dropped < 60


def test_bad_input_of_spikformer():
    with pytest.raises(UnknownNameError, match="'spikformer_8_384'"):
        snnkit.create_model("spikformer_8_385")
    with pytest.raises(InvalidArgumentError, match=r"embed_dim=20: must be a multiple of 8.*16 or 24"):
        small(embed_dim=20)
    with pytest.raises(InvalidArgumentError, match="embed_dim=16: must be a multiple of 3, num_heads; 15 or 18"):
        small(num_heads=3)
    with pytest.raises(InvalidArgumentError, match="pools='11'"):
        small(pools="11")
    with pytest.raises(InvalidArgumentError, match="mlp_ratio"):
        small(mlp_ratio=0)
    with pytest.raises(UnknownNameError, match="embed_dim"):
        small(embed_dims=16)
