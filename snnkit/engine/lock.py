"""The lock of a run's folder: one training writes into it, and a second one is told who does.

    RUN/.lock       {"pid": …, "host": …, "since": …}, held while the run is being written

On one machine the kernel holds the lock (flock): it falls with the process, however that ends. Where several machines
share a file system that does not know such locks, the file's time tells: its owner renews it every half minute, and one
that is two minutes old belongs to nobody.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from lightning_fabric import Fabric

from snnkit.errors import DiskError, SnnkitError

NAME = ".lock"
RENEWED_SECONDS, STALE_SECONDS = 30.0, 120.0
_PART = re.compile(r"\.(?P<name>.+?)(?:\.(?P<pid>\d+))?\.part")


class LockedError(SnnkitError):
    """Another process is writing into the folder of a run."""


@contextmanager
def locked(fabric: Fabric, folder: Path) -> Iterator[None]:
    """Hold the lock of a run inside the block, for all processes of ``fabric``; leftovers of killed ones are removed.

    Raises:
        LockedError: another training has it (names its process, host and time); nothing was written.
        DiskError: the folder cannot be written.
    """
    held, problem, full = None, "", False
    if fabric.is_global_zero:
        try:
            held = _take(folder)
            remove_parts(folder)
        except (LockedError, DiskError) as error:
            problem, full = str(error), isinstance(error, DiskError)
    problem, full = fabric.broadcast((problem, full))
    if problem:
        raise (DiskError if full else LockedError)(problem)
    try:
        yield
    finally:
        if held is not None:
            held.release()


class _Held:
    """A lock that this process has: the opened file, and the thread that renews its time."""

    def __init__(self, path: Path, file: IO[str]):
        self._path, self._file, self._done = path, file, threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    def _renew(self) -> None:
        while not self._done.wait(RENEWED_SECONDS):
            with suppress(OSError):
                os.utime(self._file.fileno())

    def release(self) -> None:
        """Give the folder back."""
        self._done.set()
        self._thread.join()
        with suppress(OSError):  # a folder that is gone is not locked either
            self._path.unlink()
        self._file.close()


def _take(folder: Path) -> _Held:
    path = folder / NAME
    while True:
        try:
            file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 — open for as long as the lock is held
        except OSError as error:
            raise DiskError(f"could not lock {folder}: {error.strerror or error}.") from None
        try:
            kernel = _flock(file)
            if not _is_at(path, file):
                file.close()
                continue  # its owner removed it between our opening and locking it
            owner = _owner(file)
            if kernel is False or (owner and _alive(owner, path, kernel is True)):
                raise LockedError(_refusal(folder, owner))
            file.seek(0)
            file.truncate()
            json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}, file)
            file.flush()
        except BaseException as error:
            file.close()
            if isinstance(error, OSError):
                raise DiskError(f"could not lock {folder}: {error.strerror or error}.") from None
            raise
        return _Held(path, file)


def _flock(file: IO[str]) -> bool | None:
    """Whether the kernel gave the lock; None where the file system has none."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _owner(file: IO[str]) -> dict[str, Any]:
    """Who wrote the lock; empty where nobody did, or half."""
    file.seek(0)
    try:
        found = json.load(file)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _alive(owner: dict[str, Any], path: Path, kernel: bool) -> bool:
    """Whether the owner of a lock that the kernel does not hold against us may still be writing."""
    if owner.get("host") == socket.gethostname():
        return not kernel and _runs(owner.get("pid"))
    # Both times are the file server's, so clocks may differ.
    probe = path.with_name(f"{NAME}.{os.getpid()}.part")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime < STALE_SECONDS
    finally:
        probe.unlink(missing_ok=True)


def _runs(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, TypeError, OverflowError):
        return False
    return True


def _refusal(folder: Path, owner: dict[str, Any]) -> str:
    who = f"process {owner.get('pid', '?')} on {owner.get('host', 'an unknown host')}, since {owner.get('since', '?')}"
    return (
        f"{folder} is being written by another training ({who}). Wait until it ends, or stop it; the lock of a process "
        f"that was killed falls by itself, one from another host after {STALE_SECONDS:.0f} seconds."
    )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def remove_parts(folder: Path) -> None:
    """Remove what killed processes left half-written in a run's folder; what a running one writes is left alone."""
    for place in (folder, folder / "checkpoints"):
        if not place.is_dir():
            continue
        for path in place.iterdir():
            match = _PART.fullmatch(path.name)
            if match is None or (match["pid"] and _runs(match["pid"])):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
