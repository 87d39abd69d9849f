"""AEDAT 4, as iniVation's cameras record: packets of flatbuffers, compressed by LZ4.

    "#!AER-DAT4.0\\r\\n", uint32 size, a flatbuffer "IOHE" (compression, place of the table of packets, XML on streams),
    packets: int32 stream, int32 size, a flatbuffer with its size before it, compressed

Packets "EVTS" hold one vector of 16 bytes an event: int64 time in µs, int16 x, int16 y, uint8 polarity. Packets of
other kinds are passed over. Needs ``lz4`` for compressed recordings: pip install 'snnkit[events]'.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from snnkit.data.events.recording import Events
from snnkit.errors import CorruptFileError, InvalidArgumentError

_MAGIC = b"#!AER-DAT4.0\r\n"
_NONE, _LZ4, _LZ4_HIGH = 0, 1, 2
_EVENT = np.dtype({"names": ["t", "x", "y", "on"], "formats": ["<i8", "<i2", "<i2", "u1"], "offsets": [0, 8, 10, 12],
                   "itemsize": 16})  # fmt: skip


def read(path: Path, data: bytes) -> Events:
    """Decode the bytes of one recording.

    Raises:
        CorruptFileError: not AEDAT 4, damaged, cut short, or compressed in another way than by LZ4.
        InvalidArgumentError: ``lz4`` is not installed.
    """
    if not data.startswith(_MAGIC):
        raise CorruptFileError(f"{path} does not start with {_MAGIC[:12].decode()}: not an AEDAT 4 recording.")
    try:
        compression, end, start, text = _opening(data)
        unpack = _unpacker(path, compression)
        parts = [events for _, events in _packets(data, start, end, unpack)]
    except (struct.error, IndexError, ValueError, RuntimeError, EOFError) as error:
        if isinstance(error, (CorruptFileError, InvalidArgumentError)):
            raise
        raise CorruptFileError(f"{path} is damaged or cut short ({error}). Fetch it again.") from None
    events = np.concatenate(parts) if parts else np.zeros(0, _EVENT)
    width, height = (int(found[1]) if (found := re.search(rf'"{key}"[^>]*>(\d+)<', text)) else 0 for key in _SIZES)
    x, y = events["x"].astype(np.int32), events["y"].astype(np.int32)
    return Events(events["t"].astype(np.int64), x, y, events["on"] > 0, height, width)


_SIZES = ("sizeX", "sizeY")


def _opening(data: bytes) -> tuple[int, int, int, str]:
    """Return compression, where packets end, where they start, and the XML."""
    (size,) = struct.unpack_from("<I", data, len(_MAGIC))
    body = len(_MAGIC) + 4
    if data[body + 4 : body + 8] != b"IOHE" or body + size > len(data):
        raise ValueError("its header is not whole")
    table = _Table(data, body)
    compression = struct.unpack_from("<i", data, place)[0] if (place := table.field(0)) else _NONE
    end = struct.unpack_from("<q", data, place)[0] if (place := table.field(1)) else -1
    text = ""
    if place := table.field(2):
        length, first = _vector(data, place)
        text = data[first : first + length].decode("utf-8", "replace")
    if end > len(data):
        raise ValueError(f"its table of packets starts at byte {end}, it has {len(data)}")
    # A recording that was not closed has no table: packets go to the end.
    return compression, end if end > 0 else len(data), body + size, text


def _packets(data: bytes, start: int, end: int, unpack: Callable[[bytes], bytes]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield stream and events of each packet of the first stream of events."""
    chosen = None
    while start < end:
        stream, size = struct.unpack_from("<ii", data, start)
        start += 8
        if size < 0 or start + size > end:
            raise ValueError(f"a packet at byte {start - 8} of {size} bytes does not fit")
        if chosen in (None, stream):
            packet = unpack(data[start : start + size])
            if packet[8:12] == b"EVTS":
                chosen = stream
                if place := _Table(packet, 4).field(0):
                    length, first = _vector(packet, place)
                    yield stream, np.frombuffer(packet, _EVENT, length, first)
        start += size


class _Table:
    """A table of a flatbuffer: where its fields lie.

    Args:
        data: the bytes.
        at: where the offset of the table stands, from which it counts.
    """

    def __init__(self, data: bytes, at: int):
        self.data, self.at = data, at + struct.unpack_from("<I", data, at)[0]
        self.index = self.at - struct.unpack_from("<i", data, self.at)[0]
        self.size = struct.unpack_from("<H", data, self.index)[0]

    def field(self, number: int) -> int:
        """Return where a field lies; 0 if it has its default."""
        if 4 + 2 * number >= self.size:
            return 0
        offset = struct.unpack_from("<H", self.data, self.index + 4 + 2 * number)[0]
        return self.at + offset if offset else 0


def _vector(data: bytes, place: int) -> tuple[int, int]:
    """Return length and first byte of the vector that a field points to."""
    start = place + struct.unpack_from("<I", data, place)[0]
    return struct.unpack_from("<I", data, start)[0], start + 4


def _unpacker(path: Path, compression: int) -> Callable[[bytes], bytes]:
    if compression == _NONE:
        return bytes
    if compression not in (_LZ4, _LZ4_HIGH):
        raise CorruptFileError(f"{path} is compressed in way {compression}; LZ4 and none can be read. Convert it.")
    try:
        import lz4.frame
    except ImportError:
        raise InvalidArgumentError(f"{path} is compressed by LZ4: pip install 'snnkit[events]'.") from None
    return lz4.frame.decompress
