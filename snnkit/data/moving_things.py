"""Data set ``moving_things``: clips whose class is how a thing moves, which none of their frames tells.

    state at frame n = state at frame 0 + n · velocity of the class · speed        on a torus of four circles
    state: x, y (of the clip's side), turn (of a full turn), size (of the way from smallest to largest)

A thing of Fashion-MNIST that leaves the clip on one side comes in on the other, one that has grown to the largest size
goes on as the smallest. So the state of every frame is evenly spread over the torus, whatever the class: a single
frame, the first as any other, is equally likely in all of them, and whoever sees one has nothing but chance (1 in 8).
What is behind the thing moves too (``data.real_clips``), in ways that do not depend on the class either.

A clip follows from the seed, the split and its number alone. Things are the training or the test images of the subset
of Fashion-MNIST that comes with snnkit. ``data.source`` is what is behind; ``data.frames`` of a clip are 8 where
nothing is said, ``data.img_size`` is 64. 4,000 clips to train on and 800 to test on.

Letters: F frames, C channels, H and W pixels.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from snnkit.data import fashion_mnist
from snnkit.data.config import DataConfig
from snnkit.data.image_folder import MEAN, STD
from snnkit.data.real_clips import Backgrounds
from snnkit.data.samples import Samples, Splits
from snnkit.data.scenes import COLOURS
from snnkit.data.transforms import for_testing, for_training
from snnkit.data.video_folder import ChannelsFirst
from snnkit.errors import InvalidArgumentError

SIDE, FRAMES = 64, 8
TRAIN_CLIPS, TEST_CLIPS = 4000, 800
MOTIONS: dict[str, tuple[float, float, float, float]] = {
    "left": (-1, 0, 0, 0),
    "right": (1, 0, 0, 0),
    "up": (0, -1, 0, 0),
    "down": (0, 1, 0, 0),
    "clockwise": (0, 0, 1, 0),
    "anticlockwise": (0, 0, -1, 0),
    "growing": (0, 0, 0, 1),
    "shrinking": (0, 0, 0, -1),
}
"""Direction of each class on the torus: x, y, turn, size. y grows downwards, so that a positive turn is clockwise."""
_FAR = (0.5, 0.9)  # of a circle, in a whole clip
_SIZES = (0.3, 0.6)  # of the side
_INK = 0.12  # of a thing's brightest pixel: what is less is no thing
State = tuple[float, float, float, float]


class MovingThings:
    """A ``Source`` of clips uint8 (F, 3, side, side) by number; the label of clip n is n modulo 8.

    Args:
        source: of what is behind the things (``data.real_clips``).
        train: of the training split; else of the test split.
        count: how many clips there are.
        frames: F.
        side: height and width in pixels.
        seed: which they are.

    Raises:
        CorruptFileError: a file cannot be read.
        InvalidArgumentError: another source, or it is not installed.
    """

    def __init__(self, source: str, train: bool, count: int, frames: int = FRAMES, side: int = SIDE, seed: int = 0):
        arrays = fashion_mnist.load("vendored")
        self._things = torch.from_numpy((arrays.x_train if train else arrays.x_test).copy())
        self._behind = Backgrounds(source, train)
        self._frames, self._side, self._key = frames, side, f"{seed} {'train' if train else 'test'}"
        self.origin = f"things of Fashion-MNIST over {self._behind.origin}"
        self.labels = [number % len(MOTIONS) for number in range(count)]
        self.names = [f"clip {number}" for number in range(count)]

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> Tensor:
        """Return a clip."""
        return self.clip(index, self.labels[index])

    def clip(self, number: int, motion: int, drawn_at: int = 0) -> Tensor:
        """Return what clip ``number`` would be with another motion.

        Nothing but the motion depends on it: thing, colour, background, speed and the state at one frame are drawn from
        the number. That frame is the same in all eight clips, whichever it is (``drawn_at``); since the state is drawn
        evenly, which one it is does not change how likely a clip is.
        """
        drawn = random.Random(f"{self._key} {number}")
        thing = self._things[drawn.randrange(len(self._things))]
        colour = drawn.choice(list(COLOURS.values()))
        there: State = (drawn.random(), drawn.random(), drawn.random(), drawn.random())
        speed = drawn.uniform(*_FAR) / max(self._frames - 1, 1)
        behind = self._behind.draw(drawn, self._frames, self._side)
        shades = laid(thing, path(there, motion, speed, self._frames, drawn_at), self._side)
        pixels = torch.tensor(colour).view(3, 1, 1) * (0.25 + 0.75 * shades[:, None])
        return torch.where(shades[:, None] > _INK, pixels.round().byte(), behind)


def path(there: State, motion: int, speed: float, frames: int, drawn_at: int = 0) -> list[State]:
    """Return the state at every frame of a thing that is ``there`` at frame ``drawn_at``; all in 0…1."""
    way = list(MOTIONS.values())[motion]
    steps = [speed * (n - drawn_at) for n in range(frames)]
    return [
        (
            (there[0] + step * way[0]) % 1,
            (there[1] + step * way[1]) % 1,
            (there[2] + step * way[2]) % 1,
            (there[3] + step * way[3]) % 1,
        )
        for step in steps
    ]


def laid(thing_HW: Tensor, states: Sequence[State], side: int) -> Tensor:
    """Return the shades 0…1 of a thing on empty frames, one a state: (F, side, side); 0 where it is not."""
    grey = thing_HW.float() / max(int(thing_HW.max()), 1)
    rows, columns = ((grey > _INK).any(axis).nonzero()[:, 0].float() for axis in (1, 0))
    centre_y, centre_x = (rows[0] + rows[-1] + 1) / 2, (columns[0] + columns[-1] + 1) / 2
    longest = max(float(rows[-1] - rows[0]), float(columns[-1] - columns[0])) + 1
    x, y, turn, size = torch.tensor(states).T[..., None, None]
    scale = _SIZES[0] * (_SIZES[1] / _SIZES[0]) ** size * side / longest
    cos, sin = torch.cos(2 * math.pi * turn), torch.sin(2 * math.pi * turn)
    # Of each pixel, how far it lies from the thing's centre the shorter way round, then where on the small image.
    places = torch.arange(side) + 0.5
    dx = (places - x * side + side / 2) % side - side / 2
    dy = (places[:, None] - y * side + side / 2) % side - side / 2
    u = (cos * dx + sin * dy) / scale + centre_x
    v = (cos * dy - sin * dx) / scale + centre_y
    height, width = grey.shape
    grid = torch.stack([2 * u / width - 1, 2 * v / height - 1], -1)
    frames = grey.expand(len(states), 1, height, width)
    return F.grid_sample(frames, grid, mode="bilinear", align_corners=False)[:, 0]


def load(config: DataConfig) -> Splits:
    """Return the clips.

    Raises:
        InvalidArgumentError: mirrored clips are asked for, or ``config.source`` is not installed.
        CorruptFileError: a file cannot be read.
    """
    if config.flip:
        raise InvalidArgumentError(
            "data.flip=true: a mirrored thing that moves left moves right, which is another class of moving_things; "
            "set data.flip=false."
        )
    frames, side, skip = config.frames or FRAMES, config.img_size or SIDE, config.on_corrupt == "skip"
    last = [] if config.time_first else [ChannelsFirst()]
    parts = []
    for train, count, make in ((True, TRAIN_CLIPS, for_training), (False, TEST_CLIPS, for_testing)):
        source = MovingThings(config.source, train, count, frames, side)
        parts.append(Samples(source, v2.Compose([make(config, (side, side), MEAN, STD), *last]), skip))
    return Splits(parts[0], parts[1], tuple(MOTIONS), parts[0].source.origin, frames, config.time_first)
