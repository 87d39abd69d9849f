"""Composed scenes: clothes of Fashion-MNIST on crops of photographs, with exact boxes, masks, key points and captions.

    scene   a crop of a photograph; two to four things on it (or another number), later ones in front, each turned,
            sized and coloured
    mask    the pixels of a thing that no later one hides; its box is the least that holds them
    corner  of the thing's own upright frame, turned with it: top left, top right, bottom right, bottom left

What a scene shows follows from the seed, the split and its number alone, so that a training set is the same for every
run. Things of the training split are Fashion-MNIST's training images on left parts of the photographs, those of the
test split its test images on right parts (``photographs``), so that nothing is seen in both.

Letters: C channels, H and W pixels.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from snnkit.data import fashion_mnist
from snnkit.data.captioned_fashion_mnist import NAMES
from snnkit.data.image_folder import read_image
from snnkit.data.photographs import find_photographs

SIDE = 96
"""Pixels of a scene's height and width where no other size is asked for."""

COLOURS = {
    "red": (230, 40, 40),
    "green": (50, 190, 60),
    "blue": (60, 90, 240),
    "yellow": (240, 220, 40),
    "purple": (170, 70, 220),
    "white": (250, 250, 250),
}
_INK = 0.12  # of a thing's brightest pixel: what is less is no thing
_LARGE, _TURN, _SEEN = (0.28, 0.5), 20.0, 0.6
_TRIES = 12


@dataclass(frozen=True)
class Thing:
    """A thing in a scene.

    Attributes:
        label: kind of clothing, 0 to 9.
        colour: a name in ``COLOURS``.
        mask: its pixels that are seen, bool (H, W).
        box: (left, top, right, bottom) in pixels; right and bottom are the first that it does not hold.
        corners: (4, 3): x, y in pixels, and 2 where that place is seen, 1 where a later thing hides it.
    """

    label: int
    colour: str
    mask: Tensor
    box: tuple[int, int, int, int]
    corners: Tensor


@dataclass(frozen=True)
class Scene:
    """An image uint8 (3, H, W), the things on it from back to front, and the name of the photograph behind them."""

    image: Tensor
    things: tuple[Thing, ...]
    place: str


class Scenes:
    """Scenes by number.

    Args:
        source: of Fashion-MNIST ("auto", "vendored", "full" or a folder).
        train: of the training split; else of the test split.
        count: how many there are.
        side: height and width in pixels.
        seed: which they are.
        things: the fewest and the most of a scene.
        sizes: the longer side of a thing, least and most, as a share of the scene's.

    Raises:
        CorruptFileError: Fashion-MNIST cannot be read.
        InvalidArgumentError: the photographs are not installed.
    """

    def __init__(
        self,
        source: str,
        train: bool,
        count: int,
        side: int = SIDE,
        seed: int = 0,
        things: tuple[int, int] = (2, 4),
        sizes: tuple[float, float] = _LARGE,
    ):
        self._things, self._sizes = things, sizes
        arrays = fashion_mnist.load(source)
        self.origin = f"scenes of {arrays.origin} on photographs"
        images, self._kinds = (arrays.x_train, arrays.y_train) if train else (arrays.x_test, arrays.y_test)
        self._images = torch.from_numpy(np.array(images))
        files = find_photographs("auto")
        self._photographs = [_half(read_image(file), train) for file in files]
        self._places = [file.stem for file in files]
        self._count, self._side, self._key = count, side, f"{seed} {'train' if train else 'test'}"
        self.names = [f"scene {number}" for number in range(count)]
        self.labels = [int(self._kinds[self._drawn(number).randrange(len(self._kinds))]) for number in range(count)]

    def __len__(self) -> int:
        return self._count

    def _drawn(self, number: int) -> random.Random:
        return random.Random(f"{self._key} {number}")

    def read(self, number: int) -> Scene:
        """Return a scene."""
        drawn = self._drawn(number)
        first = drawn.randrange(len(self._kinds))  # as ``labels`` were drawn
        place = drawn.randrange(len(self._photographs))
        image = _cut(drawn, self._photographs[place], self._side)
        fewest, most = self._things
        chosen = [first, *(drawn.randrange(len(self._kinds)) for _ in range(drawn.randint(fewest - 1, most - 1)))]
        placed: list[Thing] = []
        for index in chosen:
            found = self._placed(drawn, index, placed)
            if found is not None:
                pixels, thing = found
                image = torch.where(thing.mask, pixels, image)
                placed = [_behind(other, thing.mask) for other in placed] + [thing]
        return Scene(image, tuple(placed), self._places[place])

    def _placed(self, drawn: random.Random, index: int, others: Sequence[Thing]) -> tuple[Tensor, Thing] | None:
        """Return a thing's pixels uint8 (3, H, W) and the thing; None where it would hide too much of the others."""
        grey = self._images[index].float() / max(int(self._images[index].max()), 1)
        colour = drawn.choice(list(COLOURS))
        for _ in range(_TRIES):
            shades, corners = _laid(drawn, grey, self._side, self._sizes)
            mask = shades > _INK
            if not mask.any() or any(_hidden(other, mask) for other in others):
                continue
            tint = torch.tensor(COLOURS[colour]).view(3, 1, 1)
            pixels = (tint * (0.25 + 0.75 * shades)).round().byte()
            seen = torch.cat([corners, torch.full((4, 1), 2.0)], 1)  # nothing lies before what was just laid
            return pixels, Thing(int(self._kinds[index]), colour, mask, box_of(mask), seen)
        return None


