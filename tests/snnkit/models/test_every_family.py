"""What holds for every model family, on its small build: shapes, time, gradients, copies, compilation, precision.

Would break it: a sequence treated as a batch, a block that reads other images or the future, a parameter that no
gradient reaches, a graph break, a constant of a fixed dtype, a checkpointed block that counts batch statistics twice, a
feature map that is not what the card of features says.
"""

import copy
import inspect
import re

import pytest
import torch
from torch import nn

import snnkit
from snnkit.deploy import deploy
from snnkit.errors import InvalidArgumentError
from snnkit.layers import ConvBN
from snnkit.models import families
from snnkit.models.registry import _MODELS
from snnkit.neurons import Neuron
from snnkit.optim.build import parameter_groups

TINY = {family.name: {key: v for key, v in family.tiny.items() if key != "input_shape"} for family in families()}
SHAPES = {family.name: family.tiny.get("input_shape") for family in families()}  # of what is no square image
SPIKING = [family.name for family in families() if family.kind == "snn"]
ORDINARY = [family.name for family in families() if family.kind == "ann"]
every = pytest.mark.parametrize("name", TINY)
spiking = pytest.mark.parametrize("name", SPIKING)
ordinary = pytest.mark.parametrize("name", ORDINARY)


def takes(name, argument):
    return argument in inspect.signature(_MODELS[TINY[name]["name"]].build).parameters


def build(name, seed=0, **settings):
    """The family's small build with random statistics, so that neurons fire and batch norm is no identity."""
    torch.manual_seed(seed)
    model = snnkit.create_model(**{**TINY[name], **settings})
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.bias, 0.5, 1.2)  # where thresholds are
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.0)
            if not module.weight.any():
                nn.init.uniform_(module.weight, 0.5, 1.5)  # a branch that begins at zero hides what is in it
        elif isinstance(module, nn.LayerNorm) and module.elementwise_affine:
            nn.init.uniform_(module.weight, 0.5, 1.5)  # residual post-norm begins at zero, which hides the block
    if name in SPIKING:
        measure(model, image(name, 4, chans=settings.get("in_chans")))
    return model.eval()


