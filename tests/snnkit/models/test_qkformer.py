"""QKFormer against its published code, which lets membranes cross samples, and without that.

Would break it: a mask per channel instead of per head, a shortcut without its neuron, a projection whose neuron sees
other samples by default.
"""

import pytest
import torch
from parity import Reference, close

import snnkit
from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.models.qkformer import AcrossBatch
from snnkit.neurons import LIF

TOLERANCE = 1e-9


def published(**settings):
    """The reference and snnkit's model filled with its weights."""
    golden = Reference("qkformer_small_T4")
    config = golden.config
    model = snnkit.create_model(
        "qkformer_10_512",
        embed_dim=config["embed_dims"],
        depths=(1, 2, config["depths"] - 3),
        num_heads=config["num_heads"],
        num_classes=config["num_classes"],
        timesteps=config["T"],
        **settings,
    )
    report = snnkit.load_weights(model.double().eval(), {"model": golden.state(), "epoch": 199})
    assert report.source == "published (QKFormer)"
    assert sum(p.numel() for p in model.parameters()) == config["params"]
    return golden, model


@torch.no_grad()
def test_published_logits_and_rates():
    golden, model = published(official=True)
    with snnkit.record(model) as tape:
        logits = model(golden.input)
    close(logits, golden["logits"], TOLERANCE)
    close([layer.spikes.mean().item() for layer in tape.layers.values()], golden["rates"], TOLERANCE)


@torch.no_grad()
def test_samples_depend_on_each_other_only_where_that_was_asked_for():
    golden, official = published(official=True)
    _, model = published(official=False)
    x = golden.input
    difference = (model(x) - golden["logits"]).abs().max().item()
    assert difference == pytest.approx(0.53, abs=0.01), "the figure that both forms were published to differ by"
    alone = torch.cat([model(x[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(model(x), alone, rtol=0, atol=1e-12)
    torch.testing.assert_close(model(x.flip(0)).flip(0), alone, rtol=0, atol=1e-12)
    swapped = official(x.flip(0)).flip(0)
    assert (swapped - official(x)).abs().max() > 0.1
    torch.testing.assert_close(official(x[:1]), model(x[:1]), rtol=0, atol=0)


@torch.no_grad()
def test_published_weights_bring_the_published_form_unless_the_other_was_asked_for():
    golden, official = published(official=True)
    _, model = published()
    assert model.official
    assert torch.equal(model(golden.input), official(golden.input))
    model.official = None
    report = snnkit.load_weights(model, golden.state())
    assert report.form == {"official": True}
    assert "the model computes as published (official=True)" in str(report)
    assert snnkit.load_weights(published(official=False)[1], golden.state()).form == {}
    again = small()
    assert snnkit.load_weights(again, small().state_dict()).form == {}
    assert not any(isinstance(module, AcrossBatch) for module in again.modules())


@torch.no_grad()
def test_what_published_weights_do_not_tell_is_named():
    """With other heads the same file gives other logits: the report says which number was taken."""
    golden, model = published(official=True)
    report = snnkit.load_weights(model, golden.state())
    assert report.untold == (f"num_heads={golden.config['num_heads']}", f"timesteps={golden.config['T']}")
    assert f"do not tell num_heads={golden.config['num_heads']}" in str(report)
    assert snnkit.load_weights(small(), small().state_dict()).untold == ()


@torch.no_grad()
def test_both_forms_run_in_a_stream():
    for official in (False, True):
        golden, model = published(official=official)
        x = golden.input.expand(4, *golden.input.shape)
        stream = snnkit.Stream(model)
        steps = torch.stack([stream.step(x_t) for x_t in x])
        torch.testing.assert_close(steps.mean(0), model(x), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "mutate",
    [
        lambda neuron: setattr(neuron, "v_threshold", 1.0) if neuron.v_threshold == 0.5 else None,
        lambda neuron: setattr(neuron, "v_reset", None),
        lambda neuron: setattr(neuron, "decay_input", False),
    ],
    ids=["threshold", "reset", "decay"],
)
@torch.no_grad()
def test_the_reference_sees_every_detail(mutate):
    golden, model = published(official=True)
    for module in model.modules():
        if isinstance(module, LIF):
            mutate(module)
    assert (model(golden.input) - golden["logits"]).abs().max() > 0.1


@pytest.mark.parametrize("name", snnkit.list_models("qkformer_*"))
def test_published_parameter_counts(name):
    """Exact counts of the published code."""
    expected = {"qkformer_10_384": 16_473_688, "qkformer_10_512": 29_079_336, "qkformer_10_768": 64_962_760}[name]
    with torch.device("meta"):
        assert sum(p.numel() for p in snnkit.create_model(name).parameters()) == expected
    assert snnkit.model_info(name).params == expected


def small(**settings):
    sizes = {"embed_dim": 16, "depths": (1, 1, 1), "num_heads": 2, "num_classes": 3, "timesteps": 2}
    return snnkit.create_model("qkformer_10_384", **{**sizes, **settings})


@pytest.mark.parametrize("side", [(17, 40), (1, 5)])
def test_any_image_size_serves(side):
    model = small(features_only=True).eval()
    assert model.feature_info.reduction() == [4, 8, 16]
    for y, reduction in zip(model(torch.rand(2, 3, *side)), model.feature_info.reduction(), strict=True):
        assert y.shape[-2:] == tuple(-(-s // reduction) for s in side)


def test_bad_input_of_qkformer():
    with pytest.raises(UnknownNameError, match="'qkformer_10_384'"):
        snnkit.create_model("qkformer_10_383")
    with pytest.raises(InvalidArgumentError, match="embed_dim=20: must be a multiple of 8.*16 or 24"):
        small(embed_dim=20)
    with pytest.raises(InvalidArgumentError, match="embed_dim=16: must be a multiple of 12, four times num_heads"):
        small(num_heads=3)
    with pytest.raises(InvalidArgumentError, match="depths=.*must be 3 whole numbers"):
        small(depths=(1, 2))
    with pytest.raises(InvalidArgumentError, match="mlp_ratio"):
        small(mlp_ratio=-1)
