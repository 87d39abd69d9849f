"""What all files in COCO's form list: images, none twice, none outside of their folder; categories; crowds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from torch import Tensor

from snnkit.data.image_folder import read_image
from snnkit.errors import CorruptFileError


def file_names(images: Iterable[Any]) -> dict[Any, str]:
    """Return the name of every image's file by its number, in the order of the list.

    Raises:
        ValueError: a number that two images have, or a name that leads out of the folder; says which.
        TypeError, KeyError: images without id or file_name.
    """
    found: dict[Any, str] = {}
    for image in images:
        number, name = identity(image["id"]), str(image["file_name"])
        if number in found:
            raise ValueError(f"the images {found[number]} and {name} have the same id, {number}")
        path = PurePosixPath(name)
        if not name or path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive:
            raise ValueError(f"the image {name!r} does not lie in the folder of images")
        found[number] = name
    return found


def listed_size(image: Any) -> tuple[int, int]:
    """Return (H, W) of an image as they are listed, which some files do as text.

    Raises:
        ValueError: they are no numbers; says whose.
        KeyError: they are not listed.
    """
    sides = image["height"], image["width"]
    try:
        return int(sides[0]), int(sides[1])
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"the image {image.get('file_name')} has height {sides[0]!r} and width {sides[1]!r}, which are no numbers "
            "of pixels"
        ) from None


def check_place(box: Sequence[float], file: str, size: tuple[int, int]) -> None:
    """Raise ValueError for a box (left, top, width, height) none of which lies on its image of (H, W)."""
    left, top, wide, high = box
    height, width = size
    if min(left + wide, width) <= max(left, 0) or min(top + high, height) <= max(top, 0):
        said = ", ".join(f"{number:g}" for number in box)
        raise ValueError(f"of {file} has the box [{said}], none of which lies on {width} by {height} pixels")


def read_listed(file: str, size: tuple[int, int]) -> Tensor:
    """Return the image uint8 (3, H, W) in a file, whose (H, W) are listed, or 0 where they are not.

    Raises:
        CorruptFileError: it cannot be read, or is of another size.
    """
    image = read_image(file)
    height, width = size
    if height and width and (height, width) != tuple(image.shape[1:]):
        raise CorruptFileError(
            f"{file}: {image.shape[2]} by {image.shape[1]} pixels, its annotations are for {width} by {height}; mend "
            "one of them, or set data.on_corrupt=skip."
        )
    return image


def identity(given: Any) -> Any:
    """Return an id as it is compared: 7, 7.0 and "7" are one; what is no number stays as it is.

    Raises:
        TypeError: neither number nor text.
    """
    if not isinstance(given, (int, float, str)):
        raise TypeError(f"the id {given!r} is neither number nor text")
    if isinstance(given, float) and given.is_integer():
        return int(given)
    return int(given) if isinstance(given, str) and given.isascii() and given.isdigit() else given


def categories_of(listed: Iterable[Any]) -> dict[int, Any]:
    """Return every category as it is listed, by its number.

    Raises:
        ValueError: a number that two categories have, or that is no whole one; says which.
        TypeError, KeyError: categories without id.
    """
    found: dict[int, Any] = {}
    for category in listed:
        number = category_number(category["id"])
        if number in found:
            raise ValueError(
                f"the categories {found[number].get('name')} and {category.get('name')} have the same id, {number}"
            )
        found[number] = category
    return found


def category_number(given: Any) -> int:
    """Return the number of a category, which some files write as text.

    Raises:
        ValueError: it is no whole number.
    """
    number = identity(given)
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"the category {given!r} is no whole number")
    return number


def is_crowd(row: Any) -> bool:
    """Whether an annotation stands for many things together.

    Raises:
        ValueError: it says so in no way that is known.
    """
    said = row.get("iscrowd", 0)
    if said is not None and (not isinstance(said, (bool, int, float)) or said not in (0, 1)):
        raise ValueError(f"has iscrowd {said!r}, neither 0 nor 1")
    return bool(said)


def box_of(row: Any) -> tuple[float, float, float, float]:
    """Return left, top, width and height of an annotation.

    Raises:
        ValueError: they are no four finite numbers.
    """
    given = row["bbox"]
    if not isinstance(given, list) or len(given) != 4 or not all(map(math.isfinite, map(float, given))):
        raise ValueError(f"has the box {given!r}, which is not left, top, width and height")
    left, top, width, height = map(float, given)
    return left, top, width, height
