"""Prophesee EVT3: little-endian words of 16 bits, four of which say what a word is; each sets part of a state.

| kind | bits |
|---|---|
| 0: row | 10–0 y |
| 2: one event | 11 polarity, 10–0 x |
| 3: start of a vector | 11 polarity, 10–0 x of its first pixel |
| 4, 5: vector | 12 or 8 bits, an event where set; the next vector starts so many pixels on |
| 6, 8: lower, upper time | 11–0 |

t = upper time · 4096 + lower time, in µs; the upper time alone may advance it: the lower one steps back now and then
within the same upper time. The clock starts again after 2^24 µs. Other kinds are skipped.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snnkit.data.events.recording import Events, whole
from snnkit.data.events.words import carried, unrolled

_ROW, _SINGLE, _BASE, _LONG, _SHORT, _LOWER, _UPPER = 0, 2, 3, 4, 5, 6, 8
_LONG_BITS, _SHORT_BITS = 12, 8


def read(path: Path, body: bytes, height: int, width: int) -> Events:
    """Decode what follows the header.

    Raises:
        CorruptFileError: the last word is cut short.
    """
    words = np.frombuffer(whole(body, 2, path, "a word"), "<u2").astype(np.int64)
    kind, low = words >> 12, words & 0xFFF
    upper = carried(unrolled(low, kind == _UPPER, 12), kind == _UPPER)
    lower = carried(low, kind == _LOWER)
    t = np.where((upper >= 0) & (lower >= 0), upper << 12 | lower, -1)
    y = carried(low & 0x7FF, kind == _ROW)

    # A vector starts at the base plus the pixels of the vectors since the base.
    pixels = np.where(kind == _LONG, _LONG_BITS, np.where(kind == _SHORT, _SHORT_BITS, 0))
    before = np.cumsum(pixels) - pixels
    based = kind == _BASE
    start = np.where(carried(before, based) >= 0, carried(low & 0x7FF, based) + before - carried(before, based), -1)
    vector_on = carried(low >> 11, based)

    single = np.flatnonzero((kind == _SINGLE) & (t >= 0) & (y >= 0))
    vectors = np.flatnonzero((pixels > 0) & (t >= 0) & (y >= 0) & (start >= 0))
    bits = (low[vectors, None] >> np.arange(_LONG_BITS) & 1).astype(bool) & (
        np.arange(_LONG_BITS) < pixels[vectors, None]
    )
    which, bit = np.nonzero(bits)
    of_vector = vectors[which]

    place = np.concatenate([single, of_vector])
    x = np.concatenate([low[single] & 0x7FF, start[of_vector] + bit])
    on = np.concatenate([low[single] >> 11, vector_on[of_vector]]).astype(bool)
    # Stable: the events of a vector stay in the order of its bits.
    order = np.argsort(place, kind="stable")
    place, x, on = place[order], x[order], on[order]
    return Events(t[place], x.astype(np.int32), y[place].astype(np.int32), on, height, width)
