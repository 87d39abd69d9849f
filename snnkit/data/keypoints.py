"""Key points of things: a crop around each thing, with its key points moved along and what an evaluation needs.

    crop      the least upright rectangle of the crop's shape that holds the thing's box, 1.25 times as wide and high
    training  the crop is turned, scaled, shifted, and mirrored, which gives key points the names of their partners
    back      image = A · crop + b: the affine map (2, 3) from places in the crop to places in the image, [A | b]

A place is counted in pixels from the top left corner of the image, so that pixel i spans i to i + 1 and mirroring takes
x to W − x. A key point is (x, y, v): v = 2 seen, 1 hidden but marked, 0 not marked (COCO's). Source of the crops: Xiao
et al., "Simple Baselines for Human Pose Estimation and Tracking", arXiv 1804.06208. Letters: B crops, K key points, C
channels, H and W pixels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from snnkit.data.config import DataConfig
from snnkit.data.transforms import Normalise
from snnkit.errors import InvalidArgumentError

PADDING = 1.25
"""How much wider and higher than its box a thing's crop is."""

SIGMA = 0.05
"""How exact a key point is taken to be marked, as a share of the root of the thing's area, where nobody measured it."""

_SIDES = re.compile(r"(?<![a-z])(left|right)(?![a-z])")


@dataclass(frozen=True)
class Marked:
    """A thing whose key points are marked.

    Attributes:
        points: (K, 3), places in the image and v.
        box: (4,): left, top, right, bottom in the image.
        area: pixels that the thing covers.
        image: number of the image among those of its split.
        sigmas: (K,), how exact each key point is marked: the standard deviation over the root of the area.
        mirror: (K,), for each key point which one takes its name in a mirrored image.
    """

    points: Tensor
    box: Tensor
    area: float
    image: int
    sigmas: Tensor
    mirror: Tensor


def mirrored(names: Sequence[str]) -> Tensor:
    """Return, for each key point, the number of the one that takes its name in a mirrored image, int64 (K,).

    Partners are told by the words left and right in their names ("left_eye", "top right"); any other is its own.

    Raises:
        InvalidArgumentError: a key point without its partner, or two of one name.
    """
    lower = [name.lower() for name in names]
    places = {name: number for number, name in enumerate(lower)}
    if len(places) < len(names):
        raise InvalidArgumentError(f"key points {', '.join(names)}: two have one name; give each its own.")
    found = []
    for given, name in zip(names, lower, strict=True):
        partner = _SIDES.sub(lambda side: "right" if side[0] == "left" else "left", name)
        if partner not in places:
            raise InvalidArgumentError(
                f"key point {given!r} has no partner {partner!r}, which takes its name in a mirrored image; name both."
            )
        found.append(places[partner])
    return torch.tensor(found)


class TopDown:
    """Transform an image uint8 (C, H, W) and a thing ``Marked`` on it → a crop, floats, and a dictionary.

    The dictionary holds ``points`` (K, 3) in the crop, ``back`` (2, 3), and the thing's ``box``, ``area``, ``image``,
    ``sigmas`` and ``mirror``. A training crop is mirrored (``flip``), turned by up to ``rotate`` degrees, shifted by up
    to ``shift_pixels``, and shows the thing scaled by a factor between ``smallest_scale`` and ``largest_scale``.

    Args:
        config: which augmentations; ``crop_height`` and ``crop_width`` are the size of a crop.
        size: height and width of a crop where the configuration gives none.
        train: whether to augment.
        mean, std: of each channel on the scale 0…1.

    Raises:
        InvalidArgumentError: no size, or an augmentation that is not for crops.
    """

    def __init__(
        self, config: DataConfig, size: tuple[int, int], train: bool, mean: Sequence[float], std: Sequence[float]
    ):
        self.size = config.crop_height or size[0], config.crop_width or size[1]
        if not all(self.size):
            raise InvalidArgumentError(
                f"data.crop_height={config.crop_height}, crop_width={config.crop_width}: give the size of the crops "
                "around things, such as 256 and 192."
            )
        if config.crop_scale != 1:
            raise InvalidArgumentError(
                f"data.crop_scale={config.crop_scale}: crops around things are scaled by data.smallest_scale and "
                "largest_scale; set it to 1."
            )
        self._config, self._train, self._pixels = config, train, Normalise(mean, std)

    def __call__(self, image: Tensor, target: Marked) -> tuple[Tensor, dict[str, Tensor]]:
        """Return crop and dictionary."""
        flipped, back = self._drawn(target.box) if self._train else (False, crop_map(target.box, self.size))
        points = torch.cat([moved(target.points[:, :2], inverse(back)), target.points[:, 2:]], 1)
        pixels = self._pixels(cut(image.as_subclass(Tensor), back, self.size))
        return pixels, {
            "points": points[target.mirror] if flipped else points,
            "back": back,
            "box": target.box.float(),
            "area": torch.tensor(target.area, dtype=torch.float32),
            "image": torch.tensor(target.image),
            "sigmas": target.sigmas,
            "mirror": target.mirror,
        }

    def _drawn(self, box: Tensor) -> tuple[bool, Tensor]:
        """Draw how a training crop lies; return whether it is mirrored, and its map."""
        config, draws = self._config, torch.rand(5).tolist()
        flipped = config.flip and draws[0] < 0.5
        low, high = config.smallest_scale, config.largest_scale
        return flipped, crop_map(
            box,
            self.size,
            scale=low + (high - low) * draws[1],
            degrees=config.rotate * (2 * draws[2] - 1),
            shift=(config.shift_pixels * (2 * draws[3] - 1), config.shift_pixels * (2 * draws[4] - 1)),
            flipped=flipped,
        )


