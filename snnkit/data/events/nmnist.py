"""N-MNIST ``.bin``: five bytes an event: x, y, then one bit of polarity and 23 bits of time in µs, big-endian.

The file has no header; the sensor is N-MNIST's 34×34 unless a size is given.
Source: Orchard et al., "Converting static image datasets to spiking neuromorphic datasets using saccades", 2015.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snnkit.data.events.recording import Events, whole

SIDE = 34


def read(path: Path, data: bytes) -> Events:
    """Decode the bytes of one recording.

    Raises:
        CorruptFileError: the last event is cut short.
    """
    columns = np.frombuffer(whole(data, 5, path, "an event"), np.uint8).reshape(-1, 5).astype(np.int32)
    x, y, high, middle, low = columns.T
    t = ((high & 0x7F) << 16 | middle << 8 | low).astype(np.int64)
    return Events(t, x, y, high >= 0x80, SIDE, SIDE)
