"""Unrolling: a link as one sparse matrix with an entry for each synapse.

Matrices are written down row by row, in order and in 32 bits: all channels of a convolution read at the same places, so
that its rows are one list of places, repeated, beside weights picked from the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from compiler.targets.loihi.links import Ints, Link, everything

Weights = NDArray[np.int32]
Numbers = NDArray[np.signedinteger[Any]]


def synapses(link: Link, source: int) -> csr_array:
    """Return a link's whole-number weights as a sparse matrix (neurons of the target, ``source`` neurons), int32.

    Neurons are numbered as torch flattens them. Entries are sorted, and none of them is 0.
    """
    matrix = _columns(_rows(_matrix(link), link.after), link.before, source)
    if matrix.nnz and not matrix.data.all():
        matrix.eliminate_zeros()
    return matrix


def most(link: Link) -> int:
    """Return how many synapses a link has at most, before some are lost at borders and others are 0.

    What is selected several times behind the layer is not looked at.
    """
    reading = link.before.shape if link.op == "conv_transpose" else link.middle
    return math.prod(reading) * (1 if link.op == "scale" else link.weight[0].numel())


def count(link: Link, source: int, share: float = 0.0) -> int:
    """Return how many synapses a link has, without unrolling it; 0 where that cannot be told.

    Args:
        link: with weights of any kind.
        source: number of its source's values.
        share: weights up to this share of the largest are not counted.
    """
    taken = np.bincount(link.before.ravel() + 1, minlength=source + 1)
    if taken[0] or taken.max() > 1:
        return 0  # some weights meet nothing, or the same value as others
    size = np.abs(link.weight.detach().numpy())
    used = (size > share * size.max(initial=0.0)).astype(np.int64)
    lengths = _lengths(link, used)
    after = link.after.ravel()
    return int(lengths[after[after >= 0]].sum())


def _lengths(link: Link, used: Ints) -> Ints:
    """Return how many weights each output of a link's layer reads, (outputs,); ``used`` is 1 for weights that count."""
    source, target = link.before.shape, link.middle
    if link.op == "scale":
        return np.broadcast_to(used, target).ravel()
    kept = 1 if link.op == "linear" else used.ndim - 1
    copies = math.prod(source[: len(source) - kept])
    if link.op == "linear":
        return np.tile(used.sum(1), copies)
    inside, outside = source[-kept:][1:], target[-kept:][1:]
    kernel = used.reshape(*used.shape[:2], -1)
    if link.op == "conv":
        met = _places(link.attributes, used.shape[2:], inside, outside) >= 0
        return np.tile((kernel.sum(1) @ met.T.astype(np.int64)).ravel(), copies)
    # Of a transposed one, each group's weights are (in, out): the places that read what it writes.
    places = _places(link.attributes, used.shape[2:], outside, inside)
    met = np.stack([np.bincount(at[at >= 0], minlength=math.prod(outside)) for at in places.T])
    groups = int(link.attributes["groups"])
    read = kernel.reshape(groups, -1, *kernel.shape[1:]).sum(1).reshape(-1, kernel.shape[2])
    return np.tile((read @ met).ravel(), copies)


def _sorted(data: Weights, indices: Numbers, indptr: Numbers, shape: tuple[int, int]) -> csr_array:
    """Return a matrix of entries that are in order, each of them once; said of it, so that nobody looks again."""
    matrix = csr_array((data, *_indices(indices, indptr)), shape=shape)
    matrix.has_canonical_format = True
    return matrix


def _indices(indices: Numbers, indptr: Numbers) -> tuple[Numbers, Numbers]:
    """Return both in 32 bits, unless there are too many entries: scipy would take the longer of two types for both."""
    kind = np.int32 if indptr[-1] < 2**31 else np.int64
    return indices.astype(kind, copy=False), indptr.astype(kind, copy=False)


def _is_everything(picked: Ints, size: int) -> bool:
    return picked.size == size and bool((picked.ravel() == np.arange(size)).all())


def _rows(matrix: csr_array, picked: Ints) -> csr_array:
    """Return the rows that ``picked`` names; those at −1 are empty."""
    flat = picked.ravel()
    if _is_everything(flat, matrix.shape[0]):
        return matrix
    there = flat >= 0
    chosen = matrix[flat[there]]
    lengths = np.zeros(len(flat), np.int64)
    lengths[there] = np.diff(chosen.indptr)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return _sorted(chosen.data, chosen.indices, starts, (len(flat), matrix.shape[1]))


