"""Files of instances in COCO's form: reading them with every entry looked at, and writing them.

    {"images": [{"id": 9, "file_name": "9.jpg", "width": 640, "height": 480}, …],
     "categories": [{"id": 1, "name": "person"}, …],
     "annotations": [{"id": 5, "image_id": 9, "category_id": 1, "bbox": [left, top, width, height], "iscrowd": 0,
                      "area": 3e3, "segmentation": [[x, y, x, y, x, y, …], …] or {"size": [H, W], "counts": …}}, …]}

What a box or outline has outside of its image is cut off and counted. What is wrong in itself (a box without area, or
none of whose pixels lies on the image, an outline of fewer than three corners, an image or category that is not listed)
stops, naming file and annotation, or is left out and counted. Masks are run lengths or polygons, which pycocotools
fills. Source: cocodataset.org, "Data format". Letters: N things, H and W pixels.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
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
)
from snnkit.data.coco_lengths import check_lengths
from snnkit.data.object_transforms import things
from snnkit.errors import CorruptFileError, InvalidArgumentError
from snnkit.files import read_json, write_json

_FORM = (
    "images with id, file_name, width and height, categories with id and name, annotations with image_id, category_id "
    "and bbox"
)
_CUT, _WRONG = "reach beyond their image and are cut", "are wrong and left out"


@dataclass(frozen=True)
class Row:
    """A thing as a file lists it: label from 0, box (left, top, right, bottom), area, whether a crowd, its outline."""

    label: int
    box: tuple[float, float, float, float]
    area: float
    crowd: bool
    outline: Any


@dataclass
class Listed:
    """An image that a file lists: name, (H, W), and what is on it."""

    file: str
    size: tuple[int, int]
    rows: list[Row] = field(default_factory=list)


@dataclass
class Instances:
    """A file: its images, the names of its categories by their number, whether things have outlines, and remarks."""

    path: Path
    images: list[Listed]
    categories: dict[int, str]
    masks: bool
    notes: list[str]


def coco_masks() -> Any:
    """Return pycocotools' functions on masks.

    Raises:
        InvalidArgumentError: it is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError:
        raise InvalidArgumentError(
            "masks in COCO's form are read and written by pycocotools, which is not installed: pip install "
            "'snnkit[coco]'."
        ) from None
    return mask


def read_instances(path: Path, skip: bool) -> Instances:
    """Return what a file lists.

    Args:
        path: of the file.
        skip: leave out and count what is wrong, instead of raising.

    Raises:
        CorruptFileError: no JSON of that form, no images, or something wrong in it; names the annotation.
    """
    found: Any = read_json(path)
    try:
        names = file_names(found["images"])
        sizes = [listed_size(one) for one in found["images"]]
        images = {number: Listed(names[number], size) for number, size in zip(names, sizes, strict=True)}
        categories = {number: str(one["name"]) for number, one in categories_of(found["categories"]).items()}
        rows = list(found["annotations"])
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        what = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        raise CorruptFileError(f"{path} is not in COCO's form of instances ({what}): {_FORM}.") from None
    if not images or not categories:
        raise CorruptFileError(f"{path} lists {len(images)} images and {len(categories)} categories; both are needed.")
    labels = {number: label for label, number in enumerate(sorted(categories))}
    masks = any(isinstance(row, dict) and row.get("segmentation") and not row.get("iscrowd") for row in rows)
    counts = Counter[str]()
    for number, row in enumerate(rows, 1):
        try:
            image, thing, cut = _row(row, images, labels, masks)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            what = f"has no {error}" if isinstance(error, KeyError) else str(error)
            if not skip:
                raise CorruptFileError(
                    f"{path}: {_called(row, number)} {what}; mend it, or set data.on_corrupt=skip."
                ) from None
            counts[_WRONG] += 1
            continue
        image.rows.append(thing)
        counts[_CUT] += cut
    notes = [f"{path.name}: of {len(rows)} things {many} {what}" for what, many in sorted(counts.items()) if many]
    return Instances(path, list(images.values()), dict(sorted(categories.items())), masks, notes)


def _called(row: Any, number: int) -> str:
    return f"annotation {row['id']}" if isinstance(row, dict) and "id" in row else f"annotation number {number}"


def _row(row: Any, images: dict[Any, Listed], labels: dict[int, int], masks: bool) -> tuple[Listed, Row, bool]:
    """Return the image of an annotation, the thing, and whether it reaches beyond its image.

    Raises:
        ValueError, TypeError, KeyError: it is wrong; says how.
    """
    if identity(row["image_id"]) not in images:
        raise ValueError(f"is of image {row['image_id']}, which is not among the images")
    if (category := category_number(row["category_id"])) not in labels:
        raise ValueError(f"is of category {row['category_id']}, which is not among the categories")
    image = images[identity(row["image_id"])]
    height, width = image.size
    left, top, wide, high = box_of(row)
    if wide <= 0 or high <= 0:
        raise ValueError(f"of {image.file} has the box {row['bbox']}, whose width or height is not above 0")
    check_place((left, top, wide, high), image.file, image.size)
    box = max(left, 0.0), max(top, 0.0), min(left + wide, float(width)), min(top + high, float(height))
    crowd, outline = is_crowd(row), row.get("segmentation")
    cut = max(-left, -top, left + wide - width, top + high - height) > _ROUNDING
    if outline or (masks and not crowd):
        cut = _check_outline(outline, image) or cut
    area = float(row.get("area") or 0)
    return image, Row(labels[category], box, area if 0 < area < math.inf else 0.0, crowd, outline), cut


