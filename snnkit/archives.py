"""Reading npz archives that may come from anywhere: nothing is unpickled, nothing is made larger than a limit.

A few kilobytes of zip can claim gigabytes of zeros. What each array claims is therefore added up, and compared with
what its member holds, before memory is taken.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from snnkit.errors import CorruptFileError

# Bytes that any file may unpack to, and how many times its own size where that is more.
MOST_BYTES, MOST_TIMES = 1 << 30, 4
# Characters of an error of another package.
_LONGEST = 200
# What zipfile, zlib and NumPy's parser of headers raise on bytes that are no archive of arrays.
BAD_ARCHIVE = (
    *(OSError, ValueError, KeyError, EOFError, TypeError, IndexError, AttributeError, OverflowError, SyntaxError),
    *(RuntimeError, MemoryError, RecursionError, zipfile.BadZipFile, zlib.error, struct.error),
)


def check_size(path: str | Path, claimed: int) -> None:
    """Raise CorruptFileError if a file claims to unpack to more bytes than are made of one of its size."""
    most = max(MOST_BYTES, MOST_TIMES * Path(path).stat().st_size)
    if claimed > most:
        raise CorruptFileError(
            f"{path} claims to unpack to {claimed / 2**30:,.1f} GiB; at most {most / 2**30:,.1f} GiB are read from a "
            "file of its size. It is damaged, or made to fill the memory."
        )


def read_npz(path: str | Path) -> dict[str, np.ndarray[Any, Any]]:
    """Return the arrays of an npz archive by name.

    Raises:
        CorruptFileError: missing, damaged, no archive, holding pickled objects, or claiming more than it may.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [(member.filename, archive.open(member), member) for member in archive.infolist()]
            heads = {}
            for name, file, member in members:
                if not name.endswith(".npy") or name in heads:
                    raise ValueError(f"its member {name!r} is no array of its own")
                heads[name] = _head(file, member)
            check_size(path, sum(member.file_size for *_, member in members))
            return {name.removesuffix(".npy"): _array(file.read(), *heads[name]) for name, file, _ in members}
    except FileNotFoundError:
        raise CorruptFileError(f"{path} does not exist.") from None
    except CorruptFileError:
        raise
    except BAD_ARCHIVE as error:
        raise CorruptFileError(f"{path} is not an npz archive, or a damaged one ({first_line(error)}).") from None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, its beginning where it is long, or its kind where it has none."""
    line = next(iter(str(error).splitlines()), "").rstrip(".")
    return (line if len(line) <= _LONGEST else f"{line[:_LONGEST]} …") or type(error).__name__


def _head(file: IO[bytes], member: zipfile.ZipInfo) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read shape, order and kind of an array, which must be what its member has bytes for."""
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"{member.filename} has version {version} of the format")
    shape, fortran, dtype = read(file)
    if dtype.hasobject or not dtype.itemsize:
        raise ValueError(f"{member.filename} holds pickled objects, which are never loaded, or nothing")
    claimed = math.prod(shape) * dtype.itemsize
    held = member.file_size - file.tell()
    if min(shape, default=0) < 0 or claimed != held:
        raise ValueError(f"{member.filename} claims {claimed} bytes and holds {held}")
    return shape, fortran, dtype


def _array(content: bytes, shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    # A bytearray: arrays made of bytes cannot be written to.
    return np.ndarray(shape, dtype, bytearray(content), order="F" if fortran else "C")
