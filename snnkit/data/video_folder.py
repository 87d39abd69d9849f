"""Videos in folders by class: ``SOURCE/train/CLASS/….mp4`` and ``SOURCE/val/CLASS/….mp4``, as clips of some frames.

Batches are clips (B, C, F, H, W), or with ``data.time_first`` sequences (T, B, C, H, W). A test clip is the one in the
middle; with ``data.test_clips`` and ``data.test_crops`` there are several views of a test video, whose probabilities
the metrics average. Decoded by ffmpeg, which ``pip install 'snnkit[video]'`` brings.

A video shorter than a clip is taken all the same: a dense clip goes on with its last frame, segments that share a frame
show it again. The loaders count such videos among those that "could not be read whole", and name the last.
"""

from __future__ import annotations

import math
from contextlib import closing
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from snnkit.data import clips
from snnkit.data.class_folders import ClassFolders, Files, find_files
from snnkit.data.config import DataConfig
from snnkit.data.image_folder import MEAN, STD
from snnkit.data.samples import Partly, Samples, Splits
from snnkit.data.transforms import for_testing, for_training
from snnkit.errors import CorruptFileError, InvalidArgumentError

ENDINGS = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg")
# What ffmpeg, and the library that starts it, raise on files that are no videos.
_BAD = (OSError, RuntimeError, StopIteration, ValueError, IndexError, KeyError, AssertionError)


class VideoInfo(NamedTuple):
    """Frames of a video, counted from its duration, frames per second, and their size."""

    total: int
    fps: float
    height: int
    width: int


class ClipReader:
    """From a path to a clip uint8 (F, 3, H, W), or for a test with several clips to (clips, F, 3, H, W).

    Args:
        config: ``frames``, ``sampling``, ``frame_stride``, ``target_fps``, ``test_clips``.
        training: whether the clip's place is random.
    """

    def __init__(self, config: DataConfig, training: bool):
        self.config, self.training = config, training

    def __call__(self, path: str) -> Tensor | Partly:
        """Read the clip, or clips; says so where a video is shorter than a clip and frames are repeated.

        Raises:
            CorruptFileError: no readable video, or it ends more than a second too early.
            InvalidArgumentError: no decoder is installed.
        """
        info = video_info(path)
        count = 1 if self.training else self.config.test_clips
        if count == 1:
            read = read_frames(path, self.indices(info), info)
        else:
            chosen = [self.indices(info, clip, count) for clip in range(count)]
            needed = sorted({index for indices in chosen for index in indices})
            frames = read_frames(path, needed, info)  # all in one pass: clips may overlap
            read = torch.stack([frames[[needed.index(index) for index in indices]] for indices in chosen])
        needs = self.spans(info)
        if needs <= info.total:
            return read
        return Partly(read, f"{path}: {info.total} frames, and a clip spans {needs}; some are repeated")

    def spans(self, info: VideoInfo) -> int:
        """Return how many frames of a video a clip needs so that none has to be repeated."""
        config = self.config
        return config.frames if config.sampling == "segment" else math.ceil(self._span(info))

    def _span(self, info: VideoInfo) -> float:
        config = self.config
        return config.frames * config.frame_stride * (info.fps / config.target_fps if config.target_fps else 1)

    def indices(self, info: VideoInfo, clip: int = 0, count: int = 1) -> list[int]:
        """Choose the frames of clip number ``clip`` of ``count``, from first to last."""
        config = self.config
        if config.sampling == "segment":
            return clips.segments(info.total, config.frames, self.training, clip, count)
        span = self._span(info)
        if self.training:
            start = clips.random_start(info.total, span)
        else:
            start = clips.offset_start(info.total, span, clip, count)
        return clips.dense(info.total, config.frames, span, start)


@cache
def video_info(path: str) -> VideoInfo:
    """Return what a video's header says.

    Raises:
        CorruptFileError: no readable video.
        InvalidArgumentError: no decoder is installed.
    """
    ffmpeg = _ffmpeg()
    try:
        with closing(ffmpeg.read_frames(path)) as stream:
            meta = next(stream)
        total, (width, height) = round(meta["duration"] * meta["fps"]), meta["size"]
    except _BAD as error:
        raise _damaged(path, error) from None
    if total < 1:
        raise _damaged(path, f"{meta['duration']} s at {meta['fps']} frames per second")
    return VideoInfo(total, meta["fps"], height, width)


