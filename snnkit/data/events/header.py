"""The text that opens Prophesee's files: lines that start with ``%``."""

from __future__ import annotations

import re
from pathlib import Path

from snnkit.errors import CorruptFileError


def split(path: Path, data: bytes) -> tuple[dict[str, str], bytes]:
    """Return the header's entries by lower-case first word, and what follows the header.

    Raises:
        CorruptFileError: there is no header, or it does not end.
    """
    entries: dict[str, str] = {}
    start = 0
    while data[start : start + 1] == b"%":
        end = data.find(b"\n", start)
        if end < 0:
            raise CorruptFileError(f"{path} ends inside its header. Fetch it again.")
        word, _, rest = data[start + 1 : end].decode("latin-1").strip().partition(" ")
        if word.lower() == "end":
            return entries, data[end + 1 :]
        entries[word.lower()] = rest.strip()
        start = end + 1
    if not start:
        raise CorruptFileError(f"{path} has no header of lines that start with %: not a Prophesee recording.")
    return entries, data[start:]


def sensor(entries: dict[str, str]) -> tuple[int, int]:
    """Return height and width where the header says them, else (0, 0).

    Three spellings are known: ``Height``/``Width``, ``geometry 640x480`` and ``format EVT3;height=720;width=1280``.
    """
    text = " ".join(f"{key}={value}" for key, value in entries.items()).lower()
    height, width = re.search(r"\bheight=(\d+)", text), re.search(r"\bwidth=(\d+)", text)
    if height and width:
        return int(height[1]), int(width[1])
    found = re.search(r"\bgeometry=(\d+)x(\d+)", text)
    return (int(found[2]), int(found[1])) if found else (0, 0)


def option(entries: dict[str, str], key: str) -> str:
    """Return what ``% key value``, or ``;key=value`` in the line of the format, says in lower case; "" if neither."""
    found = re.search(rf"\b{key}=(\w+)", entries.get("format", "").lower())
    return entries.get(key, found[1] if found else "").lower()
