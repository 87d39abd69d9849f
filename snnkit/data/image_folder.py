"""Images in folders by class: ``SOURCE/train/CLASS/….jpg`` and ``SOURCE/val/CLASS/….jpg`` (or ``test`` for ``val``).

Files are found by torchvision's rules; one that cannot be read stops the run or is skipped and counted, as asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
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
    """Return an image file as uint8 (3, H, W).

    Args:
        file: its path, or the opened file.
        name: what to call it in messages; its path by default.

    Raises:
        CorruptFileError: missing, truncated, or no image.
    """
    try:
        with Image.open(file) as image:
            # ``convert`` copies even what is RGB already: a quarter of the time of reading a JPEG.
            pixels = np.array(image if image.mode == "RGB" else image.convert("RGB"))
        return torch.from_numpy(pixels).permute(2, 0, 1)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise CorruptFileError(
            f"{name or file} is not a readable image ({error}); mend or remove it, or set data.on_corrupt=skip."
        ) from None


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
