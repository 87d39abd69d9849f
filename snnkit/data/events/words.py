"""Decoding streams of words whose meaning depends on the words before them, without a loop over words."""

from __future__ import annotations

import numpy as np


def carried(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return at each place the value at the last place that ``where`` marks, up to and with this one; -1 before it."""
    last = np.maximum.accumulate(np.where(where, np.arange(len(values)), -1))
    return np.where(last >= 0, values[last], -1) if len(values) else values


def unrolled(values: np.ndarray, where: np.ndarray, bits: int) -> np.ndarray:
    """Return ``values`` with 2^bits added wherever the marked ones, a clock of so many bits, start from 0 again."""
    marked = values[where]
    # A clock that starts again falls by most of its range; words that come late fall by little.
    turns = np.cumsum(np.diff(marked, prepend=marked[:1]) < -(1 << (bits - 1)))
    out = values.copy()
    out[where] = marked + (turns << bits)
    return out
