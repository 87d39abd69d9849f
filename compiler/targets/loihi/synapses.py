"""Unrolling: a link as one sparse matrix with an entry for each synapse."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.sparse import coo_array, csr_array, eye_array, kron

from compiler.targets.loihi.links import Ints, Link, everything


def synapses(link: Link, source: int) -> csr_array:
    """Return a link's whole-number weights as a sparse matrix (neurons of the target, ``source`` neurons), int32.

    Neurons are numbered as torch flattens them.
    """
    weights = _matrix(link)
    matrix = _selection(link.after, weights.shape[0]) @ weights @ _selection(link.before, source)
    matrix = csr_array(matrix, dtype=np.int32)
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix


def _selection(picked: Ints, size: int) -> csr_array:
    """Return the matrix that picks one of ``size`` values for each entry of ``picked``."""
    flat = picked.ravel()
    rows = np.flatnonzero(flat >= 0)
    return csr_array((np.ones(len(rows), np.int64), (rows, flat[rows])), shape=(len(flat), size))


def _matrix(link: Link) -> csr_array:
    """The layer's own matrix, from its input to its output, both flattened, int64."""
    weight, source, target = link.weight.numpy().round().astype(np.int64), link.before.shape, link.middle
    if link.op == "scale":
        picked = np.broadcast_to(everything(source), target).ravel()
        values = np.broadcast_to(weight, target).ravel()
        return csr_array((values, (np.arange(len(picked)), picked)), shape=(len(picked), math.prod(source)))
    kept = 1 if link.op == "linear" else weight.ndim - 1
    copies = math.prod(source[: len(source) - kept])
    if link.op == "linear":
        one = csr_array(weight)
    elif link.op == "conv":
        one = _convolution(link.attributes, weight, source[-kept:], target[-kept:])
    else:  # conv_transpose: the convolution that leads back, turned around
        one = csr_array(_convolution(link.attributes, weight, target[-kept:], source[-kept:]).T)
    return one if copies == 1 else csr_array(kron(eye_array(copies, dtype=np.int64), one, format="csr"))


def _convolution(a: Mapping[str, Any], weight: Ints, source: tuple[int, ...], target: tuple[int, ...]) -> csr_array:
    """One entry for each weight that meets each input inside the map; weight (out, in of a group, *kernel)."""
    rank, inside, outside = weight.ndim - 2, source[1:], target[1:]
    out_channels, in_per_group = weight.shape[:2]
    o, i = np.divmod(np.arange(out_channels * in_per_group), in_per_group)
    channel_in = (o // (out_channels // a["groups"])) * in_per_group + i
    rows, cols, values = [], [], []
    for at in np.ndindex(*weight.shape[2:]):
        out_axes, in_axes = [], []
        for axis in range(rank):
            read = np.arange(outside[axis]) * a["stride"][axis] - a["padding"][axis] + at[axis] * a["dilation"][axis]
            hit = np.flatnonzero((read >= 0) & (read < inside[axis]))
            out_axes.append(hit)
            in_axes.append(read[hit])
        out_at = np.ravel_multi_index(np.ix_(*out_axes), outside).ravel()
        in_at = np.ravel_multi_index(np.ix_(*in_axes), inside).ravel()
        rows.append((o[:, None] * math.prod(outside) + out_at).ravel())
        cols.append((channel_in[:, None] * math.prod(inside) + in_at).ravel())
        values.append(np.repeat(weight[(slice(None), slice(None), *at)].ravel(), len(out_at)))
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(cols)))
    return csr_array(coo_array(entries, shape=(math.prod(target), math.prod(source))))
