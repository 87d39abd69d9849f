"""Crops of photographs with captions: what is on the photograph, in several wordings, and how high on it a crop lies.

    "a cat with green eyes"    "the upper part of a red motorcycle in a garage"

The crops are those of ``photographs``. ``SOURCE/captions.txt``, lines NAME<tab>TEXT, has the texts of a folder's
photographs, several lines for several wordings; without it a text is the file's name. Those of scikit-image were
written for this package by looking at them. Training draws a wording and whether the height is said, tests say it
always, so that of the crops of one photograph a text fits a third.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from snnkit.data.captions import Pair, Pairs, filled, prompts
from snnkit.data.config import DataConfig
from snnkit.data.image_folder import MEAN, STD
from snnkit.data.photographs import SIDE, TEST_CROPS, TRAIN_CROPS, Crops, find_photographs, origin
from snnkit.data.samples import Splits
from snnkit.data.tokens import make_tokens
from snnkit.data.transforms import for_testing, for_training
from snnkit.errors import CorruptFileError, unknown_name
from snnkit.files import read_lines

TEXTS = {
    "astronaut": ("a smiling astronaut in an orange suit", "a woman in a space suit beside a flag"),
    "brick": ("a wall of narrow bricks", "bricks with pale mortar between them"),
    "camera": ("a man who films with a camera on a tripod", "a photographer in a dark coat on a lawn"),
    "cell": ("a single bright cell under a microscope", "a round cell on a grey ground"),
    "chelsea": ("a cat with green eyes", "the face of a tabby cat"),
    "clock_motion": ("a clock that is blurred by motion", "something round and blurred before a grey wall"),
    "coffee": ("a cup of coffee on a red saucer", "coffee with a spoon on a wooden table"),
    "coins": ("old coins in rows", "ancient coins on a dark ground"),
    "grass": ("short grass from above", "dry blades of grass"),
    "gravel": ("gravel on the ground", "many small stones"),
    "hubble_deep_field": ("galaxies in a dark sky", "stars and distant galaxies"),
    "ihc": ("stained tissue under a microscope", "brown and blue tissue of a gut"),
    "moon": ("craters on the moon", "the grey surface of the moon"),
    "motorcycle_left": ("a red motorcycle in a garage", "a motorcycle before shelves and a bench"),
    "retina": ("the retina of an eye with its vessels", "a red disc with branching veins"),
    "rocket": ("a rocket on its launch pad at dusk", "a white rocket between towers under a blue sky"),
}
_HEIGHTS = ("the upper part of {}", "the middle of {}", "the lower part of {}")
_PROMPTS = ("{}", "a part of {}", *_HEIGHTS)


class CaptionedCrops:
    """A ``PairSource`` of crops.

    Args:
        crops: the images.
        texts: of each photograph, one or more.
        drawn: whether each read draws a wording.
    """

    def __init__(self, crops: Crops, texts: Sequence[Sequence[str]], drawn: bool):
        self._crops, self._texts, self._drawn = crops, texts, drawn
        self.names, self.labels = crops.names, crops.labels

    def __len__(self) -> int:
        return len(self._crops)

    def read(self, index: int) -> Pair:
        """Return a pair."""
        crop = self._crops.crops[index]
        said = _HEIGHTS[min(int(crop.height * len(_HEIGHTS)), len(_HEIGHTS) - 1)]
        texts = self._texts[crop.photo]
        text = random.choice(texts) if self._drawn else texts[0]
        if self._drawn and random.random() < 0.3:
            said = random.choice(_PROMPTS[:2])
        return Pair(self._crops.read(index), filled(said, text), crop.photo)

    def as_tested(self) -> CaptionedCrops:
        """Return the same crops with the first wording each."""
        twin = copy.copy(self)
        twin._drawn = False
        return twin


def load(config: DataConfig) -> Splits:
    """Return crops with texts.

    Raises:
        InvalidArgumentError: as for ``photographs``.
        CorruptFileError: a photograph or ``captions.txt`` cannot be read.
        UnknownNameError: ``captions.txt`` names a photograph that is not there.
    """
    files, size, tokens = find_photographs(config.source), (SIDE, SIDE), make_tokens(config.tokenizer)
    names = [file.stem for file in files]
    found = TEXTS if config.source == "auto" else read_texts(Path(config.source) / "captions.txt", names)
    texts = [found.get(name) or (name.replace("_", " ").strip(),) for name in names]
    train, test = (CaptionedCrops(Crops(files, t, n), texts, t) for t, n in ((True, TRAIN_CROPS), (False, TEST_CROPS)))
    return Splits(
        Pairs(train, for_training(config, size, MEAN, STD), config),
        Pairs(test, for_testing(config, size, MEAN, STD), config),
        tuple(names),
        f"{origin(files, config.source)}, with captions",
        tokens=tokens,
        prompts=prompts([words[0] for words in texts], _PROMPTS, tokens, config.context),
    )


def read_texts(path: Path, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Return texts by photograph; none where there is no such file.

    Raises:
        CorruptFileError: a line is not NAME<tab>TEXT.
        UnknownNameError: a photograph that is not among ``names``.
    """
    found: dict[str, list[str]] = {}
    for number, line in enumerate(read_lines(path) if path.exists() else (), 1):
        name, tab, text = line.partition("\t")
        if not (tab and text.strip()):
            raise CorruptFileError(f"{path}, line {number}: {line[:40]!r} is not NAME<tab>TEXT.")
        known = next((one for one in (name, Path(name).stem) if one in names), None)
        if known is None:
            raise unknown_name(f"photograph in line {number} of {path}:", name, names)
        found.setdefault(known, []).append(text.strip())
    return found
