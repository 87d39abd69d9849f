"""Where files lie in tar files: headers are read once, and what was found is kept in an archive that is checked."""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from snnkit.archives import read_npz
from snnkit.errors import CorruptFileError, DiskError, InvalidArgumentError
from snnkit.files import atomic_path

Arrays = dict[str, np.ndarray[Any, Any]]


def read_members(file: io.BufferedReader) -> tuple[list[tarfile.TarInfo], str]:
    """Return the files in an opened tar file, no notes of systems or tools, and what is wrong with it ("" if nothing).

    What follows damage is lost; the files before it are returned.
    """
    members: list[tarfile.TarInfo] = []
    end = 0
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                end = member.offset_data + member.size
                if member.isfile() and not _is_note(member.name):
                    members.append(member)
            file.seek(tar.offset)
            # A tar file ends in empty blocks; its reader takes anything that is no header for the end.
            if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
                return members, f"the shard is damaged at byte {tar.offset}: what follows is lost"
    except (tarfile.TarError, EOFError) as error:
        return members, f"the shard is damaged at byte {end} ({error}): what follows is lost"
    return members, ""


def _is_note(name: str) -> bool:
    base = name.rpartition("/")[2]
    return base.startswith(".") or (base.startswith("__") and base.endswith("__"))


CUT_OFF = "the shard is cut off inside it"


def samples_of(members: Iterable[tarfile.TarInfo]) -> Iterator[tuple[str, dict[str, tarfile.TarInfo]]]:
    """Yield webdataset's samples: consecutive members with the same name up to its first dot, by their endings."""
    for key, group in groupby(members, _key):
        yield key, {member.name[len(key) + 1 :].lower(): member for member in group}


def _key(member: tarfile.TarInfo) -> str:
    folder, slash, name = member.name.rpartition("/")
    return folder + slash + name.partition(".")[0]


def cut_off(parts: Mapping[str, tarfile.TarInfo], total: int) -> bool:
    """Whether a sample goes on beyond the ``total`` bytes of its shard."""
    return max(member.offset_data + member.size for member in parts.values()) > total


def find_shards(root: Path, split: str) -> list[Path]:
    """Return the shards of a split in the order of their names.

    Raises:
        InvalidArgumentError: there are none.
    """
    paths = sorted(root.glob(f"{split}-*.tar"))
    if not paths:
        raise InvalidArgumentError(
            f"{root} holds no {split}-*.tar: give a folder with train-000000.tar … and val-000000.tar … (data.source)."
        )
    return paths


def tested_split(root: Path) -> str:
    """Return the split of shards that is tested on: "test" where there is one, else "val"."""
    return "test" if any(root.glob("test-*.tar")) else "val"


class Entry(Protocol):
    """What an index holds of a sample, a named tuple: its key, what is wrong with it (empty if nothing), and more."""

    key: str
    wrong: str
    _fields: tuple[str, ...]


MakeEntry = Callable[[io.BufferedReader, str, dict[str, tarfile.TarInfo], int], Entry]
"""From an opened shard, a key, the members that share it and the bytes of the shard, to an entry."""


def index_of(paths: Sequence[Path], make: MakeEntry, damaged: Callable[[str], Entry], what: str) -> Arrays:
    """Read the headers of shards: return an array (N,) of every field of their entries, and ``shard``, counting paths.

    Args:
        paths: of the shards of a split.
        make: makes an entry.
        damaged: makes one that stands for damage, which is a sample of its own at the end of its shard.
        what: a sample is called in messages.

    Raises:
        InvalidArgumentError: no sample is whole.
    """
    entries = [(number, entry) for number, path in enumerate(paths) for entry in _scan(path, make, damaged)]
    if all(entry.wrong for _, entry in entries):
        reason = f", first: {entries[0][1].wrong}" if entries else ""
        split = paths[0].name.partition("-")[0]
        raise InvalidArgumentError(f"{paths[0].parent}/{split}-*.tar hold no {what} that is whole{reason}.")
    arrays: Arrays = {"shard": np.array([number for number, _ in entries], np.int32)}
    for key in entries[0][1]._fields:
        values = [getattr(entry, key) for _, entry in entries]
        arrays[key] = np.array(values, np.int64 if isinstance(values[0], int) else None)
    return arrays


def _scan(path: Path, make: MakeEntry, damaged: Callable[[str], Entry]) -> Iterator[Entry]:
    with open(path, "rb") as file:
        members, wrong = read_members(file)
        for key, parts in samples_of(members):
            yield make(file, key, parts, path.stat().st_size)
    if wrong:
        yield damaged(wrong)


def kept_index(kept: Path, paths: Sequence[Path], keys: Sequence[str], make: Callable[[], Arrays]) -> Arrays:
    """Return the arrays ``keys`` of an index of files, from ``kept`` where it was made of these files as they are now.

    Args:
        kept: archive that holds the index; written where that is possible, else the index lives in memory.
        paths: of the files; names, sizes and times of change tell whether they are the same.
        keys: names of the arrays.
        make: reads the files.
    """
    state = np.array([f"{p.name} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in paths])
    # A damaged, altered or foreign archive is made anew.
    with suppress(CorruptFileError, KeyError):
        arrays = read_npz(kept)
        if np.array_equal(arrays["state"], state) and arrays["check"] == _check(arrays, keys):
            return {key: arrays[key] for key in keys}
    arrays = {**make(), "state": state}
    with suppress(DiskError), atomic_path(kept) as temporary, open(temporary, "wb") as file:
        np.savez(file, check=_check(arrays, keys), **arrays)
    return {key: arrays[key] for key in keys}


def _check(arrays: Mapping[str, np.ndarray[Any, Any]], keys: Sequence[str]) -> int:
    """Return a checksum of the arrays of an index, their kinds and lengths among them."""
    found = 0
    for key in (*keys, "state"):
        array = np.ascontiguousarray(arrays[key])
        found = zlib.crc32(f"{key} {array.dtype.str} {array.shape}".encode(), found)
        found = zlib.crc32(array.tobytes(), found)
    return found
