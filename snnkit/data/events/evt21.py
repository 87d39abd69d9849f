"""Prophesee EVT2.1: words of 64 bits, four of which say what a word is; an event word holds up to 32 pixels of a row.

| kind | bits |
|---|---|
| 0, 1: events, off or on | 59–54 low six bits of the time, 53–43 x of the first pixel, 42–32 y, 31–0 which pixels |
| 8: upper time | 59–32 |

t = upper time · 64 + low bits, in µs; bit n of the lowest 32 is the event at x + n. Other kinds (triggers) carry no
events of pixels. A word is little-endian ("little"), or its upper half comes first, each half little-endian ("legacy",
as the IMX636 sends them). Source: docs.prophesee.ai, "EVT 2.1 Format".
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snnkit.data.events.recording import Events, whole
from snnkit.data.events.words import carried, unrolled
from snnkit.errors import CorruptFileError

_OFF, _ON, _UPPER = 0, 1, 8
_PIXELS = 32
# Which half of a word, in the order of the file, holds its kind.
ORDERS = {"little": 1, "legacy": 0}


def read(path: Path, body: bytes, height: int, width: int, order: str = "") -> Events:
    """Decode what follows the header.

    Args:
        path: for messages.
        body: the words.
        height, width: of the sensor; 0 where the header does not say.
        order: of a word's halves, one of ``ORDERS``; told from the words where the header does not say.

    Raises:
        CorruptFileError: the last word is cut short, or the order of halves is not known.
    """
    halves = np.frombuffer(whole(body, 8, path, "a word"), "<u4").reshape(-1, 2)
    if order not in ORDERS and order:
        raise CorruptFileError(f"{path}: its header says endianness {order!r}; {' and '.join(ORDERS)} can be read.")
    place = ORDERS[order or _told(path, halves)]
    words, pixels = halves[:, place], halves[:, 1 - place]
    kind = words >> 28
    upper = carried(unrolled((words & 0x0FFF_FFFF).astype(np.int64), kind == _UPPER, 28), kind == _UPPER)
    # Without a word of time before it an event has no time.
    keep = (kind <= _ON) & (upper >= 0)
    word, pixels = words[keep], pixels[keep]
    which, bit = np.nonzero(pixels[:, None] >> np.arange(_PIXELS, dtype=np.uint32) & 1)
    t = (upper[keep] << 6 | (word >> 22 & 0x3F).astype(np.int64))[which]
    x = (word >> 11 & 0x7FF).astype(np.int32)[which] + bit.astype(np.int32)
    return Events(t, x, (word & 0x7FF).astype(np.int32)[which], (kind[keep] == _ON)[which], height, width)


def _told(path: Path, halves: np.ndarray) -> str:
    """Tell the order from the words of upper time: their other half is empty, that of events is not."""
    times = {
        order: int(((halves[:, place] >> 28 == _UPPER) & (halves[:, 1 - place] == 0)).sum())
        for order, place in ORDERS.items()
    }
    if len(halves) and times["little"] == times["legacy"]:
        raise CorruptFileError(
            f"{path}: neither its header nor its words say which half of a word comes first; write a line "
            "'% endianness little' or '% endianness legacy' (IMX636) into the header."
        )
    return max(times, key=lambda order: times[order])
