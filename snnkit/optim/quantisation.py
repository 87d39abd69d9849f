"""Numbers as bytes: block-wise dynamic quantisation.

A tensor is cut into blocks of B successive elements. A block keeps N = max |x| in float32 and, for each element, the
index of the value in a map Q of 256 that is nearest to x / N; where two are equally near, the lower index.

    Q:  for the decades i = 0 … 6, the middles of 2^i (signed) or 2^(i+1) (unsigned) equal parts of [0.1, 1], times
        10^(i − 6); signed maps also their negatives; 0; and 1.

The signed map has 1 but not −1. A block of zeros has N = 0 and the code of 0 throughout. A guarded tensor never gives a
positive number the code of 0: a second moment that underflows would divide by eps alone.

Dettmers et al., "8-bit Optimizers via Block-wise Quantization" (arXiv 2110.02861).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK_SIZES = (64, 128, 256, 512, 1024, 2048, 4096)
_DECADES = 7
_ONE = 0x3F800000


def dynamic_map(signed: bool) -> Tensor:
    """Return the 256 values in ascending order, float32."""
    values = [torch.tensor([0.0, 1.0], device="cpu")]
    for i in range(_DECADES):
        edges = torch.linspace(0.1, 1.0, 2 ** (i if signed else i + 1) + 1, dtype=torch.float32, device="cpu")
        middles = (edges[:-1] + edges[1:]) / 2.0 * 10 ** (i - _DECADES + 1)
        values += [middles, -middles] if signed else [middles]
    return torch.cat(values).sort().values


@dataclass(frozen=True, eq=False)
class Codebook:
    """A map and what it takes to find the nearest of its values.

    Attributes:
        values: the map (256), float32.
        limits: (255), float32: x takes a code above k exactly if x > limits[k].
        zero: the code of 0.
        buckets: int32, entries by the leading bits of |x|, for positive and then for negative x (see ``blockwise.c``).
        shift: bits of a float below those leading ones.
        lowest: the float's bits at which the first bucket begins; smaller x belong there too.
        span: buckets of one sign if the map is signed, else 0.
    """

    values: Tensor
    limits: Tensor
    zero: int
    buckets: Tensor
    shift: int
    lowest: int
    span: int

    def on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return values and limits on a device."""
        return _on(self, device)


@cache
def _on(book: Codebook, device: torch.device) -> tuple[Tensor, Tensor]:
    return book.values.to(device), book.limits.to(device)


@cache
def codebook(signed: bool) -> Codebook:
    """Return the signed or the unsigned one."""
    values = dynamic_map(signed)
    q = values.numpy().astype(np.float64)
    middle = (q[:-1] + q[1:]) / 2  # exact: the sum of two floats fits a double
    limits = _at_most(middle)
    shift = 17 if signed else 16
    zero = int(np.flatnonzero(q == 0)[0])
    above = limits[zero:].view(np.int32)
    lowest = int(above[0]) >> shift << shift
    lowest -= 1 << shift
    tables = [_buckets(above, shift, lowest)]
    if signed:
        # Seen from zero, a tie of two negative values goes to the one further out, since its index is lower.
        below = -_below(-middle[:zero][::-1])
        tables.append(_buckets(np.abs(below).astype(np.float32).view(np.int32), shift, lowest))
    buckets = torch.from_numpy(np.concatenate(tables))
    return Codebook(values, torch.from_numpy(limits), zero, buckets, shift, lowest, len(tables[0]) if signed else 0)


def _at_most(x: np.ndarray) -> np.ndarray:
    """The largest float32 that is not above x."""
    near = x.astype(np.float32)
    return np.where(near.astype(np.float64) > x, np.nextafter(near, np.float32(-np.inf)), near)


def _below(x: np.ndarray) -> np.ndarray:
    """The largest float32 below x."""
    near = x.astype(np.float32)
    return np.where(near.astype(np.float64) >= x, np.nextafter(near, np.float32(-np.inf)), near)


def _buckets(limits: np.ndarray, shift: int, lowest: int) -> np.ndarray:
    """Entries of all buckets from ``lowest`` to 1.0 for ascending limits, all as bits of positive floats."""
    starts = np.arange(lowest >> shift, (_ONE >> shift) + 1, dtype=np.int64) << shift
    size = 1 << shift
    first = np.searchsorted(limits, starts, side="left")
    cuts = np.searchsorted(limits, starts + size - 1, side="left") - first
    assert cuts.max() <= 1, "a bucket holds two midpoints"
    position = limits[np.minimum(first, len(limits) - 1)] - starts
    return ((first << shift) + np.where(cuts == 1, size - 1 - position, 0)).astype(np.int32)


def blocks_of(count: int, block_size: int) -> int:
    """Return how many blocks hold ``count`` elements."""
    return -(-count // block_size)


def quantise(x: Tensor, signed: bool, block_size: int = 256, guard: bool = False) -> tuple[Tensor, Tensor]:
    """Return codes (uint8, the shape of x) and the absmax of each block (float32).

    Args:
        x: any shape; elements that are not finite count as 0.
        signed: which map.
        block_size: elements of a block, in the order of ``x.flatten()``.
        guard: positive numbers never take the code of 0.
    """
    book = codebook(signed)
    _, limits = book.on(x.device)
    flat = x.detach().flatten().float()
    flat = torch.where(flat.isfinite(), flat, 0.0)
    blocks = blocks_of(flat.numel(), block_size)
    rows = F.pad(flat, (0, blocks * block_size - flat.numel())).view(blocks, block_size)
    absmax = rows.abs().amax(1) if blocks else flat.new_zeros(0)
    scaled = rows / torch.where(absmax > 0, absmax, 1.0)[:, None]
    codes = torch.bucketize(scaled, limits, out_int32=True)
    if guard:
        codes = torch.where((codes == book.zero) & (rows > 0), book.zero + 1, codes)
    return codes.flatten()[: flat.numel()].to(torch.uint8).view(x.shape), absmax


def dequantise(codes: Tensor, absmax: Tensor, signed: bool, block_size: int = 256) -> Tensor:
    """Return the numbers that codes stand for, float32, in the shape of ``codes``."""
    values, _ = codebook(signed).on(codes.device)
    scale = absmax.repeat_interleave(block_size)[: codes.numel()]
    return (values[codes.flatten().int()] * scale).view(codes.shape)
