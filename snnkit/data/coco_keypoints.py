"""Data set ``coco_keypoints``: a folder of images whose things have marked key points, in COCO's form.

    SOURCE/person_keypoints_train2017.json, …_val2017.json          or in SOURCE/annotations; any *keypoints_SPLIT.json
    SOURCE/train2017/….jpg, val2017/….jpg                           or in SOURCE/images/train2017, SOURCE/images, SOURCE

    {"images": [{"id": 9, "file_name": "9.jpg"}, …],
     "categories": [{"id": 1, "name": "person", "keypoints": ["nose", "left_eye", …]}, …],
     "annotations": [{"image_id": 9, "category_id": 1, "bbox": [x, y, w, h], "area": 3e3, "keypoints": [x, y, v, …]}]}

A sample is one thing with at least one key point marked (v > 0). Crowds, things without marked key points and those
whose box has no area are left out and counted; what is wrong in itself, such as a box none of which lies on its image,
stops, or is left out and counted too (``data.on_corrupt=skip``). COCO's key points are numbers of pixels, whose middles
are half a pixel further. Where an annotation has no area, its box's stands in.

Sources: cocodataset.org, "Data format" and "Keypoint evaluation", whose sigmas are taken for its 17 key points; any
others have ``keypoints.SIGMA``, unless ``task.options.sigmas`` says better.
"""

from __future__ import annotations

import math
import reprlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snnkit.data.coco_images import (
    box_of,
    categories_of,
    category_number,
    check_place,
    file_names,
    identity,
    is_crowd,
    listed_size,
    read_listed,
)
from snnkit.data.config import DataConfig
from snnkit.data.dense import COLLATES, Dense
from snnkit.data.image_folder import MEAN, STD
from snnkit.data.keypoints import SIGMA, Marked, TopDown, mirrored
from snnkit.data.samples import Splits
from snnkit.errors import CorruptFileError, InvalidArgumentError
from snnkit.files import read_json

PERSON = {
    "nose": 0.026,
    **{f"{side}_eye": 0.025 for side in ("left", "right")},
    **{f"{side}_ear": 0.035 for side in ("left", "right")},
    **{f"{side}_shoulder": 0.079 for side in ("left", "right")},
    **{f"{side}_elbow": 0.072 for side in ("left", "right")},
    **{f"{side}_wrist": 0.062 for side in ("left", "right")},
    **{f"{side}_hip": 0.107 for side in ("left", "right")},
    **{f"{side}_knee": 0.087 for side in ("left", "right")},
    **{f"{side}_ankle": 0.089 for side in ("left", "right")},
}
"""COCO's key points of people in their order, and how exact each is marked."""

_CROWD, _UNMARKED, _FLAT, _WRONG = "crowds", "without marked key points", "with a box of no area", "that are wrong"


class MarkedFiles:
    """A ``DenseSource`` of things: of each its image file, what is marked, and (H, W) of the image, 0 if not listed.

    ``classes`` names the key points.
    """

    def __init__(
        self,
        classes: tuple[str, ...],
        files: Sequence[str],
        things: Sequence[Marked],
        sizes: Sequence[tuple[int, int]] = (),
    ):
        self.classes, self.things, self._sizes = classes, things, sizes
        self.names: Sequence[str] = files
        self.labels: Sequence[int] = [0] * len(files)  # one class: parts are drawn from all things alike

    def read(self, index: int) -> tuple[Tensor, Marked]:
        """Return an image and a thing on it.

        Raises:
            CorruptFileError: the image cannot be read, is of another size than is listed, or the thing lies beyond it;
                names it.
        """
        file, thing, size = self.names[index], self.things[index], self._sizes[index] if self._sizes else (0, 0)
        image = read_listed(file, size)
        if not all(size):  # only the image tells whether the thing lies on it
            left, top, right, bottom = thing.box.tolist()
            try:
                check_place((left, top, right - left, bottom - top), file, (image.shape[1], image.shape[2]))
            except ValueError as error:
                raise CorruptFileError(f"a thing {error}; mend it, or set data.on_corrupt=skip.") from None
        return image, thing


def load(config: DataConfig) -> Splits:
    """Return the things of the folder ``config.source``; the classes are the names of their key points.

    Raises:
        InvalidArgumentError: no such folder, no key points of both splits in it, or no size of the crops.
        CorruptFileError: a file of annotations is not of COCO's form, names no key points, or is wrong in itself.
    """
    root, skip, notes = Path(config.source), config.on_corrupt == "skip", []
    if not root.is_dir():
        raise InvalidArgumentError(f"data.source={config.source!r} is not a folder: give one in COCO's form.")
    transforms = [TopDown(config, (config.img_size, config.img_size), train, MEAN, STD) for train in (True, False)]
    sources = []
    for words in (("train",), ("val", "test")):
        path = _annotations(root, words)
        source, note = read_things(path, _image_folder(root, path), skip)
        sources.append(source)
        notes += [note] * bool(note)
    if sources[0].classes != sources[1].classes:
        raise InvalidArgumentError(
            f"data.source={root}: the two splits have other key points: {', '.join(sources[0].classes)}; and "
            f"{', '.join(sources[1].classes)}."
        )
    made = [Dense(source, transform, skip) for source, transform in zip(sources, transforms, strict=True)]
    return Splits(
        made[0],
        made[1],
        sources[0].classes,
        str(root),
        notes=tuple(notes),
        targets="keypoints",
        collate=COLLATES["keypoints"],
    )


