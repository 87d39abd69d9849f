"""PASS, pictures without people and without labels, and sets that are laid out as it is.

``SOURCE`` holds the tar parts ``PASS.0.tar … PASS.9.tar``, or folders of images as the parts unpack to; a file is
called by its image's hash. Beside them lies ``pass_metadata.csv``, by which every image carries its creator and licence
(``snnkit.data.pass_metadata``). There are no labels (all are 0, and no classes) and no test split: ``data.holdout`` of
the images, chosen by their hashes alone, take its place.

An image without a row or a creator stops the run, or is left out and counted (``data.on_missing=skip``).
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from snnkit.data.config import DataConfig
from snnkit.data.image_folder import MEAN, STD, read_image
from snnkit.data.pass_metadata import Credit, Metadata, find_metadata
from snnkit.data.samples import Names, Samples, Splits
from snnkit.data.tar_index import Arrays, kept_index, read_members
from snnkit.data.transforms import for_testing, for_training
from snnkit.errors import CorruptFileError, InvalidArgumentError

_ARRAYS = ("part", "name", "offset", "size", "wrong")


@dataclass(frozen=True)
class PassIndex:
    """Where N images lie: arrays (N,), ``part`` counting in ``parts``.

    Attributes:
        parts: tar files, or one folder.
        part, name: of each image; a name is a path within its part.
        offset, size: of its bytes in a tar file; a folder's files have none, and −1.
        damage: what is wrong with parts that are damaged, beyond which nothing of them is known.
    """

    parts: tuple[str, ...]
    part: np.ndarray[Any, Any]
    name: np.ndarray[Any, Any]
    offset: np.ndarray[Any, Any]
    size: np.ndarray[Any, Any]
    damage: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.name)

    def take(self, chosen: np.ndarray[Any, Any] | list[int]) -> PassIndex:
        """Return the index of some of the images."""
        part, name, offset, size = (values[chosen] for values in (self.part, self.name, self.offset, self.size))
        return PassIndex(self.parts, part, name, offset, size, self.damage)

    def hashes(self) -> list[bytes]:
        """Names of the files without folder and ending."""
        return [name.rpartition(b"/")[2].partition(b".")[0] for name in self.name.tolist()]

    def called(self, index: int) -> str:
        """Say where an image lies."""
        part, name = self.parts[self.part[index]], os.fsdecode(self.name[index])
        return f"{part}:{name}" if self.offset[index] >= 0 else os.path.join(part, name)

    def content(self, index: int) -> bytes:
        """Return the bytes of an image's file.

        Raises:
            CorruptFileError: they cannot be read, or its part is cut off before their end.
        """
        inside = self.offset[index] >= 0
        path = self.parts[self.part[index]] if inside else self.called(index)
        try:
            with open(path, "rb") as file:
                file.seek(max(int(self.offset[index]), 0))
                content = file.read(int(self.size[index]))
        except OSError as error:
            raise CorruptFileError(f"{self.called(index)} cannot be read: {error.strerror or error}.") from None
        if len(content) < self.size[index]:
            raise CorruptFileError(f"{self.called(index)}: its part is cut off inside it.")
        return content


class LeftOut(NamedTuple):
    """An image that is not used, and why."""

    name: str
    reason: str


class Credits(Sequence[Credit]):
    """Credits of images, read from the table when asked for."""

    def __init__(self, metadata: Metadata, rows: np.ndarray[Any, Any]):
        self._metadata, self._rows = metadata, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._metadata.credit(int(self._rows[index]))

    def __iter__(self) -> Iterator[Credit]:
        return self._metadata.credits(self._rows.tolist())


class PassImages:
    """A ``Source`` of the images of an index, each with its credit."""

    def __init__(self, index: PassIndex, credits: Credits):
        self.index, self.credits, self.names = index, credits, Names(len(index), index.called)
        self.labels = np.zeros(len(index), np.int64)

    @property
    def runs(self) -> tuple[int, ...]:
        """Images of each tar part; none for folders, whose files are read alike in any order."""
        if not len(self.index) or self.index.offset[0] < 0:
            return ()
        return tuple(np.bincount(self.index.part, minlength=len(self.index.parts)).tolist())

    def read(self, index: int) -> Tensor:
        """Return an image uint8 (3, H, W); grey ones have three equal channels.

        Raises:
            CorruptFileError: it cannot be read; names it.
        """
        return read_image(io.BytesIO(self.index.content(index)), self.names[index])


def load(config: DataConfig) -> Splits:
    """Return the images in ``config.source``; see the module for what is what.

    Raises:
        InvalidArgumentError: no such folder, fewer than two images, no table, or images without a creator.
        CorruptFileError: the table is malformed, or a part damaged.
    """
    index = find_images(config.source)
    if index.damage and config.on_corrupt != "skip":
        raise CorruptFileError(f"{index.damage[0]}; fetch it again, or set data.on_corrupt=skip.")
    metadata = Metadata(find_metadata(config.source, config.metadata))
    kept, rows, left_out = credited(index, metadata)
    if left_out and config.on_missing != "skip":
        first = left_out[0]
        raise InvalidArgumentError(
            f"{len(left_out):,} of {len(index):,} images cannot be credited: {first.name} {first.reason}. Mend the "
            f"table, or leave them out with data.on_missing=skip (`snnkit data check {config.source} --list`)."
        )
    held, rest = hold_out(kept, config.holdout)
    train, test = (PassImages(kept.take(part), Credits(metadata, rows[part])) for part in (rest, held))
    skip, size = config.on_corrupt == "skip", (0, 0)
    notes = [*index.damage]
    if left_out:
        notes.append(f"{len(left_out):,} of {len(index):,} images left out: no creator, or no row, in {metadata.path}")
    return Splits(
        Samples(train, for_training(config, size, MEAN, STD), skip),
        Samples(test, for_testing(config, size, MEAN, STD), skip),
        (),
        config.source,
        runs=train.runs,
        views=config.test_crops,
        notes=tuple(notes),
    )


def credited(index: PassIndex, metadata: Metadata) -> tuple[PassIndex, np.ndarray[Any, Any], list[LeftOut]]:
    """Return the images that have a creator, their rows in the table, and the images that have none."""
    rows = metadata.rows(index.hashes())
    reasons = [metadata.wrong(row) for row in rows.tolist()]
    left_out = [LeftOut(index.called(n), reason) for n, reason in enumerate(reasons) if reason]
    chosen = np.flatnonzero([not reason for reason in reasons])
    return index.take(chosen), rows[chosen], left_out


def hold_out(index: PassIndex, share: float) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the places of the images to test on, at least one, and of the others, both ascending.

    Which are held out follows from the hashes alone, not from the layout: parts and folders give the same images.

    Raises:
        InvalidArgumentError: one of the two would be empty.
    """
    count = max(round(share * len(index)), 1)
    if count >= len(index):
        raise InvalidArgumentError(
            f"data.holdout={share}: {count} of {len(index)} images are tested on, and none is left to train on; at "
            "least two images are needed."
        )
    order = sorted(
        range(len(index)), key=[hashlib.blake2b(h, digest_size=8).digest() for h in index.hashes()].__getitem__
    )
    return np.sort(order[:count]), np.sort(order[count:])


