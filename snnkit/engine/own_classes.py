"""What the numbers of a network's classes mean: the names that its run wrote down, beside those of other data.

A run writes ``classes.json`` as it begins; of runs from before, ``summary.json`` of those that ended has the names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from snnkit.data import ImageData
from snnkit.engine.progress import console
from snnkit.engine.run_folder import ENDED
from snnkit.errors import InvalidArgumentError
from snnkit.files import read_json, write_json

FILE = "classes.json"
_NUMBERED = {"labels": "classes", "maps": "classes", "objects": "classes", "keypoints": "key points"}
"""Targets that are numbers of classes, and what the classes are."""


def keep_classes(folder: Path, classes: Sequence[str]) -> None:
    """Write down what the numbers of a run's classes mean."""
    write_json(folder / FILE, list(classes))


def own_classes(folder: Path) -> tuple[str, ...]:
    """Return the names that a run wrote down, by number; none of a run that wrote none.

    Raises:
        CorruptFileError: what it wrote cannot be read.
    """
    if (folder / FILE).exists():
        found = read_json(folder / FILE)
    else:
        summary = read_json(folder / ENDED) if (folder / ENDED).exists() else None
        found = summary.get("classes") if isinstance(summary, dict) else None
    return tuple(map(str, found)) if isinstance(found, list) else ()


def run_classes(checkpoint: str | Path) -> tuple[str, ...]:
    """Return ``own_classes`` of the run that a checkpoint lies in; none where it lies in none."""
    folder = Path(checkpoint).absolute().parent
    return own_classes(folder.parent) if folder.name == "checkpoints" else ()


def check_classes(own: Sequence[str], data: ImageData, outputs: int = 0, who: str = "the network") -> None:
    """Refuse data whose numbers of classes mean others than a network's; say where only names differ.

    Args:
        own: names of the network's classes; none where they are not known.
        data: what it is tested on.
        outputs: how many classes the network tells apart; 0 where that is not known.
        who: the network is.

    Raises:
        InvalidArgumentError: another number of classes, or one that has another number.
    """
    by_texts = data.tokens is not None and not outputs  # what two towers tell apart, the data's own texts say
    if data.targets not in _NUMBERED or by_texts:
        return
    what, given = _NUMBERED[data.targets], data.classes
    for count in (len(own), outputs):
        if count and count != len(given):
            raise InvalidArgumentError(
                f"{who} tells {count} {what} apart, but {data.origin} has {len(given)}: give data of what it was "
                "trained on."
            )
    places = {name: number for number, name in enumerate(own)}
    for number, name in enumerate(given):
        if (place := places.get(name, number)) != number:
            raise InvalidArgumentError(
                f"{data.origin}: {name!r} is number {number} of its {what}, and number {place} of those that {who} was "
                "trained on; bring them into that order."
            )
    others = [(mine, name) for mine, name in zip(own, given, strict=False) if mine != name]
    if others:
        mine, name = others[0]
        console.print(
            f"note: {what} are matched by number, and {len(others)} are called otherwise: {name!r} is taken for "
            f"{mine!r}.",
            soft_wrap=False,
        )
