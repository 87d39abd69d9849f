"""Meta-SpikeFormer against reference numbers of the published code.

Would break it: a wrong threshold, scale, leak, reset, tie or border (each is tried), a key map that mixes layers up, a
head left out in silence, a size with other parameters, a deployed network that is not the same one.
"""

import copy
import math

import pytest
import torch
from parity import Reference, close
from torch import nn

import snnkit
from snnkit.deploy import deploy
from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.layers.rep_conv import RepConv
from snnkit.layers.spike_driven_attention import ATTENTIONS, ScaledAttention
from snnkit.neurons import LIF

SMALL = {"name": "meta_spikeformer_15m", "embed_dim": (32, 64, 128, 160), "num_classes": 10}
BUILDS = {
    "sdtv2_small_T1": {**SMALL, "timesteps": 1},
    "sdtv2_small_T4": {**SMALL, "timesteps": 4},
    "sdtv2_small_kd_T2": {**SMALL, "timesteps": 2, "distilled": True},
    "sdtv2_dvs_small_T4": {**SMALL, "name": "meta_spikeformer_hardvs", "num_classes": 30},
    "sdtv2_det_backbone_small_T2": {**SMALL, "timesteps": 2, "features_only": True},
    "sdtv2_seg_small_T2": {
        **SMALL,
        "name": "meta_spikeformer_seg_15m",
        "timesteps": 2,
        "fpn_channels": 32,
        "head_channels": 32,
    },
}
TINY = {"name": "meta_spikeformer_tiny", "embed_dim": (8, 8, 16, 16), "num_heads": 2, "mlp_ratio": 2, "timesteps": 3}


def made(name):
    """The reference and the model with its weights."""
    reference = Reference(name)
    model = snnkit.create_model(**BUILDS[name]).double().eval()
    report = snnkit.load_weights(model, reference.state())
    assert report.complete
    assert report.source.startswith("published")
    return reference, model


def tiny(**settings):
    torch.manual_seed(0)
    model = snnkit.create_model(**{**TINY, **settings})
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias, 0.5, 2.0)
    return model.eval()


def rates(model, x):
    with torch.no_grad(), snnkit.record(model) as tape:
        y = model(x)
    return y, torch.stack([layer.spikes.double().mean() for layer in tape.layers.values()])


# Equal to the published code.


@pytest.mark.parametrize("name", BUILDS)
def test_logits_maps_and_rates(name):
    reference, model = made(name)
    assert sum(p.numel() for p in model.parameters()) == reference.config["params"]
    y, found = rates(model, reference.input)
    assert len(found) == len(reference["rates"])
    assert (found - reference["rates"]).abs().max() < 1e-9
    if "logits" in reference:
        assert (y - reference["logits"]).abs().max() < 1e-9
    if "feat0" in reference:
        with torch.no_grad():
            maps = y if isinstance(y, list) else model.forward_maps(reference.input)
        for i, y_i in enumerate(maps):
            assert (y_i - reference[f"feat{i}"]).abs().max() < 1e-9


@pytest.mark.parametrize(
    ("name", "fewest"), [*((name, False) for name in BUILDS), ("sdtv2_small_T4", True), ("sdtv2_seg_small_T2", True)]
)
def test_deployed_is_the_same_network(name, fewest):
    """Norms folded, RepConvs merged, scales in thresholds: equal spikes in float64."""
    reference, model = made(name)
    fast = deploy(model, fewest_operations=fewest)
    assert not any(isinstance(m, (RepConv, nn.BatchNorm2d)) for m in fast.modules())
    y, found = rates(fast, reference.input)
    assert (found - reference["rates"]).abs().max() < 1e-9
    if "logits" in reference:
        assert (y - reference["logits"]).abs().max() < 1e-9


def test_training_step():
    """Loss, logits, gradients of all 426 parameters and the running statistics after one step, relative to 1e-6."""
    weights = Reference("sdtv2_small_T1")  # the same keys
    reference = Reference("sdtv2_small_train_T2", weights)
    model = snnkit.create_model(**{**SMALL, "timesteps": 2}).double().train()
    snnkit.load_weights(model, reference.state())
    logits = model(reference.input)
    loss = nn.functional.cross_entropy(logits, torch.tensor(reference.config["labels"]))
    loss.backward()
    close(loss.detach(), reference["loss"], 1e-6)
    close(logits.detach(), reference["logits"], 1e-6)

    own_key = named_like(model, weights.shapes)
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    names = reference.arrays["grad_names"].tolist()
    norms = dict(zip(names, reference.arrays["grad_norms"].tolist(), strict=True))
    assert len(norms) == len(parameters) == 426
    vanishing = 0
    for key, norm in norms.items():
        ours = parameters[own_key[key]].grad.norm().item()
        # A bias before a norm of the batch has no gradient: both sides hold the rounding of its weight's.
        beside = norms.get(key.removesuffix("bias") + "weight", 0.0)
        if norm == 0 or (key.endswith("bias") and norm < 1e-9 * beside):
            vanishing += 1
            assert ours <= 1e-9 * max(beside, 1e-12), key
        else:
            assert ours == pytest.approx(norm, rel=1e-6), key
    assert vanishing < 100
    full = [name for name in reference.arrays if name.startswith("grad:")]
    assert len(full) == 4
    for name in full:
        ours = parameters[own_key[name.removeprefix("grad:")]].grad
        if reference[name].abs().max() > 0:
            close(ours.reshape(reference[name].shape), reference[name], 1e-6)
        else:
            assert ours.abs().max() == 0
    for key, norm in zip(reference.arrays["bn_names"].tolist(), reference.arrays["bn_norms"].tolist(), strict=True):
        assert buffers[own_key[key]].norm().item() == pytest.approx(norm, rel=1e-6), key


