"""States of parameters that may be sharded: each process quantises its own share.

Codes are a tensor of the parameter's shape, sharded as the parameter is. The absmax of the blocks are a table with one
row per shard, itself sharded by rows, wide enough for the largest shard: a state can be saved and loaded as any other.
Blocks end where shards end, so another number of shards has other blocks; ``reblock`` translates.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate, Shard

from snnkit.errors import InvalidArgumentError
from snnkit.optim.quantisation import blocks_of, dequantise, quantise


def local(x: Tensor) -> Tensor:
    """Return this process's share of a tensor, or the tensor itself."""
    return x.to_local() if isinstance(x, DTensor) else x


def like(parameter: Tensor, dtype: torch.dtype) -> Tensor:
    """Return zeros of the parameter's shape, sharded as it is, each share contiguous."""
    if not isinstance(parameter, DTensor):
        return torch.zeros(parameter.shape, dtype=dtype, device=parameter.device)
    share = torch.zeros(parameter.to_local().shape, dtype=dtype, device=parameter.to_local().device)
    return DTensor.from_local(
        share,
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )


def _cuts(parameter: DTensor) -> list[tuple[int, int]]:
    """Dimension that is cut and into how many parts, for each dimension of the mesh that cuts."""
    mesh = parameter.device_mesh
    return [(p.dim, mesh.size(i)) for i, p in enumerate(parameter.placements) if isinstance(p, Shard)]


def table_shape(parameter: Tensor, block_size: int) -> tuple[int, int]:
    """Return shards and blocks of the largest of them."""
    if not isinstance(parameter, DTensor):
        return 1, blocks_of(parameter.numel(), block_size)
    shape, shards = list(parameter.shape), 1
    for dim, parts in _cuts(parameter):
        shape[dim], shards = math.ceil(shape[dim] / parts), shards * parts
    return shards, blocks_of(math.prod(shape), block_size)


def table(parameter: Tensor, block_size: int) -> Tensor:
    """Return a table of zeros for the absmax of a parameter's blocks, float32."""
    shards, blocks = table_shape(parameter, block_size)
    if not isinstance(parameter, DTensor):
        return torch.zeros(shards, blocks, device=parameter.device)
    placements = [Shard(0) if isinstance(p, Shard) else Replicate() for p in parameter.placements]
    row = torch.zeros(1, blocks, device=parameter.to_local().device)
    return DTensor.from_local(row, parameter.device_mesh, placements, run_check=False)


def reblock(codes: Tensor, saved: Tensor, parameter: Tensor, signed: bool, guard: bool, block_size: int) -> Tensor:
    """Translate codes, in place, that were made of other shards; return the table that goes with them.

    Args:
        codes: of the parameter's shape, sharded as it is now.
        saved: the whole table (shards, blocks) that they were made with; shards of successive rows.
        parameter: as it is now.
        signed, guard: how they were made.
        block_size: elements of a block.

    Raises:
        InvalidArgumentError: the parameter is sharded in another dimension than its first.
    """
    made = table(parameter, block_size)
    mine, share = local(made).view(-1), local(codes)
    if not share.numel():
        return made
    inner = math.prod(parameter.shape[1:])
    first = _first_row(parameter)
    at = torch.arange(share.numel(), device=share.device) + first * inner
    per_shard = math.ceil(parameter.shape[0] / len(saved)) * inner if parameter.ndim else 1
    shard = at // per_shard
    scale = saved.to(share.device)[shard, (at - shard * per_shard) // block_size]
    # One block a number: what the codes stand for, exactly.
    numbers = dequantise(share.flatten(), scale, signed, block_size=1)
    found, absmax = quantise(numbers, signed, block_size, guard)
    share.copy_(found.view(share.shape))
    mine[: len(absmax)] = absmax
    return made


def _first_row(parameter: Tensor) -> int:
    """The row of the whole at which this process's share begins."""
    if not isinstance(parameter, DTensor):
        return 0
    cuts = _cuts(parameter)
    if any(dim for dim, _ in cuts) or len(cuts) > 1:
        raise InvalidArgumentError(
            f"8-bit states of a parameter sharded as {parameter.placements} go on with as many processes as saved them "
            "only; shard its first dimension, as fsdp2 does, or use as many processes."
        )
    if not cuts:
        return 0
    axis = next(i for i, p in enumerate(parameter.placements) if isinstance(p, Shard))
    rank = parameter.device_mesh.get_local_rank(axis)
    return rank * math.ceil(parameter.shape[0] / parameter.device_mesh.size(axis))


def square_sums(tensors: list[Tensor], of: Tensor) -> Tensor:
    """Return Σx² of each tensor over all shards of the parameter ``of``, float64."""
    sums = torch.stack([x.double().square().sum() for x in tensors])
    if isinstance(of, DTensor):
        for i, placement in enumerate(of.placements):
            if isinstance(placement, Shard):
                torch.distributed.all_reduce(sums, group=of.device_mesh.get_group(i))
    return sums
