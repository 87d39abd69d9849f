"""What feeding a training takes: snnkit's batches against torchvision's data sets under torch's loader.

The peers have the same augmentation, on PIL images as one uses them: ``ImageFolder`` (JPEGs of 500 × 375, random
resized crop to 224, flip) and ``FashionMNIST``'s way of giving an image of an array (flip, shift). "on tensors" is the
peer's data set with images made tensors first, as snnkit does; ratios refer to the faster of the two. In one process by
its CPU time; with two workers by wall time, their start included. "SwAV's 2 + 6 views" are two crops of 224 and six of
96 pixels, flipped, jittered, greyed and blurred; the peer on PIL images is the published pipeline, whose blur is
Pillow's, the one on tensors has the exact Gaussian, as snnkit has. Photographs are stood in for by blurred noise with
grain. snnkit's batches can be taken up anywhere and do not depend on the workers; the peers' do.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from snnkit.bench.harness import compare
from snnkit.bench.row import rows
from snnkit.data import DataConfig, fashion_mnist, load_images
from snnkit.data.image_folder import MEAN, STD

_CLASSES, _IMAGES, _SIDE, _BATCH = 4, 256, 224, 32
_ARRAYS = 2048
_VIEWED = 32
_VIEWS = ((_SIDE, (0.14, 1.0)),) * 2 + ((96, (0.05, 0.14)),) * 6
"""Side and share of the area of every view: SwAV's, arXiv 2006.09882."""
_AREA = (0.08, 1.0)
_WORKERS = 2


def run(repeats: int) -> list[dict[str, Any]]:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        photographs(Path(folder))
        found = []
        for workers in (0, _WORKERS):
            found += _measure("JPEGs of 500×375 to 224", _IMAGES, _folders(folder, workers), workers, repeats)
            found += _measure("28×28 in memory", _ARRAYS, _arrays(workers), workers, repeats)
        found += _measure("SwAV's 2 + 6 views", _VIEWED, _views(folder), 0, repeats)
    return found


def photographs(root: Path) -> None:
    """Write training images of a few classes, and one test image of each."""
    generator = torch.Generator().manual_seed(0)
    for number in range(_IMAGES + _CLASSES):
        folder = root / ("train" if number < _IMAGES else "val") / str(number % _CLASSES)
        folder.mkdir(parents=True, exist_ok=True)
        coarse = torch.rand(1, 3, 24, 32, generator=generator)
        image = F.interpolate(coarse, size=(375, 500), mode="bicubic")[0]
        image = (image + 0.02 * torch.randn(image.shape, generator=generator)).clamp(0, 1)
        pixels = (255 * image).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=90)


def _folders(root: str, workers: int) -> dict[str, Iterable[Any]]:
    config = DataConfig(
        *("image_folder", root, _BATCH, _SIDE), workers=workers, shift_pixels=0, crop_scale=_AREA[0], flip=True
    )
    crop = v2.RandomResizedCrop(_SIDE, _AREA, interpolation=v2.InterpolationMode.BICUBIC, antialias=True)
    moves = [crop, v2.RandomHorizontalFlip()]
    forms = {"torchvision": [*moves, v2.PILToTensor()], "torchvision on tensors": [v2.PILToTensor(), *moves]}
    peers = {name: ImageFolder(f"{root}/train", v2.Compose([*s, *_floats(MEAN, STD)])) for name, s in forms.items()}
    return {"snnkit": load_images(config, seed=0).train, **_loaders(peers, workers)}


class _PillowBlur:
    """A Gaussian of σ between 0.1 and 2 pixels as Pillow approximates it, for half of the images."""

    def __call__(self, image: Image.Image) -> Image.Image:
        if torch.rand(()) >= 0.5:
            return image
        return image.filter(ImageFilter.GaussianBlur(float(torch.empty(()).uniform_(0.1, 2.0))))


