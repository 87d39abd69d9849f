"""From uint8 to what a network reads: augmentation by torchvision and timm, then normalisation.

For images (C, H, W), and for clips (F, C, H, W), whose frames are all treated alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.data.auto_augment import rand_augment_transform
from timm.data.random_erasing import RandomErasing
from torch import Tensor
from torchvision.transforms import v2

from snnkit.data.config import DataConfig
from snnkit.data.order import seed_generators
from snnkit.data.views import SameViews, training_views
from snnkit.errors import InvalidArgumentError

# Evaluation crops this share of the resized image, as ImageNet's networks are tested.
CROP_PCT = 0.875
_CLIPS_NDIM = 5  # (clips, F, C, H, W)


def for_training(config: DataConfig, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]) -> v2.Compose:
    """Return the transform of training images.

    Args:
        config: which augmentations.
        size: height and width of the stored images; (0, 0) where they differ.
        mean, std: of each channel on the scale 0…1.
    """
    if config.views:
        return v2.Compose([training_views(config, _side(config, size)[0], len(mean), Normalise(mean, std))])
    steps: list[Any] = []
    if config.crop_scale < 1:
        side = _side(config, size)
        steps.append(v2.RandomResizedCrop(side, scale=(config.crop_scale, 1.0), interpolation=_BICUBIC, antialias=True))
    elif config.img_size:
        steps.append(v2.Resize((config.img_size, config.img_size), interpolation=_BICUBIC, antialias=True))
    if config.flip:
        steps.append(v2.RandomHorizontalFlip())
    if config.shift_pixels:
        steps.append(v2.RandomCrop(_side(config, size), padding=config.shift_pixels))
    if config.rand_augment:
        steps.append(_RandAugment(config.rand_augment, mean))
    steps += _normalise(mean, std)
    if config.erase:
        steps.append(_Erase(config.erase))
    return v2.Compose(steps)


def for_testing(config: DataConfig, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]) -> v2.Compose:
    """Return the transform of test images: stored images of one size are resized, others resized and cropped.

    ``config.test_crops`` makes several views, (crops, C, H, W) or, of several clips, (crops · clips, F, C, H, W).
    """
    if config.views:
        return v2.Compose([SameViews(training_views(config, _side(config, size)[0], len(mean), Normalise(mean, std)))])
    steps: list[Any] = []
    if config.test_crops > 1:
        steps.append(v2.Resize(_side(config, size)[0], interpolation=_BICUBIC, antialias=True))
        steps.append(_CropsAlong(_side(config, size)[0], config.test_crops))
    elif config.img_size and size == (0, 0):
        steps.append(middle(config.img_size))
    elif config.img_size:
        steps.append(v2.Resize((config.img_size, config.img_size), interpolation=_BICUBIC, antialias=True))
    return v2.Compose([*steps, *_normalise(mean, std)])


def middle(side: int) -> v2.Compose:
    """Return the transform of an image of any size to the square in its middle, ``CROP_PCT`` of its shorter side."""
    scaled = v2.Resize(round(side / CROP_PCT), interpolation=_BICUBIC, antialias=True)
    return v2.Compose([scaled, v2.CenterCrop(side)])


_BICUBIC = v2.InterpolationMode.BICUBIC


def _side(config: DataConfig, size: tuple[int, int]) -> tuple[int, int]:
    if config.img_size:
        return (config.img_size, config.img_size)
    if size == (0, 0):
        raise InvalidArgumentError("data.img_size=0: these images differ in size; give the side the model reads.")
    return size


def _normalise(mean: Sequence[float], std: Sequence[float]) -> list[Any]:
    return [Normalise(mean, std)]


class _CropsAlong:
    """Square crops evenly spaced along the longer side: (…, H, W) → (crops, …, side, side), of several clips each."""

    def __init__(self, side: int, count: int):
        self._side, self._count = side, count

    def __call__(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        down, right = height - self._side, width - self._side
        places = [(down * n // (self._count - 1), right * n // (self._count - 1)) for n in range(self._count)]
        found = torch.stack([image[..., y : y + self._side, x : x + self._side] for y, x in places])
        return found.flatten(0, 1) if image.ndim == _CLIPS_NDIM else found


class Normalise:
    """uint8 (…, C, H, W) → (value / 255 - mean) / std, float32; torchvision's arithmetic to the bit, in one tensor."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        self._mean, self._std = torch.tensor(mean).view(-1, 1, 1), torch.tensor(std).view(-1, 1, 1)

    def __call__(self, image: Tensor) -> Tensor:
        """Return the values."""
        scaled = image.to(torch.float32, memory_format=torch.contiguous_format).mul_(1 / 255)
        return scaled.sub_(self._mean).div_(self._std)


class _RandAugment:
    """timm's RandAugment on uint8 tensors (C, H, W) with 1 or 3 channels."""

    def __init__(self, text: str, mean: Sequence[float]):
        fill = [round(255 * value) for value in mean]
        try:
            self._apply = rand_augment_transform(text, {"img_mean": fill[0] if len(fill) == 1 else tuple(fill)})
        except (AssertionError, ValueError, KeyError) as error:
            why = f" ({error})" if str(error) else ""
            raise InvalidArgumentError(
                f"data.rand_augment={text!r}: give timm's form, such as 'rand-m9-mstd0.5-inc1'{why}."
            ) from None

    def __call__(self, image: Tensor) -> Tensor:
        if image.ndim == 3:
            return v2.functional.pil_to_tensor(self._apply(v2.functional.to_pil_image(image)))
        seed = int(torch.randint(2**62, ()))
        frames = []
        for frame in image:
            seed_generators(seed)
            frames.append(self(frame))
        return torch.stack(frames)


class _Erase:
    """Noise in a random rectangle of an image (C, H, W), in the same one of every frame of a clip (F, C, H, W)."""

    def __init__(self, probability: float):
        self._apply = RandomErasing(probability, mode="pixel", device="cpu")

    def __call__(self, image: Tensor) -> Tensor:
        return self._apply(image.flatten(0, -3)).view(image.shape)