def _annotations(root: Path, words: tuple[str, ...]) -> Path:
    """Return the only file of key points with one of the words in its name, the first word that there is one of."""
    known = sorted([*root.glob("*keypoints*.json"), *(root / "annotations").glob("*keypoints*.json")])
    for word in words:
        found = [file for file in known if word in file.stem]
        if len(found) == 1:
            return found[0]
        if found:
            raise InvalidArgumentError(
                f"data.source={root}: holds {', '.join(file.name for file in found)}; one file with {word} in its name "
                "is needed."
            )
    raise InvalidArgumentError(
        f"data.source={root}: holds no *keypoints_{words[0]}*.json, nor does its folder annotations; give the folder "
        "of a set in COCO's form."
    )


def _image_folder(root: Path, annotations: Path) -> Path:
    split = annotations.stem.rpartition("_")[2]
    places = (root / split, root / "images" / split, root / "images")
    return next((place for place in places if place.is_dir()), root)


def read_things(path: Path, folder: Path, skip: bool) -> tuple[MarkedFiles, str]:
    """Return the things that a file lists, and what is to be said of those it left out ("" if none).

    Args:
        path: of the annotations.
        folder: of the images.
        skip: leave out what is wrong in itself, instead of raising.

    Raises:
        CorruptFileError: no JSON of that form, no names of key points, something wrong, or nothing left.
    """
    found: Any = read_json(path)
    try:
        files = file_names(found["images"])
        listed = categories_of(found["categories"])
        categories = {number: category.get("keypoints") or [] for number, category in listed.items()}
        sizes = [listed_size(one) if one.get("height") and one.get("width") else (0, 0) for one in found["images"]]
        rows = list(found["annotations"])
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        what = f"has no {error}" if isinstance(error, KeyError) else str(error)
        raise CorruptFileError(
            f"{path} is not in COCO's form of key points ({what}): images with id and file_name, categories with id "
            "and keypoints, annotations."
        ) from None
    names = _point_names(path, categories)
    marks = torch.tensor([PERSON[name] if names == tuple(PERSON) else SIGMA for name in names]), mirrored(names)
    places = set(categories)
    images = {image: (number, file, sizes[number]) for number, (image, file) in enumerate(files.items())}
    kept: list[str] = []
    shapes: list[tuple[int, int]] = []
    things: list[Marked] = []
    left = Counter[str]()
    for number, row in enumerate(rows, 1):
        try:
            thing = _thing(row, images, places, len(names))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            what = f"has no {error}" if isinstance(error, KeyError) else str(error)
            if not skip:
                raise CorruptFileError(
                    f"{path}: annotation {number} {what}; mend it, or set data.on_corrupt=skip."
                ) from None
            thing = _WRONG
        if isinstance(thing, str):
            left[thing] += 1
        else:
            kept.append(str(folder / files[identity(row["image_id"])]))
            shapes.append(sizes[thing[-1]])
            things.append(Marked(*thing, *marks))
    said = ", ".join(f"{count} {what}" for what, count in sorted(left.items()))
    if not things:
        raise CorruptFileError(f"{path}: no thing of it has key points that are marked ({said or 'none listed'}).")
    return MarkedFiles(
        names, kept, things, shapes
    ), f"{path.name}: of {len(rows)} things left out: {said}" if left else ""


def _point_names(path: Path, categories: dict[Any, Any]) -> tuple[str, ...]:
    """Return the names of the key points, which all categories that have any share."""
    for number, names in categories.items():
        if not isinstance(names, list) or not all(isinstance(name, (str, int)) for name in names):
            raise CorruptFileError(
                f"{path}: category {number} has keypoints {reprlib.repr(names)}, which is no list of names; give one, "
                'such as ["nose", "tail"].'
            )
    named = {tuple(map(str, names)) for names in categories.values() if names}
    if not named:
        raise CorruptFileError(
            f"{path}: none of its {len(categories)} categories names its key points; add a list 'keypoints' to one."
        )
    if len(named) > 1:
        shown = "; and ".join(", ".join(names[:3]) + " …" for names in sorted(named))
        raise CorruptFileError(f"{path}: categories with other key points ({shown}); keep those of one kind.")
    return named.pop()


def _thing(
    row: Any, images: dict[Any, tuple[int, str, tuple[int, int]]], categories: set[Any], count: int
) -> str | tuple[Tensor, Tensor, float, int]:
    """Return key points, box, area and image of an annotation, or why it is none of a thing to learn from.

    Args:
        row: the annotation.
        images: by their ids place, file, and (H, W), 0 where it is not listed.
        categories: their numbers.
        count: of the key points of a thing.

    Raises:
        ValueError, TypeError, KeyError: it is wrong in itself; says how.
    """
    if identity(row["image_id"]) not in images:
        raise ValueError(f"is of image {row['image_id']}, which is not among its images")
    if category_number(row["category_id"]) not in categories:
        raise ValueError(f"is of category {row['category_id']}, which is not among its categories")
    if is_crowd(row):
        return _CROWD
    if not any((row.get("keypoints") or ())[2::3]):
        return _UNMARKED
    points = torch.tensor(row["keypoints"], dtype=torch.float32)
    if points.shape != (3 * count,):
        raise ValueError(f"has {len(row['keypoints'])} numbers of key points, not 3 · {count}")
    points = points.view(count, 3)
    if not torch.isfinite(points).all() or not set(points[:, 2].tolist()) <= {0.0, 1.0, 2.0}:
        raise ValueError("has key points that are not x, y and 0, 1 or 2")
    points[:, :2] += 0.5
    left, top, width, height = box_of(row)
    if min(width, height) < 0:
        raise ValueError(f"has the box {row['bbox']}, whose width or height is below 0")
    if not width * height:
        return _FLAT
    place, file, size = images[identity(row["image_id"])]
    if all(size):
        check_place((left, top, width, height), file, size)
    area = float(row.get("area") or 0)
    box = torch.tensor([left, top, left + width, top + height])
    return points, box, area if 0 < area < math.inf else width * height, place