def _views(root: str) -> dict[str, Iterable[Any]]:
    """Several views of every image; the peers are a list of transforms on torchvision's ``ImageFolder``."""
    (side, (small, _)), *_, (local, (least, _)) = _VIEWS
    config = DataConfig("image_folder", root, _VIEWED, side, train_limit=_VIEWED, shift_pixels=0, flip=True)
    config.views, config.crop_scale, config.local_scale = "swav", small, least
    config.local_crops, config.local_size = sum(side == local for side, _ in _VIEWS), local

    def moves(side: int, scale: tuple[float, float], blur: Any) -> list[Any]:
        jitter = v2.RandomApply([v2.ColorJitter(0.8, 0.8, 0.8, 0.2)], 0.8)
        crop = v2.RandomResizedCrop(side, scale, antialias=True)
        return [crop, v2.RandomHorizontalFlip(), jitter, v2.RandomGrayscale(0.2), blur]

    tail, exact = _floats(MEAN, STD), v2.RandomApply([v2.GaussianBlur(17, (0.1, 2.0))], 0.5)
    forms: dict[str, Callable[[int, tuple[float, float]], list[Any]]] = {
        "torchvision, published": lambda side, scale: [*moves(side, scale, _PillowBlur()), v2.PILToTensor(), *tail],
        "torchvision on tensors": lambda side, scale: [*moves(side, scale, exact), *tail],
    }
    peers: dict[str, Any] = {}
    for name, form in forms.items():
        each = [v2.Compose(form(*view)) for view in _VIEWS]
        first = v2.PILToTensor() if name.endswith("tensors") else v2.Identity()
        whole = ImageFolder(f"{root}/train", _Several(first, each))
        peers[name] = torch.utils.data.Subset(whole, range(_VIEWED))
    return {"snnkit": load_images(config, seed=0).train, **_loaders(peers, 0)}


class _Several:
    """All views of an image."""

    def __init__(self, first: Callable[[Any], Any], each: list[Callable[[Any], Any]]):
        self.first, self.each = first, each

    def __call__(self, image: Any) -> list[Any]:
        given = self.first(image)
        return [view(given) for view in self.each]


class _ImagesOfArrays(Dataset):
    """(transformed PIL image, label), as torchvision's small data sets give them."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable[[Image.Image], Any]):
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def _arrays(workers: int) -> dict[str, Iterable[Any]]:
    config = DataConfig("fashion_mnist", "vendored", _BATCH, train_limit=_ARRAYS, workers=workers)
    known = fashion_mnist.load("vendored")
    moves = [v2.RandomHorizontalFlip(), v2.RandomCrop(28, padding=config.shift_pixels)]
    forms = {"torchvision": [*moves, v2.PILToTensor()], "torchvision on tensors": [v2.PILToTensor(), *moves]}
    tail = _floats([fashion_mnist.MEAN], [fashion_mnist.STD])
    peers = {
        name: _ImagesOfArrays(known.x_train[:_ARRAYS], known.y_train[:_ARRAYS], v2.Compose([*steps, *tail]))
        for name, steps in forms.items()
    }
    return {"snnkit": load_images(config, seed=0).train, **_loaders(peers, workers)}


def _floats(mean: Any, std: Any) -> list[Any]:
    return [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))]


def _loaders(peers: dict[str, Any], workers: int) -> dict[str, Iterable[Any]]:
    return {name: DataLoader(data, _BATCH, shuffle=True, num_workers=workers) for name, data in peers.items()}


def _measure(
    case: str, images: int, loaders: dict[str, Iterable[Any]], workers: int, repeats: int
) -> list[dict[str, Any]]:
    clock = time.perf_counter if workers else time.process_time
    timings = compare({name: _epoch(loader) for name, loader in loaders.items()}, repeats, clock=clock)
    where = f"{workers} workers, wall time" if workers else "one process"
    best = min((name for name in loaders if name != "snnkit"), key=lambda name: timings[name].min_ms)
    found = rows(f"{case}, {where}", timings, best, {"snnkit": 1.0})
    return [{**row, "images_per_second": round(1000 * images / row["min_ms"])} for row in found]


def _epoch(loader: Iterable[Any]) -> Callable[[], None]:
    def run_once() -> None:
        for _ in loader:
            pass

    return run_once
