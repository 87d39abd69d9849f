"""Images in tar files, webdataset's layout: ``SOURCE/train-000000.tar …``, ``SOURCE/val-000000.tar …`` (or ``test``).

Consecutive members with the same name up to its first dot are one sample: ``KEY.jpg`` (or another image) and
``KEY.cls``, the label in digits. Members called ``__NAME__`` (webdataset's own notes) and hidden ones (macOS writes a
``._NAME`` beside each) are no samples. Names of classes come from ``SOURCE/classes.txt``, one a line, where there is
one.

Headers are read once: where each image lies is kept in ``SOURCE/train.index.npz``, or in memory where that cannot be
written. So any image can be asked for, by any number of processes, and a run taken up anywhere; the order keeps to
shards all the same (``data.shuffle_window``), since disks like to read on.
"""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from snnkit.data.config import DataConfig
from snnkit.data.image_folder import MEAN, STD, read_image
from snnkit.data.samples import Names, Samples, Splits
from snnkit.data.tar_index import CUT_OFF, cut_off, find_shards, index_of, kept_index, tested_split
from snnkit.data.transforms import for_testing, for_training
from snnkit.errors import CorruptFileError, InvalidArgumentError

IMAGES = tuple(ending.removeprefix(".") for ending in IMG_EXTENSIONS)
"""Endings of images, without the dot."""

_LONGEST_LABEL, _LARGEST_LABEL = 32, 9_999_999  # bytes; each label up to the largest is a class


class _Entry(NamedTuple):
    """One sample: its key, where its image lies, its label, and what is wrong with it (empty if nothing)."""

    key: str
    offset: int
    size: int
    label: int
    wrong: str


@dataclass(frozen=True)
class ShardIndex:
    """Where the N images of some shards lie: arrays (N,), ``shard`` counting in ``paths``."""

    paths: tuple[str, ...]
    shard: np.ndarray
    key: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    label: np.ndarray
    wrong: np.ndarray

    def name(self, index: int) -> str:
        """Return shard and key of an image."""
        return f"{self.paths[self.shard[index]]}:{self.key[index]}"


class ShardImages:
    """A ``Source`` of the images of an index."""

    def __init__(self, index: ShardIndex):
        self._index, self.labels, self.names = index, index.label, Names(len(index.label), index.name)

    @property
    def runs(self) -> tuple[int, ...]:
        """Images of each shard."""
        return tuple(np.bincount(self._index.shard).tolist())

    @property
    def files(self) -> tuple[str, ...]:
        """The tar files."""
        return self._index.paths

    def read(self, index: int) -> Tensor:
        """Return an image uint8 (3, H, W).

        Raises:
            CorruptFileError: the sample is damaged; names shard and key.
        """
        found, name = self._index, self.names[index]
        if found.wrong[index]:
            raise CorruptFileError(f"{name}: {found.wrong[index]}; mend the shard, or set data.on_corrupt=skip.")
        try:
            with open(found.paths[found.shard[index]], "rb") as file:
                file.seek(int(found.offset[index]))
                content = file.read(int(found.size[index]))
        except OSError as error:
            raise CorruptFileError(f"{name} cannot be read: {error.strerror or error}.") from None
        return read_image(io.BytesIO(content), name)


def load(config: DataConfig) -> Splits:
    """Return the images of the shards in ``config.source``.

    Raises:
        InvalidArgumentError: no such folder, no shards or no images in them, or more labels than names of classes.
    """
    root = Path(config.source)
    train = ShardImages(_index(root, "train"))
    test = ShardImages(_index(root, tested_split(root)))
    skip, size = config.on_corrupt == "skip", (0, 0)
    return Splits(
        Samples(train, for_training(config, size, MEAN, STD), skip),
        Samples(test, for_testing(config, size, MEAN, STD), skip),
        class_names(root, 1 + max(int(train.labels.max()), int(test.labels.max()))),
        str(root),
        runs=train.runs,
        views=config.test_crops,
    )


def class_names(root: Path, count: int) -> tuple[str, ...]:
    """Return the names of classes in ``classes.txt``, or their numbers where there is none.

    Raises:
        InvalidArgumentError: more labels than names.
    """
    path = root / "classes.txt"
    if not path.exists():
        return tuple(str(label) for label in range(count))
    names = tuple(path.read_text(encoding="utf-8").split("\n"))
    names = names[:-1] if names and not names[-1] else names
    if len(names) < count:
        raise InvalidArgumentError(f"{path} names {len(names)} classes, but a label is {count - 1}.")
    return names


_ARRAYS = ("shard", *_Entry._fields)


def _index(root: Path, split: str) -> ShardIndex:
    """Read the index of a split from its file, or from the shards where it is missing or older than they are."""
    paths = find_shards(root, split)
    make = partial(index_of, paths, _entry, partial(_Entry, "(end)", 0, 0, 0), "sample")
    arrays = kept_index(root / f"{split}.index.npz", paths, _ARRAYS, make)
    return ShardIndex(tuple(str(path) for path in paths), *(arrays[key] for key in _ARRAYS))


def _entry(file: io.BufferedReader, key: str, parts: dict[str, tarfile.TarInfo], total: int) -> _Entry:
    """Make a sample of the members that share a key."""
    if cut_off(parts, total):
        return _Entry(key, 0, 0, 0, CUT_OFF)
    image = next((parts[ending] for ending in IMAGES if ending in parts), None)
    label = parts.get("cls")
    if image is None or label is None:
        lacks = "an image" if image is None else "KEY.cls, its label"
        return _Entry(key, 0, 0, 0, f"it has {', '.join(parts)}, but not {lacks}")
    number = read_label(file, label)
    if isinstance(number, str):
        return _Entry(key, 0, 0, 0, number)
    return _Entry(key, image.offset_data, image.size, number, "")


def read_label(file: io.BufferedReader, member: tarfile.TarInfo) -> int | str:
    """Return the label that a member ``KEY.cls`` holds, or what is wrong with it."""
    file.seek(member.offset_data)
    text = file.read(min(member.size, _LONGEST_LABEL)).decode("latin-1").strip()
    if not text.isascii() or not text.isdigit() or int(text) > _LARGEST_LABEL:
        return f"its label is {text!r}, not a whole number from 0 to {_LARGEST_LABEL:,}"
    return int(text)
