"""Trust ratios: the rate of each tensor is multiplied by how long its parameters are beside where they go.

    r = ‖p‖ / ‖u‖  of a direction u;   r = 1 where ‖p‖ or the other norm is 0

With ``max_unorm`` the ratio is a bound instead: the direction u (LARS: the momentum m, made of bare gradients) is
scaled down to the norm max_unorm ‖p‖ where it is longer, and left alone else. Norms are those of the whole tensor, over
all shards.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from snnkit.optim.apply import apply
from snnkit.optim.shards import square_sums
from snnkit.optim.step import Step


def norms(tensors: list[Tensor], parameter: Tensor) -> list[float]:
    """Return the norm of each tensor over all shards of ``parameter``."""
    return square_sums(tensors, parameter).sqrt().tolist()


def exempt(group: dict[str, Any]) -> bool:
    """Return whether a group keeps its rate: one without weight decay (biases, norms) where it may."""
    return not group["always_adapt"] and group["weight_decay"] == 0


def go_along(step: Step, parameter: Tensor, max_unorm: float | None, exempt: bool) -> None:
    """Compute the direction, then go along it as far as its norm allows."""
    direction = torch.empty_like(step.p)
    apply(replace(step, out=direction))
    ratio = 1.0
    if not exempt:
        p, u = norms([step.p, direction], parameter)
        if max_unorm is not None:
            ratio = _bound(p, u, max_unorm)
        elif p > 0 and u > 0:
            ratio = p / u
    step.p.sub_(direction.mul_(step.numbers.rate * ratio))


def _bound(parameter: float, direction: float, most: float) -> float:
    return most * parameter / direction if direction > most * parameter else 1.0
