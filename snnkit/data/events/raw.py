"""Prophesee ``.raw``: a text header that names the encoding, EVT2 or EVT3, then its words."""

from __future__ import annotations

from pathlib import Path

from snnkit.data.events import evt2, evt3, header
from snnkit.data.events.recording import Events
from snnkit.errors import CorruptFileError

_ENCODINGS = {"2.0": evt2.read, "3.0": evt3.read}


def read(path: Path, data: bytes) -> Events:
    """Decode the bytes of one recording.

    Raises:
        CorruptFileError: no header, another encoding, or the last word is cut short.
    """
    entries, body = header.split(path, data)
    version = entries.get("evt", "")
    if not version and entries.get("format", "").upper().startswith("EVT"):
        version = entries["format"][3:4] + ".0"
    if version not in _ENCODINGS:
        raise CorruptFileError(
            f"{path}: its header names the encoding {version or 'nowhere'!r}; EVT 2.0 and EVT 3.0 can be read."
        )
    return _ENCODINGS[version](path, body, *header.sensor(entries))