def named_like(model, shapes):
    """Published key → own key, found by sending numbers through the converter."""
    marked = {key: torch.full(shape or (1,), float(i)) for i, (key, shape) in enumerate(shapes.items())}
    converted = snnkit.models.family_of(model).convert(marked, model)
    keys = list(shapes)
    return {keys[int(value.flatten()[0])]: own for own, value in converted.items()}


# Every detail matters: changed, the comparison above would fail.


def lifs(model):
    return [m for m in model.modules() if isinstance(m, LIF)]


def set_all(model, **constants):
    for lif in lifs(model):
        for key, value in constants.items():
            setattr(lif, key, value)


def threshold_of_one(model):
    for operator in attentions(model):
        operator.lif.v_threshold = 1.0


def attentions(model):
    return [m for m in model.modules() if isinstance(m, ScaledAttention)]


def scale_by_width(model):
    for i, operator in enumerate(attentions(model)):
        operator.scale = (model.stages[3 if i < 6 else 4].down.bn.num_features // operator.num_heads) ** -0.5


def zero_border(model):
    for layer in model.modules():
        if isinstance(layer, RepConv):
            layer.border = lambda norm=layer.norm_in: torch.zeros_like(norm.bias)


def greater(model):
    """h ≥ the next number above θ is h > θ."""
    for lif in lifs(model):
        lif.v_threshold = math.nextafter(lif.v_threshold, math.inf)


MUTATIONS = {
    "attention threshold 1": threshold_of_one,
    "scale of the head's width": scale_by_width,
    "input without decay": lambda model: set_all(model, decay_input=False),
    "zeros around the map": zero_border,
    "greater for greater or equal": greater,
    "soft reset": lambda model: set_all(model, v_reset=None),
}


@pytest.mark.parametrize("name", ["sdtv2_small_T1", "sdtv2_small_T4"])
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutation_is_seen(name, mutation):
    reference, model = made(name)
    MUTATIONS[mutation](model)
    with torch.no_grad():
        difference = (model(reference.input) - reference["logits"]).abs().max()
    if mutation == "soft reset" and name.endswith("T1"):
        assert difference < 1e-9  # one step cannot see what happens after it
    else:
        assert difference > 0.1


# Sizes and keys.


@pytest.mark.parametrize(
    ("name", "settings", "params"),
    [
        ("meta_spikeformer_15m", {}, 15_112_208),
        ("meta_spikeformer_31m", {}, 31_333_864),
        ("meta_spikeformer_55m", {}, 55_350_248),
        ("meta_spikeformer_124m", {}, 123_741_160),
        ("meta_spikeformer_15m", {"distilled": True}, 15_473_208),
        ("meta_spikeformer_31m", {"distilled": True}, 31_814_864),
        ("meta_spikeformer_55m", {"distilled": True}, 55_991_248),
        ("meta_spikeformer_124m", {"distilled": True}, 124_702_160),
        ("meta_spikeformer_hardvs", {}, 18_262_980),
        ("meta_spikeformer_seg_15m", {}, 16_470_142),
        ("meta_spikeformer_seg_55m", {}, 61_520_022),
        ("meta_spikeformer_seg_55m", {"head_channels": 128}, 58_992_278),
    ],
)
def test_published_parameter_counts(name, settings, params):
    with torch.device("meta"):
        model = snnkit.create_model(name, **settings)
    assert sum(p.numel() for p in model.parameters()) == params


def test_containers_and_prefixes():
    reference, model = made("sdtv2_small_T1")
    expected, state = model.state_dict(), reference.state()
    for content in ({"model": state, "epoch": 3}, {"state_dict": {f"backbone.{k}": v for k, v in state.items()}}):
        other = snnkit.create_model(**BUILDS["sdtv2_small_T1"]).double()
        assert snnkit.load_weights(other, content).complete
        assert all(torch.equal(value, expected[key]) for key, value in other.state_dict().items())


def test_a_second_head_is_not_lost_in_silence():
    state = Reference("sdtv2_small_kd_T2").state()
    model = snnkit.create_model(**SMALL).double()
    with pytest.raises(InvalidArgumentError, match=r"2 unused \(head_dist"):
        snnkit.load_weights(model, state)
    assert set(snnkit.load_weights(model, state, strict=False).unused) == {"head_dist.weight", "head_dist.bias"}
    distilled = snnkit.create_model(**SMALL, distilled=True).double()
    with pytest.raises(InvalidArgumentError, match=r"2 missing \(head_dist"):
        snnkit.load_weights(distilled, Reference("sdtv2_small_T1").state())


def test_a_backbone_takes_the_weights_of_a_classifier_and_says_what_it_left():
    _, model = made("sdtv2_det_backbone_small_T2")
    report = snnkit.load_weights(model, Reference("sdtv2_small_T1").state(), strict=False)
    assert not report.missing
    assert set(report.unused) == {"head.weight", "head.bias"}


# What can be chosen.


def test_two_heads():
    model, x = tiny(distilled=True), torch.rand(3, 1, 28, 28)
    model.train()
    first, second = model(x)
    assert first.shape == second.shape == (3, 10)
    assert not torch.allclose(first, second)
    model.eval()
    spikes = model.forward_head(model.forward_features(model.encoder(x)), pre_logits=True)
    torch.testing.assert_close(model(x), (model.head(spikes).mean(0) + model.head_dist(spikes).mean(0)) / 2)
    assert len(model.get_classifier()) == 2
    model.reset_classifier(4)
    assert model(x).shape == (3, 4)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("shortcut", ["membrane", "sew"])
def test_every_attention_and_shortcut_learns_and_deploys(attention, shortcut):
    model = tiny(attention=attention, shortcut=shortcut).double()
    x = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(1)).double()
    y = model(x)
    torch.testing.assert_close(deploy(model)(x), y, rtol=0, atol=1e-9)
    model.train()(x).square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key
    assert any("v_lif" in key for key, _ in model.named_modules()) == (attention != "sdsa2")


