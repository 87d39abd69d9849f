"""Spike-driven Transformer V1 against its published code: logits and the rate of every neuron in order of execution.

Would break it: a neuron behind instead of before a weight, a threshold of 1 in the attention, a pool before its neuron.
"""

import pytest
import torch
from parity import Reference, close
from torch import nn

import snnkit
from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.models.spike_driven_transformer import EventSDSA1
from snnkit.neurons import LIF

TOLERANCE = 1e-9


def published():
    """The reference, snnkit's model filled with its weights, and the report."""
    golden = Reference("sdt_v1_small_T4")
    config = golden.config
    model = snnkit.create_model(
        "sdt_v1_8_512",
        embed_dim=config["embed_dims"],
        depth=config["depths"],
        num_heads=config["num_heads"],
        num_classes=config["num_classes"],
        timesteps=config["T"],
        pools=config["pooling_stat"],
    )
    return golden, model, snnkit.load_weights(model.double().eval(), {"state_dict": golden.state()})


@torch.no_grad()
def test_published_logits_and_rates():
    golden, model, report = published()
    assert report.source == "published (Spike-driven Transformer V1)"
    with snnkit.record(model) as tape:
        logits = model(golden.input)
    close(logits, golden["logits"], TOLERANCE)
    close([layer.spikes.mean().item() for layer in tape.layers.values()], golden["rates"], TOLERANCE)
    for layer in tape.layers.values():
        assert set(layer.spikes.unique().tolist()) <= {0.0, 1.0}


def test_only_the_unused_mixing_of_heads_is_left_out():
    golden, model, report = published()
    assert report.ignored == tuple(f"block.{i}.attn.talking_heads.weight" for i in range(4))
    assert sum(p.numel() for p in model.parameters()) == golden.config["params"] - 4 * 64


@pytest.mark.parametrize(
    "mutate",
    [
        lambda neuron: setattr(neuron, "v_threshold", 1.0) if neuron.v_threshold == 0.5 else None,
        lambda neuron: setattr(neuron, "v_reset", None),
        lambda neuron: setattr(neuron, "decay_input", False),
        lambda neuron: setattr(neuron, "tau", 1.5),
    ],
    ids=["threshold", "reset", "decay", "tau"],
)
@torch.no_grad()
def test_the_reference_sees_every_detail(mutate):
    golden, model, _ = published()
    for module in model.modules():
        if isinstance(module, LIF):
            mutate(module)
    assert (model(golden.input) - golden["logits"]).abs().max() > 0.1


@torch.no_grad()
def test_every_weight_but_the_first_meets_spikes_only():
    golden, model, _ = published()
    binary = {}

    def watch(name):
        def hook(_module, inputs):
            binary[name] = set(inputs[0].unique().tolist()) <= {0.0, 1.0}

        return hook

    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_pre_hook(watch(name))
    model(golden.input)
    assert [name for name, only_spikes in binary.items() if not only_spikes] == ["stem.convs.0.conv"]
    assert len(binary) == 5 + 4 * 6 + 1


@torch.no_grad()
def test_attention_for_event_cameras_is_the_published_formula():
    """Written out as published: heads before tokens, a (1, 3, 3) pool over whatever the last two axes are."""
    torch.manual_seed(0)
    timesteps, batch, heads, depth, height, width = 3, 2, 2, 5, 4, 6
    q, k, v = (torch.rand(3, timesteps, batch, heads * depth, height, width).double() > 0.8).double()
    pool = nn.MaxPool3d((1, 3, 3), stride=1, padding=(0, 1, 1))

    def tokens(x):
        rows = x.flatten(3).transpose(-1, -2).reshape(timesteps, batch, height * width, heads, depth)
        return rows.permute(0, 1, 3, 2, 4)

    agreement = pool(tokens(pool(k)) * tokens(pool(v))).sum(-2, keepdim=True)
    expected = pool(tokens(q) * LIF(v_threshold=0.5)(agreement)).transpose(3, 4).reshape(q.shape)
    actual = EventSDSA1(heads)(q, k, v)
    assert torch.equal(actual, expected)
    assert 0.05 < actual.mean() < 0.95


def test_event_attention_is_another_network_with_the_same_weights():
    golden, model, _ = published()
    event = small(dvs=True, embed_dim=128, depth=4, num_heads=8, num_classes=10, timesteps=4).double().eval()
    snnkit.load_weights(event, golden.state())
    y = event(golden.input)
    assert y.isfinite().all()
    assert not torch.allclose(y, model(golden.input))


@pytest.mark.parametrize(
    ("name", "millions"), [("sdt_v1_8_384", 16.81), ("sdt_v1_8_512", 29.68), ("sdt_v1_8_768", 66.34)]
)
def test_published_parameter_counts(name, millions):
    assert abs(snnkit.model_info(name).params / 1e6 - millions) < 0.01


@pytest.mark.parametrize("name", snnkit.list_models("sdt_v1_*"))
def test_parameter_counts_are_right(name):
    with torch.device("meta"):
        count = sum(p.numel() for p in snnkit.create_model(name).parameters())
    assert snnkit.model_info(name).params == count


def small(**settings):
    sizes = {"embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 3, "timesteps": 2}
    return snnkit.create_model("sdt_v1_8_384", **{**sizes, **settings})


@pytest.mark.parametrize("side", [(17, 40), (1, 5)])
@pytest.mark.parametrize("dvs", [False, True])
def test_any_image_size_serves(side, dvs):
    model = small(features_only=True, dvs=dvs).eval()
    assert model.feature_info.reduction() == [2, 4, 8, 16]
    for y, reduction in zip(model(torch.rand(2, 3, *side)), model.feature_info.reduction(), strict=True):
        assert y.shape[-2:] == tuple(-(-s // reduction) for s in side)


def test_bad_input_of_the_spike_driven_transformer():
    with pytest.raises(UnknownNameError, match="'sdt_v1_8_384'"):
        snnkit.create_model("sdt_v1_8_382")
    with pytest.raises(InvalidArgumentError, match=r"embed_dim=20: must be a multiple of 8.*16 or 24"):
        small(embed_dim=20)
    with pytest.raises(InvalidArgumentError, match="pools=1111"):
        small(pools=1111)
    with pytest.raises(InvalidArgumentError, match="mlp_ratio=1"):
        small(mlp_ratio=1.0)
    with pytest.raises(InvalidArgumentError, match="Spikformer"):
        snnkit.load_weights(small(), Reference("spikformer_v1_small_T4").state())