def read_frames(path: str | Path, indices: list[int], info: VideoInfo) -> Tensor:
    """Return the frames with these ascending indices, uint8 (F, 3, H, W).

    A duration may be that of the sound: where the video ends up to a second earlier, its last frame is repeated.

    Raises:
        CorruptFileError: the video ends earlier, or cannot be read.
    """
    first, last = indices[0], indices[-1]
    wanted = set(indices)
    # Half a frame early: times are rounded.
    seek = ["-ss", f"{(first - 0.5) / info.fps:.6f}"] if first else []
    found: dict[int, Tensor] = {}
    number = first
    try:
        with closing(_ffmpeg().read_frames(str(path), input_params=["-threads", "1", *seek])) as stream:
            next(stream)
            for number, frame in enumerate(stream, first):
                if number in wanted or last - number < info.fps:
                    found[number] = torch.from_numpy(np.frombuffer(bytearray(frame), np.uint8))
                if number == last:
                    break
    except _BAD as error:
        raise _damaged(path, error) from None
    if not found or last - max(found) > info.fps:
        raise _damaged(path, f"it ends at frame {number} of {info.total}")
    end = max(found)
    stacked = torch.stack([found[min(index, end)] for index in indices])
    return stacked.view(-1, info.height, info.width, 3).permute(0, 3, 1, 2)


def read_scaled(path: str | Path, height: int, most: int) -> Tensor:
    """Return the first frames of a video, ``most`` at most, scaled to a height: uint8 (N, 3, height, W).

    Raises:
        CorruptFileError: no readable video.
        InvalidArgumentError: no decoder is installed.
    """
    info = video_info(str(path))
    size = [height, max(round(info.width * height / info.height), 1)]
    found = []
    try:
        with closing(_ffmpeg().read_frames(str(path), input_params=["-threads", "1"])) as stream:
            next(stream)
            for frame in islice(stream, most):
                pixels = torch.from_numpy(np.frombuffer(bytearray(frame), np.uint8)).view(info.height, info.width, 3)
                found.append(v2.functional.resize(pixels.permute(2, 0, 1), size, antialias=True))
    except _BAD as error:
        raise _damaged(path, error) from None
    if not found:
        raise _damaged(path, "it has no frames")
    return torch.stack(found)


def load(config: DataConfig) -> Splits:
    """Return the videos of the folder ``config.source``.

    Raises:
        InvalidArgumentError: no such folder, no videos in it, other classes in the two splits, no number of frames, or
            no decoder.
    """
    check_clips(config)
    return splits(config, find_files(config, ENDINGS, "videos"))


def check_clips(config: DataConfig) -> None:
    """Refuse clips without a number of frames, and videos that nothing decodes.

    Raises:
        InvalidArgumentError: either.
    """
    if not config.frames:
        raise InvalidArgumentError("data.frames=0: give the number of frames of a clip.")
    _ffmpeg()


def splits(config: DataConfig, found: ClassFolders, notes: tuple[str, ...] = ()) -> Splits:
    """Return the clips of videos that were found.

    Args:
        config: how clips are made.
        found: paths and labels.
        notes: what the user is told.
    """
    skip, size = config.on_corrupt == "skip", (0, 0)
    last = [] if config.time_first else [ChannelsFirst()]
    parts = [
        Samples(Files(files, ClipReader(config, training)), v2.Compose([make(config, size, MEAN, STD), *last]), skip)
        for files, training, make in ((found.train, True, for_training), (found.test, False, for_testing))
    ]
    views = config.test_clips * config.test_crops
    return Splits(*parts, found.classes, found.root, config.frames, config.time_first, views=views, notes=notes)


class ChannelsFirst:
    """(…, F, C, H, W) → (…, C, F, H, W), as networks for clips read them."""

    def __call__(self, clip: Tensor) -> Tensor:
        """Return the clip."""
        return clip.transpose(-4, -3)


def _ffmpeg() -> Any:
    try:
        import imageio_ffmpeg
    except ImportError:
        raise InvalidArgumentError("videos are decoded by imageio-ffmpeg: pip install 'snnkit[video]'.") from None
    return imageio_ffmpeg


def _damaged(path: str | Path, why: object) -> CorruptFileError:
    short = (str(why).strip().splitlines() or [type(why).__name__])[-1]
    return CorruptFileError(
        f"{path} is not a readable video ({short}); mend or remove it, or set data.on_corrupt=skip."
    )