def test_sew_shortcuts_carry_counts():
    """Every branch ends in spikes, so maps hold whole numbers: one from the stage's entry and one of each branch."""
    model = tiny(shortcut="sew", features_only=True)
    for y, branches in zip(model(torch.rand(2, 1, 28, 28)), (1, 1, 2, 1), strict=True):
        assert torch.equal(y, y.round())
        assert y.min() >= 0
        assert y.max() <= 1 + 2 * branches


@pytest.mark.parametrize("size", [(17, 30), (32, 32), (64, 48)])
def test_any_size(size):
    model = tiny(features_only=True, in_chans=2)
    for y, reduction in zip(model(torch.rand(1, 2, *size)), model.feature_info.reduction(), strict=True):
        assert y.shape[-2:] == tuple(-(-side // reduction) for side in size)


def test_segmentation_trains_checkpointed():
    settings = {**TINY, "name": "meta_spikeformer_seg_15m", "num_classes": 3, "in_chans": 1, "dropout": 0.0}
    plain = snnkit.create_model(**settings, fpn_channels=8, head_channels=8).double().train()
    checkpointed = copy.deepcopy(plain)
    checkpointed.set_grad_checkpointing()
    x = torch.rand(2, 1, 32, 36).double()
    for model in (plain, checkpointed):
        y = model(x)
        assert y.shape == (2, 3, 16, 18)
        y.square().mean().backward()
    for (key, a), b in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad), key
    assert plain.eval().predict(x).shape == (2, 32, 36)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"embed_dim": (8, 8, 16)}, "embed_dim"),
        ({"embed_dim": (7, 8, 16, 16)}, "even"),
        ({"depths": (1, 1, 1)}, "depths"),
        ({"num_heads": 5}, "num_heads=5.*1, 2, 4, 8"),
        ({"mlp_ratio": 0}, "mlp_ratio"),
        ({"stem_stride": 3}, "stem_stride"),
    ],
)
def test_bad_sizes(settings, message):
    with pytest.raises(InvalidArgumentError, match=message):
        tiny(**settings)


def test_bad_names_and_inputs():
    with pytest.raises(UnknownNameError, match="'sdsa3'"):
        tiny(attention="sdsa33")
    with pytest.raises(UnknownNameError, match="'membrane'"):
        tiny(shortcut="membran")
    with pytest.raises(InvalidArgumentError, match="fpn_channels"):
        snnkit.create_model("meta_spikeformer_seg_15m", fpn_channels=0)
    with pytest.raises(InvalidArgumentError, match="in_chans"):
        tiny()(torch.rand(2, 3, 28, 28))
    with pytest.raises(InvalidArgumentError, match=r"\(T, B, C, H, W\)"):
        tiny()(torch.rand(2, 2, 3, 28, 28))
    with pytest.raises(InvalidArgumentError, match="got"):
        tiny()(torch.rand(28, 28))
    with pytest.raises(InvalidArgumentError, match="create the model with the sizes"):
        snnkit.load_weights(snnkit.create_model(**{**SMALL, "num_classes": 11}), Reference("sdtv2_small_T1").state())
