"""What the processes of a run hold together, in the order in which one process with the big batch would hold it.

Images are dealt out in turn: row i of process r is row i · world + r of the big batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


def rank_and_world() -> tuple[int, int]:
    """Return this process's number and how many there are."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def gathered(rows: Tensor) -> Tensor:
    """Return the rows (n, …) of all processes, (n · world, …), in the order of the big batch; without gradients."""
    world = rank_and_world()[1]
    rows = rows.detach()
    if world == 1:
        return rows
    rows = rows.contiguous()
    parts = [torch.empty_like(rows) for _ in range(world)]
    distributed.all_gather(parts, rows)
    return torch.stack(parts, 1).flatten(0, 1)


def summed(values: Tensor) -> Tensor:
    """Return the sum over the processes."""
    if rank_and_world()[1] > 1:
        values = values.clone()
        distributed.all_reduce(values)
    return values


def largest(values: Tensor) -> Tensor:
    """Return the largest over the processes, value by value."""
    if rank_and_world()[1] > 1:
        values = values.clone()
        distributed.all_reduce(values, op=distributed.ReduceOp.MAX)
    return values


def in_turn(mine: list[Any]) -> list[Any]:
    """Return what all processes have, in the order of the samples, which are dealt out in turn."""
    world = rank_and_world()[1]
    if world == 1:
        return mine
    parts: list[Any] = [None] * world
    distributed.all_gather_object(parts, mine)
    return [part[n] for n in range(max(map(len, parts))) for part in parts if n < len(part)]
