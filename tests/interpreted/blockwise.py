"""The Triton kernel of the 8-bit optimizers under Triton's interpreter against the reference; run by
``tests/snnkit/optim/test_triton.py`` with ``TRITON_INTERPRET=1``.
"""

import pytest
import torch

from snnkit.optim import on_gpu
from snnkit.optim.apply import by_torch
from snnkit.optim.quantisation import blocks_of, codebook
from snnkit.optim.rules import ADAGRAD, ADAM, LAMB, LION, MOMENTUM, RMSPROP, Numbers
from snnkit.optim.step import Step

NUMBERS = Numbers(1e-3, 0.7, 0.9, 0.1, 0.99, 0.01, 1.3, 1e-8, 0.999, 0.01, 1.7)
RULES = {"adam": ADAM, "lamb": LAMB, "momentum": MOMENTUM, "lion": LION, "rmsprop": RMSPROP, "adagrad": ADAGRAD}


def start(rule, count, block, out, guard):
    generator = torch.Generator().manual_seed(0)
    p = torch.randn(count, generator=generator)
    states = [torch.full((count,), codebook(m.signed).zero, dtype=torch.uint8) for m in rule.moments]
    absmax = [torch.zeros(blocks_of(count, block)) for _ in rule.moments]
    return Step(rule, NUMBERS, p, torch.empty(count), states, absmax, block, guard, torch.empty(count) if out else None)


@pytest.mark.parametrize("guard", [True, False])
@pytest.mark.parametrize(("count", "block"), [(1000, 256), (4096, 2048), (65, 64)])
@pytest.mark.parametrize("name", RULES)
def test_three_steps_equal_the_references_bit_for_bit(name, count, block, guard):
    out = name in ("lamb", "momentum")
    ours, theirs = (start(RULES[name], count, block, out, guard) for _ in range(2))
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        g = torch.randn(count, generator=generator) * 10 ** (-5 * torch.rand(count, generator=generator))
        g[3] = 0
        for step in (ours, theirs):
            step.g.copy_(g)
        assert on_gpu.supports(ours)
        on_gpu.apply(ours)
        by_torch(theirs)
        for a, b in zip([ours.p, *ours.states, *ours.absmax], [theirs.p, *theirs.states, *theirs.absmax], strict=True):
            assert torch.equal(a, b)
        if out:
            assert torch.equal(ours.out, theirs.out)
            assert ours.out.abs().max() > 0
    assert all(len(codes.unique()) > 20 for codes in ours.states)
