"""What a trained network says of files: pictures, folders of them, frames of videos.

A picture is fed as the run's test images were: grey where the network reads one channel, at the size that the run had,
of folders of images of many sizes the middle, normalised by the data set's mean and deviation. Where things have
places, a picture keeps its shape: its shorter side is that of the run's images, or as ``data.img_size`` and
``short_sides`` say of data in COCO's form; for key points it is the box of a thing, with the border that crops have.
Answers are in the picture's own pixels. A network for clips is shown those of a video that tests would see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as vision

from snnkit.checkpoints import build_model
from snnkit.data import DataConfig, fashion_mnist, image_folder
from snnkit.data.keypoints import crop_map, cut, moved
from snnkit.data.object_transforms import Scaled
from snnkit.data.tokens import make_tokens
from snnkit.data.transforms import Normalise, middle
from snnkit.data.video_folder import ENDINGS, read_frames, video_info
from snnkit.engine.config import RunConfig
from snnkit.engine.evaluating import run_of
from snnkit.engine.own_classes import own_classes
from snnkit.engine.predicting_clips import DATASETS as CLIPS
from snnkit.engine.predicting_clips import Clips
from snnkit.engine.run_folder import find_checkpoint, own_tokenizer
from snnkit.errors import CorruptFileError, InvalidArgumentError
from snnkit.tasks import TASKS, Task, build_task
from snnkit.tasks.task import Plan

BICUBIC, BILINEAR = InterpolationMode.BICUBIC, InterpolationMode.BILINEAR
_GREY = ("fashion_mnist", "captioned_fashion_mnist")
_NATIVE = ("pixel_folder",)
"""Data sets whose tests see images at their own size."""
_CROPPED = ("image_folder", "tar_shards")
"""Data sets whose tests see the middle of images of any size (``transforms.for_testing``)."""
_SHAPED = ("maps", "objects")
"""What networks are trained on that read pictures of any shape."""


@dataclass(frozen=True)
class Picture:
    """A picture to look at.

    Attributes:
        file: where it is from.
        name: what files about it are called.
        frame: its number in a video; None for a still.
        pixels: uint8 (3, H, W).
    """

    file: Path
    name: str
    frame: int | None
    pixels: Tensor


def files_in(paths: Sequence[Path]) -> list[Path]:
    """Return the pictures and videos that are named, and those in named folders in the order of their names.

    Raises:
        InvalidArgumentError: no such file, one that is neither, or a folder without any.
    """
    return [file for path in paths for file in _files(path)]


def pictures(file: Path, name: str, every: float = 1.0) -> Iterator[Picture]:
    """Yield the picture in a file, or of a video a frame every so many seconds.

    Args:
        file: of a picture or a video.
        name: what files about it are called; of a frame its number is appended.
        every: seconds.

    Raises:
        CorruptFileError: it cannot be read.
    """
    if file.suffix.lower() not in ENDINGS:
        yield Picture(file, name, None, image_folder.read_image(file))
        return
    info = video_info(str(file))
    for number in range(0, info.total, max(round(info.fps * every), 1)):
        yield Picture(file, f"{name}-{number:06d}", number, read_frames(file, [number], info)[0])


def _files(path: Path) -> list[Path]:
    kinds = (*IMG_EXTENSIONS, *ENDINGS)
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in kinds and not p.name.startswith("."))
        if not found:
            raise InvalidArgumentError(f"{path} holds no picture and no video.")
        return found
    if not path.exists():
        raise InvalidArgumentError(f"{path} does not exist; give pictures, videos, or folders of them.")
    if path.suffix.lower() not in kinds:
        raise InvalidArgumentError(f"{path}: is neither a picture ({', '.join(IMG_EXTENSIONS)}) nor a video.")
    return [path]


class Predictor:
    """A run's network, ready to be shown pictures.

    Args:
        run: folder of a run, or a checkpoint in one.
        top: how many classes a classifier names.

    Raises:
        CorruptFileError: there is no run, or its files cannot be read.
        InvalidArgumentError: a network that was not trained to say anything of an image.
    """

    def __init__(self, run: str | Path, top: int = 5):
        checkpoint = find_checkpoint(run)
        config = run_of(checkpoint)
        if config is None:
            raise InvalidArgumentError(f"{run} lies in no run's folder, which says what it was trained for and on.")
        self.config: RunConfig = config
        model, _ = build_model(checkpoint)
        self.model: Any = model.eval()
        if config.data.dataset == "event_folder":
            raise InvalidArgumentError(
                f"{run} was trained on recordings of events, and pictures are none: snnkit eval."
            )
        self.top = top
        self.classes = _classes(checkpoint.parent.parent, model)
        self.task = self._task(config, model, checkpoint.parent.parent)
        self._channels = int(getattr(model, "in_chans", 3))
        grey = config.data.dataset in _GREY
        means = ([fashion_mnist.MEAN], [fashion_mnist.STD]) if grey else (image_folder.MEAN, image_folder.STD)
        self._normalise = Normalise(*means)
        self._own = _as_tested(config.data)
        self._clips = Clips(config.data) if config.data.dataset in CLIPS else None
        self._takes = TASKS[config.task.name].takes
        height, width = getattr(model, "trained_size", (0, 0))
        self._size = (0, 0) if config.data.dataset in _NATIVE else (int(height), int(width))

    def _task(self, config: RunConfig, model: nn.Module, folder: Path) -> Task | None:
        """The task where it learnt more than classes; None for a classifier."""
        kind = TASKS.get(config.task.name)
        if kind is None or (kind.takes == "labels" and not (kind.labels and getattr(model, "num_classes", 0))):
            raise InvalidArgumentError(
                f"task {config.task.name}: its network says nothing of a single image. Train one that does: snnkit "
                "train RECIPE --set model.weights=RUN."
            )
        if kind.takes == "labels":
            return None
        task = build_task(config.task.name, model, len(self.classes), config.task.options, teach=False)
        texts = kind.takes == "captions"
        tokens = make_tokens(own_tokenizer(folder, config.data.tokenizer)) if texts else None
        task.begin(Plan(1, 1, 1, classes=self.classes, tokens=tokens))
        return task.eval()

    def check(self, files: Sequence[Path]) -> None:
        """Raise InvalidArgumentError for a still picture where clips are read."""
        still = next((file for file in files if file.suffix.lower() not in ENDINGS), None)
        if self._clips is not None and still is not None:
            raise InvalidArgumentError(f"{still} is a picture, and this network was trained on clips: give videos.")

    def answers(self, file: Path, name: str, every: float = 1.0) -> Iterator[tuple[Picture, dict[str, Any]]]:
        """Yield each picture of ``pictures`` and what the network says of it; of a video for clips one answer.

        Raises:
            CorruptFileError: the file cannot be read.
        """
        if self._clips is None:
            for picture in pictures(file, name, every):
                yield picture, self(picture)
        else:
            clip, remark = self._clips(file)
            yield Picture(file, name, None, clip), self._named(clip) | ({"remark": remark} if remark else {})

    @torch.no_grad()
    def __call__(self, picture: Picture) -> dict[str, Any]:
        """Return what the network says of a picture."""
        size = (picture.pixels.shape[-2], picture.pixels.shape[-1])
        if self.task is not None and self._takes == "keypoints":
            return self._points(self.task, picture.pixels)
        image = self._normalise(self._fitted(picture.pixels))[None]
        if self.task is not None:
            return self.task.predict(image, size)
        return self._named(image)

    @torch.no_grad()
    def _named(self, views: Tensor) -> dict[str, Any]:
        """Return the most probable classes, by the mean over views."""
        probabilities = self.model(views).float().softmax(1).mean(0)
        best = probabilities.topk(min(self.top, len(probabilities)))
        return {
            "classes": [
                {"class": self.classes[number], "probability": round(share, 4)}
                for share, number in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            ]
        }

    def _points(self, task: Task, pixels: Tensor) -> dict[str, Any]:
        """Return the key points of a picture that is a thing's box."""
        back = crop_map(torch.tensor([0.0, 0.0, pixels.shape[-1], pixels.shape[-2]]), self._size)
        crop = self._normalise(cut(grey(pixels) if self._channels == 1 else pixels, back, self._size))
        found = task.predict(crop[None], self._size)
        for point in found["points"]:
            x, y = moved(torch.tensor([[point["x"], point["y"]]]), back)[0].tolist()
            point |= {"x": round(x, 2), "y": round(y, 2)}
        return found

    def _fitted(self, pixels: Tensor) -> Tensor:
        if self._channels == 1:
            pixels = grey(pixels)
        if self._own is not None:
            return self._own(pixels)
        if self._size == (0, 0) or tuple(pixels.shape[-2:]) == self._size:
            return pixels
        size = [min(self._size)] if self._takes in _SHAPED else list(self._size)
        return vision.resize(pixels, size, interpolation=BICUBIC if self._takes == "labels" else BILINEAR)

    def draw(self, picture: Picture, found: dict[str, Any]) -> Tensor | None:
        """Return the picture with what was found on it; None where there is nothing to draw."""
        return None if self.task is None else self.task.draw(picture.pixels, found)


def _as_tested(data: DataConfig) -> Callable[[Tensor], Tensor] | None:
    """What data sets of images of many sizes do with a test image; of several views of it the middle one."""
    if data.dataset == "coco":
        return Scaled(data)
    return middle(data.img_size) if data.dataset in _CROPPED and data.img_size else None


def grey(pixels: Tensor) -> Tensor:
    """Return the luma of colours, uint8 (3, H, W) → (1, H, W), rounded: what is grey already keeps its level.

    torchvision's cuts off what its weights, of which one ten-thousandth is missing, leave: a grey of 117 becomes 116.
    Source: ITU-R BT.601.
    """
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    return (pixels.float() * weights).sum(0, keepdim=True).round().to(torch.uint8)


def _classes(folder: Path, model: nn.Module) -> tuple[str, ...]:
    """The names that the run wrote down, or numbers where it wrote none."""
    found, count = own_classes(folder), getattr(model, "num_classes", 0)
    if found and count not in (0, len(found)):
        raise CorruptFileError(f"{folder} names {len(found)} classes, and its network tells {count} apart.")
    return found or tuple(map(str, range(count)))
