"""Whoever watches operators sees one: tracing, ``torch.func``, forward-mode differentiation, recorded graphs.

Would break it: a kernel that is called behind the back of a tracer (its output is then a constant of the trace, or
memory that nobody filled), a tangent that is dropped, a rule for ``vmap`` that mixes samples. What cannot be right is
refused in one line.
"""

import warnings

import pytest
import torch
from support.neurons import examples
from torch import nn
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx

from snnkit.errors import InvalidArgumentError
from snnkit.neurons import IF, LIF

EXAMPLES = examples()
T, B, C = 6, 2, 5


def drive(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(T, B, C, 3, generator=generator, dtype=torch.float64) * 1.2 + 0.4


@pytest.fixture(params=EXAMPLES)
def neuron(request):
    torch.manual_seed(0)
    return EXAMPLES[request.param]().double().eval()


def input_gradient(run, x, weight):
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((run(leaf) * weight).sum(), leaf)
    return gradient


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.parametrize("recording", [False, True])
def test_traced_it_is_the_neuron(neuron, recording):
    with torch.set_grad_enabled(recording):
        traced = torch.jit.trace(neuron, (drive(1),), check_trace=False)
    x, weight = drive(2), torch.randn(T, B, C, 3, dtype=torch.float64)
    assert torch.equal(traced(x), neuron(x))
    if recording:
        torch.testing.assert_close(input_gradient(traced, x, weight), input_gradient(neuron, x, weight))


def test_recorded_by_make_fx_it_is_the_neuron(neuron):
    recorded = make_fx(neuron)(drive(1))
    x = drive(2)
    assert torch.equal(recorded(x), neuron(x))


def test_vmapped_it_is_the_neuron_on_each(neuron):
    xs = torch.stack([drive(1), drive(2)], 2)
    expected = torch.stack([neuron(x) for x in xs.unbind(2)], 2)
    assert torch.equal(torch.func.vmap(neuron, in_dims=2, out_dims=2)(xs), expected)
    each = torch.func.vmap(torch.func.grad(lambda x: neuron(x).sum()), in_dims=2, out_dims=2)(xs)
    ones = torch.ones_like(xs[:, :, 0])
    torch.testing.assert_close(each, torch.stack([input_gradient(neuron, x, ones) for x in xs.unbind(2)], 2))


def test_forward_mode_agrees_with_backward_mode(neuron):
    """⟨w, J d⟩ by forward mode is ⟨Jᵀ w, d⟩ by backward mode."""
    torch.manual_seed(3)
    x, (direction, weight) = drive(), torch.randn(2, T, B, C, 3, dtype=torch.float64)
    expected = (input_gradient(neuron, x, weight) * direction).sum()
    out, tangent = torch.func.jvp(neuron, (x,), (direction,))
    assert torch.equal(out, neuron(x))
    torch.testing.assert_close((tangent * weight).sum(), expected)
    with torch.no_grad(), forward_ad.dual_level():
        dual = forward_ad.unpack_dual(neuron(forward_ad.make_dual(x, direction)))
        torch.testing.assert_close((dual.tangent * weight).sum(), expected)


def test_a_constant_has_a_forward_derivative_too():
    """Spikes by the time constant, against the gradient of the same constant."""
    x, weight = drive(), torch.randn(T, B, C, 3, dtype=torch.float64)
    tau = nn.Parameter(torch.tensor(2.3, dtype=torch.float64))
    neuron = LIF(tau=tau, v_threshold=0.5)
    (gradient,) = torch.autograd.grad((neuron(x) * weight).sum(), tau)

    def run(value):
        return (torch.func.functional_call(neuron, {"tau": value}, (x,)) * weight).sum()

    tangent = torch.func.jvp(run, (tau.detach(),), (torch.ones_like(tau),))[1]
    torch.testing.assert_close(tangent, gradient)


ARGUMENTS = (1.0, 0.0, True, [], "", "sigmoid", [4.0], "exact", False, "auto")
BY_FORWARD_MODE = {
    "the registered operator": lambda x: torch.ops.snnkit.integrate_fire(x, None, *ARGUMENTS)[0],
    "a compiled neuron": torch.compile(IF(), backend="aot_eager"),
}


@pytest.mark.parametrize("name", BY_FORWARD_MODE)
def test_a_tangent_is_refused_where_it_would_be_lost(name):
    torch._dynamo.reset()
    x = drive()
    refused = (InvalidArgumentError, torch._dynamo.exc.TorchRuntimeError)  # torch 2.11 wraps what it meets
    with forward_ad.dual_level(), pytest.raises(refused, match="no forward-mode derivative"):
        BY_FORWARD_MODE[name](forward_ad.make_dual(x, x))


def test_a_transform_inside_of_a_compiled_function_is_refused():
    torch._dynamo.reset()
    neuron = LIF()
    run = torch.compile(lambda x: torch.func.jvp(neuron, (x,), (x,))[1], backend="aot_eager", fullgraph=True)
    with pytest.raises((torch._dynamo.exc.Unsupported, torch._dynamo.exc.TorchRuntimeError)):
        run(drive())


def test_a_second_derivative_is_refused():
    x = drive().requires_grad_()
    with pytest.raises(InvalidArgumentError, match="no second derivative"):
        torch.autograd.grad(LIF()(x).sum(), x, create_graph=True)


def test_a_tensor_of_another_kind_meets_the_operator():
    """A subclass that handles operators itself has no memory that a kernel could read."""
    seen = []

    class Logged(torch.Tensor):
        @staticmethod
        def __new__(cls, inner):
            made = torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype, device=inner.device)
            made.inner = inner
            return made

        @classmethod
        def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
            seen.append(str(function))
            bare = [a.inner if isinstance(a, Logged) else a for a in args]
            return function(*bare, **(kwargs or {}))

    x = drive()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert torch.equal(LIF()(Logged(x)), LIF()(x))
    assert seen == ["snnkit.lif.default"]
