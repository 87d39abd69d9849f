"""The images that a file in COCO's form lists: their names by number, none twice, none outside of its folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any


def file_names(images: Iterable[Any]) -> dict[Any, str]:
    """Return the name of every image's file by its number, in the order of the list.

    Raises:
        ValueError: a number that two images have, or a name that leads out of the folder; says which.
        TypeError, KeyError: images without id or file_name.
    """
    found: dict[Any, str] = {}
    for image in images:
        number, name = image["id"], str(image["file_name"])
        if number in found:
            raise ValueError(f"the images {found[number]} and {name} have the same id, {number}")
        path = PurePosixPath(name)
        if not name or path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive:
            raise ValueError(f"the image {name!r} does not lie in the folder of images")
        found[number] = name
    return found
