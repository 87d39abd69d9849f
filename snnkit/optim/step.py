"""What one step of one tensor is: the update, the tensors, and how the states are kept."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from snnkit.optim.rules import Numbers, Rule


@dataclass(frozen=True)
class Step:
    """What one step of a tensor needs.

    Attributes:
        rule, numbers: the update.
        p, g: parameters and gradient, contiguous and of one dtype: float32, or float64 for the reference.
        states: of each moment of the rule, codes (uint8) or real numbers, contiguous, of the shape of p.
        absmax: of each moment one number a block (float32), or None where the states are real numbers.
        block_size: elements of a block.
        guard: whether second moments are guarded against the code of 0.
        out: where the direction goes, p staying as it is; or None.
    """

    rule: Rule
    numbers: Numbers
    p: Tensor
    g: Tensor
    states: list[Tensor]
    absmax: list[Tensor] | None
    block_size: int
    guard: bool
    out: Tensor | None = None
