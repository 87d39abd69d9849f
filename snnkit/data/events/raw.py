"""Prophesee ``.raw``: a text header that names the encoding, EVT2, EVT2.1 or EVT3, then its words."""

from __future__ import annotations

import re
from pathlib import Path

from snnkit.data.events import evt2, evt3, evt21, header
from snnkit.data.events.recording import Events
from snnkit.errors import CorruptFileError

_ENCODINGS = {"2.0": evt2.read, "2.1": evt21.read, "3.0": evt3.read}


def read(path: Path, data: bytes) -> Events:
    """Decode the bytes of one recording.

    Raises:
        CorruptFileError: no header, another encoding, one named in two ways, or the last word is cut short.
    """
    entries, body = header.split(path, data)
    named = {name for name in (entries.get("evt", ""), _version(entries.get("format", ""))) if name}
    if len(named) > 1:
        raise CorruptFileError(
            f"{path}: its header names two encodings, evt {entries['evt']} and format {entries['format']}; "
            "remove the wrong line."
        )
    version = named.pop() if named else "nowhere"
    if version not in _ENCODINGS:
        raise CorruptFileError(
            f"{path}: its header names the encoding {version!r}; EVT {', EVT '.join(_ENCODINGS)} can be read."
        )
    size = header.sensor(entries)
    if version == "2.1":
        return evt21.read(path, body, *size, order=header.option(entries, "endianness"))
    return _ENCODINGS[version](path, body, *size)


def _version(text: str) -> str:
    """Return "2.1" of "EVT21;height=…", "2.0" of "EVT2"; other formats by their own name."""
    name = text.partition(";")[0].strip().upper()
    found = re.fullmatch(r"EVT(\d)\.?(\d?)", name)
    return f"{found[1]}.{found[2] or 0}" if found else name
