"""The predicted peak against the allocator's own record.

Would break it: storages counted twice or never, scratch memory of convolutions left out, kernels that allocate more
than their stand-ins, a simulation that allocates.
"""

import itertools

import pytest
from support.memory_networks import make

from snnkit.memory import Choice, Planned, measure, plan, simulate
from snnkit.memory.chunks import why_not
from snnkit.memory.plan import candidates, tiered

CHOICES = {
    "plain": {},
    "bits": {"bits": True},
    "norms": {"norms": True},
    "bits, norms": {"bits": True, "norms": True},
    "bits, layers": {"bits": True, "norms": True, "layers": True},
    "blocks": {"blocks": True},
    "bits, layers, blocks": {"bits": True, "norms": True, "layers": True, "blocks": True},
}


def check(model, x, choice):
    predicted = simulate(model, x, prepare=lambda twin: Planned(twin, choice)).peak
    planned = Planned(model, choice)
    measure(planned, x)
    measured = measure(planned, x)
    print(f"{predicted / measured:.4f}", predicted, measured, choice)
    assert abs(predicted - measured) <= 0.1 * measured


@pytest.mark.slow
@pytest.mark.parametrize("timesteps", [4, 16])
@pytest.mark.parametrize(
    "name", ["cnn", "per step", "rect", "transformer", "residuals", "ordinary", "e_spikeformer", "spikingjelly"]
)
def test_within_a_tenth_of_what_is_measured(name, timesteps):
    if name in ("ordinary", "e_spikeformer") and timesteps == 16:
        pytest.skip("its card says how many steps")
    model, x = make(name, timesteps, batch=4)
    for what, given in CHOICES.items():
        if timesteps == 16 and what in ("bits", "norms", "bits, norms"):
            continue
        given = dict(given)
        if given.pop("blocks", False):
            given["blocks"] = tuple(candidates(model))
        check(model, x, Choice(**given))
    rect = tuple(tiered(model, x, "rect"))
    if rect:
        check(model, x, Choice(rect=rect))
        check(model, x, Choice(rect=rect, bits=True))
    check(model, x, Choice(code8=tuple(tiered(model, x, "code8"))))
    if x.ndim == 5 and not why_not(model):
        for chunks, bits in itertools.product((2, 4), (False, True)):
            check(model, x, Choice(chunks=chunks, bits=bits))
            check(model, x, Choice(chunks=chunks, bits=bits, norms=True, layers=True, blocks=tuple(candidates(model))))


@pytest.mark.parametrize("name", ["cnn", "transformer"])
def test_gradients_of_earlier_batches_count(name):
    """A second batch of a step makes its gradients beside those of the first."""
    model, x = make(name, 2, batch=1)
    gradients = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    measure(model, x)
    measured = measure(model, x, gradients=False) + gradients
    predicted = simulate(model, x, accumulated=True).peak
    assert abs(predicted - measured) <= 0.1 * measured
    assert predicted - simulate(model, x, gradients=False).peak == gradients
    assert plan(model, x, accumulated=True).peak == predicted
