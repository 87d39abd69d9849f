"""Images in folders by class: ``SOURCE/train/CLASS/….jpg`` and ``SOURCE/val/CLASS/….jpg`` (or ``test`` for ``val``).

Files are found by torchvision's rules; one that cannot be read stops the run or is skipped and counted, as asked.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from snnkit.data.class_folders import Files, find_files
from snnkit.data.config import DataConfig
from snnkit.data.samples import Samples, Splits
from snnkit.data.transforms import for_testing, for_training
from snnkit.errors import CorruptFileError

# Mean and standard deviation of ImageNet's pixels, on the scale 0…1.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def read_image(file: str | Path | IO[bytes], name: str = "") -> Tensor:
    """Return an image file as uint8 (3, H, W), turned as its EXIF orientation says: boxes and maps are of what is seen.

    16 bits a value become 8, rounded, floats 0…1 become 0…255.

    Args:
        file: its path, or the opened file.
        name: what to call it in messages; its path by default.

    Raises:
        CorruptFileError: missing, truncated, no image, or of values whose range no file says (32 bits; floats beyond
            0…1).
    """
    try:
        with Image.open(file) as image:
            _check_claim(image, file)
            pixels = _pixels(_upright(image))
        return torch.from_numpy(pixels).permute(2, 0, 1)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise CorruptFileError(
            f"{name or file} is not a readable image ({error}); mend or remove it, or set data.on_corrupt=skip."
        ) from None


def _check_claim(image: Image.Image, file: str | Path | IO[bytes]) -> None:
    """Raise ValueError where a file claims more pixels than its bytes can hold in any format."""
    if isinstance(file, (str, Path)):
        held = Path(file).stat().st_size
    else:
        place = file.tell()
        held = file.seek(0, os.SEEK_END)
        file.seek(place)
    claimed = image.width * image.height
    if claimed > max(_MANY_PIXELS, _PIXELS_A_BYTE * held):
        raise ValueError(f"{held} bytes that claim to hold {image.width}×{image.height} pixels")


# Pixels that are made room for whatever a file claims; and the most that a byte of one bit a pixel can stand for.
_MANY_PIXELS, _PIXELS_A_BYTE = 1 << 24, 8 * 1032


def _upright(image: Image.Image) -> Image.Image:
    """Return an image as viewers show it; cameras store it as it lay on the sensor, and say how it is to be turned."""
    image.load()  # Pillow turns TIFFs here, and takes the note out
    try:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error):
        return image  # notes that cannot be read, beside pixels that can
    return ImageOps.exif_transpose(image) if turned else image


def _pixels(image: Image.Image) -> np.ndarray:
    """Return uint8 (H, W, 3)."""
    if image.mode == "RGB":
        return np.array(image)  # ``convert`` copies even what is RGB already: a quarter of the time of reading a JPEG
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in _SIXTEEN_BITS):
        # Pillow's own conversion clips at 255.
        grey = (np.array(image).astype(np.uint32) * 255 + 0x7FFF) // 0xFFFF
    elif image.mode == "F":
        values = np.array(image)
        low, high = float(values.min()), float(values.max())
        if not 0 <= low <= high <= 1:
            raise ValueError(f"floats from {low:g} to {high:g}; 0…1 can be read, convert the others to 8 or 16 bits")
        grey = (values * 255 + 0.5).astype(np.uint8)
    elif image.mode == "I":
        raise ValueError("32 bits a value, whose range is not said; convert it to 8 or 16 bits")
    else:
        return np.array(image.convert("RGB"))
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


# Formats that hold at most 16 bits a value, which Pillow gives as 32.
_SIXTEEN_BITS = ("PNG", "PPM", "JPEG2000")


def load(config: DataConfig) -> Splits:
    """Return the images of the folder ``config.source``.

    Raises:
        InvalidArgumentError: no such folder, no images in it, or other classes in the two splits (names them).
    """
    found = find_files(config, IMG_EXTENSIONS, "images")
    skip, size = config.on_corrupt == "skip", (0, 0)
    return Splits(
        Samples(Files(found.train, read_image), for_training(config, size, MEAN, STD), skip),
        Samples(Files(found.test, read_image), for_testing(config, size, MEAN, STD), skip),
        found.classes,
        found.root,
        views=config.test_crops,
    )
