"""What detectors share: a backbone with a pyramid, torchvision's handling of images, and labels that count from 0.

    images      a list of (C, H, W), of any sizes, or (B, C, H, W); normalised already. They are scaled only where
                ``min_size`` says so, and filled up with zeros to multiples of 32 and of the largest
    targets     {boxes (N, 4) left, top, right, bottom in pixels; labels (N,) from 0; masks (N, H, W)} of each
    training    → {name of a loss: value}
    else        → {boxes (M, 4), labels (M,), scores (M,) and, of some, masks (M, H, W)} of each, best first, in pixels
                of the image as it was given, or of the size that is asked for

Tests ask for both: ``see`` runs backbone and pyramid, ``find`` says what is found, and ``test_losses`` what training
would say, with everything that training changes held still: batch norm reads what it remembers, and anchors and regions
are sampled from one fixed seed.

Spiking backbones: maps (T, B, C, H, W) go through a spiking pyramid and spiking heads, which average over the T steps
as late as they can: behind the last layer of each head. torchvision's matching and selection of boxes see values
without time.

Letters: T steps, B images, C channels, H and W pixels, N things, M found.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from snnkit.errors import InvalidArgumentError
from snnkit.models.backbones import Backbone, OnBackbone

Targets = Sequence[Mapping[str, Tensor]]
Found = dict[str, Tensor]
_SEED = 0
_SURE = 0.5  # probability from which on a pixel belongs to a thing


class Scaling(GeneralizedRCNNTransform):
    """torchvision's batching of images and scaling of results, for images that are normalised, and that may stay.

    Args:
        min_size: shorter side in pixels that images are scaled to, or several, one of which is drawn for each training
            image and the last taken for tests; 0 leaves images as they are.
        max_size: the longer side is at most this; 0 for no bound.

    Raises:
        InvalidArgumentError: sizes that are none.
    """

    def __init__(self, min_size: int | Sequence[int], max_size: int):
        sizes = tuple(min_size) if isinstance(min_size, (tuple, list)) else (min_size,)
        if not sizes or any(not isinstance(side, int) or side < 0 for side in (*sizes, max_size)):
            raise InvalidArgumentError(
                f"min_size={min_size!r}, max_size={max_size!r}: must be whole numbers ≥ 0, 0 for none."
            )
        if (len(sizes) > 1 and 0 in sizes) or (max_size and max_size < max(sizes)) or (max_size and sizes == (0,)):
            raise InvalidArgumentError(
                f"min_size={min_size!r}, max_size={max_size}: max_size bounds what min_size scales; give both, and "
                "max_size the larger."
            )
        super().__init__(sizes, max_size or 2**31, [0.0], [1.0])
        self.scales = sizes != (0,)

    def normalize(self, image: Tensor) -> Tensor:
        """Return the image; our data are normalised."""
        return image

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, Any]:
        """Scale an image and its target where a size was given."""
        return super().resize(image, target) if self.scales else (image, target)


class Anchors(AnchorGenerator):
    """torchvision's anchors, one side or several a level, on levels of which each is half of the one before.

    Args:
        sides: of each level, in pixels.
        ratios: height per width.
        strides: of the levels in pixels, where they are not to be read off the maps.
    """

    def __init__(self, sides: Sequence[Sequence[float]], ratios: Sequence[float], strides: Sequence[int] = ()):
        super().__init__(tuple(tuple(level) for level in sides), (tuple(ratios),) * len(sides))
        self.fixed = tuple(strides)

    def grid_anchors(self, grid_sizes: list[list[int]], strides: list[list[Tensor]]) -> list[Tensor]:
        """Return the anchors of each level."""
        if self.fixed:
            strides = [[torch.full_like(side, fixed) for side in pair] for pair, fixed in zip(strides, self.fixed)]  # noqa: B905
        return super().grid_anchors(grid_sizes, strides)


@dataclass(frozen=True)
class Seen:
    """Images as they were given, the batch that was made of them, and the levels of its pyramid."""

    images: list[Tensor]
    batch: ImageList
    levels: list[Tensor]


class Detector(OnBackbone, ABC):
    """The interface: a detector writes ``pyramid``, ``losses`` and ``select``.

    Args:
        backbone: whose maps are read; it decides whether neck and heads are spiking.
        num_classes: K, without the background.
        transform: how images become a batch.
    """

    predicts_masks = False

    def __init__(self, backbone: Backbone, num_classes: int, transform: Scaling):
        super().__init__(backbone)
        self.num_classes, self.transform = num_classes, transform

    @abstractmethod
    def pyramid(self, images_BCHW: Tensor) -> list[Tensor]:
        """Return what backbone and neck make of images: maps, fine to coarse, (B, C, H, W) or (T, B, C, H, W)."""

    def further(self, maps: list[Tensor]) -> list[Tensor]:
        """Return the levels that the heads read: the maps of the pyramid, and what may be picked out of them."""
        return maps

    def levels(self, images_BCHW: Tensor) -> list[Tensor]:
        """Return the levels of the pyramid, fine to coarse, (B, C, H, W) or (T, B, C, H, W)."""
        return self.further(self.pyramid(images_BCHW))

    @abstractmethod
    def losses(self, images: ImageList, levels: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the losses by name, as in training."""

    @abstractmethod
    def select(self, images: ImageList, levels: list[Tensor]) -> list[Found]:
        """Return what is found, as in tests, in pixels of the batch; labels count from 0."""

    def forward(self, images: Any, targets: Targets | None = None, sizes: Sequence[tuple[int, int]] = ()) -> Any:
        """Return the losses in training, else what is found, in pixels of ``sizes`` (H, W), if not of the images.

        Raises:
            InvalidArgumentError: no images (C, H, W) of the model's channels, or targets that are none.
        """
        if self.training:
            given = _checked_images(images, self.in_chans)
            batch, wanted = self.transform(given, _checked_targets(targets, given, self.predicts_masks))
            return self.losses(batch, self.levels(batch.tensors), wanted)
        return self.find(self.see(images), sizes)

    def see(self, images: Any) -> Seen:
        """Return images and the levels of their pyramid."""
        given = _checked_images(images, self.in_chans)
        batch, _ = self.transform(given)
        return Seen(given, batch, self.levels(batch.tensors))

    def find(self, seen: Seen, sizes: Sequence[tuple[int, int]] = ()) -> list[Found]:
        """Return what is found in each image, in pixels of ``sizes`` (H, W), if not of the images."""
        asked = [(int(size[0]), int(size[1])) for size in sizes]
        asked = asked or [(image.shape[-2], image.shape[-1]) for image in seen.images]
        found = self.select(seen.batch, seen.levels)
        placed: list[Found] = self.transform.postprocess(found, seen.batch.image_sizes, asked)
        for one in placed:
            if "masks" in one:
                one["masks"] = one["masks"][:, 0] >= _SURE
        return placed

    def test_losses(self, seen: Seen, targets: Targets) -> dict[str, Tensor]:
        """Return the losses of images by name; targets are in their pixels.

        Raises:
            InvalidArgumentError: targets that are none.
        """
        batch, wanted = self.transform(seen.images, _checked_targets(targets, seen.images, self.predicts_masks))
        with _fixed_sampling(batch.tensors.device):
            return self.losses(batch, seen.levels, wanted)


