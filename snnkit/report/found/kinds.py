"""The kinds of records that tasks beyond classes leave, by the name of their file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from snnkit.report.found import captions, detection, pose, segmentation
from snnkit.report.found.blocks import Block
from snnkit.report.pictures import Picture

Records = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """How records of one kind are shown.

    Attributes:
        blocks: what the section shows of the records and of predictions.png: rows of one or two blocks.
        tiles: numbers at the head of the page.
        unreached: sections of the page that no verb adds to such a run, by their keys.
    """

    blocks: Callable[[Records, Picture | None], list[list[Block]]]
    tiles: Callable[[Records], list[dict[str, str]]] = lambda _: []
    unreached: tuple[str, ...] = ()


_OF_CLASSES = ("conversion", "raster", "equality")  # how many answers are right, before and after

KINDS = {
    "segmentation": Kind(segmentation.blocks),
    "detection": Kind(detection.blocks, detection.tiles),
    "pose": Kind(pose.blocks, unreached=_OF_CLASSES),
    "captions": Kind(captions.blocks, unreached=(*_OF_CLASSES, "cores")),
}
"""By the name of the file without ``.json``; of a folder that holds several, the first that shows something."""