def _columns(matrix: csr_array, picked: Ints, source: int) -> csr_array:
    """Return a matrix whose column i is read from value ``picked[i]`` of ``source`` values, at −1 from none."""
    flat = picked.ravel()
    if _is_everything(flat, source):
        return matrix
    shape, indices = (matrix.shape[0], source), flat.astype(np.int32)[matrix.indices]
    if not bool((flat < 0).any()):
        moved = csr_array((matrix.data, indices, matrix.indptr), shape=shape)
    else:
        kept = indices >= 0
        starts = np.concatenate([[0], np.cumsum(kept)])[matrix.indptr]
        moved = csr_array((matrix.data[kept], *_indices(indices[kept], starts)), shape=shape)
    if moved.has_sorted_indices:
        moved.sum_duplicates()
        return moved
    ordered = moved.tocsc().tocsr()  # twice through the columns sorts what each row holds
    ordered.sum_duplicates()
    return ordered


def _matrix(link: Link) -> csr_array:
    """The layer's own matrix, from its input to its output, both flattened, int32; some entries may be 0."""
    weight, source, target = link.weight.detach().numpy().round().astype(np.int32), link.before.shape, link.middle
    if link.op == "scale":
        picked = np.broadcast_to(everything(source), target).ravel()
        values = np.broadcast_to(weight, target).ravel()
        starts = np.arange(len(picked) + 1)
        return _sorted(values.copy(), picked.astype(np.int32), starts, (len(picked), math.prod(source)))
    kept = 1 if link.op == "linear" else weight.ndim - 1
    copies = math.prod(source[: len(source) - kept])
    if link.op == "linear":
        one = _dense(weight)
    elif link.op == "conv":
        one = _convolution(link.attributes, weight, source[-kept:], target[-kept:])
    else:  # conv_transpose: the convolution that leads back, turned around
        one = _convolution(link.attributes, weight, target[-kept:], source[-kept:]).T.tocsr()
    return one if copies == 1 else _repeated(one, copies)


def _dense(weight: Weights) -> csr_array:
    rows, width = weight.shape
    indices = np.tile(np.arange(width, dtype=np.int32), rows)
    return _sorted(weight.ravel(), indices, np.arange(rows + 1) * width, weight.shape)


def _repeated(one: csr_array, copies: int) -> csr_array:
    """Return ``copies`` of a matrix along the diagonal."""
    height, width = one.shape
    shifts = np.arange(copies)
    indices = (one.indices + (shifts * width).astype(np.int32)[:, None]).ravel()
    starts = np.append((one.indptr[:-1] + (shifts * one.nnz)[:, None]).ravel(), copies * one.nnz)
    return _sorted(np.tile(one.data, copies), indices, starts, (copies * height, copies * width))


def _convolution(a: Mapping[str, Any], weight: Weights, source: tuple[int, ...], target: tuple[int, ...]) -> csr_array:
    """One entry for each weight that meets each input inside the map; weight (out, in of a group, *kernel)."""
    inside, outside = source[1:], target[1:]
    channels, in_per_group = weight.shape[:2]
    groups, kernel = int(a["groups"]), math.prod(weight.shape[2:])
    read = _places(a, weight.shape[2:], inside, outside)
    hit = read >= 0
    taps = hit.sum(1)
    # What the rows of one channel hold, one after the other: (weight of the channel, place in the group's maps).
    numbers = np.broadcast_to(np.arange(kernel, dtype=np.int32), read.shape)[hit]
    places = read[hit]
    starts, block = np.cumsum(taps) - taps, in_per_group * taps
    first = np.repeat(np.cumsum(block) - block, block)
    within, width = np.arange(int(block.sum())) - first, np.repeat(taps, block)
    channel, tap = np.divmod(within, width)
    tap += np.repeat(starts, block)
    weight_at = channel * kernel + numbers[tap]
    place = (channel * math.prod(inside) + places[tap]).astype(np.int32)
    data = np.take(weight.reshape(channels, -1), weight_at, axis=1)
    group = np.repeat(
        np.arange(groups, dtype=np.int32) * np.int32(in_per_group * math.prod(inside)), channels // groups
    )
    indices = place + group[:, None]
    lengths = np.tile(block, channels)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return _sorted(data.ravel(), indices.ravel(), starts, (math.prod(target), math.prod(source)))


def _places(
    a: Mapping[str, Any], kernel: tuple[int, ...], inside: tuple[int, ...], outside: tuple[int, ...]
) -> NDArray[np.int32]:
    """Return which place of a map each output reads with each weight of a kernel, (outputs, weights); −1 outside."""
    found = np.zeros((1, 1), np.int64)
    for axis, side in enumerate(kernel):
        at = np.arange(outside[axis])[:, None] * a["stride"][axis] - a["padding"][axis]
        at = at + np.arange(side) * a["dilation"][axis]
        whole = np.where((at >= 0) & (at < inside[axis]), at, -1)
        lower, upper = found[:, None, :, None], whole[None, :, None, :]
        joined = np.where((lower >= 0) & (upper >= 0), lower * inside[axis] + upper, -1)
        found = joined.reshape(joined.shape[0] * joined.shape[1], -1)
    return found.astype(np.int32)
