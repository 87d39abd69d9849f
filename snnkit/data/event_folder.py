"""Event recordings in folders by class: ``SOURCE/train/CLASS/….bin`` and ``SOURCE/val/CLASS/….bin``, as sequences.

Formats are those of ``snnkit.data.events``. A recording becomes ``data.frames`` frames of counts (T, 2, H, W), parted
by ``data.part_by``; H and W are the sensor's, or ``data.img_size``, where events of pixels that fall together are
added. Batches are sequences (T, B, 2, H, W).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torchvision.transforms import v2

from snnkit.data.class_folders import Files, find_files
from snnkit.data.config import DataConfig
from snnkit.data.events import READERS, read_events, to_frames
from snnkit.data.samples import Partly, Samples, Splits
from snnkit.errors import InvalidArgumentError

# Augmentations of photographs that mean nothing on counts: setting → the value that leaves it out.
_UNFIT = {"crop_scale": 1.0, "rand_augment": "", "erase": 0.0}


class FrameReader:
    """From a path to frames float32 (T, 2, H, W).

    Args:
        config: ``frames``, ``part_by``, ``sensor_height``, ``sensor_width``, ``img_size``, ``stray_events``.
    """

    def __init__(self, config: DataConfig):
        self.parts, self.by = config.frames, config.part_by
        self.sensor = config.sensor_height, config.sensor_width
        self.size = (config.img_size, config.img_size) if config.img_size else None
        self.drop = config.stray_events == "drop"

    def __call__(self, path: str) -> Tensor | Partly:
        """Read one recording; says so where events outside of the sensor were dropped.

        Raises:
            CorruptFileError: it cannot be read.
            InvalidArgumentError: neither file nor settings say the sensor's size.
        """
        events = read_events(path, *self.sensor, drop_stray=self.drop)
        if not events.height or not events.width:
            raise InvalidArgumentError(
                f"{path} does not say how large the sensor is: give data.sensor_height and data.sensor_width."
            )
        frames = to_frames(events, self.parts, self.by, self.size)
        if not events.stray:
            return frames
        total = events.stray + len(events)
        return Partly(
            frames, f"{path}: {events.stray} of {total:,} events outside of {events.width}×{events.height} dropped"
        )


def load(config: DataConfig) -> Splits:
    """Return the recordings of the folder ``config.source``.

    Raises:
        InvalidArgumentError: no such folder, no recordings, other classes in the two splits, no number of frames, or an
            augmentation that counts of events cannot have.
    """
    if not config.frames:
        raise InvalidArgumentError("data.frames=0: give the number of frames that a recording becomes.")
    for key, off in _UNFIT.items():
        if getattr(config, key) != off:
            raise InvalidArgumentError(
                f"data.{key}={getattr(config, key)!r}: counts of events are only flipped and shifted; leave it {off!r}."
            )
    found = find_files(config, tuple(READERS), "recordings")
    skip, reader = config.on_corrupt == "skip", FrameReader(config)
    return Splits(
        Samples(Files(found.train, reader), _augment(config), skip),
        Samples(Files(found.test, reader), nn.Identity(), skip),
        found.classes,
        found.root,
        frames=config.frames,
        time_first=True,
    )


def _augment(config: DataConfig) -> Any:
    steps: list[Any] = [nn.Identity()]
    if config.flip:
        steps.append(v2.RandomHorizontalFlip())
    if config.shift_pixels:
        steps.append(_Shift(config.shift_pixels))
    return v2.Compose(steps)


class _Shift:
    """Shift all frames by the same random number of pixels in either direction; nothing comes in from outside."""

    def __init__(self, pixels: int):
        self.pixels = pixels

    def __call__(self, frames: Tensor) -> Tensor:
        return v2.RandomCrop(frames.shape[-2:], padding=self.pixels)(frames)
