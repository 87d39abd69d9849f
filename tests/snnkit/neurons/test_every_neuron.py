"""What holds for every neuron: a call is a whole sequence, nothing is kept, and torch's tools work on it.

Would break it: state that survives a call, a step that differs from the sequence, an operator whose fake implementation
lies about shapes, strides or dtypes, a gradient that is lost on the way through a compiler, a neuron that never fires.
"""

import copy
import pickle

import pytest
import torch
from support.neurons import examples, point_examples
from torch import nn

import snnkit
from snnkit.errors import InvalidArgumentError
from snnkit.neurons import LIF, NEURONS, OPERATORS, PointNeuron

EXAMPLES, POINTS = examples(), point_examples()
T, B, C = 6, 3, 5


def drive(dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(T, B, C, 4, generator=generator, dtype=dtype) * 1.2 + 0.4


@pytest.fixture(params=EXAMPLES)
def neuron(request):
    torch.manual_seed(0)
    return EXAMPLES[request.param]().double()


@pytest.fixture(params=POINTS)
def point(request):
    torch.manual_seed(0)
    return POINTS[request.param]().double()


def test_every_class_has_an_example():
    assert {name.split("-")[0] for name in EXAMPLES} == {cls.__name__ for cls in NEURONS}
    assert len({cls.__name__ for cls in NEURONS}) == len(NEURONS)


def test_it_does_something(neuron):
    out = neuron(drive())
    assert out.shape == (T, B, C, 4)
    assert out.dtype == torch.float64
    active = (out != 0).double().mean()
    assert 0.02 < active <= 1.0
    real = isinstance(neuron, PointNeuron) and neuron.operator.events(neuron.constants())[0] == "real"
    assert real or active < 0.98


def test_nothing_is_kept_between_calls(neuron):
    x = drive().requires_grad_()
    first = neuron(x)
    first.sum().backward()
    assert torch.equal(neuron(x), first)
    neuron(x).sum().backward()  # a second backward through a fresh graph
    assert neuron(drive()[:, :2]).shape == (T, 2, C, 4)


def test_copies_and_pickles_after_a_call_with_gradient(neuron):
    x = drive().requires_grad_()
    first = neuron(x)
    twin = pickle.loads(pickle.dumps(copy.deepcopy(neuron)))
    assert torch.equal(twin(x), first)


def test_moving_averages_work(neuron):
    average = torch.optim.swa_utils.AveragedModel(neuron)
    neuron(drive())
    average.update_parameters(neuron)
    assert torch.equal(average(drive()), neuron(drive()))


def test_steps_of_a_stream_are_the_sequence(neuron):
    x = drive()
    whole = neuron(x)
    stream = snnkit.Stream(neuron)
    if not neuron.causal:
        with pytest.raises(InvalidArgumentError, match="whole sequence"):
            stream.step(x[0])
        return
    steps = torch.stack([stream.step(x_t) for x_t in x])
    assert torch.equal(steps, whole)
    stream.reset()
    assert torch.equal(torch.cat([stream.run(x[:2]), stream.run(x[2:])]), whole)
    with pytest.raises(InvalidArgumentError, match="shape"):
        stream.step(x[0, :2])
    with pytest.raises(InvalidArgumentError, match="dtype"):
        stream.step(x[0].float())


def test_gradients_reach_the_input_and_every_parameter(neuron):
    x = drive().requires_grad_()
    (neuron(x) * torch.randn(T, B, C, 4, dtype=torch.float64)).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().max() > 1e-6
    for name, parameter in neuron.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_the_sequence_is_the_scan_of_the_step(point):
    """Outputs and gradients, whatever kernel was chosen."""
    weight = torch.randn(T, B, C, 4, dtype=torch.float64)

    def by_steps(x):
        state, outputs = point.rest(x), []
        for x_t in x:
            out, state = point.step(x_t, state)
            outputs.append(out)
        return torch.stack(outputs)

    results = []
    for run in (by_steps, point):
        point.zero_grad()
        x = drive().requires_grad_()
        out = run(x)
        (out * weight).sum().backward()
        results.append([out.detach(), x.grad, *(p.grad.clone() for p in point.parameters())])
    assert torch.equal(results[0][0], results[1][0])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_compiled_equals_eager(neuron):
    torch._dynamo.reset()
    compiled = torch.compile(neuron, fullgraph=True, backend="aot_eager")
    weight, grads = torch.randn(T, B, C, 4, dtype=torch.float64), []
    for run in (neuron, compiled):
        x = drive().requires_grad_()
        out = run(x)
        (out * weight).sum().backward()
        grads.append((out.detach(), x.grad))
    assert torch.equal(grads[0][0], grads[1][0])
    torch.testing.assert_close(grads[0][1], grads[1][1], rtol=1e-11, atol=1e-11)


def test_exported_it_is_one_node_and_equal(point):
    program = torch.export.export(point, (drive(),))
    name = point.operator.name if not isinstance(point, snnkit.neurons.LIF) else None
    called = [str(node.target) for node in program.graph.nodes if "snnkit" in str(node.target)]
    assert len(called) == 1
    assert name is None or called == [f"snnkit.{name}.default"]
    assert torch.equal(program.module()(drive()), point(drive()))


def test_half_formats_are_storage_only(point):
    """The dynamics runs in float32: spikes equal those of the same values in float32."""
    x = drive(torch.bfloat16)
    got = point.float()(x)
    assert got.dtype == torch.bfloat16
    expected = point(x.float())
    assert torch.equal(got, expected.bfloat16())


def test_half_formats_in_a_stream(neuron):
    """Step by step as at once, whether the state is kept in the half format or in float32."""
    if not neuron.causal:
        pytest.skip("needs the whole sequence")
    neuron, x = neuron.bfloat16(), drive(torch.bfloat16)
    stream = snnkit.Stream(neuron.eval())
    assert torch.equal(torch.stack([stream.step(x_t) for x_t in x]), neuron(x))
    with pytest.raises(InvalidArgumentError, match="dtype"):
        stream.step(x[0].float())


def test_whole_numbers_as_constants_train():
    for tau in (torch.tensor(2), torch.tensor([2, 3, 4, 3, 2])):
        x = drive().requires_grad_()
        y = drive().requires_grad_()
        LIF(tau=tau, v_threshold=0.5)(x).sum().backward()
        LIF(tau=tau.float(), v_threshold=0.5)(y).sum().backward()
        assert torch.equal(x.grad, y.grad)
        assert x.grad.abs().max() > 0


def test_autocast(point):
    net = nn.Sequential(nn.Conv1d(4, 5, 1), nn.Identity())
    point.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        current = net(torch.randn(T * B, 4, 4)).unflatten(0, (T, B)) * 3
        assert current.dtype == torch.bfloat16
        out = point(current)
    out.float().sum().backward()
    assert net[0].weight.grad.dtype == torch.float32
    assert torch.isfinite(net[0].weight.grad).all()


def test_not_a_sequence_is_an_error(neuron):
    for wrong in (torch.zeros(3), torch.zeros(0, 2, C), torch.zeros(T, 2, C, dtype=torch.int64)):
        with pytest.raises(InvalidArgumentError):
            neuron(wrong)


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_price_themselves_and_say_what_they_send(name):
    operator = OPERATORS[name]
    assert len(operator.operations) == 3
    assert all(isinstance(count, int) and count >= 0 for count in operator.operations)
