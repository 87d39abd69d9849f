"""Recordings of event cameras: readers by the file's ending, and frames made of them.

To add a format: a file with ``read(path, bytes) -> Events``, and its line in ``READERS``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from snnkit.data.events import aedat4, dat, nmnist, raw
from snnkit.data.events.frames import PARTS, to_frames
from snnkit.data.events.recording import Events
from snnkit.errors import CorruptFileError, unknown_name

READERS: dict[str, Callable[[Path, bytes], Events]] = {
    ".bin": nmnist.read,
    ".dat": dat.read,
    ".raw": raw.read,
    ".aedat4": aedat4.read,
}


def read_events(path: str | Path, height: int = 0, width: int = 0, drop_stray: bool = False) -> Events:
    """Read a recording.

    Args:
        path: its ending says the format (``READERS``).
        height, width: of the sensor; what the file says where 0.
        drop_stray: leave out events outside of the sensor, and count them in ``Events.stray``, instead of refusing.

    Raises:
        UnknownNameError: no such format.
        CorruptFileError: missing, cut short, empty, or no recording of this format.
        InvalidArgumentError: a library is missing (says which).
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise unknown_name("format of event recordings", path.suffix, READERS)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorruptFileError(f"{path} cannot be read: {error.strerror or error}.") from None
    events = reader(path, data)
    if height or width:
        events = dataclasses.replace(events, height=height or events.height, width=width or events.width)
    return events.checked(path, drop_stray)


__all__ = ["PARTS", "READERS", "Events", "read_events", "to_frames"]
