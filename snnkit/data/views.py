"""Several views of an image: two large ones and any number of small ones, augmented as MoCo v2, SwAV or DINO does.

    moco_v2   crop, jitter (.4 .4 .4 .1) p .8, grey p .2, blur p .5, flip
    swav      crop, flip, jitter (.8 .8 .8 .2) p .8, grey p .2, blur p .5
    dino      crop (bicubic), flip, jitter (.4 .4 .2 .1) p .8, grey p .2, blur p 1 / .1 / .5 for first / second / small
              views, solarisation p .2 in the second

A large view shows between ``crop_scale`` and all of the area, a small one between ``local_scale`` and ``crop_scale``.
The blur is a Gaussian of σ between 0.1 and 2 pixels, as wide a kernel as that needs (Pillow approximates it by boxes).
Images of one channel have no hue, saturation or colour to lose: what changes these leaves them as they are.

Sources: facebookresearch/moco@132aea9, main_moco.py; facebookresearch/swav@06b1b7c, src/multicropdataset.py;
facebookresearch/dino@7c446df, main_dino.py (DataAugmentationDINO).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from snnkit.data.config import DataConfig
from snnkit.data.order import kept_generators, seed_generators

_SIGMA, _KERNEL = (0.1, 2.0), 17


class Views:
    """uint8 (C, H, W) → one image (C, h, w) a view, in a list; the large ones first.

    Args:
        views: what makes each of them.
    """

    def __init__(self, views: list[Callable[[Tensor], Tensor]]):
        self.views = views

    def __call__(self, image: Tensor) -> list[Tensor]:
        """Return the views."""
        return [view(image) for view in self.views]


class SameViews:
    """Views that are the same whenever an image is seen: their random numbers follow from its pixels."""

    def __init__(self, views: Views):
        self.views = views

    def __call__(self, image: Tensor) -> list[Tensor]:
        """Return the views."""
        with kept_generators():
            seed_generators(zlib.crc32(image.contiguous().numpy().tobytes()))
            return self.views(image)


def training_views(config: DataConfig, side: int, channels: int, normalise: Callable[[Tensor], Tensor]) -> Views:
    """Return what makes the views that ``config`` asks for.

    Args:
        config: ``views``, ``crop_scale``, ``local_crops``, ``local_size``, ``local_scale``, ``flip``.
        side: of the large views, pixels.
        channels: of the images.
        normalise: uint8 → what a network reads.
    """
    large, small = (config.crop_scale, 1.0), (config.local_scale, config.crop_scale)
    make = _MAKERS[config.views]
    found = [make(number, side, large, config.flip, channels) for number in range(2)]
    found += [make(2, config.local_size, small, config.flip, channels) for _ in range(config.local_crops)]
    return Views([v2.Compose([*steps, normalise]) for steps in found])


def _moco_v2(_number: int, side: int, scale: tuple[float, float], flip: bool, channels: int) -> list[Any]:
    steps = [_crop(side, scale), *_colours((0.4, 0.4, 0.4, 0.1), channels), _blur(side, 0.5)]
    return [*steps, *_flip(flip)]


def _swav(_number: int, side: int, scale: tuple[float, float], flip: bool, channels: int) -> list[Any]:
    return [_crop(side, scale), *_flip(flip), *_colours((0.8, 0.8, 0.8, 0.2), channels), _blur(side, 0.5)]


def _dino(number: int, side: int, scale: tuple[float, float], flip: bool, channels: int) -> list[Any]:
    steps = [_crop(side, scale, v2.InterpolationMode.BICUBIC), *_flip(flip)]
    steps += [*_colours((0.4, 0.4, 0.2, 0.1), channels), _blur(side, (1.0, 0.1, 0.5)[number])]
    return [*steps, v2.RandomSolarize(128, p=0.2)] if number == 1 else steps


_MAKERS: dict[str, Callable[..., list[Any]]] = {"moco_v2": _moco_v2, "swav": _swav, "dino": _dino}


def _crop(side: int, scale: tuple[float, float], how: Any = v2.InterpolationMode.BILINEAR) -> Any:
    return v2.RandomResizedCrop((side, side), scale=scale, interpolation=how, antialias=True)


def _flip(wanted: bool) -> list[Any]:
    return [v2.RandomHorizontalFlip()] if wanted else []


def _colours(strength: tuple[float, float, float, float], channels: int) -> list[Any]:
    """Jitter of brightness, contrast, saturation and hue, then grey."""
    brightness, contrast, saturation, hue = strength
    if channels == 1:
        return [v2.RandomApply([v2.ColorJitter(brightness, contrast)], 0.8)]
    jitter = v2.ColorJitter(brightness, contrast, saturation, hue)
    return [v2.RandomApply([jitter], 0.8), v2.RandomGrayscale(0.2)]


def _blur(side: int, probability: float) -> Any:
    kernel = min(_KERNEL, 2 * side - 1)  # its reflected border lies within the image
    return v2.RandomApply([GaussianBlur(kernel, _SIGMA)], probability)


class GaussianBlur:
    """torchvision's Gaussian blur of uint8 images (C, H, W), down and across instead of at once, which is faster.

    Args:
        kernel: side, an odd number of pixels.
        sigma: the least and the most, drawn anew for every image.
    """

    def __init__(self, kernel: int, sigma: tuple[float, float]):
        self.sigma, half = sigma, (kernel - 1) // 2
        self._half, self._at = half, torch.linspace(-half, half, kernel)

    def __call__(self, image: Tensor) -> Tensor:
        """Return the blurred image."""
        sigma = float(torch.empty(1).uniform_(*self.sigma))
        weights = torch.exp(-0.5 * (self._at / sigma).square())
        weights = weights / weights.sum()
        framed = F.pad(image.float()[:, None], [self._half] * 4, mode="reflect")
        blurred = F.conv2d(F.conv2d(framed, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
        return blurred[:, 0].round().clamp(0, 255).to(image.dtype)
