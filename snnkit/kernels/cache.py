"""The folder of compiled kernels: what is run from it was put there by this user, or by root, and is whole.

The folder is private (mode 0700) and belongs to whoever runs the process, or to root and cannot be written by others;
each library lies beside its checksum, and both are looked at through handles, so that what was checked is what is
read. One process compiles at a time; the others wait and take what it made.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from snnkit.errors import SnnkitError
from snnkit.files import atomic_path

_OTHERS_WRITE, _OTHERS = 0o022, 0o077
_WAIT_S = 0.05
WAY_OUT = "Set XDG_CACHE_HOME to a folder of your own; until then other kernels run."


class NoCacheError(SnnkitError):
    """There is no folder that compiled kernels could safely lie in; the message says why and what to do."""


def cache_folder() -> Path:
    """Return the folder of compiled kernels, ``snnkit`` in the user's cache folder (it may not exist yet).

    Raises:
        NoCacheError: there is neither XDG_CACHE_HOME nor a home.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "snnkit"
    except RuntimeError as error:
        raise NoCacheError(f"there is no home folder to keep compiled kernels in: {error}. {WAY_OUT}") from None


@contextmanager
def private_folder(folder: Path) -> Iterator[Path]:
    """Yield a path to ``folder``, made with mode 0700 where it is missing, that nobody can exchange meanwhile.

    Raises:
        NoCacheError: it cannot be made, belongs to somebody else, or others may write to it.
    """
    try:
        _make(folder)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NoCacheError(f"{folder} cannot hold compiled kernels: {error.strerror or error}. {WAY_OUT}") from None
    try:
        found = os.fstat(handle)
        if not _own(found):
            raise NoCacheError(
                f"{folder} belongs to user {found.st_uid}, so no compiled kernel is run from it. {WAY_OUT}"
            )
        if found.st_mode & _OTHERS and found.st_uid == os.geteuid() and not folder.is_symlink():
            with suppress(OSError):
                os.fchmod(handle, 0o700)
        if os.fstat(handle).st_mode & _OTHERS_WRITE:
            raise NoCacheError(f"others may write to {folder}, so no compiled kernel is run from it: chmod 700 it.")
        by_handle = Path(f"/proc/self/fd/{handle}")
        yield by_handle if by_handle.exists() else folder
    finally:
        os.close(handle)


def is_whole(library: Path) -> bool:
    """Return whether a library is there, of this user or of root, and the one that its checksum was written for."""
    content, checksum = _read(library), _read(_beside(library))
    return content is not None and checksum is not None and checksum == _checksum(library, content)


def publish(library: Path, content: bytes) -> None:
    """Put a library and its checksum into the folder.

    Raises:
        DiskError: it cannot be written.
    """
    for path, data in ((library, content), (_beside(library), _checksum(library, content))):
        with atomic_path(path) as part:
            with suppress(FileNotFoundError):
                part.unlink()
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700 if path == library else 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(data)


def remove(library: Path) -> None:
    """Take a library that cannot be used out of the folder."""
    for path in (_beside(library), library):
        with suppress(OSError):
            path.unlink()


@contextmanager
def locked(library: Path, longest_s: float) -> Iterator[bool]:
    """Hold the right to make ``library``; yields whether it was had within ``longest_s`` seconds.

    Where the file system knows no locks, everybody has it: files are renamed into place, so that only time is lost.
    """
    import fcntl

    handle = os.open(library.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        deadline = time.monotonic() + longest_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(_WAIT_S)
                    continue
                yield False
                return
            except OSError:
                pass
            break
        yield True
    finally:
        os.close(handle)


def _make(folder: Path) -> None:
    """``mkdir -p``, but every folder that is made is private, whatever the umask."""
    missing = [folder, *folder.parents]
    missing = missing[: next((i for i, path in enumerate(missing) if path.exists()), len(missing))]
    for path in reversed(missing):
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)


def _own(found: os.stat_result) -> bool:
    return found.st_uid in (os.geteuid(), 0)


def _read(path: Path) -> bytes | None:
    """The bytes of a plain file that nobody else can have written; None if there is no such file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or not _own(found) or found.st_mode & _OTHERS_WRITE:
            return None
        try:
            return file.read()
        except OSError:
            return None


def _beside(library: Path) -> Path:
    return library.with_suffix(".sha256")


def _checksum(library: Path, content: bytes) -> bytes:
    """A line as ``sha256sum`` writes it; the name is part of it, so that no library stands in for another."""
    return f"{hashlib.sha256(content).hexdigest()}  {library.name}\n".encode()
