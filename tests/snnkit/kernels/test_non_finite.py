"""Infinite inputs and NaN: every kernel does what the reference does, in values and gradients.

Would break it: 0·∞ in a reset that another kernel selects, a maximum or a comparison that swallows NaN, an exponential
that is clamped where it should be 0.
"""

import itertools
import math

import pytest
import torch
from support.kernels import TOLERANCE, gradients_of, spoiled

from snnkit.kernels import fused_c
from snnkit.kernels.reference import scan
from snnkit.neurons import IF, ILIF, LIF, NO_RESET, CuBaLIF, MultiSpike, ParametricLIF, Tracer
from snnkit.surrogates import SURROGATES

RESETS = list(itertools.product((0.0, -0.3, None, NO_RESET), (True, False)))
FIRING = {
    "IF": IF,
    "LIF": lambda **s: LIF(1.7, **s),
    "LIF of two steps": LIF,
    "LIF plain": lambda **s: LIF(1.7, decay_input=False, **s),
    "ParametricLIF": lambda **s: ParametricLIF(1.7, **s),
    "CuBaLIF": CuBaLIF,
}
NEURONS = {
    f"{name}, reset to {v_reset}{', detached' if detach else ''}": lambda make=make, r=v_reset, d=detach: make(
        v_threshold=0.8, v_reset=r, detach_reset=d
    )
    for name, make in FIRING.items()
    for v_reset, detach in RESETS
}
NEURONS |= {
    f"LIF with {name}": lambda cls=cls: LIF(v_threshold=0.8, surrogate=cls(), detach_reset=False)
    for cls in SURROGATES.values()
    if (name := cls.__name__) in fused_c.SURROGATES
}
NEURONS |= {f"Tracer, {k}": lambda k=k: Tracer(0.25, -4, 4, k) for k in (None, 0, 2)}
NEURONS |= {"ILIF": ILIF, "ILIF, attached": lambda: ILIF(detach_reset=False), "MultiSpike": MultiSpike}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NEURONS)
def test_kernels_agree_with_the_reference(name, dtype):
    neuron = NEURONS[name]().to(dtype)
    generator = torch.Generator().manual_seed(0)
    x = spoiled(torch.randn(5, 2, 40, generator=generator, dtype=torch.float64).to(dtype) * 1.2 + 0.4)
    start = tuple(torch.randn(2, 40, generator=generator).to(dtype) * 0.3 for _ in neuron.operator.state_names)
    expected = gradients_of(neuron, "reference", x, start)
    assert not torch.isfinite(expected[1 if start else 0]).all(), "something is left of what came in"
    tolerance = 10 * TOLERANCE[dtype]
    for kernel, source in neuron.operator.kernels.items():
        if kernel == "reference" or not source.supports(probe(neuron, x))[0]:
            continue
        for got, wanted in zip(gradients_of(neuron, kernel, x, start), expected, strict=True):
            torch.testing.assert_close(
                got, wanted, rtol=tolerance, atol=tolerance, equal_nan=True, msg=lambda m, k=kernel: f"{k}: {m}"
            )


def probe(neuron, x):
    from snnkit.kernels.call import Call

    prepared = neuron.operator.prepare(neuron.constants(), neuron.surrogate)
    state = (None,) * len(neuron.operator.state_names)
    return Call(x, state, prepared.rest, prepared.p, prepared.tensors, neuron.surrogate, training=True)


def run(neuron, values):
    """(spikes, membranes after each step) of one neuron, by hand through the step."""
    x = torch.tensor(values, dtype=torch.float64).view(-1, 1, 1)
    return neuron(x).flatten().tolist(), neuron.membranes(x).flatten().tolist()


def test_a_spike_resets_whatever_drove_it():
    """IF: ∞ fires and is forgotten; −∞ stays for good, and so does NaN, which never fires."""
    assert run(IF(), [math.inf, 0.4, 0.7]) == ([1, 0, 1], [0.0, 0.4, 0.0])
    assert run(IF(v_reset=-0.5), [math.inf, 0.4]) == ([1, 0], [-0.5, pytest.approx(-0.1)])
    spikes, membranes = run(IF(), [-math.inf, 5.0, 5.0])
    assert spikes == [0, 0, 0]
    assert membranes == [-math.inf] * 3
    spikes, membranes = run(IF(), [math.nan, 5.0])
    assert spikes == [0, 0]
    assert all(map(math.isnan, membranes))


def test_a_threshold_that_nothing_reaches_leaves_the_membrane():
    """θ = ∞ with a soft reset: 0 spikes times ∞ is taken away, which is nothing."""
    operator = IF.operator
    x = torch.full((3, 1, 2), 0.5)
    for v_reset in (None, 0.0):
        p = operator.parameters(v_threshold=math.inf, v_reset=v_reset, detach_reset=True)
        for kernel in ("reference", "auto"):
            out, (v,) = operator(x, None, p, LIF().surrogate, kernel=kernel)
            assert not out.any()
            assert torch.equal(v, torch.full((1, 2), 1.5))
        out, (v,) = scan(operator.step, x.requires_grad_(), (torch.zeros(1, 2),), p, LIF().surrogate)
        assert torch.equal(torch.autograd.grad(v.sum(), x)[0], torch.ones_like(x))
