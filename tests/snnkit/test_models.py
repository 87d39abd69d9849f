"""The registry, and every model in it: shapes, gradients, copies, compilation and export.

Would break it: a name that is not checked, a sequence treated as a batch, a parameter that no gradient reaches, a model
that only works eagerly, a parameter count out of date.
"""

import copy
import inspect
from dataclasses import astuple

import pytest
import torch

import snnkit
from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.models.registry import _MODELS, register_model
from snnkit.neurons import IF, LIF

MODELS = snnkit.list_models()
SPIKING = snnkit.list_models(kind="snn")
CLASSES, SIDE, BATCH, STEPS = 4, 16, 2, 3


def build(name, **settings):
    """A small build of a model with random statistics, so that neurons fire and batch norm is no identity."""
    torch.manual_seed(0)
    allowed = inspect.signature(_MODELS[name].build).parameters
    sizes = {"num_classes": CLASSES, "in_chans": 1, "img_size": SIDE, "timesteps": STEPS, "width": 6, **settings}
    model = snnkit.create_model(name, **{key: value for key, value in sizes.items() if key in allowed})
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.bias, 0.3, 1.5)
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.0)
    return model.eval()


def image(*lead):
    return torch.rand(*lead, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


# The registry.


def test_lists():
    assert sorted(MODELS) == MODELS
    assert "spiking_cnn_small" in snnkit.list_models("spiking_*")
    assert snnkit.list_models("no_such_*") == []
    assert set(snnkit.list_models(kind="snn")) | set(snnkit.list_models(kind="ann")) == set(MODELS)
    assert not set(snnkit.list_models(kind="snn")) & set(snnkit.list_models(kind="ann"))


def test_an_unknown_kind_names_the_nearest():
    with pytest.raises(UnknownNameError, match="'snn'"):
        snnkit.list_models(kind="snnn")


@pytest.mark.parametrize("ask", [snnkit.create_model, snnkit.model_info])
def test_an_unknown_model_names_the_nearest(ask):
    with pytest.raises(UnknownNameError, match="'spiking_cnn_small'"):
        ask("spiking_cnn_smal")
    with pytest.raises(UnknownNameError, match="snnkit models"):
        ask("zzz")


def test_an_unknown_argument_names_model_and_nearest():
    with pytest.raises(UnknownNameError, match=r"spiking_cnn_small.*'width'"):
        snnkit.create_model("spiking_cnn_small", widht=8)


@pytest.mark.parametrize("key", ["num_classes", "in_chans", "img_size", "timesteps"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True, float("nan"), float("inf"), "ten", [1]], ids=repr)
def test_bad_values_are_named(key, value):
    with pytest.raises(InvalidArgumentError, match=key):
        snnkit.create_model("spiking_cnn_small", **{key: value})


BAD_SIZES = [
    *({"width": width} for width in (0, -3, 1.5, "six")),
    *({"tau": tau} for tau in (1.0, 0)),
    {"dropout": 1.0},
]


@pytest.mark.parametrize("settings", BAD_SIZES, ids=repr)
def test_bad_sizes_are_named(settings):
    with pytest.raises(InvalidArgumentError, match=next(iter(settings))):
        snnkit.create_model("spiking_cnn_small", **settings)


def test_whole_numbers_may_be_floats():
    """What passes the check must also build."""
    model = snnkit.create_model("spiking_cnn_small", num_classes=10.0, img_size=28.0, timesteps=4.0)
    assert model(torch.zeros(1, 1, 28, 28)).shape == (1, 10)


@pytest.mark.parametrize(("given", "offered"), [(30, "28 or 32"), (3, "4 or 8"), (7, "4 or 8")])
def test_an_image_size_that_strides_do_not_divide_names_the_next(given, offered):
    with pytest.raises(InvalidArgumentError, match=offered):
        snnkit.create_model("spiking_cnn_small", img_size=given)


def test_a_name_is_given_once():
    def spiking_cnn_small():
        """Another one."""

    with pytest.raises(ValueError, match="spiking_cnn_small"):
        register_model(kind="snn", paper="", source="")(spiking_cnn_small)


@pytest.mark.parametrize("name", MODELS)
def test_info(name):
    info = snnkit.model_info(name)
    model = snnkit.create_model(name)
    assert info.params == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert info.name == name
    assert info.kind in ("snn", "ann")
    assert info.paper
    assert info.source
    assert len(info.summary) > 10


def test_params_by_hand():
    """width 16: 144 + 6912 + 432 + 2304 weights, 2·(16 + 3·48) of batch norm, 48·49·10 + 10 of the head."""
    assert snnkit.model_info("spiking_cnn_small").params == 144 + 6912 + 432 + 2304 + 320 + 23530


# Every model.


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("settings", [{}, {"num_classes": 7}, {"in_chans": 3}], ids=repr)
def test_logits_of_images(name, settings):
    model = build(name, **settings)
    x = torch.rand(BATCH, settings.get("in_chans", 1), SIDE, SIDE)
    assert model(x).shape == (BATCH, settings.get("num_classes", CLASSES))


@pytest.mark.parametrize("name", SPIKING)
def test_sequences(name):
    model, x = build(name), image(5, BATCH)
    logits = model.forward_sequence(x)
    assert logits.shape == (5, BATCH, CLASSES)
    torch.testing.assert_close(model(x), model.readout(logits))
    features = model.forward_features(x)
    assert features.shape[:2] == (5, BATCH)
    assert set(features.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("name", SPIKING)
def test_forward_features_of_the_small_network(name):
    if name == "spiking_cnn_small":
        assert build(name).forward_features(image(STEPS, BATCH)).shape == (STEPS, BATCH, 18, SIDE // 2, SIDE // 2)


@pytest.mark.parametrize("name", SPIKING)
@pytest.mark.parametrize("timesteps", [1, 4])
def test_an_image_is_its_repetition(name, timesteps):
    model, x = build(name, timesteps=timesteps).double(), image(BATCH).double()
    torch.testing.assert_close(model(x), model(x.expand(timesteps, *x.shape)), rtol=0, atol=1e-12)
    if timesteps > 1:
        assert not torch.allclose(model(x), model(x.unsqueeze(0)), atol=1e-4)  # time matters


@pytest.mark.parametrize("name", SPIKING)
def test_steps_see_only_the_past(name):
    model, x = build(name).double(), image(4, BATCH).double()
    later = x.clone()
    later[2:] = 1 - later[2:]
    a, b = model.forward_sequence(x), model.forward_sequence(later)
    torch.testing.assert_close(a[:2], b[:2], rtol=0, atol=1e-12)
    assert not torch.allclose(a[2:], b[2:])


@pytest.mark.parametrize("name", MODELS)
def test_images_do_not_see_each_other(name):
    model, x = build(name).double(), image(3).double()
    alone = torch.cat([model(x[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(model(x), alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "shape",
    [(2, 1, SIDE + 4, SIDE), (2, 3, SIDE, SIDE), (SIDE, SIDE), (1, SIDE, SIDE), (3, 2, 1, SIDE, SIDE + 4)],
    ids=str,
)
def test_images_of_another_shape_are_refused(name, shape):
    with pytest.raises(InvalidArgumentError, match=rf"1, {SIDE}, {SIDE}"):
        build(name)(torch.zeros(shape))


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_gets_a_gradient(name):
    model = build(name).train()
    model(image(4)).square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", MODELS)
def test_a_trained_step_copies(name):
    """After a backward, before an optimiser: nothing of the graph may cling to the model."""
    model, x = build(name), image(BATCH)
    model(x).sum().backward()
    twin = copy.deepcopy(model)
    assert torch.equal(twin(x), model(x))
    with torch.no_grad():
        next(iter(twin.parameters())).zero_()
    assert next(iter(model.parameters())).abs().max() > 0


@pytest.mark.parametrize("name", MODELS)
def test_state_dict_round_trip(name):
    model, x = build(name), image(BATCH)
    torch.manual_seed(99)
    other = build(name)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.3)
    assert not torch.equal(other(x), model(x))
    other.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(other(x), model(x))
    learnt = {*dict(model.named_parameters()), *(k for k, _ in model.named_buffers())}
    assert set(model.state_dict()) == learnt


@pytest.mark.parametrize("name", MODELS)
def test_compiled_equals_eager(name):
    """Whole model as one graph, forward and backward."""
    torch._dynamo.reset()
    model, x = build(name), image(BATCH)

    def run(f):
        model.zero_grad()
        y = f(x)
        y.square().sum().backward()
        return y.detach(), [p.grad.clone() for p in model.parameters()]

    eager = run(model)
    compiled = run(torch.compile(model, fullgraph=True, backend="aot_eager"))
    torch.testing.assert_close(compiled[0], eager[0], rtol=0, atol=1e-6)
    for a, b in zip(compiled[1], eager[1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_channels_last_compiled_equals_eager(name):
    torch._dynamo.reset()
    model = build(name).to(memory_format=torch.channels_last)
    x = image(BATCH).contiguous(memory_format=torch.channels_last)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), model(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kernel", ["reference", "numba", "c"])
@pytest.mark.parametrize("cls", [IF, LIF])
def test_the_memory_order_that_compilers_are_told_is_the_real_one(cls, kernel):
    """A sequence that is dense but permuted, as a channels-last convolution leaves it."""
    neuron = cls()
    x = torch.randn(3, 2, 4, 4, 5).permute(0, 1, 4, 2, 3)
    v = torch.zeros(2, 4, 4, 5).permute(0, 3, 1, 2)
    arguments = (x, v, *astuple(neuron.constants()), [], "", "sigmoid", [4.0], "exact", False, kernel)
    torch.library.opcheck(getattr(torch.ops.snnkit, cls.operator.name).default, arguments, test_utils="test_faketensor")


@pytest.mark.parametrize("name", MODELS)
def test_export(name):
    model, x = build(name), image(BATCH)
    program = torch.export.export(model, (x,))
    torch.testing.assert_close(program.module()(x), model(x), rtol=0, atol=1e-6)
    if name in SPIKING:
        called = [str(node.target) for node in program.graph.nodes if "snnkit" in str(node.target)]
        neurons = [m for m in model.modules() if isinstance(m, snnkit.neurons.Neuron)]
        assert len(called) == len(neurons), "a neuron over all its steps is one node"


@pytest.mark.parametrize("name", MODELS)
def test_training_mode_uses_the_batch_and_eval_mode_does_not(name):
    model, x = build(name), image(4)
    before = copy.deepcopy(model.state_dict())
    model(x)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    model.train()(x)
    moved = [key for key, value in model.state_dict().items() if not torch.equal(value, before[key])]
    assert moved
    assert all("running" in key or "num_batches" in key for key in moved)
