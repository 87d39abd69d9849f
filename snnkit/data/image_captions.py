"""Images with captions, for captioning: what a source gives of each, the sample made of it, and batches.

    a sample   image (C, H, W), tokens (L,) of one caption, all captions as texts
    a batch    images (B, C, H, W), tokens (B, L), a list of B tuples of texts

Training draws one of an image's captions each time, from Python's generator; tests take the first for the loss, and
compare what is written with all of them. A caption that is longer than ``data.context`` is cut, and characters that
the tokenizer does not know are lost; both are counted and named. Images are not mirrored: captions say left and right.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchvision.transforms import v2

from snnkit.data.config import DataConfig
from snnkit.data.order import Noted
from snnkit.data.tokens import BytePairs, Bytes, fitted, make_tokens
from snnkit.data.transforms import Normalise
from snnkit.errors import InvalidArgumentError


class Texts(NamedTuple):
    """The captions of an image, at least one and none empty, and what the image is called in messages."""

    name: str
    texts: tuple[str, ...]


class Captions:
    """Transform an image and its captions: uint8 (C, H, W), ``Texts`` → (floats, tokens (L,), texts).

    Training shifts (``shift_pixels``), and where ``crop_scale`` is below 1 cuts a part out and scales it. Testing
    leaves images as they are, or scales them to ``size``.

    Args:
        config: which augmentations, ``tokenizer`` and ``context``.
        size: height and width of what comes out; (0, 0) leaves them.
        train: whether to augment, and draw a caption.
        mean, std: of each channel on the scale 0…1.

    Raises:
        InvalidArgumentError: images are to be mirrored, or a tokenizer that is none.
        CorruptFileError: a tokenizer file that cannot be read.
    """

    def __init__(
        self, config: DataConfig, size: tuple[int, int], train: bool, mean: Sequence[float], std: Sequence[float]
    ):
        if config.flip:
            raise InvalidArgumentError(
                "data.flip=true: captions say left and right, which a mirrored image does not show; set it to false."
            )
        if (config.smallest_scale, config.largest_scale) != (1.0, 1.0):
            raise InvalidArgumentError(
                f"data.smallest_scale={config.smallest_scale}, largest_scale={config.largest_scale}: captions speak of "
                "the whole image; set both to 1."
            )
        steps: list[Any] = []
        if train and config.crop_scale < 1:
            steps.append(v2.RandomResizedCrop(size, scale=(config.crop_scale, 1.0), antialias=True))
        elif size != (0, 0):
            steps.append(v2.Resize(size, antialias=True))
        if train and config.shift_pixels and size != (0, 0):
            steps.append(v2.RandomCrop(size, padding=config.shift_pixels))
        self._pixels = v2.Compose([*steps, Normalise(mean, std)])
        self.tokens, self.context, self._train = make_tokens(config.tokenizer), config.context, train

    def __call__(self, image: Tensor, target: Texts) -> Any:
        """Return the sample, ``Noted`` where something of its caption was left out."""
        text = random.choice(target.texts) if self._train else target.texts[0]
        row, cut = fitted(self.tokens.encode(text), self.context)
        sample = self._pixels(image.as_subclass(Tensor)), row, target.texts
        reasons = [f"its caption was cut to {self.context} tokens of {self.context + cut}"] if cut else []
        if lost := unknown_characters(self.tokens, text):
            reasons.append(f"{' '.join(map(repr, lost))} of its caption: the tokenizer does not know them")
        return Noted(sample, f"{target.name}: {'; '.join(reasons)}") if reasons else sample


def unknown_characters(tokens: Bytes | BytePairs, text: str) -> list[str]:
    """Return the characters of a text, in their order, that are not in what its tokens stand for; case is no matter.

    Bytes know them all.
    """
    if isinstance(tokens, Bytes):
        return []
    told = set(tokens.decode(tokens.encode(text)).casefold())
    return [c for c in dict.fromkeys(text) if not c.isspace() and not set(c.casefold()) <= told]


def collate_captions(samples: list[Any]) -> tuple[Tensor, Tensor, list[tuple[str, ...]]]:
    """Make a batch."""
    images, rows, texts = zip(*samples, strict=True)
    return torch.stack(images), torch.stack(rows), list(texts)
