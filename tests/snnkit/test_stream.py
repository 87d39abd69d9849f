"""Streams: one step after the other is the whole sequence, and the state lives nowhere but in the stream.

Would break it: a step that starts at rest again, state kept in a module, two calls of one neuron sharing one membrane,
a failed step that advances half of the layers, a silent restart when the batch changes, a backward graph that is never
cut.
"""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

import snnkit
from snnkit.errors import InvalidArgumentError, NonFiniteError
from snnkit.neurons import IF, LIF
from snnkit.neurons.carry import within


def drive(*shape, seed=0):
    """Currents strong enough that the neurons fire about every third step."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3.0 - 0.4


def images(steps, batch, seed=0):
    return torch.randn(steps, batch, 1, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def small_model(seed=0):
    """The smallest registered network, with statistics that make its neurons fire."""
    torch.manual_seed(seed)
    model = snnkit.create_model("spiking_cnn_small", img_size=8, width=4, timesteps=5, num_classes=3).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias, 0.3, 2.0)
    return model


class Twice(nn.Module):
    """One neuron module, called twice in a forward: two populations with the same constants."""

    def __init__(self, neuron):
        super().__init__()
        self.mix = nn.Linear(6, 6, bias=False, dtype=torch.float64)
        nn.init.eye_(self.mix.weight)
        self.neuron = neuron

    def forward(self, x):
        return self.neuron(1.7 * self.mix(self.neuron(x)) + 0.3)


SETTINGS = [
    (cls, settings) for cls in (IF, LIF) for settings in ({}, {"v_reset": None}, {"v_reset": -0.3, "v_threshold": 0.7})
]


@pytest.mark.parametrize(("cls", "settings"), SETTINGS, ids=str)
def test_steps_of_a_neuron_are_its_sequence(cls, settings):
    neuron, x = cls(**settings), drive(7, 3, 5)
    whole = neuron(x)
    assert 0.1 < whole.mean() < 0.9
    stream = snnkit.Stream(neuron)
    assert torch.equal(torch.stack([stream.step(x_t) for x_t in x]), whole)
    torch.testing.assert_close(stream.state["v"], neuron.membranes(x)[-1], rtol=0, atol=1e-12)


def test_steps_of_a_model_are_its_sequence():
    model, x = small_model(), images(5, 2)
    whole = model.forward_sequence(x)
    stream = snnkit.Stream(model)
    steps = torch.stack([stream.step(x_t) for x_t in x])
    assert steps.shape == (5, 2, 3)
    torch.testing.assert_close(steps, whole, rtol=0, atol=1e-12)
    # The carried state matters here: steps from rest give something else.
    from_rest = torch.cat([model.forward_sequence(x_t.unsqueeze(0)) for x_t in x])
    assert not torch.allclose(from_rest, whole, atol=1e-3)


class Loop(nn.Module):
    """A module that goes through the steps of its sequence itself, and through an inner loop in each."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        outputs = []
        with within() as carry:
            for x_t in x:
                with carry.active():
                    outputs.append(self.inner(x_t.unsqueeze(0))[0])
        return torch.stack(outputs)


def test_loops_within_loops_go_on_in_a_stream():
    x = drive(7, 3, 6)
    loop = Loop(Loop(Twice(LIF())))
    model = Twice(loop)  # calls the loop twice, in which one neuron is called twice: four populations
    whole = model(x)
    assert torch.equal(whole, Twice(Twice(LIF()))(x)), "without a stream a loop is the same sequence"
    assert 0.1 < whole.mean() < 0.9
    stream = snnkit.Stream(model)
    parts = [stream.run(x[:2]), stream.step(x[2]).unsqueeze(0)]
    kept = stream.state
    assert {name.removeprefix("neuron.inner.inner.neuron") for name in kept} == {".v", "#1.v", "#2.v", "#3.v"}
    with pytest.raises(InvalidArgumentError, match="batch size"):
        stream.step(x[3, :2])
    model.mix.weight.requires_grad_(False).fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="neuron.inner.inner.neuron"):
        stream.step(x[3])
    nn.init.eye_(model.mix.weight)
    assert all(torch.equal(value, kept[name]) for name, value in stream.state.items())
    assert torch.equal(torch.cat([*parts, stream.run(x[3:])]), whole)


