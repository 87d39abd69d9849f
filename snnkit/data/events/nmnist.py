"""N-MNIST ``.bin``: five bytes an event: x, y, then one bit of polarity and 23 bits of time in µs, big-endian.

The file has no header; the sensor is N-MNIST's 34×34 unless a size is given. y = 240 is no event, the camera has rows 0
to 239: it marks that 2^13 µs are added to all times after it (N-Caltech101 has such files).
Source: Orchard et al., "Converting static image datasets to spiking neuromorphic datasets using saccades", 2015.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snnkit.data.events.recording import Events, whole

SIDE = 34
_OVERFLOW, _OVERFLOW_BITS = 240, 13


def read(path: Path, data: bytes) -> Events:
    """Decode the bytes of one recording.

    Raises:
        CorruptFileError: the last event is cut short.
    """
    columns = np.frombuffer(whole(data, 5, path, "an event"), np.uint8).reshape(-1, 5).astype(np.int32)
    x, y, high, middle, low = columns.T
    marks = y == _OVERFLOW
    t = ((high & 0x7F) << 16 | middle << 8 | low).astype(np.int64) + (np.cumsum(marks) << _OVERFLOW_BITS)
    keep = ~marks
    return Events(t[keep], x[keep], y[keep], high[keep] >= 0x80, SIDE, SIDE)
