"""Videos in folders by class: ``SOURCE/train/CLASS/….mp4`` and ``SOURCE/val/CLASS/….mp4``, as clips of some frames.

Batches are clips (B, C, F, H, W), or with ``data.time_first`` sequences (T, B, C, H, W). A test clip is the one in the
middle; with ``data.test_clips`` and ``data.test_crops`` there are several views of a test video, whose probabilities
the metrics average. Decoded by ffmpeg, which ``pip install 'snnkit[video]'`` brings.

A video shorter than a clip is taken all the same: a dense clip goes on with its last frame, segments that share a frame
show it again. The loaders count such videos among those that "could not be read whole", and name the last.
"""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
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
# Containers that ffmpeg seeks in by an index of key frames, and whose headers tell their lengths. In others (MPEG's
# program and transport streams) it lands anywhere, and guesses lengths and times: they are read from the start, and
# counted.
_INDEXED = ("mp4", "matroska", "avi")
# Mean and nominal rate that differ by less are one: the sound is a little longer, a telephone dropped some frames.
_SAME_RATE = 0.01
# What ffmpeg, and the library that starts it, raise on files that are no videos.
_BAD = (OSError, RuntimeError, StopIteration, ValueError, IndexError, KeyError, AssertionError)


class VideoInfo(NamedTuple):
    """Frames of a video, how many a second, their size, and what it takes to find them.

    Frame n is what is shown n / ``fps`` seconds after the first frame. Of a video of constant rate that is the n-th
    stored one; one of variable rate is resampled at its mean rate, so that frames repeat where it is slow.

    Args:
        total: number of frames, from the duration in the header, or counted where that is a guess.
        fps: frames per second, exactly: 24000/1001, not 23.98.
        height: in pixels.
        width: in pixels.
        start: time stamp of the first frame, seconds; 0 if there are only guesses.
        seekable: whether reading may begin in the middle; if not, frame n is the n-th stored one whatever its time.
    """

    total: int
    fps: Fraction
    height: int
    width: int
    start: Fraction = Fraction(0)
    seekable: bool = True


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
        return config.frames * config.frame_stride * (float(info.fps) / config.target_fps if config.target_fps else 1)

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
    """Return what a video's header and its first frame say.

    Raises:
        CorruptFileError: no readable video.
        InvalidArgumentError: no decoder is installed.
    """
    _ffmpeg()  # that it is missing is no fault of the file
    try:
        info = _parsed(_log(path, ["-threads", "1", "-copyts"], ["-vf", "showinfo", "-frames:v", "1"]))
        if not info.seekable:
            counted = _log(path, _opened(info, 0), ["-vf", _resampled(info, 0), "-fps_mode", "cfr"])
            info = info._replace(total=int(re.findall(r"frame= *(\d+)", counted)[-1]))
    except _BAD as error:
        raise _damaged(path, error) from None
    if info.total < 1:
        raise _damaged(path, f"{info.total} frames, {float(info.fps):g} a second")
    return info


def _parsed(log: str) -> VideoInfo:
    """Read ffmpeg's log of a first frame that passed its filter ``showinfo``.

    Raises:
        ValueError: there is no frame, or something is not told of it.
    """
    container = _found(r"^Input #0, (\S+), from", log)[0]
    stream = _found(r"^  Stream #0:(\d+) -> #0:0", log)[0]  # the one that ffmpeg chose, of several
    header = _found(rf"^  Stream #0:{stream}\b(.* Video: .*)", log)[0]
    nominal = Fraction(_found(r"showinfo.* config in .* frame_rate: ([1-9]\d*/[1-9]\d*)", log)[0])
    start, width, height = _found(r"showinfo.* n: +0 .* pts_time:(\S+) .* s:(\d+)x(\d+)", log)
    # The mean is told to two places only; the nominal rate is a fraction, but far off if the rate is variable.
    mean = Fraction(_found(r" ([\d.]+) fps", header)[0]) if " fps" in header else nominal
    fps = nominal if not mean or abs(mean / nominal - 1) < _SAME_RATE else mean
    first = Fraction(start) if start != "NOPTS" else Fraction(0)
    size = int(height), int(width)
    if not any(name in container for name in _INDEXED):
        return VideoInfo(0, fps, *size, seekable=False)
    return VideoInfo(round(_length(log, container, first) * fps), fps, *size, first)