@pytest.mark.parametrize("cuts", [(3, 4), (1, 5, 1), (7,)])
def test_chunks_of_any_length_are_the_sequence(cuts):
    neuron, x = LIF(v_reset=None), drive(7, 2, 9)
    stream = snnkit.Stream(neuron)
    assert torch.equal(torch.cat([stream.run(chunk) for chunk in x.split(cuts)]), neuron(x))


def test_chunks_and_steps_mix():
    model, x = small_model(), images(5, 2)
    stream = snnkit.Stream(model)
    parts = [stream.run(x[:2]), stream.step(x[2]).unsqueeze(0), stream.run(x[3:])]
    torch.testing.assert_close(torch.cat(parts), model.forward_sequence(x), rtol=0, atol=1e-12)


def test_two_streams_of_one_model_are_independent():
    model, a, b = small_model(), images(4, 2, seed=1), images(4, 3, seed=2)
    first, second = snnkit.Stream(model), snnkit.Stream(model)
    got = [(first.step(a_t), second.step(b_t)) for a_t, b_t in zip(a, b, strict=True)]
    for x, outputs in zip((a, b), zip(*got, strict=True), strict=True):
        torch.testing.assert_close(torch.stack(outputs), model.forward_sequence(x), rtol=0, atol=1e-12)


def test_a_plain_call_between_steps_neither_reads_nor_moves_the_stream():
    neuron, x = LIF(), drive(6, 2, 4)
    stream = snnkit.Stream(neuron)
    stream.run(x[:3])
    before = {name: value.clone() for name, value in stream.state.items()}
    assert torch.equal(neuron(x), LIF()(x))
    assert all(torch.equal(stream.state[name], value) for name, value in before.items())
    assert torch.equal(stream.run(x[3:]), LIF()(x)[3:])


@pytest.mark.parametrize(
    ("other", "word"),
    [
        (lambda x: x[:1], "shape"),
        (lambda x: torch.cat([x, x]), "shape"),
        (lambda x: x[:, :2], "shape"),
        (lambda x: x.float(), "dtype"),
        (lambda x: x.to("meta"), "device"),
    ],
    ids=["smaller batch", "larger batch", "fewer features", "float32", "device"],
)
def test_another_kind_of_input_is_an_error_and_changes_nothing(other, word):
    neuron, x = LIF(), drive(6, 2, 4)
    stream = snnkit.Stream(neuron)
    stream.run(x[:3])
    with pytest.raises(InvalidArgumentError, match=word) as caught:
        stream.step(other(x[3]))
    assert "stream.reset()" in str(caught.value)
    assert torch.equal(stream.run(x[3:]), neuron(x)[3:])


def test_a_step_that_fails_half_way_leaves_every_layer_where_it_was():
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.fail = LIF(), IF(), False

        def forward(self, x):
            y = self.second(0.6 * self.first(x))
            if self.fail:
                raise RuntimeError("the head is broken")
            return y

    model, x = Fails(), drive(6, 2, 4)
    whole = model(x)
    stream = snnkit.Stream(model)
    stream.run(x[:3])
    model.fail = True
    with pytest.raises(RuntimeError, match="the head is broken"):
        stream.step(x[3])
    model.fail = False
    assert torch.equal(stream.run(x[3:]), whole[3:])


@pytest.mark.parametrize("bad", [torch.zeros(0, 2, 3), torch.zeros(4)], ids=["no steps", "no batch"])
def test_a_chunk_needs_time_and_batch(bad):
    with pytest.raises(InvalidArgumentError, match=r"\(T, B, …\)"):
        snnkit.Stream(LIF()).run(bad)


def test_a_failed_first_step_leaves_the_stream_at_rest():
    stream = snnkit.Stream(LIF())
    with pytest.raises(InvalidArgumentError):
        stream.step(torch.zeros(2, 3, dtype=torch.long))
    assert stream.state == {}


def test_reset_starts_again_with_any_batch():
    neuron, x = LIF(), drive(4, 2, 4)
    stream = snnkit.Stream(neuron)
    first = stream.run(x)
    assert not torch.equal(stream.run(x), first)
    stream.reset()
    assert stream.state == {}
    assert torch.equal(stream.run(x), first)
    stream.reset()
    wide = drive(4, 5, 4).float()
    assert torch.equal(stream.run(wide), neuron(wide))


