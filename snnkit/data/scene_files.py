"""Composed scenes as a folder in COCO's form: images, and what is on them in three files a split.

    FOLDER/train/000000.png, …, FOLDER/val/…
    FOLDER/annotations/instances_SPLIT.json      boxes, masks and kinds of clothing        (data set ``coco``)
    FOLDER/annotations/keypoints_SPLIT.json      the corners of every thing                (``coco_keypoints``)
    FOLDER/annotations/captions_SPLIT.json       every wording of a sentence about it      (``coco_captions``)

These are the scenes of data set ``scenes``, so that what is trained on either is trained on the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from snnkit.data.captioned_fashion_mnist import NAMES
from snnkit.data.coco_file import coco_masks, write_instances
from snnkit.data.scene_captions import captions
from snnkit.data.scene_keypoints import CORNERS
from snnkit.data.scene_objects import objects
from snnkit.data.scenes import Scenes, Thing
from snnkit.errors import InvalidArgumentError
from snnkit.files import atomic_path, write_json

SPLITS = {"train": True, "val": False}


def write_scenes(folder: str | Path, scenes: Scenes, split: str) -> Iterator[int]:
    """Write scenes as a split of ``folder``; yield how many images are written, after each.

    The images take their place, and the files of annotations are written, when all of them are there: what is
    interrupted leaves no split.

    Args:
        folder: is made where it is not there.
        scenes: what is written.
        split: "train" or "val".

    Raises:
        InvalidArgumentError: another split, one that is there already, or pycocotools is not installed.
        DiskError: something cannot be written.
    """
    root = Path(folder)
    if split not in SPLITS:
        raise InvalidArgumentError(f"split={split!r}: must be {' or '.join(SPLITS)}.")
    check_new(root, split)
    coco_masks()  # before anything is written
    unfinished = root / f".{split}.part"  # left behind only by what was killed
    with suppress(FileNotFoundError):
        shutil.rmtree(unfinished)
    try:
        yield from _write(root, unfinished, scenes, split)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(root: Path, unfinished: Path, scenes: Scenes, split: str) -> Iterator[int]:
    listed: list[tuple[str, tuple[int, int], dict[str, Tensor]]] = []
    corners: list[dict[str, Any]] = []
    texts: list[dict[str, Any]] = []
    for index in range(len(scenes)):
        scene, name = scenes.read(index), f"{index:06d}.png"
        with atomic_path(unfinished / name) as temporary:
            Image.fromarray(scene.image.permute(1, 2, 0).numpy()).save(temporary, format="PNG")
        listed.append((name, (scene.image.shape[-2], scene.image.shape[-1]), objects(scene)))
        corners += [_corners(thing, index + 1, len(corners) + place) for place, thing in enumerate(scene.things, 1)]
        texts += [
            {"id": len(texts) + place, "image_id": index + 1, "caption": said}
            for place, said in enumerate(captions(scene), 1)
        ]
        yield index + 1
    unfinished.rename(root / split)
    images = [
        {"id": number, "file_name": name, "width": width, "height": height}
        for number, (name, (height, width), _) in enumerate(listed, 1)
    ]
    thing = {"id": 1, "name": "thing", "keypoints": list(CORNERS), "skeleton": [[1, 2], [2, 3], [3, 4], [4, 1]]}
    place = root / "annotations"
    write_json(place / f"captions_{split}.json", {"images": images, "annotations": texts})
    write_json(place / f"keypoints_{split}.json", {"images": images, "categories": [thing], "annotations": corners})
    write_instances(place / f"instances_{split}.json", listed, NAMES)


def check_new(folder: str | Path, *splits: str) -> None:
    """Raise InvalidArgumentError where a folder has one of these splits."""
    for place in (Path(folder) / split for split in splits):
        if place.exists():
            raise InvalidArgumentError(f"{place} is there already; give a folder without it.")


def _corners(thing: Thing, image: int, number: int) -> dict[str, Any]:
    """Return a thing as COCO has it: its key points count pixels, whose middles are half a pixel further."""
    left, top, right, bottom = thing.box
    points = [[round(float(x) - 0.5, 2), round(float(y) - 0.5, 2), int(seen)] for x, y, seen in thing.corners]
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "bbox": [left, top, right - left, bottom - top],
        "area": int(thing.mask.sum()),
        "iscrowd": 0,
        "num_keypoints": len(points),
        "keypoints": [value for point in points for value in point],
    }