def _length(log: str, container: str, first: Fraction) -> Fraction:
    """Return the seconds from the first frame on, given its time stamp: each container's duration means its own."""
    hours, minutes, seconds, origin = _found(r"^  Duration: (\d+):(\d+):([\d.]+), start: ([-\d.]+)", log)
    duration = 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)
    if "avi" in container:  # the frames; its time stamps are of decoding, some frames before they are shown
        return duration
    if "matroska" in container:  # the time of the end, whenever the first frame is
        return duration - first
    return duration - (first - Fraction(origin))  # from the first picture or sound on


def _found(pattern: str, log: str) -> tuple[str, ...]:
    match = re.search(pattern, log, re.MULTILINE)
    if not match:
        raise ValueError("it has no frames, or no rate or duration")
    return match.groups()


def _resampled(info: VideoInfo, first: int) -> str:
    """Return ffmpeg's filters that put out frames ``first``, ``first`` + 1, …, from whichever it begins to decode at.

    Time stamps become numbers of frames before they are compared with anything, so that they are rounded alike wherever
    reading began.
    """
    numbered = f"setpts=PTS-round({info.start}/TB),settb={1 / info.fps}"
    return f"{numbered},setpts=PTS-{first},fps={info.fps}:start_time=0"


def _opened(info: VideoInfo, first: int) -> list[str]:
    """Return ffmpeg's settings of the input for frames from number ``first`` on."""
    settings = ["-threads", "1", "-copyts"]
    if not info.seekable:
        return [*settings, "-r", str(info.fps)]  # whatever the time stamps, a frame is one later than that before it
    # Well before it: an index holds times of decoding, which are some frames from those of showing. Frames are dropped
    # by number, and not by ffmpeg's exact seek: one that begins before the time sought may still be shown then.
    early = float((first - 4) / info.fps) - 1
    if early <= 1:
        return settings
    return [*settings, "-noaccurate_seek", "-seek_timestamp", "1", "-ss", f"{info.start + early:.6f}"]


def _frames(path: str | Path, info: VideoInfo, first: int = 0) -> Iterator[bytes]:
    """Yield the frames from number ``first`` on."""
    shown = ["-an", "-vf", _resampled(info, first)]
    with closing(_ffmpeg().read_frames(str(path), input_params=_opened(info, first), output_params=shown)) as stream:
        next(stream)
        yield from stream


def read_frames(path: str | Path, indices: list[int], info: VideoInfo) -> Tensor:
    """Return the frames with these ascending indices, uint8 (F, 3, H, W).

    A duration may be that of the sound: where the video ends up to a second earlier, its last frame is repeated.

    Raises:
        CorruptFileError: the video ends earlier, or cannot be read.
    """
    first, last = indices[0], indices[-1]
    wanted = set(indices)
    found: dict[int, Tensor] = {}
    number = first
    try:
        with closing(_frames(path, info, first)) as stream:
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
        with closing(_frames(path, info)) as stream:
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


def _log(path: str, opened: list[str], wanted: list[str]) -> str:
    """Return what ffmpeg says of a video while it decodes it and throws the frames away.

    Args:
        path: of the video.
        opened: settings of the input.
        wanted: settings of the output.

    Raises:
        OSError: it gives up.
    """
    command = [_ffmpeg().get_ffmpeg_exe(), "-hide_banner", "-nostdin", *opened, "-i", path, "-an", *wanted]
    done = subprocess.run([*command, "-f", "null", "-"], capture_output=True, check=False)
    log = done.stderr.decode(errors="replace")
    if done.returncode:
        raise OSError(log)
    return log


def _damaged(path: str | Path, why: object) -> CorruptFileError:
    short = (str(why).strip().splitlines() or [type(why).__name__])[-1]
    return CorruptFileError(
        f"{path} is not a readable video ({short}); mend or remove it, or set data.on_corrupt=skip."
    )