def box_of(mask_HW: Tensor) -> tuple[int, int, int, int]:
    """Return (left, top, right, bottom) of the least box that holds a mask with pixels."""
    rows, columns = mask_HW.any(1).nonzero()[:, 0], mask_HW.any(0).nonzero()[:, 0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def caption(scene: Scene, drawn: random.Random) -> str:
    """Return a sentence about a scene: its two largest things, and how they lie to each other."""
    largest = sorted(scene.things, key=lambda thing: -int(thing.mask.sum()))[:2]
    said = [f"a {thing.colour} {NAMES[thing.label]}" for thing in largest]
    if len(largest) == 1:
        return said[0]
    centres = [((t.box[0] + t.box[2]) / 2, (t.box[1] + t.box[3]) / 2) for t in largest]
    across, down = centres[1][0] - centres[0][0], centres[1][1] - centres[0][1]
    if abs(across) >= abs(down):
        words = ("{} to the left of {}", "{} on the left of {}") if across > 0 else ("{} to the right of {}",)
    else:
        words = ("{} above {}", "{} over {}") if down > 0 else ("{} below {}",)
    return drawn.choice(words).format(*said)


def _half(image_CHW: Tensor, train: bool) -> Tensor:
    border = round(image_CHW.shape[2] * 0.6)
    return image_CHW[..., :border] if train else image_CHW[..., border:]


def _cut(drawn: random.Random, image_CHW: Tensor, side: int) -> Tensor:
    """Return a square of a photograph, a third of its shorter side at least, dimmed so that things stand out."""
    height, width = image_CHW.shape[1:]
    size = round(min(height, width) * drawn.uniform(0.34, 1.0))
    top, left = drawn.randint(0, height - size), drawn.randint(0, width - size)
    part = vision.crop(image_CHW, top, left, size, size)
    return (vision.resize(part, [side, side], antialias=True).float() * 0.6).round().byte()


def _laid(drawn: random.Random, grey_HW: Tensor, side: int, sizes: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Return shades (H, W) of a thing that is laid on an empty scene, and its corners (4, 2): x, y."""
    rows, columns = ((grey_HW > _INK).any(axis).nonzero()[:, 0] for axis in (1, 0))
    top, left, bottom, right = float(rows[0]), float(columns[0]), float(rows[-1]) + 1, float(columns[-1]) + 1
    height, width = bottom - top, right - left
    scale = drawn.uniform(*sizes) * side / max(height, width)
    turn = math.radians(drawn.uniform(-_TURN, _TURN))
    cos, sin = math.cos(turn), math.sin(turn)
    # The turned frame lies wholly on the scene.
    across = (abs(cos) * width + abs(sin) * height) * scale / 2
    down = (abs(sin) * width + abs(cos) * height) * scale / 2
    x, y = drawn.uniform(across, side - across), drawn.uniform(down, side - down)
    corners = torch.tensor([(-width, -height), (width, -height), (width, height), (-width, height)]) * (scale / 2)
    turned = corners @ torch.tensor([[cos, sin], [-sin, cos]]) + torch.tensor([x, y])
    # Of each pixel of the scene, where on the small image it lies, in the units of ``grid_sample``.
    places = torch.arange(side) + 0.5
    dx, dy = torch.meshgrid(places - x, places - y, indexing="xy")
    u = (cos * dx + sin * dy) / scale + left + width / 2
    v = (-sin * dx + cos * dy) / scale + top + height / 2
    size = torch.tensor([grey_HW.shape[1], grey_HW.shape[0]])
    grid = 2 * torch.stack([u, v], -1) / size - 1
    shades = F.grid_sample(grey_HW[None, None], grid[None], mode="bilinear", align_corners=False)[0, 0]
    return shades, turned


def _hidden(thing: Thing, mask_HW: Tensor) -> bool:
    """Whether another mask would hide too much of a thing."""
    return float((thing.mask & ~mask_HW).sum()) < _SEEN * float(thing.mask.sum())


def _behind(thing: Thing, mask_HW: Tensor) -> Thing:
    """Return a thing as it is seen behind another one."""
    mask = thing.mask & ~mask_HW
    corners, (height, width) = thing.corners.clone(), mask_HW.shape
    for corner in corners:
        x, y = min(int(corner[0]), width - 1), min(int(corner[1]), height - 1)
        if mask_HW[y, x]:
            corner[2] = 1.0
    return Thing(thing.label, thing.colour, mask, box_of(mask), corners)
