"""Whatever a plan chooses, training is the same: outputs, gradients, running statistics, random numbers.

Would break it: bits in another layout, a norm that counts its batch twice, dropout drawn anew, a chunk that starts at
rest, a gradient lost between chunks, a layer rebuilt from an input that has changed.
"""

import copy
import itertools

import pytest
import torch
from support.memory_networks import make

import snnkit
from snnkit.memory import Choice, Planned
from snnkit.memory.plan import candidates, tiered

NAMES = (
    "cnn",
    "cnn on a sequence",
    "rect",
    "per step",
    "transformer",
    "residuals",
    "ordinary",
    "e_spikeformer",
    "spikingjelly",
)
SAVINGS = [
    {"bits": bits, "norms": norms, "layers": layers}
    for bits, (norms, layers) in itertools.product((False, True), ((False, False), (True, False), (True, True)))
]


def choices(model, x, timesteps=4):
    """Every combination that makes sense for a model."""
    rect = tuple(tiered(model, x, "rect"))
    blocks = tuple(candidates(model))
    chunks = (1, 2, 3, timesteps) if not snnkit.memory.chunks.why_not(model) and x.ndim == 5 else (1,)
    for saving, tier, some, cut in itertools.product(
        SAVINGS, {(), rect}, {(), blocks, blocks[: len(blocks) // 2]}, chunks
    ):
        yield Choice(rect=tier, blocks=some, chunks=cut, **saving)


def step(model, x):
    """One training step: outputs, gradients by name, buffers."""
    torch.manual_seed(1)
    given = x.clone().requires_grad_()
    out = model(given)
    (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters()} | {"input": given.grad}
    return out.detach(), gradients, dict(model.named_buffers())


def assert_same(a, b, what):
    assert a.keys() == b.keys()
    for name, value in a.items():
        if value is None:
            assert b[name] is None, (what, name)
            continue
        error = (value - b[name]).abs().max().item()
        assert error <= 1e-12 * max(1.0, value.abs().max().item()), (what, name, error)


@pytest.mark.parametrize("name", NAMES)
def test_equal_to_plain_backpropagation_through_time(name):
    model, x = make(name, batch=2)
    model, x = model.double(), x.double()
    start = copy.deepcopy(model)
    out, gradients, buffers = step(model, x)
    assert sum(g.abs().sum() > 0 for g in gradients.values() if g is not None) > len(gradients) // 2
    tried = set(choices(start, x))
    assert len(tried) >= 6
    for choice in tried:
        twin = copy.deepcopy(start)
        found = step(Planned(twin, choice), x)
        if choice.chunks == 1:
            assert torch.equal(out, found[0]), choice
        assert_same({"output": out}, {"output": found[0]}, choice)  # products of other shapes may round otherwise
        assert_same(gradients, found[1], choice)
        assert_same(buffers, found[2], choice)
