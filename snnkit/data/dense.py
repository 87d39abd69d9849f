"""Images with more than a label: what a source gives of each, how it is transformed with its image, and batches of it.

    targets     a sample                                                    a batch
    maps        image (C, H, W), classes (H, W), 255 where none is known    images (B, C, H, W), classes (B, H, W)
    keypoints   crop (C, H, W), {points (K, 3), …} (``keypoints``)          crops (B, C, H, W), {points (B, K, 3), …}
    objects     image, {boxes (N, 4), labels (N,), masks (N, H, W), …}      list of images, list of dictionaries

A source reads images as uint8 and targets as torchvision's ``tv_tensors``, so that torchvision's transforms turn, cut
and scale both alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset, default_collate
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as vision
from torchvision.transforms.v2._utils import query_size

from snnkit.data.config import DataConfig
from snnkit.data.image_captions import collate_captions
from snnkit.data.object_transforms import collate_objects
from snnkit.data.order import Skipped
from snnkit.data.transforms import Normalise
from snnkit.errors import CorruptFileError, InvalidArgumentError

IGNORED = 255
"""Class of pixels that nobody is asked about."""


class DenseSource(Protocol):
    """Images and targets by index, as they are stored; ``labels`` are a class of each, to draw parts evenly."""

    names: Sequence[str]
    labels: Sequence[int]

    def read(self, index: int) -> tuple[Tensor, Any]:
        """Return an image uint8 (C, H, W) and its target.

        Raises:
            CorruptFileError: one of the two cannot be read; names it.
        """


class Dense(Dataset):
    """(transformed image, transformed target) by index.

    Args:
        source: reads them.
        transform: of both together.
        skip: return ``Skipped`` for a sample that cannot be read, instead of raising.
    """

    def __init__(self, source: DenseSource, transform: Callable[[Tensor, Any], Any], skip: bool):
        self.source, self.transform, self.skip = source, transform, skip
        self.names, self.labels = source.names, source.labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Any:
        try:
            image, target = self.source.read(index)
        except CorruptFileError as error:
            if self.skip:
                return Skipped(str(error))
            raise
        return self.transform(tv_tensors.Image(image), target)


class Maps:
    """Transform an image and the classes of its pixels: uint8 (C, H, W), ``Mask`` (H, W) → floats, int64.

    Training mirrors (``flip``), shifts, and scales: by a factor (``smallest_scale`` to ``largest_scale``) before a part
    is cut out, or a part to the whole size (``crop_scale`` below 1). Classes take the nearest pixel; what lies outside
    of the image is 255. Testing leaves images as they are, or scales both to ``size``.

    Args:
        config: which augmentations.
        size: height and width of what comes out; (0, 0) leaves them.
        train: whether to augment.
        mean, std: of each channel on the scale 0…1.
    """

    def __init__(
        self, config: DataConfig, size: tuple[int, int], train: bool, mean: Sequence[float], std: Sequence[float]
    ):
        steps: list[Any] = []
        outside = {tv_tensors.Image: 0, tv_tensors.Mask: IGNORED}
        scales = config.smallest_scale, config.largest_scale
        if train and scales != (1.0, 1.0):
            steps.append(Scaled(scales))
            steps.append(v2.RandomCrop(size, pad_if_needed=True, fill=outside))
        elif train and config.crop_scale < 1:
            steps.append(v2.RandomResizedCrop(size, scale=(config.crop_scale, 1.0), antialias=True))
        elif size != (0, 0):
            steps.append(v2.Resize(size, antialias=True))
        if train and config.flip:
            steps.append(v2.RandomHorizontalFlip())
        if train and config.shift_pixels and size != (0, 0):
            steps.append(v2.RandomCrop(size, padding=config.shift_pixels, fill=outside))
        self._both, self._pixels = v2.Compose(steps or [v2.Identity()]), Normalise(mean, std)

    def __call__(self, image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two."""
        image, target = self._both(image, target)
        return self._pixels(image.as_subclass(Tensor)), target.as_subclass(Tensor).long()


class Scaled(v2.Transform):
    """Scale an image and what belongs to it by a factor drawn evenly between two."""

    def __init__(self, scales: tuple[float, float]):
        super().__init__()
        self._scales = scales

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the factor and return the size."""
        factor = float(torch.empty(()).uniform_(*self._scales))
        height, width = query_size(flat_inputs)
        return {"size": (max(round(height * factor), 1), max(round(width * factor), 1))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Scale one of them."""
        return self._call_kernel(vision.resize, inpt, params["size"], antialias=True)


def collate_maps(samples: list[Any]) -> tuple[Tensor, Tensor]:
    """Make a batch; where sizes differ, at bottom and right images are filled up with zeros, classes with 255."""
    images, maps = zip(*samples, strict=True)
    height, width = (max(image.shape[axis] for image in images) for axis in (-2, -1))

    def filled(x: Tensor, value: int) -> Tensor:
        return F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2]), value=value)

    return torch.stack([filled(x, 0) for x in images]), torch.stack([filled(x, IGNORED) for x in maps])


COLLATES: dict[str, Callable[[list[Any]], Any]] = {
    "maps": collate_maps,
    "captions": collate_captions,
    "keypoints": default_collate,
    "objects": collate_objects,
}
"""How batches are made, by targets; those of labels by torch's own."""

_LABELLED_ONLY = {"mixup": 0.0, "cutmix": 0.0, "rand_augment": "", "erase": 0.0, "views": "", "test_crops": 1}


def check_augmentations(config: DataConfig) -> None:
    """Raise InvalidArgumentError for an augmentation that does not move targets with their images."""
    for key, off in _LABELLED_ONLY.items():
        if getattr(config, key) != off:
            raise InvalidArgumentError(
                f"data.{key}={getattr(config, key)}: is for images with labels; {config.targets} are not moved with "
                f"their images by it. Set it to {off!r}."
            )
