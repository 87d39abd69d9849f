"""Prophesee ``.dat``, version 2: a text header, two bytes, then two little-endian uint32 an event.

The two bytes are the kind of event and its size, 8. The first word is the time in µs; the second holds x in bits 0 to
13, y in bits 14 to 27 and the polarity from bit 28.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snnkit.data.events import header
from snnkit.data.events.recording import Events, whole
from snnkit.errors import CorruptFileError

_EVENT_BYTES = 8


def read(path: Path, data: bytes) -> Events:
    """Decode the bytes of one recording.

    Raises:
        CorruptFileError: another version, no header, or the last event is cut short.
    """
    entries, body = header.split(path, data)
    if entries.get("version", "2") != "2":
        raise CorruptFileError(f"{path} is a .dat of version {entries['version']}; only version 2 can be read.")
    if len(body) < 2 or body[1] != _EVENT_BYTES:
        found = f"says {body[1]}" if len(body) > 1 else "ends before it"
        raise CorruptFileError(
            f"{path}: events of a .dat have {_EVENT_BYTES} bytes, this file {found}. Fetch it again."
        )
    words = np.frombuffer(whole(body[2:], _EVENT_BYTES, path, "an event"), "<u4").reshape(-1, 2)
    place = words[:, 1]
    x, y = (place & 0x3FFF).astype(np.int32), (place >> 14 & 0x3FFF).astype(np.int32)
    return Events(words[:, 0].astype(np.int64), x, y, place >> 28 > 0, *header.sensor(entries))
