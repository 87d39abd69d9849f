"""Run lengths of masks in COCO's form, looked at before pycocotools fills them: it fills what is damaged with anything.

    list     how many pixels are off, on, off, …, column by column; together as many as the image has
    text     the same in numbers of several characters, five bits each from the lowest, 48 added: bit 5 says that more
             follow, bit 4 of the last is the sign; from the fourth on, what is more than two numbers before

Source: pycocotools (``common/maskApi.c``, ``rleFrString``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MORE, _SIGN, _BITS, _LONGEST = 32, 16, 31, 8  # characters of a number: forty bits are more pixels than there are


def check_lengths(counts: Any, pixels: int) -> None:
    """Raise ValueError unless run lengths are whole numbers ≥ 0 that add up to so many pixels."""
    if isinstance(counts, str):
        lengths = _read(counts)
    elif all(isinstance(count, int) and not isinstance(count, bool) for count in counts):
        lengths = np.array(counts, dtype=object)
    else:
        raise ValueError("has run lengths that are no whole numbers")
    if lengths.size == 0 or lengths.min() < 0 or lengths.sum() != pixels:
        raise ValueError(f"has run lengths of {lengths.sum():,} pixels, or some below 0; its image has {pixels:,}")


def _read(text: str) -> NDArray[np.int64]:
    """Return the numbers of a text."""
    numbers = np.frombuffer(text.encode("ascii", "replace"), np.uint8).astype(np.int64) - 48
    if not numbers.size or numbers.min() < 0 or numbers.max() > 63 or numbers[-1] & _MORE:
        raise ValueError("has run lengths that are cut off or damaged")
    ends = np.flatnonzero((numbers & _MORE) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    long = ends - starts + 1
    if long.max() > _LONGEST:
        raise ValueError("has run lengths that are damaged")
    places = np.arange(numbers.size) - np.repeat(starts, long)
    found = np.add.reduceat((numbers & _BITS) << (5 * places), starts)
    found -= np.where(numbers[ends] & _SIGN, np.int64(1) << (5 * long), 0)
    found[1::2] = found[1::2].cumsum()
    found[2::2] = found[2::2].cumsum()
    return found