_FARTHEST = 100_000  # pixels from the image's corner
_ROUNDING = 0.5  # pixels by which a box may leave its image without being worth a word


def _check_outline(outline: Any, image: Listed) -> bool:
    """Return whether polygons reach beyond their image; raise ValueError for what is no outline."""
    height, width = image.size
    if isinstance(outline, dict):
        if list(outline["size"]) != [height, width] or not isinstance(outline["counts"], (str, list)):
            raise ValueError(
                f"of {image.file} has run lengths for {outline['size']} pixels, its image has {[height, width]}"
            )
        check_lengths(outline["counts"], height * width)
        return False
    if not isinstance(outline, list) or not outline:
        raise ValueError(f"of {image.file} has no outline (segmentation), while others have")
    cut, outside = False, 0
    for polygon in outline:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"of {image.file} has a polygon that is not x, y of three corners or more")
        xs, ys = [float(x) for x in polygon[::2]], [float(y) for y in polygon[1::2]]
        if not all(map(math.isfinite, (*xs, *ys))):
            raise ValueError(f"of {image.file} has a polygon whose corners are not finite")
        if max(map(abs, (*xs, *ys))) > _FARTHEST:  # pycocotools walks along every edge, and crashes on very long ones
            raise ValueError(f"of {image.file} has a polygon with a corner more than {_FARTHEST:,} pixels away")
        if max(xs) <= 0 or max(ys) <= 0 or min(xs) >= width or min(ys) >= height:
            outside += 1
        cut |= min(*xs, *ys) < -_ROUNDING or max(xs) > width + _ROUNDING or max(ys) > height + _ROUNDING
    if outside == len(outline):
        raise ValueError(f"of {image.file} has an outline, none of which lies on {width} by {height} pixels")
    return cut


def objects_of(image: Listed, masks: bool) -> dict[str, Any]:
    """Return the things of an image as ``things``.

    Args:
        image: as it was read.
        masks: whether outlines become masks.

    Raises:
        CorruptFileError: run lengths that are none.
    """
    rows = image.rows
    return things(
        torch.tensor([row.box for row in rows], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([row.label for row in rows], dtype=torch.long),
        image.size,
        _masks(image) if masks else None,
        torch.tensor([row.crowd for row in rows], dtype=torch.long),
        torch.tensor([row.area or (row.box[2] - row.box[0]) * (row.box[3] - row.box[1]) for row in rows]),
    )


def _masks(image: Listed) -> Tensor:
    """Return the filled outlines, bool (N, H, W); of a crowd without one its box."""
    height, width = image.size
    found = torch.zeros(len(image.rows), height, width, dtype=torch.bool)
    coco = coco_masks()
    for mask_HW, row in zip(found, image.rows, strict=True):
        if not row.outline:
            left, top, right, bottom = (round(side) for side in row.box)
            mask_HW[top:bottom, left:right] = True
            continue
        lengths = row.outline
        try:
            if isinstance(lengths, list):
                lengths = coco.merge(coco.frPyObjects(lengths, height, width))
            elif isinstance(lengths["counts"], list):
                lengths = coco.frPyObjects(lengths, height, width)
            filled = coco.decode(lengths)
        except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            raise CorruptFileError(f"{image.file}: an outline in its annotations cannot be filled ({error}).") from None
        mask_HW |= torch.from_numpy(np.ascontiguousarray(filled)).bool()
    return found


def write_instances(
    path: str | Path, images: Iterable[tuple[str, tuple[int, int], dict[str, Tensor]]], classes: Sequence[str]
) -> None:
    """Write a file of instances; labels count from 0, the categories' numbers from 1.

    Args:
        path: of the file.
        images: name of each image, its (H, W), and what is on it (``things``: boxes, labels; masks and iscrowd where
            there are some). Masks are written as run lengths.
        classes: names by label.

    Raises:
        InvalidArgumentError: masks, and pycocotools is not installed.
        DiskError: it cannot be written.
    """
    listed: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for number, (file, (height, width), found) in enumerate(images, 1):
        listed.append({"id": number, "file_name": file, "width": width, "height": height})
        for place, label in enumerate(found["labels"].tolist()):
            left, top, right, bottom = found["boxes"][place].tolist()
            row = {"id": len(rows) + 1, "image_id": number, "category_id": label + 1}
            row |= {"bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top)}
            row["iscrowd"] = int(found["iscrowd"][place]) if "iscrowd" in found else 0
            if "masks" in found:
                row |= {"segmentation": _run_lengths(found["masks"][place]), "area": int(found["masks"][place].sum())}
            rows.append(row)
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(classes)]
    write_json(path, {"images": listed, "categories": categories, "annotations": rows})


def _run_lengths(mask_HW: Tensor) -> dict[str, Any]:
    found = coco_masks().encode(np.asfortranarray(mask_HW.numpy().astype(np.uint8)))
    return {"size": [int(side) for side in found["size"]], "counts": found["counts"].decode("ascii")}
