"""Pairs of images and texts: what a data set with captions gives, and how captions are made of classes.

A sample is (image, tokens (L,), label); the label is −1 where there is none. A text that is longer than the context is
cut, which is counted as other things that could not be read whole are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from snnkit.data.config import DataConfig
from snnkit.data.order import Noted, Skipped
from snnkit.data.tokens import BytePairs, Bytes, fitted, make_tokens
from snnkit.errors import CorruptFileError

PROMPTS = ("a photo of a {}.", "a picture of a {}.", "an image of the {}.", "this is a {}.", "{}")
"""Templates of texts that name a class."""


class Pair(NamedTuple):
    """An image uint8 (C, H, W), its text, its label or −1."""

    image: Tensor
    text: str
    label: int


class PairSource(Protocol):
    """Images and texts by index, as they are stored or drawn; draws are from Python's generator."""

    names: Sequence[str]

    def __len__(self) -> int:
        """How many there are."""

    def read(self, index: int) -> Pair:
        """Return a pair.

        Raises:
            CorruptFileError: it cannot be read; names it.
        """


class Pairs(Dataset):
    """(transformed image, tokens, label) by index.

    Args:
        source: reads them.
        transform: of images.
        config: ``tokenizer``, ``context``, ``on_corrupt``.
    """

    def __init__(self, source: PairSource, transform: Callable[[Tensor], Tensor], config: DataConfig):
        self.source, self.transform, self.names = source, transform, source.names
        self.tokens, self.context, self.skip = (
            make_tokens(config.tokenizer),
            config.context,
            config.on_corrupt == "skip",
        )
        if hasattr(source, "labels"):
            self.labels = source.labels

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Any:
        try:
            image, text, label = self.source.read(index)
            encoded = self.tokens.encode(text.strip())
            if not encoded:
                why = f"data.tokenizer makes no token of its text {text.strip()[:40]!r}" if text.strip() else ""
                raise CorruptFileError(
                    f"{self.names[index]}: {why or 'its text is empty'}; mend it, or set data.on_corrupt=skip."
                )
        except CorruptFileError as error:
            if self.skip:
                return Skipped(str(error))
            raise
        row, cut = fitted(encoded, self.context)
        sample = self.transform(image), row, label
        if cut:
            whole = self.context + cut
            return Noted(sample, f"{self.names[index]}: its text was cut to {self.context} tokens of {whole}")
        return sample


def filled(template: str, name: str) -> str:
    """Return a template with a name in the place of its {}; other braces are letters."""
    return template.replace("{}", name)


def prompts(classes: Sequence[str], templates: Sequence[str], tokens: Bytes | BytePairs, context: int) -> Tensor:
    """Return the tokens of every class in every template, (K, M, L); what is too long is cut."""
    rows = [[fitted(tokens.encode(filled(template, name)), context)[0] for template in templates] for name in classes]
    return torch.stack([torch.stack(row) for row in rows])
