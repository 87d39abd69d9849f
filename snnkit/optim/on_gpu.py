"""Launch the Triton kernel of the block-wise optimizers; on the CPU only under ``TRITON_INTERPRET=1``, for tests."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from snnkit.kernels import triton_call
from snnkit.optim.quantisation import blocks_of, codebook
from snnkit.optim.rules import COMPILED_ORDER
from snnkit.optim.step import Step


def supports(step: Step) -> bool:
    """Return whether the kernel takes this step: Triton is there, it knows the rule, and the states are codes."""
    compiled = step.rule.number is not None and step.p.dtype == torch.float32
    return compiled and step.absmax is not None and not triton_call.why_not()


@cache
def _tables(signed: bool, device: torch.device) -> tuple[Tensor, Tensor]:
    book = codebook(signed)
    return book.values.to(device), book.buckets.to(device)


def apply(step: Step) -> None:
    """Move parameters and states in place."""
    from snnkit.kernels.gpu.blockwise import update

    assert step.absmax is not None
    p, moments = step.p, step.rule.moments
    numbers = torch.tensor(
        [getattr(step.numbers, name) for name in COMPILED_ORDER], dtype=torch.float32, device=p.device
    )
    states, constants = [], {}
    for i, letter in enumerate("AB"):
        i = min(i, len(moments) - 1)  # a rule with one state does not read the second
        book = codebook(moments[i].signed)
        states += [step.states[i], step.absmax[i], *_tables(moments[i].signed, p.device)]
        constants |= {f"{letter}_SHIFT": book.shift, f"{letter}_LOWEST": book.lowest, f"{letter}_SPAN": book.span}
        constants |= {f"{letter}_ZERO": book.zero, f"{letter}_GUARD": step.guard and moments[i].guarded}
    update[(blocks_of(p.numel(), step.block_size),)](
        p, step.g, p if step.out is None else step.out, *states, numbers, p.numel(), RULE=step.rule.number,
        HAS_OUT=step.out is not None, BLOCK=step.block_size, **constants, **triton_call.options(p),
    )  # fmt: skip
