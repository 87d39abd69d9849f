"""The Triton kernels under Triton's interpreter against the reference; run by ``test_triton_kernels`` with
``TRITON_INTERPRET=1``, in a process of its own because that variable counts when triton is imported.
"""

import pytest
import torch
from support.kernels import TOLERANCE, laid_out
from torch import nn

from snnkit.neurons import IF, LIF, NO_RESET, ParametricLIF
from snnkit.neurons.base import _broadcast
from snnkit.surrogates import SURROGATES, ATan

FUSED = ["sigmoid", "atan", "piecewise_quadratic", "piecewise_exp", "soft_sign", "super_spike", "erf", "rect"]


def results(neuron, kernel, x, start):
    p = _broadcast(neuron.constants(), x.ndim - 1)
    given = [x.detach().requires_grad_()]
    given += [] if start is None else [start.detach().requires_grad_()]
    state = None if start is None else (given[1],)
    tensors = list(neuron.parameters())
    out, last = neuron.operator(given[0], state, p, neuron.surrogate, kernel=kernel)
    generator = torch.Generator().manual_seed(3)
    weights = [torch.randn(v.shape, generator=generator, dtype=v.dtype) for v in (out, *last)]
    loss = sum((v * w).sum() for v, w in zip((out, *last), weights, strict=True))
    return [out.detach(), last[0].detach()], torch.autograd.grad(loss, [*given, *tensors])


def agree(neuron, x, start=None, tolerance=None):
    values, gradients = results(neuron, "reference", x, start)
    got, grads = results(neuron, "triton", x, start)
    assert 0.02 < values[0].float().mean() < 0.98
    assert all(map(torch.equal, got, values))
    for a, b in zip(grads, gradients, strict=True):
        assert b.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=1e-5, atol=TOLERANCE[x.dtype] if tolerance is None else tolerance)


def drive(*shape, dtype=torch.float32):
    return (torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1.2 + 0.4).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("v_reset", [0.0, -0.2, None, NO_RESET])
@pytest.mark.parametrize("kind", ["if", "lif", "plain lif"])
def test_settings(kind, v_reset, detach, dtype):
    make = {"if": IF, "lif": lambda **k: LIF(1.7, **k), "plain lif": lambda **k: LIF(1.7, decay_input=False, **k)}[kind]
    neuron = make(v_reset=v_reset, detach_reset=detach, v_threshold=0.8)
    agree(neuron, drive(5, 3, 230, dtype=dtype), drive(3, 230, dtype=dtype) * 0.3)


@pytest.mark.parametrize("surrogate", FUSED)
def test_surrogates(surrogate):
    agree(LIF(v_threshold=0.7, surrogate=SURROGATES[surrogate](), detach_reset=False), drive(4, 2, 300))


@pytest.mark.parametrize("steps", [1, 4, 20])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "transposed", "expanded", "every_second"])
def test_layouts_and_lengths(layout, steps):
    agree(LIF(v_threshold=0.7, surrogate=ATan()), laid_out(drive(steps, 2, 3, 8, 5), layout))


@pytest.mark.parametrize("v_reset", [0.0, -0.1, None])
@pytest.mark.parametrize("decay_input", [True, False])
def test_trained_constants(decay_input, v_reset):
    theta = nn.Parameter(torch.linspace(0.4, 0.9, 5, dtype=torch.float64))
    neuron = ParametricLIF(
        v_threshold=theta, v_reset=v_reset, decay_input=decay_input, channels=5, detach_reset=False
    ).double()
    nn.init.uniform_(neuron.w, -0.5, 0.5)
    agree(neuron, drive(6, 3, 5, 40, dtype=torch.float64), drive(3, 5, 40, dtype=torch.float64) * 0.2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_formats_are_storage_only(dtype):
    neuron, x = LIF(v_threshold=0.7), drive(4, 3, 100, dtype=dtype)
    out, _ = neuron.operator(x, None, neuron.constants(), neuron.surrogate, kernel="triton")
    assert out.dtype == dtype
    assert torch.equal(out, neuron(x.float()).to(dtype))


def test_it_is_the_first_choice_where_it_can_run():
    neuron = LIF()
    reasons = neuron.operator.explain(call := _call(neuron))
    assert next(iter(reasons)) == "triton"
    assert neuron.operator.choose("auto", call) is neuron.operator.kernels["triton"]


def _call(neuron):
    from snnkit.kernels.call import Call

    return Call(torch.zeros(2, 1, 3), (None,), (0.0,), neuron.constants(), (), neuron.surrogate)