def crop_map(
    box: Tensor,
    size: tuple[int, int],
    scale: float = 1.0,
    degrees: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
    flipped: bool = False,
) -> Tensor:
    """Return the map (2, 3) from a crop to its image.

    Args:
        box: (4,): left, top, right, bottom in the image.
        size: height and width of the crop.
        scale: how much larger the crop shows the thing.
        degrees: by which it shows it turned counterclockwise.
        shift: pixels of the crop, x and y, by which it shows it moved; before it is mirrored.
        flipped: whether it is mirrored.
    """
    left, top, right, bottom = box.double().tolist()
    height, width = size
    step = PADDING / scale * max((right - left) / width, (bottom - top) / height)
    turn = math.radians(degrees)
    cos, sin = step * math.cos(turn), step * math.sin(turn)
    sign = -1.0 if flipped else 1.0
    across, down = torch.tensor([cos * sign, sin * sign]).double(), torch.tensor([-sin, cos]).double()
    middle = torch.tensor([(left + right) / 2, (top + bottom) / 2]).double()
    # The middle of the box is shown beside the middle of the crop.
    shown_x, shown_y = width / 2 + sign * shift[0], height / 2 + shift[1]
    return torch.stack([across, down, middle - across * shown_x - down * shown_y], 1).float()


def inverse(maps: Tensor) -> Tensor:
    """Return the maps (…, 2, 3) the other way."""
    linear = torch.linalg.inv(maps[..., :2].double())
    return torch.cat([linear, -linear @ maps[..., 2:].double()], -1).to(maps.dtype)


def moved(places: Tensor, maps: Tensor) -> Tensor:
    """Return places (…, K, 2) moved by affine maps (…, 2, 3)."""
    return places @ maps[..., :2].transpose(-1, -2) + maps[..., 2].unsqueeze(-2)


def cut(image_CHW: Tensor, back: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the pixels uint8 (C, height, width) of a crop, bilinear; black outside of the image.

    Where the crop is smaller than half of what it shows, means of squares of pixels are taken first.
    """
    height, width = size
    x, y = torch.meshgrid(torch.arange(width) + 0.5, torch.arange(height) + 0.5, indexing="xy")
    places = moved(torch.stack([x, y], -1).view(-1, 2), back)
    pixels = image_CHW[None].float()
    whole = int(math.sqrt(abs(float(torch.linalg.det(back[:, :2])))))
    if whole >= 2:
        pixels, places = F.avg_pool2d(pixels, whole, ceil_mode=True), places / whole
    reach = torch.tensor([pixels.shape[-1], pixels.shape[-2]])
    grid = (2 * places / reach - 1).view(1, height, width, 2)
    return F.grid_sample(pixels, grid, mode="bilinear", align_corners=False)[0].round().to(torch.uint8)
