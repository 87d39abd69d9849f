"""Pictures of a run folder, put into the page, and where in them the single images lie.

A picture holds groups, four in a row: an image and its versions beside each other, two pixels apart, and eight pixels
to the next group (as ``snnkit.tasks.pictures.write_rows`` draws them).
"""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GAP, _AFTER, _ACROSS = 2, 6, 4  # pixels after a version, more of them after a group, groups in a row
_MOST_LINES = 64


@dataclass(frozen=True)
class Picture:
    """A PNG as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int


def picture(content: bytes | None) -> Picture | None:
    """Return a PNG file as a picture; None where there is none or it is no PNG."""
    if content is None or len(content) < 33 or content[:8] != _SIGNATURE or content[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", content[16:24])
    if not width or not height:
        return None
    return Picture(f"data:image/png;base64,{base64.b64encode(content).decode()}", width, height)


def groups(shown: Picture, columns: int, count: int | None = None) -> list[str]:
    """Return the box of every group as an SVG view box "x y width height"; empty where the picture has another layout.

    Args:
        shown: the picture, of square images.
        columns: versions of an image in a group.
        count: of groups; None takes those left white in the last row for groups too.
    """
    across, lines = _layout(shown, columns)
    count = across * lines if count is None else count
    if not across or count < across or -(-count // _ACROSS) != lines:
        return []
    wide, tall = shown.width // across, shown.height // lines
    inside = f"{wide - _AFTER - _GAP} {tall - _GAP}"
    return [f"{wide * column} {tall * line} {inside}" for line in range(lines) for column in range(across)][:count]


def _layout(shown: Picture, columns: int) -> tuple[int, int]:
    """Groups in a row and rows, of square images; zeros where none fit."""
    for lines in range(1, _MOST_LINES + 1):
        tall, rest = divmod(shown.height, lines)
        wide = columns * tall + _AFTER
        across = shown.width // wide
        if rest or tall <= _GAP or shown.width % wide or not 1 <= across <= _ACROSS or (lines > 1 and across < _ACROSS):
            continue
        return across, lines
    return 0, 0
