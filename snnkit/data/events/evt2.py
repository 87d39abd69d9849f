"""Prophesee EVT2: little-endian words of 32 bits, four of which say what a word is.

| kind | bits |
|---|---|
| 0, 1: event, off or on | 27–22 low six bits of the time, 21–11 x, 10–0 y |
| 8: upper time | 27–0 |

t = upper time · 64 + low bits, in µs. Other kinds (triggers) carry no events of pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snnkit.data.events.recording import Events, whole
from snnkit.data.events.words import carried, unrolled

_OFF, _ON, _UPPER = 0, 1, 8


def read(path: Path, body: bytes, height: int, width: int) -> Events:
    """Decode what follows the header.

    Raises:
        CorruptFileError: the last word is cut short.
    """
    words = np.frombuffer(whole(body, 4, path, "a word"), "<u4")
    kind = words >> 28
    upper = carried(unrolled((words & 0x0FFF_FFFF).astype(np.int64), kind == _UPPER, 28), kind == _UPPER)
    # Without a word of time before it an event has no time.
    keep = (kind <= _ON) & (upper >= 0)
    word = words[keep]
    t = upper[keep] << 6 | (word >> 22 & 0x3F).astype(np.int64)
    x, y = (word >> 11 & 0x7FF).astype(np.int32), (word & 0x7FF).astype(np.int32)
    return Events(t, x, y, kind[keep] == _ON, height, width)
