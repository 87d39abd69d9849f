"""Spikes as bits, as two operators that a simulation can follow too: 1 bit a spike and level instead of a float."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from snnkit.events.bits import MAX_LEVELS, Packed, pack, unpack
from snnkit.neurons import PointNeuron

_PART = 1 << 20
"""Values that are converted to float32 at a time, where they are of another dtype."""


def levels_of(module: nn.Module) -> int:
    """Largest count a neuron sends in one step where it sends whole numbers from 0 and bits pay, else 0."""
    if not isinstance(module, PointNeuron):
        return 0
    kind, low, high, *factor = module.operator.events(module.constants())
    whole = kind in ("binary", "integer") and low == 0 and 1 <= high <= MAX_LEVELS and high == int(high)
    whole = whole and all(value == 1 for value in factor)
    return int(high) if whole else 0


@torch.library.custom_op("snnkit::pack_spikes", mutates_args=())
def pack_spikes(flat: Tensor, levels: int) -> Tensor:
    """Values 0 … ``levels`` (n,) → words (1, levels, ⌈n / 64⌉) int64, laid out as in ``snnkit.events.bits``."""
    if flat.device.type != "cpu":
        planes = torch.stack([flat > level for level in range(levels)])
        bits = nn.functional.pad(planes, (0, -planes.shape[1] % 64)).unflatten(1, (-1, 64)).to(torch.int64)
        return (bits << torch.arange(64, device=flat.device)).sum(-1).unsqueeze(0)
    if flat.dtype == torch.float32:
        return pack(flat, levels).words
    words = flat.new_empty((1, levels, -(-len(flat) // 64)), dtype=torch.int64)
    for at in _parts(flat):
        packed = pack(flat[at].to(torch.float32), levels).words
        words[..., at.start // 64 : at.start // 64 + packed.shape[-1]] = packed
    return words


@pack_spikes.register_fake
def _(flat: Tensor, levels: int) -> Tensor:
    return flat.new_empty((1, levels, -(-flat.shape[0] // 64)), dtype=torch.int64)


@torch.library.custom_op("snnkit::unpack_spikes", mutates_args=())
def unpack_spikes(words: Tensor, like: Tensor, count: int, levels: int) -> Tensor:
    """The values (count,) that were packed, in the dtype of ``like``."""
    if words.device.type != "cpu":
        bits = (words.unsqueeze(-1) >> torch.arange(64, device=words.device)) & 1
        return bits.flatten(-2).sum((0, 1))[:count].to(like.dtype)
    if like.dtype == torch.float32:
        return unpack(Packed(words, torch.Size([count]), levels, 0))
    values = like.new_empty(count)
    for at in _parts(values):
        part = words[..., at.start // 64 : -(-at.stop // 64)].contiguous()
        values[at] = unpack(Packed(part, torch.Size([at.stop - at.start]), levels, 0), like.dtype)
    return values


@unpack_spikes.register_fake
def _(words: Tensor, like: Tensor, count: int, levels: int) -> Tensor:
    return like.new_empty(count)


def _parts(values: Tensor) -> Iterator[slice]:
    for start in range(0, len(values), _PART):
        yield slice(start, min(len(values), start + _PART))
