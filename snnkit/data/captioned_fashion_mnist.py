"""Fashion-MNIST with captions: single things, turned ones, and two side by side, in many wordings.

    "a dark sneaker"   "a bag turned upside down"   "a coat to the left of an ankle boot"

What a caption says beyond the kind of clothing is seen in the image: how bright or wide a thing is, measured on its
pixels; how it was turned; which of two is where. So a text is more than a class. Two things are shrunk to half their
side. Training draws anew what is shown and said each time; of test images every fourth is turned and every fourth is a
pair, always the same. Labels are those of single upright things, −1 of others.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from snnkit.data import fashion_mnist
from snnkit.data.captions import PROMPTS, Pair, Pairs, prompts
from snnkit.data.config import DataConfig
from snnkit.data.order import kept_generators, seed_generators
from snnkit.data.samples import Splits
from snnkit.data.tokens import make_tokens
from snnkit.data.transforms import for_testing, for_training

NAMES = (
    *("t-shirt", "pair of trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
_SINGLE = ("a photo of {}", "a picture of {}", "this is {}", "{}", "{} on a black background", "someone sells {}")
_TURNED = {
    1: ("{} lying on its left side", "{} turned to the left"),
    2: ("{} turned upside down", "{} standing on its head"),
    3: ("{} lying on its right side", "{} turned to the right"),
}
_BESIDE = {
    False: ("{} to the left of {}", "{} on the left and {} on the right", "left {}, right {}"),
    True: ("{} above {}", "{} on top of {}", "above {}, below {}"),
}
_REVERSED = {
    False: ("{1} to the right of {0}", "{1} on the right and {0} on the left"),
    True: ("{1} below {0}", "{1} under {0}"),
}
_DARK, _BRIGHT, _NARROW, _WIDE = 90, 170, 0.6, 1.3
_INK = 30  # pixels above this belong to the thing


class Captioned:
    """A ``PairSource`` of composed images.

    Args:
        images: uint8 (N, H, W), H and W even.
        labels: (N,).
        drawn: whether each read draws anew; else a pair is always the same.
        flip: whether half of the things are mirrored before anything else.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, drawn: bool, flip: bool):
        self._images, self.labels = torch.from_numpy(np.array(images)), labels.astype(np.int64)
        self._drawn, self._flip = drawn, flip
        self._others = np.arange(len(labels))
        self.names: Sequence[str] = range(len(labels))  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> Pair:
        """Return a pair."""
        if self._drawn:
            return self._compose(index, random.choices((0, 1, 2), (2, 1, 1))[0])
        with kept_generators():
            seed_generators(index)
            return self._compose(index, (0, 0, 1, 2)[index % 4])

    def among(self, indices: np.ndarray) -> Captioned:
        """Return the same images, of which only these stand beside others."""
        twin = copy.copy(self)
        twin._others = np.asarray(indices)
        return twin

    def as_tested(self) -> Captioned:
        """Return the same images with texts that are the same whenever they are read."""
        twin = copy.copy(self)
        twin._drawn = False
        return twin

    def _compose(self, index: int, kind: int) -> Pair:
        image, label = self._thing(index), int(self.labels[index])
        said = described(image, NAMES[label])
        if kind == 0:
            return Pair(image[None], random.choice(_SINGLE).format(said), label)
        if kind == 1:
            turns = random.randint(1, 3)
            return Pair(torch.rot90(image, turns)[None], random.choice(_TURNED[turns]).format(said), -1)
        other = int(self._others[random.randrange(len(self._others))])
        second, above = self._thing(other), random.random() < 0.5
        both = said, described(second, NAMES[int(self.labels[other])])
        wording = random.choice(_BESIDE[above] + _REVERSED[above])
        return Pair(beside(image, second, above)[None], wording.format(*both), -1)

    def _thing(self, index: int) -> Tensor:
        image = self._images[index]
        return image.flip(1) if self._flip and self._drawn and random.random() < 0.5 else image


def described(image_HW: Tensor, name: str) -> str:
    """Return a name with its article and, half of the time where there is one, an adjective that the pixels show."""
    found = adjectives(image_HW)
    words = f"{random.choice(found)} {name}" if found and random.random() < 0.5 else name
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def adjectives(image_HW: Tensor) -> list[str]:
    """Return what can be said of a thing: dark or bright, narrow or wide."""
    ink = image_HW > _INK
    rows, columns = ink.any(1).sum(), ink.any(0).sum()
    if not rows:
        return []
    mean, shape = float(image_HW[ink].float().mean()), float(columns / rows)
    told = {"dark": mean < _DARK, "bright": mean > _BRIGHT, "narrow": shape < _NARROW, "wide": shape > _WIDE}
    return [word for word, holds in told.items() if holds]


def beside(one_HW: Tensor, other_HW: Tensor, above: bool) -> Tensor:
    """Return two images at half their side in one: beside each other, or one above the other; the rest is black."""
    made, (height, width) = torch.zeros_like(one_HW), one_HW.shape
    halves = [torch.nn.functional.avg_pool2d(i[None].float(), 2)[0].round().byte() for i in (one_HW, other_HW)]
    y, x = height // 4, width // 4
    places = [(0, x), (height // 2, x)] if above else [(y, 0), (y, width // 2)]
    for (top, left), half in zip(places, halves, strict=True):
        made[top : top + height // 2, left : left + width // 2] = half
    return made


def load(config: DataConfig) -> Splits:
    """Return Fashion-MNIST with captions; ``config.source`` as for ``fashion_mnist``."""
    arrays, plain = fashion_mnist.load(config.source), replace(config, flip=False)  # mirrored, left would be right
    size, tokens = (int(arrays.x_train.shape[1]), int(arrays.x_train.shape[2])), make_tokens(config.tokenizer)
    mean, std = [fashion_mnist.MEAN], [fashion_mnist.STD]
    train = Captioned(arrays.x_train, arrays.y_train, True, config.flip)
    test = Captioned(arrays.x_test, arrays.y_test, False, False)
    return Splits(
        Pairs(train, for_training(plain, size, mean, std), config),
        Pairs(test, for_testing(plain, size, mean, std), config),
        NAMES,
        f"{arrays.origin}, with captions",
        tokens=tokens,
        prompts=prompts(NAMES, PROMPTS, tokens, config.context),
    )