@torch.no_grad()
def measure(model, x):
    """Give the norms the statistics of data: weights that nobody trained are too weak to fire a deep network."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    model.train()(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def image(name, *lead, chans=None):
    side = TINY[name]["img_size"]
    channels, *rest = SHAPES[name] or (TINY[name]["in_chans"], side, side)
    shape = (chans or channels, *rest)
    return torch.rand(*lead, *shape, generator=torch.Generator().manual_seed(1))


def outputs(y):
    """Whatever a model returns, as a list of tensors."""
    if isinstance(y, torch.Tensor):
        return [y]
    return [part for item in (y.values() if isinstance(y, dict) else y) for part in outputs(item)]


def loss(y):
    return sum(part.square().mean() for part in outputs(y))


@every
@pytest.mark.parametrize("settings", [{}, {"num_classes": 7}, {"in_chans": 3}], ids=repr)
def test_logits_of_images(name, settings):
    if not takes(name, "num_classes"):
        settings = {key: value for key, value in settings.items() if key != "num_classes"}
    model = build(name, **settings)
    y = model(image(name, 2, chans=settings.get("in_chans")))
    assert all(part.isfinite().all() for part in outputs(y))
    if takes(name, "num_classes"):
        assert y.shape == (2, settings.get("num_classes", TINY[name]["num_classes"]))


@every
def test_other_channels_are_refused(name):
    with pytest.raises(InvalidArgumentError, match="in_chans"):
        build(name)(image(name, 2, chans=TINY[name]["in_chans"] + 1))


@spiking
def test_sequences(name):
    model, x = build(name), image(name, 5, 2)
    logits = model.forward_sequence(x)
    assert logits.shape == (5, 2, TINY[name]["num_classes"])
    torch.testing.assert_close(model(x), model.readout(logits))
    assert model.forward_features(x).shape[:2] == (5, 2)


@spiking
@pytest.mark.parametrize("timesteps", [1, 3])
def test_an_image_is_its_repetition(name, timesteps):
    model, x = build(name, timesteps=timesteps).double(), image(name, 2).double()
    torch.testing.assert_close(model(x), model(x.expand(timesteps, *x.shape)), rtol=0, atol=1e-12)


@spiking
def test_steps_see_only_the_past(name):
    if not all(module.causal for module in build(name).modules() if isinstance(module, Neuron)):
        pytest.skip("its neurons mix time steps")
    x = image(name, 4, 2).double()
    later = x.clone()
    later[2:] = 1 - later[2:]
    heard = False
    for seed in range(5):  # the head of a network of random weights may hear nothing: one that does tells something
        model = build(name, seed).double()
        a, b = model.forward_sequence(x), model.forward_sequence(later)
        torch.testing.assert_close(a[:2], b[:2], rtol=0, atol=1e-12)
        heard = not torch.allclose(a[2:], b[2:])
        if heard:
            break
    assert heard


@every
def test_images_do_not_see_each_other(name):
    model, x = build(name).double(), image(name, 3).double()
    whole = outputs(model(x))
    alone = [outputs(model(x[i : i + 1])) for i in range(3)]
    axis = 1 if whole[0].ndim == 5 and name in SPIKING else 0
    for position, part in enumerate(whole):
        torch.testing.assert_close(part, torch.cat([a[position] for a in alone], axis), rtol=1e-9, atol=1e-12)


@every
def test_the_input_matters(name):
    model, x = build(name).double(), image(name, 8).double()  # several: a head that counts spikes may miss one
    y, z = outputs(model(x)), outputs(model(1 - x))
    # Far below the usual tolerance: with its initial weights a network may hardly hear its input.
    assert any(not torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(y, z, strict=True))


@every
def test_feature_maps(name):
    if not takes(name, "features_only"):
        pytest.skip("this family always returns its maps")
    model = build(name, features_only=True)
    x = image(name, 2)
    maps = model(x)
    info = model.feature_info
    assert len(maps) == len(info)
    for y, channels, reduction in zip(maps, info.channels(), info.reduction(), strict=True):
        lead = (TINY[name]["timesteps"], 2) if name in SPIKING else (2,)
        assert y.shape[: len(lead)] == lead
        assert y.shape[len(lead)] == channels
        assert y.shape[-1] == -(-x.shape[-1] // reduction)
    assert set(info.module_name()) <= {key for key, _ in model.named_modules()}


@every
def test_every_parameter_gets_a_gradient(name):
    model = build(name).train()
    loss(model(image(name, 4))).backward()
    reached = 0
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        reached += bool(parameter.grad.abs().max() > 0)
    assert reached == sum(1 for _ in model.parameters())


@every
def test_a_trained_step_copies(name):
    """After a backward, before an optimiser: nothing of the graph may cling to the model."""
    model, x = build(name), image(name, 2)
    loss(model(x)).backward()
    twin = copy.deepcopy(model)
    for a, b in zip(outputs(twin(x)), outputs(model(x)), strict=True):
        assert torch.equal(a, b)


@every
def test_weights_round_trip(name, tmp_path):
    """Saved with its configuration, a model is built again by the file alone."""
    from snnkit.checkpoints import build_model

    model, x = build(name), image(name, 2)
    snnkit.save_weights(model, tmp_path / "w.safetensors", TINY[name])
    other, config = build_model(tmp_path / "w.safetensors")
    assert config["name"] == TINY[name]["name"]
    for a, b in zip(outputs(other(x)), outputs(model(x)), strict=True):
        assert torch.equal(a, b)


@every
def test_weights_of_another_family_are_refused(name):
    state = {f"nobody.{key}": value for key, value in build(name).state_dict().items()}
    with pytest.raises(InvalidArgumentError, match="keys are not"):
        snnkit.load_weights(build(name), state)


def test_a_file_says_what_it_was_saved_from(tmp_path):
    settings = TINY["qkformer"]
    snnkit.save_weights(snnkit.create_model(**settings), tmp_path / "w.safetensors", settings)
    with pytest.raises(InvalidArgumentError, match="trained as, qkformer_10_384, or"):
        snnkit.load_weights(snnkit.create_model(**TINY["spikformer"]), tmp_path / "w.safetensors")


@pytest.mark.slow
@every
def test_compiled_equals_eager(name):
    """Whole model as one graph, forward and backward."""
    torch._dynamo.reset()
    model, x = build(name).double(), image(name, 2).double()

    def run(f):
        model.zero_grad()
        y = f(x)
        loss(y).backward()
        return outputs(y), [p.grad.clone() for p in model.parameters() if p.grad is not None]

    eager = run(model)
    compiled = run(torch.compile(model, fullgraph=True, backend="aot_eager"))
    for ours, theirs in zip(compiled, eager, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


@every
def test_export(name):
    model, x = build(name).double(), image(name, 2).double()
    program = torch.export.export(model, (x,))
    for a, b in zip(outputs(program.module()(x)), outputs(model(x)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
    if name in SPIKING:
        called = [str(node.target) for node in program.graph.nodes if "snnkit" in str(node.target)]
        neurons = [module for module in model.modules() if isinstance(module, Neuron)]
        assert len(called) == len(neurons), "a neuron over all its steps is one node"


@every
def test_channels_last(name):
    if image(name, 2).ndim != 4:
        pytest.skip("not images")
    model, x = build(name).double(), image(name, 2).double()
    y = outputs(model(x))
    model = model.to(memory_format=torch.channels_last)
    for a, b in zip(outputs(model(x.to(memory_format=torch.channels_last))), y, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@every
def test_deployed_equals(name):
    """Norms folded, re-parametrised layers merged: the same outputs, and no norm behind a convolution is left."""
    model, x = build(name).double(), image(name, 2).double()
    deployed = deploy(model, channels_last=x.ndim == 4)
    for a, b in zip(outputs(deployed(x)), outputs(model(x)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
    assert not any(isinstance(m.bn, nn.BatchNorm2d) for m in deployed.modules() if isinstance(m, ConvBN))


@every
def test_bfloat16(name):
    """Storage in half precision: the constants follow."""
    for part in outputs(build(name).bfloat16()(image(name, 2).bfloat16())):
        assert part.dtype == torch.bfloat16
        assert part.isfinite().all()


@every
def test_checkpointed_training_equals_plain(name):
    """Outputs, gradients and running statistics."""
    plain = build(name).double().train()
    checkpointed = copy.deepcopy(plain)
    checkpointed.set_grad_checkpointing()
    x = image(name, 3).double()
    results = []
    for model in (plain, checkpointed):
        torch.manual_seed(3)
        y = model(x)
        loss(y).backward()
        results.append([*outputs(y), *(p.grad for p in model.parameters()), *model.buffers()])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@every
def test_training_mode_uses_the_batch_and_eval_mode_does_not(name):
    model, x = build(name), image(name, 4)
    before = copy.deepcopy(model.state_dict())
    model(x)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    model.train()(x)
    moved = [key for key, value in model.state_dict().items() if not torch.equal(value, before[key])]
    assert all("running" in key or "num_batches" in key for key in moved)
    has_norm = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
    assert bool(moved) == has_norm


@every
def test_a_new_head(name):
    if not takes(name, "num_classes"):
        pytest.skip("no classifier")
    model, x = build(name), image(name, 2)
    model.reset_classifier(9)
    assert model(x).shape == (2, 9)
    assert model.num_classes == 9
    model.reset_classifier(0)
    assert model(x).shape == (2, model.num_features)


@every
def test_layer_decay(name):
    """Every parameter is in one group, and learns the faster the later it acts: in the order of the computation."""
    if not takes(name, "num_classes"):
        pytest.skip("no classifier")
    model = build(name)
    groups = parameter_groups(model, 0.1, layer_decay=0.5)
    scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    assert len(scale) == sum(len(group["params"]) for group in groups) == sum(1 for _ in model.parameters())
    of = {key: scale[id(parameter)] for key, parameter in model.named_parameters()}
    assert all(s == min(scale.values()) for k, s in of.items() if re.match(r"stem|patch_embed(s\.0)?\.|cls_token", k))
    assert all(s == 1.0 for k, s in of.items() if "head" in k)
    assert len(set(of.values())) > 2

    acted = []
    for module in model.modules():
        own = [scale[id(p)] for p in module.parameters(recurse=False)]
        if own and not list(module.children()):
            module.register_forward_pre_hook(lambda *_, own=tuple(own): acted.append(own))
    model(image(name, 2))
    first = list(dict.fromkeys(own for own in acted))
    assert all(len(set(own)) == 1 for own in first)
    assert first == sorted(first, key=lambda own: own[0])


@ordinary
def test_intermediates(name):
    model, x = build(name), image(name, 2)
    if not hasattr(model, "forward_intermediates"):
        pytest.skip("returns its maps")
    last, maps = model.forward_intermediates(x, indices=2)
    assert len(maps) == 2
    torch.testing.assert_close(last, model.forward_features(x))
    with pytest.raises(InvalidArgumentError, match="NCHW"):
        model.forward_intermediates(x, output_fmt="NHWC")
