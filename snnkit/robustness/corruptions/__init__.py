"""Corruptions of images, five severities each, computed when an image is asked for and always the same.

To add one: a function of an image (C, H, W) on the scale 0…1, a severity and a generator, and its line in
``CORRUPTIONS``. What it returns is clipped and rounded to uint8.

Kinds and strengths are those of Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions
and Perturbations" (ICLR 2019, arXiv 1903.12261), whose data set is ImageNet-C. Every constant was checked against
public listings of them; the functions are written anew. Two of ImageNet-C's fifteen are left out: frost, which needs
photographs of ice, and glass blur. Gaussian blur and speckle noise are of its four for validation. Where these
functions differ is said in docs/robustness.md.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.robustness.corruptions import blur, digital, noise, weather
from snnkit.robustness.corruptions.scale import Pixels

SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Corruption:
    """One kind: the group it belongs to, and what it does."""

    group: str
    apply: Callable[[Pixels, int, np.random.Generator], Pixels]


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption("noise", noise.gaussian_noise),
    "shot_noise": Corruption("noise", noise.shot_noise),
    "impulse_noise": Corruption("noise", noise.impulse_noise),
    "speckle_noise": Corruption("noise", noise.speckle_noise),
    "gaussian_blur": Corruption("blur", blur.gaussian_blur),
    "defocus_blur": Corruption("blur", blur.defocus_blur),
    "motion_blur": Corruption("blur", blur.motion_blur),
    "zoom_blur": Corruption("blur", blur.zoom_blur),
    "fog": Corruption("weather", weather.fog),
    "snow": Corruption("weather", weather.snow),
    "brightness": Corruption("weather", weather.brightness),
    "contrast": Corruption("digital", digital.contrast),
    "elastic": Corruption("digital", digital.elastic),
    "pixelate": Corruption("digital", digital.pixelate),
    "jpeg": Corruption("digital", digital.jpeg),
}


def corrupt(image: Tensor, name: str, severity: int, seed: int = 0, index: int = 0) -> Tensor:
    """Return a corrupted copy of an image.

    Args:
        image: uint8 (C, H, W) on the CPU, C 1 or 3.
        name: of ``CORRUPTIONS``.
        severity: 1…5.
        seed, index: the same two give the same image; ``index`` is that of the image in its data set.

    Raises:
        UnknownNameError: no such corruption.
        InvalidArgumentError: another severity, or no such image.
    """
    kind = checked(name, severity)
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] not in (1, 3):
        raise InvalidArgumentError(
            f"an image {tuple(image.shape)} of {str(image.dtype).removeprefix('torch.')} cannot be corrupted: it takes "
            "uint8 (C, H, W) with 1 or 3 channels; clips and recordings of events are no images."
        )
    # The name belongs to the seed: kinds must not share their draws. Severities may: they then differ in strength only.
    draw = np.random.default_rng((seed, index, zlib.crc32(name.encode())))
    values = np.ascontiguousarray(image.numpy(), np.float32) / np.float32(255)
    made = np.clip(kind.apply(values, severity, draw), 0, 1)
    return torch.from_numpy(np.rint(made * 255).astype(np.uint8))


def checked(name: str, severity: int) -> Corruption:
    """Return the corruption of a name.

    Raises:
        UnknownNameError: no such corruption.
        InvalidArgumentError: another severity than 1…5.
    """
    if name not in CORRUPTIONS:
        raise unknown_name("corruption", name, CORRUPTIONS)
    if severity not in SEVERITIES:
        raise InvalidArgumentError(f"severity {severity}: must be 1, 2, 3, 4 or 5.")
    return CORRUPTIONS[name]
