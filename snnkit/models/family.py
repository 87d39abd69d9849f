"""The card of a model family: what a reader wants to know before trusting a model, and how its published weights load.

A family is one file with one ``Family`` and the functions or size tables that build its models.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

Kind = Literal["snn", "ann"]
StateDict = Mapping[str, Tensor]


@dataclass(frozen=True)
class Published:
    """One published result; what the source does not give stays None.

    Attributes:
        model: name in the registry.
        top1: ImageNet-1K top-1 accuracy in percent, unless ``note`` names another set.
        params_m: parameters in millions, as printed in the paper.
        energy_mj: energy per image in mJ, as the authors estimate it.
        timesteps: T of that result; None for ordinary models.
        img_size: side of the images in pixels.
        note: anything else that must be known.
    """

    model: str
    top1: float | None = None
    params_m: float | None = None
    energy_mj: float | None = None
    timesteps: int | None = None
    img_size: int = 224
    note: str = ""


@dataclass(frozen=True)
class Family:
    """A model family.

    Attributes:
        name: in lower case, the name of its file.
        title: as people write it.
        kind: "snn" (spiking) or "ann" (ordinary).
        paper: authors, title, identifier.
        source: the published code that the models are equal to.
        tiny: ``{"name": …, **arguments}`` of ``create_model`` for a build small enough to try everything on.
        published: results.
        checkpoints: where weights are to be had, and in which form.
        unconfirmed: what is inferred or was not checked against a source.
        marks: regular expressions; published weights of this family have a key matching each of them.
        convert: from published keys (bare, without containers and prefixes) to the model's own; None where they agree.
        ignored: regular expressions of published keys that carry nothing the model needs.
        form: arguments that published weights were trained with though they are not the defaults; a model keeps each as
            an attribute, None where it was not given.
        take_form: changes a model that was made without them.
    """

    name: str
    title: str
    kind: Kind
    paper: str
    source: str
    tiny: Mapping[str, Any]
    published: tuple[Published, ...] = ()
    checkpoints: tuple[str, ...] = ()
    unconfirmed: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    convert: Callable[[StateDict, nn.Module], dict[str, Tensor]] | None = None
    ignored: tuple[str, ...] = ()
    form: Mapping[str, Any] = field(default_factory=dict)
    take_form: Callable[[nn.Module], None] | None = None

    def recognises(self, keys: Iterable[str]) -> bool:
        """Whether these are keys of this family's published weights."""
        keys = list(keys)
        return bool(self.marks) and all(any(re.search(mark, key) for key in keys) for mark in self.marks)

    def ignores(self, key: str) -> bool:
        """Whether a published key carries nothing that the model needs."""
        return any(re.search(pattern, key) for pattern in self.ignored)


Replacement = str | Callable[[re.Match[str]], str]


def renamed(state: StateDict, rules: Iterable[tuple[str, Replacement]]) -> dict[str, Tensor]:
    """Apply regular-expression substitutions, in their order, to every key of ``state``."""
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]

    def rename(key: str) -> str:
        for pattern, replacement in compiled:
            key = pattern.sub(replacement, key)
        return key

    return {rename(key): value for key, value in state.items()}
