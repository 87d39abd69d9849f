"""Images with things on them: what is known of a thing, transforms that move things with their image, and batches.

    boxes     (N, 4) left, top, right, bottom in pixels        masks    (N, H, W) bool, where a source has them
    labels    (N,) int64                                       iscrowd  (N,) 1 for what stands for many things together
    area      (N,) pixels of each, where a source says so      size     (H, W) of the image before it was scaled to be
                                                                        tested; boxes and masks are in its pixels

A training image is scaled in one of three ways, then mirrored and shifted, by torchvision's ``transforms.v2``:

    large-scale jitter   ``smallest_scale``, ``largest_scale``: to a factor between them of what fills a square of
                         ``img_size``, then cut or filled up to it (Ghiasi et al., arXiv 2012.07177: 0.1 and 2)
    multi-scale          ``short_sides``: the shorter side to one of these, the longer to ``longest_side`` at most
                         (Carion et al., arXiv 2005.12872: 480 to 800 in steps of 32, and 1333)
    plain                the shorter side to ``img_size``, if given, the longer to ``longest_side`` at most

Things of which less than a pixel is left are left out. A test image is scaled plainly, to the last of ``short_sides``
where there is no ``img_size``; what is known of it stays as it was, so that it is measured in its own pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from snnkit.data.config import DataConfig
from snnkit.data.transforms import Normalise
from snnkit.errors import InvalidArgumentError

_PER_THING = ("labels", "iscrowd", "area")


def things(
    boxes_N4: Tensor,
    labels: Tensor,
    size: tuple[int, int],
    masks_NHW: Tensor | None = None,
    iscrowd: Tensor | None = None,
    area: Tensor | None = None,
) -> dict[str, Any]:
    """Return what is known of an image of ``size`` (H, W), as torchvision's transforms move it."""
    found: dict[str, Any] = {
        "boxes": tv_tensors.BoundingBoxes(boxes_N4.float().reshape(-1, 4), format="XYXY", canvas_size=size),  # type: ignore[call-overload]
        "labels": labels.long(),
        "iscrowd": torch.zeros(len(labels), dtype=torch.long) if iscrowd is None else iscrowd.long(),
    }
    if masks_NHW is not None:
        found["masks"] = tv_tensors.Mask(masks_NHW.bool())
    if area is not None:
        found["area"] = area.float()
    return found


class Objects:
    """Transform an image uint8 (C, H, W) and its ``things`` → floats, and plain tensors by name.

    Args:
        config: which augmentations.
        size: height and width of what comes out; (0, 0) where images keep their shape.
        train: whether to augment, and to leave crowds out.
        mean, std: of each channel on the scale 0…1.

    Raises:
        InvalidArgumentError: settings that do not go together.
    """

    def __init__(
        self, config: DataConfig, size: tuple[int, int], train: bool, mean: Sequence[float], std: Sequence[float]
    ):
        self._train, self._pixels = train, Normalise(mean, std)
        self._both = v2.Compose(_training(config, size)) if train else Scaled(config)

    def __call__(self, image: Tensor, target: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the two."""
        if not self._train:
            plain = {key: value.as_subclass(Tensor) for key, value in target.items()}
            plain["size"] = torch.tensor(image.shape[-2:])
            return self._pixels(self._both(image).as_subclass(Tensor)), plain
        asked = target["iscrowd"] == 0
        target = {key: tv_tensors.wrap(value[asked], like=value) for key, value in target.items()}
        image, target = self._both(image, target)
        plain = {key: value.as_subclass(Tensor) for key, value in target.items()}
        plain.pop("area", None)  # of the thing before it was scaled
        if "masks" in plain:
            seen = plain["masks"].flatten(1).any(1)
            plain = {key: value[seen] for key, value in plain.items()}
        return self._pixels(image.as_subclass(Tensor)), plain


def _training(config: DataConfig, size: tuple[int, int]) -> list[Any]:
    _check(config)
    scales, longest = (config.smallest_scale, config.largest_scale), config.longest_side or None
    fill = {tv_tensors.Image: 0, "others": 0}
    square = (config.img_size, config.img_size) if size == (0, 0) else size
    steps: list[Any] = []
    if scales != (1.0, 1.0):
        steps += [v2.ScaleJitter(square, scales), v2.RandomCrop(square, pad_if_needed=True, fill=fill)]  # type: ignore[arg-type]
    elif config.short_sides:
        steps.append(v2.RandomShortestSize(list(config.short_sides), longest))  # type: ignore[arg-type]
    elif config.crop_scale < 1:
        steps.append(v2.RandomResizedCrop(square, scale=(config.crop_scale, 1.0)))
    elif config.img_size:
        steps.append(v2.RandomShortestSize(config.img_size, longest))
    if config.flip:
        steps.append(v2.RandomHorizontalFlip())
    if config.shift_pixels and size != (0, 0):
        steps.append(v2.RandomCrop(size, padding=config.shift_pixels, fill=fill))  # type: ignore[arg-type]
    steps += [v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes(labels_getter=_labels)]
    return steps


class Scaled:
    """Scale images uint8 (C, H, W) as they are tested."""

    def __init__(self, config: DataConfig):
        side = config.img_size or (config.short_sides[-1] if config.short_sides else 0)
        # Of one side: nothing is random.
        self._scale = v2.RandomShortestSize(side, config.longest_side or None) if side else v2.Identity()

    def __call__(self, image: Tensor) -> Tensor:
        """Return the image with the shorter side that is asked for; without one as it was."""
        scaled: Tensor = self._scale(image)
        return scaled


def _check(config: DataConfig) -> None:
    """Refuse several ways of scaling at once, and cutting without a size."""
    jitter = (config.smallest_scale, config.largest_scale) != (1.0, 1.0)
    if jitter + bool(config.short_sides) + (config.crop_scale < 1) > 1:
        raise InvalidArgumentError(
            "data.smallest_scale and largest_scale, data.short_sides, data.crop_scale: are three ways of scaling an "
            "image with things; set one."
        )
    if any(not isinstance(side, int) or side < 1 for side in config.short_sides):
        raise InvalidArgumentError(
            f"data.short_sides={config.short_sides}: must be whole numbers ≥ 1, such as 480,512."
        )
    if (jitter or config.crop_scale < 1) and not config.img_size:
        raise InvalidArgumentError("data.img_size=0: what is cut out of scaled images needs a size, such as 640.")


def _labels(inputs: tuple[Any, dict[str, Any]]) -> tuple[Tensor, ...]:
    """What goes with its box."""
    return tuple(inputs[1][key] for key in _PER_THING if key in inputs[1])


def collate_objects(samples: list[Any]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Make a batch: images may differ in size, and in how many things they show."""
    images, targets = zip(*samples, strict=True)
    return list(images), list(targets)
