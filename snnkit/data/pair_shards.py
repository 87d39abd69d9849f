"""Images with texts in tar files, webdataset's layout: ``SOURCE/train-000000.tar …``, ``SOURCE/val-000000.tar …``.

A sample is ``KEY.jpg`` (or another image) with ``KEY.txt``, or ``KEY.json`` with "caption" or "text"; ``KEY.cls``, a
label in digits, may lie beside them for zero-shot accuracy. Everything else is as for ``tar_shards``: headers are read
once, any pair can be asked for by any number of processes, the order keeps to shards. Training images that lie in the
test split too, byte by byte, are left out, which is said.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snnkit.data.captions import PROMPTS, Pair, Pairs, prompts
from snnkit.data.config import DataConfig
from snnkit.data.image_folder import MEAN, STD, read_image
from snnkit.data.samples import Names, Splits
from snnkit.data.tar_index import CUT_OFF, Arrays, cut_off, find_shards, index_of, kept_index, tested_split
from snnkit.data.tar_shards import IMAGES, class_names, read_label
from snnkit.data.tokens import make_tokens
from snnkit.data.transforms import for_testing, for_training
from snnkit.errors import CorruptFileError, InvalidArgumentError

_TEXTS = ("txt", "json")
_LONGEST = 1 << 20  # bytes of a text


class _Entry(NamedTuple):
    """One pair: its key, where image and text lie, the text's form, label, hash of the image, what is wrong."""

    key: str
    offset: int = 0
    size: int = 0
    text: int = 0
    length: int = 0
    form: str = ""
    label: int = -1
    hash: bytes = b""
    wrong: str = ""


_ARRAYS = ("shard", *_Entry._fields)


class ShardPairs:
    """A ``PairSource`` of the pairs of an index.

    Args:
        paths: of the shards.
        found: arrays of the index.
    """

    def __init__(self, paths: Sequence[str], found: Arrays):
        self.files, self._found, self.labels = tuple(paths), found, found["label"]
        self.names = Names(len(self.labels), self.name)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def runs(self) -> tuple[int, ...]:
        """Pairs of each shard."""
        counts = np.bincount(self._found["shard"], minlength=len(self.files))
        return tuple(int(count) for count in counts if count)

    def name(self, index: int) -> str:
        """Return shard and key."""
        return f"{self.files[self._found['shard'][index]]}:{self._found['key'][index]}"

    def read(self, index: int) -> Pair:
        """Return a pair.

        Raises:
            CorruptFileError: it is damaged; names shard and key.
        """
        found, name = {key: self._found[key][index] for key in _ARRAYS}, self.name(index)
        if found["wrong"]:
            raise CorruptFileError(f"{name}: {found['wrong']}; mend the shard, or set data.on_corrupt=skip.")
        try:
            with open(self.files[found["shard"]], "rb") as file:
                parts = []
                for start, length in (("offset", "size"), ("text", "length")):
                    file.seek(int(found[start]))
                    parts.append(file.read(int(found[length])))
        except OSError as error:
            raise CorruptFileError(f"{name} cannot be read: {error.strerror or error}.") from None
        text = _text(parts[1], str(found["form"]), name)
        return Pair(read_image(io.BytesIO(parts[0]), name), text, int(found["label"]))

    def without(self, hashes: set[bytes]) -> ShardPairs:
        """Return the pairs whose image has none of these hashes."""
        kept = np.array([bytes(one) not in hashes for one in self._found["hash"]], bool)
        return ShardPairs(self.files, {key: self._found[key][kept] for key in _ARRAYS})

    @property
    def hashes(self) -> set[bytes]:
        """Hashes of all images that are whole."""
        return {bytes(one) for one in self._found["hash"]} - {b""}


def load(config: DataConfig) -> Splits:
    """Return the pairs of the shards in ``config.source``.

    Raises:
        InvalidArgumentError: no such folder, no shards or no pairs in them, or more labels than names of classes.
    """
    root, size = Path(config.source), (0, 0)
    train = _pairs(root, "train")
    test = _pairs(root, tested_split(root))
    apart = train.without(test.hashes)
    notes: list[str] = []
    if len(apart) < len(train):
        notes.append(
            f"{len(train) - len(apart):,} training pairs are left out: their images lie in the test split too."
        )
    if not len(apart):
        raise InvalidArgumentError(f"{root}: every training image lies in the test split too; give others.")
    tokens, labels = make_tokens(config.tokenizer), 1 + max(int(train.labels.max()), int(test.labels.max()))
    named = (root / "classes.txt").exists()
    classes = class_names(root, labels) if labels or named else ()
    if labels and not named:
        notes.append(f"labels have no names, so no text names a class: give {root / 'classes.txt'}, one name a line.")
    words = [name.replace("_", " ") for name in classes]
    plain = replace(config, flip=False)  # texts say what is left and right
    return Splits(
        Pairs(apart, for_training(plain, size, MEAN, STD), config),
        Pairs(test, for_testing(plain, size, MEAN, STD), config),
        classes,
        str(root),
        runs=apart.runs,
        notes=tuple(notes),
        tokens=tokens,
        prompts=prompts(words, PROMPTS, tokens, config.context) if named and words else None,
    )


def _pairs(root: Path, split: str) -> ShardPairs:
    paths = find_shards(root, split)
    make = partial(index_of, paths, _entry, lambda wrong: _Entry("(end)", wrong=wrong), "pair")
    found = kept_index(root / f"{split}.pairs.npz", paths, _ARRAYS, make)
    return ShardPairs(tuple(str(path) for path in paths), found)


def _entry(file: io.BufferedReader, key: str, parts: dict[str, tarfile.TarInfo], total: int) -> _Entry:
    if cut_off(parts, total):
        return _Entry(key, wrong=CUT_OFF)
    image = next((parts[ending] for ending in IMAGES if ending in parts), None)
    form = next((ending for ending in _TEXTS if ending in parts), None)
    if image is None or form is None:
        lacks = "an image" if image is None else "KEY.txt or KEY.json, its text"
        return _Entry(key, wrong=f"it has {', '.join(parts)}, but not {lacks}")
    text, label = parts[form], -1
    if text.size > _LONGEST:
        return _Entry(key, wrong=f"its text has {text.size:,} bytes, more than {_LONGEST:,}")
    if "cls" in parts:
        number = read_label(file, parts["cls"])
        if isinstance(number, str):
            return _Entry(key, wrong=number)
        label = number
    file.seek(image.offset_data)
    found = hashlib.blake2b(file.read(image.size), digest_size=16).hexdigest().encode()
    return _Entry(key, image.offset_data, image.size, text.offset_data, text.size, form, label, found)


def _text(content: bytes, form: str, name: str) -> str:
    try:
        text = content.decode("utf-8")
        if form == "txt":
            return text
        about = json.loads(text)
        caption = next((about[key] for key in ("caption", "text") if key in about), None)
    except (ValueError, TypeError):
        raise CorruptFileError(f"{name}: its {form} cannot be read; mend it, or set data.on_corrupt=skip.") from None
    if not isinstance(caption, str):
        raise CorruptFileError(
            f"{name}: its json has no text under 'caption' or 'text'; mend it, or set data.on_corrupt=skip."
        )
    return caption