def find_images(source: str | Path) -> PassIndex:
    """Return where the images of a folder lie: in its tar parts, or in it and the folders in it, by name.

    Raises:
        InvalidArgumentError: no such folder, no images, both parts and unpacked images, or two files of one hash.
    """
    root = Path(source)
    if not root.is_dir():
        raise InvalidArgumentError(
            f"data.source={str(source)!r} is not a folder: give one with PASS.0.tar … or with folders of images."
        )
    parts, files = sorted(root.glob("*.tar")), _files(root)
    if parts and files:
        raise InvalidArgumentError(
            f"{root} holds {parts[0].name} and unpacked images ({os.fsdecode(files[0])}), which may be the same: give "
            "the folder of one of them (data.source)."
        )
    if parts:
        arrays = kept_index(root / "pass.index.npz", parts, _ARRAYS, lambda: _members(parts))
        damage = tuple(text for text in arrays.pop("wrong").tolist() if text)
        part, name, offset, size = (arrays[key] for key in _ARRAYS[:-1])
        index = PassIndex(tuple(map(str, parts)), part, name, offset, size, damage)
    else:
        name = np.array(files, np.bytes_)
        none = np.full(len(files), -1, np.int64)
        index = PassIndex((str(root),), np.zeros(len(files), np.int32), name, none, none)
    if not len(index):
        reason = f": {index.damage[0]}" if index.damage else ""
        raise InvalidArgumentError(f"{root} holds no images{reason}; they end in {', '.join(IMG_EXTENSIONS)}.")
    _check_once(index)
    return index


def _check_once(index: PassIndex) -> None:
    hashes = np.array(index.hashes(), np.bytes_)
    order = np.argsort(hashes, kind="stable")
    twice = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    if len(twice):
        first, second = (index.called(order[twice[0] + n]) for n in (0, 1))
        raise InvalidArgumentError(f"{first} and {second} have one hash ({len(twice)} such); remove one of them.")


def _is_image(name: str) -> bool:
    base = name.rpartition("/")[2]
    return base.lower().endswith(IMG_EXTENSIONS) and not base.startswith(".")


def _files(root: Path) -> list[bytes]:
    """Paths of images below a folder, in an order that no file system decides."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__MACOSX"]
        within = os.path.relpath(folder, root)
        found += [os.fsencode(os.path.normpath(os.path.join(within, name))) for name in names if _is_image(name)]
    return sorted(found)


def _members(parts: Sequence[Path]) -> Arrays:
    """Read the headers of tar parts."""
    rows: list[tuple[int, bytes, int, int]] = []
    wrong = []
    for number, path in enumerate(parts):
        with open(path, "rb") as file:
            members, damage = read_members(file)
        rows += [(number, os.fsencode(m.name), m.offset_data, m.size) for m in members if _is_image(m.name)]
        wrong.append(damage and f"{path}: {damage}")
    part, name, offset, size = zip(*rows, strict=True) if rows else ((), (), (), ())
    return {
        "part": np.array(part, np.int32),
        "name": np.array(name, np.bytes_),
        "offset": np.array(offset, np.int64),
        "size": np.array(size, np.int64),
        "wrong": np.array(wrong),
    }