def test_detach_cuts_the_backward_graph_and_keeps_the_values():
    neuron = LIF(tau=2.0, v_threshold=10.0)  # never fires, so the membrane is linear in the input
    early, late = drive(3, 2, 4).requires_grad_(), drive(3, 2, 4, seed=1).requires_grad_()
    for cut in (False, True):
        stream = snnkit.Stream(neuron)
        stream.run(early)
        if cut:
            values = stream.state["v"].clone()
            stream.detach()
            assert torch.equal(stream.state["v"], values)
        stream.run(late)
        grads = torch.autograd.grad(stream.state["v"].sum(), (early, late), allow_unused=True)
        assert grads[1].abs().min() > 0
        if cut:
            assert grads[0] is None
        else:
            # Each step halves what is left: dv/dx = (1/2)·(1/2)^(steps that follow).
            expected = torch.tensor([2.0**-6, 2.0**-5, 2.0**-4], dtype=torch.float64)
            torch.testing.assert_close(grads[0][:, 0, 0], expected, rtol=1e-12, atol=0)


def test_gradients_through_a_stream_are_those_of_the_sequence():
    model, x = small_model(), images(4, 2)
    weights = torch.randn(4, 2, 3, dtype=torch.float64)

    def gradient(run):
        leaf = x.clone().requires_grad_()
        (run(leaf) * weights).sum().backward()
        return leaf.grad

    stream = snnkit.Stream(model)
    whole = gradient(model.forward_sequence)
    assert whole.abs().sum() > 0
    torch.testing.assert_close(
        gradient(lambda y: torch.stack([stream.step(y_t) for y_t in y])), whole, atol=1e-10, rtol=0
    )


def test_checkpointed_sequences_have_the_same_gradient():
    """Recomputing a whole sequence during backward starts at rest, as the sequence did."""
    neuron, x = LIF(), drive(6, 2, 4)

    def body(y):
        return 2 * neuron(y * y)

    def gradient(run):
        leaf = x.clone().requires_grad_()
        run(leaf).sum().backward()
        return leaf.grad

    plain = gradient(body)
    assert plain.abs().max() > 1e-3
    assert torch.equal(gradient(lambda y: checkpoint(body, y, use_reentrant=False)), plain)


@pytest.mark.parametrize("cls", [IF, LIF])
def test_one_neuron_called_twice_has_two_membranes(cls):
    model, x = Twice(cls()), drive(6, 2, 6)
    whole = model(x)
    stream = snnkit.Stream(model)
    assert torch.equal(torch.stack([stream.step(x_t) for x_t in x]), whole)
    assert sorted(stream.state) == ["neuron#1.v", "neuron.v"]
    assert not torch.equal(stream.state["neuron.v"], stream.state["neuron#1.v"])


def test_state_carries_the_names_and_shapes_of_the_modules():
    model = small_model()
    stream = snnkit.Stream(model)
    assert stream.state == {}
    stream.step(images(1, 2)[0])
    shapes = {name: tuple(value.shape) for name, value in stream.state.items()}
    assert shapes == {
        "stem_lif.v": (2, 4, 8, 8),
        "down_lif.v": (2, 12, 4, 4),
        "depthwise_lif.v": (2, 12, 4, 4),
        "mix_lif.v": (2, 12, 4, 4),
    }


@pytest.mark.parametrize(
    "twin_of",
    [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), lambda m: AveragedModel(m).module],
    ids=["deepcopy", "pickle", "EMA"],
)
def test_a_model_can_be_copied_while_it_streams(twin_of):
    """With gradients in the carried state, which no deepcopy could follow if the modules held it."""
    model, x = small_model(), images(5, 2)
    stream = snnkit.Stream(model)
    stream.run(x[:2])
    keys = set(model.state_dict())
    twin = twin_of(model)
    assert set(twin.state_dict()) == keys
    torch.testing.assert_close(twin.forward_sequence(x), model.forward_sequence(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(stream.run(x[2:]), model.forward_sequence(x)[2:], rtol=0, atol=1e-12)


def test_averaged_weights_move_while_the_stream_runs_on():
    model, x = small_model(), images(4, 2)
    average = AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5), use_buffers=True)
    stream = snnkit.Stream(model)
    stream.run(x[:2])
    before = model.head.weight.detach().clone()
    average.update_parameters(model)
    with torch.no_grad():
        model.head.weight.add_(1.0)
    average.update_parameters(model)
    torch.testing.assert_close(average.module.head.weight, before + 0.5)
    torch.testing.assert_close(stream.run(x[2:]), model.forward_sequence(x)[2:], rtol=0, atol=1e-12)
