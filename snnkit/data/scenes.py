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
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from snnkit.data import fashion_mnist
from snnkit.data.captioned_fashion_mnist import NAMES
from snnkit.data.image_folder import read_image
from snnkit.data.photographs import find_photographs

Array: TypeAlias = NDArray[Any]

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
        self._images = np.array(images)
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
        image = _cut(drawn, self._photographs[place], self._side).numpy()
        fewest, most = self._things
        chosen = [first, *(drawn.randrange(len(self._kinds)) for _ in range(drawn.randint(fewest - 1, most - 1)))]
        placed: list[_Placed] = []
        for index in chosen:
            found = self._placed(drawn, index, placed)
            if found is not None:
                found.paint(image)
                for other in placed:
                    other.hide(found.mask)
                placed.append(found)
        return Scene(torch.from_numpy(image), tuple(one.thing() for one in placed), self._places[place])

    def _placed(self, drawn: random.Random, index: int, others: Sequence[_Placed]) -> _Placed | None:
        """Return a thing that is laid on a scene; None where it would hide too much of the others."""
        pixels = self._images[index]
        grey = pixels.astype(np.float32) / np.float32(max(int(pixels.max()), 1))
        colour, frame = drawn.choice(list(COLOURS)), _frame(grey > _INK)
        for _ in range(_TRIES):
            pose = _Pose.drawn(drawn, frame, self._side, self._sizes)
            shades = pose.shades(grey)
            mask = np.zeros((self._side, self._side), bool)
            mask[pose.window] = shades > _INK
            if mask.any() and not any(other.too_little_beside(mask) for other in others):
                return _Placed(int(self._kinds[index]), colour, pose, shades, mask)
        return None


def box_of(mask_HW: Tensor) -> tuple[int, int, int, int]:
    """Return (left, top, right, bottom) of the least box that holds a mask with pixels."""
    return _frame(mask_HW.numpy())


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


def _frame(mask_HW: Array) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of the least box that holds a mask with pixels."""
    rows, columns = (np.flatnonzero(mask_HW.any(axis)) for axis in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@dataclass(frozen=True)
class _Pose:
    """How a thing lies on a scene.

    Attributes:
        frame: of the thing on its small image.
        scale: pixels of the scene to one of the small image.
        cos, sin: of the angle that it is turned by.
        x, y: its middle.
        window: rows and columns of the scene beyond which nothing of it lies.
    """

    frame: tuple[int, int, int, int]
    scale: float
    cos: float
    sin: float
    x: float
    y: float
    window: tuple[slice, slice]

    @classmethod
    def drawn(
        cls, drawn: random.Random, frame: tuple[int, int, int, int], side: int, sizes: tuple[float, float]
    ) -> _Pose:
        """Draw size, turn and place, so that the turned frame lies wholly on the scene."""
        left, top, right, bottom = frame
        scale = drawn.uniform(*sizes) * side / max(bottom - top, right - left)
        turn = math.radians(drawn.uniform(-_TURN, _TURN))
        cos, sin = math.cos(turn), math.sin(turn)

        def reach(more: int) -> tuple[float, float]:
            width, height = right - left + more, bottom - top + more
            return (abs(cos) * width + abs(sin) * height) * scale / 2, (
                abs(sin) * width + abs(cos) * height
            ) * scale / 2

        across, down = reach(0)
        x, y = drawn.uniform(across, side - across), drawn.uniform(down, side - down)
        # A pixel between two of the small image shows both: one more on every side.
        columns, rows = (
            slice(max(math.floor(middle - half), 0), min(math.ceil(middle + half), side))
            for middle, half in zip((x, y), reach(2), strict=True)
        )
        return cls(frame, scale, cos, sin, x, y, (rows, columns))

    def shades(self, grey_HW: Array) -> Array:
        """Return what is seen of a small image in the window, float32."""
        left, top, right, bottom = self.frame
        dy, dx = (
            np.arange(part.start, part.stop, dtype=np.float32) + np.float32(0.5) - np.float32(middle)
            for part, middle in zip(self.window, (self.y, self.x), strict=True)
        )
        dy = dy[:, None]
        # Of each pixel of the scene, where on the small image it lies, in the units of ``grid_sample``.
        u = (self.cos * dx + self.sin * dy) / self.scale + left + (right - left) / 2
        v = (-self.sin * dx + self.cos * dy) / self.scale + top + (bottom - top) / 2
        height, width = grey_HW.shape
        grid = torch.from_numpy(np.stack([2 * u / width - 1, 2 * v / height - 1], -1))
        image = torch.from_numpy(grey_HW)
        seen: Array = F.grid_sample(image[None, None], grid[None], mode="bilinear", align_corners=False)[0, 0].numpy()
        return seen

    def corners(self) -> Tensor:
        """Return the corners of the frame on the scene, (4, 2): x, y."""
        left, top, right, bottom = self.frame
        w, h = float(right - left), float(bottom - top)
        corners = torch.tensor([(-w, -h), (w, -h), (w, h), (-w, h)]) * (self.scale / 2)
        return corners @ torch.tensor([[self.cos, self.sin], [-self.sin, self.cos]]) + torch.tensor([self.x, self.y])


class _Placed:
    """A thing while a scene is composed: later ones hide parts of it."""

    def __init__(self, label: int, colour: str, pose: _Pose, shades: Array, mask: Array):
        self.label, self.colour, self.mask = label, colour, mask
        self._window, self._shades, self._seen = pose.window, shades, int(np.count_nonzero(mask))
        # Nothing lies before what was just laid.
        self._corners = torch.cat([pose.corners(), torch.full((4, 1), 2.0)], 1)

    def paint(self, image_CHW: Array) -> None:
        """Paint it on a scene."""
        tint = np.array(COLOURS[self.colour], np.float32)[:, None, None]
        pixels = np.rint(tint * (np.float32(0.25) + np.float32(0.75) * self._shades)).astype(np.uint8)
        place = (slice(None), *self._window)
        image_CHW[place] = np.where(self.mask[self._window], pixels, image_CHW[place])

    def too_little_beside(self, mask_HW: Array) -> bool:
        """Whether another mask would hide too much of it."""
        rest = np.count_nonzero(self.mask[self._window] & ~mask_HW[self._window])
        return rest < _SEEN * self._seen

    def hide(self, mask_HW: Array) -> None:
        """Take what another mask covers from it."""
        self.mask = self.mask & ~mask_HW
        self._seen = int(np.count_nonzero(self.mask))
        height, width = mask_HW.shape
        for corner in self._corners:
            if mask_HW[min(int(corner[1]), height - 1), min(int(corner[0]), width - 1)]:
                corner[2] = 1.0

    def thing(self) -> Thing:
        """Return it as it is seen in the end."""
        return Thing(self.label, self.colour, torch.from_numpy(self.mask), _frame(self.mask), self._corners)
