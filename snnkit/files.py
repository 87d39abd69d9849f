"""Writing files so that a crash, a full disk or a kill leaves either the old file or the new one, never half of one."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from snnkit.errors import CorruptFileError, DiskError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is renamed over ``path``, on failure it is removed.

    Raises:
        DiskError: the disk is full or the folder cannot be written; ``path`` is then as it was before.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if isinstance(error, DiskError):
            raise
        reason = {
            errno.ENOSPC: "the disk is full; free some space and run again",
            errno.EFBIG: "the file would exceed the size limit set for this process",
            errno.EDQUOT: "the disk quota is used up",
            errno.EACCES: "no permission to write there; choose another folder",
            errno.EROFS: "the file system is read-only; choose another folder",
        }.get(error.errno or 0, error.strerror or str(error))
        raise DiskError(f"could not write {path}: {reason}. Nothing half-written is left.") from error
    finally:
        with suppress(OSError):  # what could not be created cannot be removed; the first error is the one to tell
            temporary.unlink()


def read_lines(path: str | Path) -> list[str]:
    """Return the lines of a text file, stripped, without empty ones.

    Raises:
        CorruptFileError: it cannot be read.
    """
    return [line.strip() for line in _lines(path) if line.strip()]


def _lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise CorruptFileError(f"{path} cannot be read: {reason}.") from None


def read_names(path: str | Path) -> list[str]:
    """Return the names in a text file, one a line, of which the first is that of number 0.

    Raises:
        CorruptFileError: it cannot be read, or a line among them is empty: names behind it would move up.
    """
    lines = [line.strip() for line in "\n".join(_lines(path)).strip().split("\n")]
    if "" in lines[1:]:
        raise CorruptFileError(f"{path}, line {lines.index('') + 1} is empty: every number needs a name of its own.")
    return [line for line in lines if line]


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically. NaN is refused: it is not JSON."""
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)
    with atomic_path(path) as temporary:
        # Half a character, which a string may hold and UTF-8 may not, is written as JSON escapes it.
        temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        CorruptFileError: the file is missing, cannot be read, or is not JSON (names the line).
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CorruptFileError(f"{path} does not exist.") from None
    except OSError as error:
        raise CorruptFileError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CorruptFileError(f"{path} is not valid JSON: {error}.") from None


def weights_of(folder: Path) -> str | None:
    """Return the SHA-256 of a run folder's last weights, by which its results say what they are of; None without."""
    path = folder / "checkpoints" / "last.safetensors"
    return of_file(path) if path.is_file() else None


def of_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def made_folder(path: str | Path) -> Path:
    """Make a folder where there is none.

    Raises:
        DiskError: it cannot be made, or is a file.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"could not make the folder {path}: {error.strerror or error}. Give another one.") from None
    return path