def _checked_images(images: Any, channels: int) -> list[Tensor]:
    given = list(images)
    for image in given:
        if not isinstance(image, Tensor) or image.ndim != 3 or image.shape[0] != channels:
            shown = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
            raise InvalidArgumentError(
                f"a detector takes still images (C, H, W) with C = {channels}, or a batch of them, got {shown}. Change "
                "the input, or create the model with in_chans=."
            )
    if not given:
        raise InvalidArgumentError("a detector takes one image at least, got none.")
    return given


def _checked_targets(targets: Targets | None, images: Sequence[Tensor], masks: bool) -> list[dict[str, Tensor]]:
    """Return targets as the losses read them, without the things that nobody is asked about (``iscrowd``)."""
    if targets is None or len(targets) != len(images):
        raise InvalidArgumentError(
            f"targets: a detector learns from one for each of the {len(images)} images, got "
            f"{'none' if targets is None else len(targets)}."
        )
    wanted = []
    for number, target in enumerate(targets):
        if masks and "masks" not in target:
            raise InvalidArgumentError(
                f"targets[{number}] has {', '.join(target)}, and masks are to be learned; give masks, or create the "
                "model with masks=False."
            )
        kept = {key: target[key] for key in ("boxes", "labels", "masks") if key in target}
        if "iscrowd" in target:
            asked = target["iscrowd"] == 0
            kept = {key: value[asked] for key, value in kept.items()}
        flat = (kept["boxes"][:, 2:] <= kept["boxes"][:, :2]).any(1)
        if flat.any():
            box = [round(side, 2) for side in kept["boxes"][flat][0].tolist()]
            raise InvalidArgumentError(
                f"targets[{number}] has the box {box}, which is left, top, right, bottom: width and height must be "
                "above 0; leave such a thing out."
            )
        wanted.append(kept)
    return wanted


@contextmanager
def in_training(*modules: nn.Module) -> Iterator[None]:
    """Have torchvision's modules compute losses inside the block; the layers below them keep their mode."""
    before = [module.training for module in modules]
    for module in modules:
        module.training = True
    try:
        yield
    finally:
        for module, was in zip(modules, before, strict=True):
            module.training = was


@contextmanager
def _fixed_sampling(device: torch.device) -> Iterator[None]:
    """Draw from one fixed seed inside the block, and from where the generators stood behind it."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(_SEED)
        yield
