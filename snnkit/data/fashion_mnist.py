"""Fashion-MNIST: 28×28 grey images of ten kinds of clothing, as uint8 arrays.

Three places are known: the balanced subset that comes with snnkit (4,000 + 1,000), Debian's package
``dataset-fashion-mnist`` (60,000 + 10,000), and any folder with the four IDX files, gzipped or not.
Source: https://github.com/zalandoresearch/fashion-mnist (MIT).
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snnkit.archives import check_size, read_npz
from snnkit.errors import CorruptFileError

VENDORED = Path(__file__).parent / "vendored" / "fashion_mnist_subset.npz"
DEBIAN_FOLDER = "/usr/share/datasets/fashion-mnist"
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
# Mean and standard deviation of the pixels of the full training set, on the scale 0…1.
MEAN, STD = 0.2860, 0.3530

_SCRIPT = "make_fashion_mnist_subset.py"
_IMAGE_MAGIC, _LABEL_MAGIC = 0x00000803, 0x00000801


@dataclass(frozen=True)
class ImageArrays:
    """A whole image set in memory: images uint8 (N, H, W), labels uint8 (N,), and where it came from."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    origin: str
    classes: tuple[str, ...] = CLASSES


def load(source: str = "auto") -> ImageArrays:
    """Load Fashion-MNIST.

    Args:
        source: "vendored" for the subset, "full" for Debian's package, a folder with IDX files, or "auto": the full
            set where Debian's package is installed, else the subset.

    Raises:
        CorruptFileError: files are missing or damaged (names the file and what to do).
    """
    if source == "auto":
        source = "full" if Path(DEBIAN_FOLDER).is_dir() else "vendored"
    if source == "vendored":
        return read_subset(VENDORED)
    if source == "full":
        if not Path(DEBIAN_FOLDER).is_dir():
            raise CorruptFileError(
                "the full Fashion-MNIST is not installed: run `apt-get install dataset-fashion-mnist`, "
                "give a folder with its IDX files, or use source='vendored'."
            )
        return read_folder(Path(DEBIAN_FOLDER))
    return read_folder(Path(source))


def read_subset(path: Path) -> ImageArrays:
    """Read the vendored archive; nothing in it is unpickled."""
    if not path.exists():
        raise CorruptFileError(f"{path} is missing: install snnkit anew, or run scripts/{_SCRIPT}.")
    try:
        found = read_npz(path)
        arrays = {key: found[key] for key in ("x_train", "y_train", "x_test", "y_test")}
    except (CorruptFileError, KeyError) as error:
        raise CorruptFileError(f"{path} is damaged ({error}): install snnkit anew, or run scripts/{_SCRIPT}.") from None
    for split in ("train", "test"):
        images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
        fits = images.dtype == labels.dtype == np.uint8 and images.ndim == 3 and labels.shape == images.shape[:1]
        if not fits or not images.size or labels.max() >= len(CLASSES):
            raise CorruptFileError(
                f"{path} is damaged ({split}: images {images.dtype} {images.shape}, labels {labels.dtype} "
                f"{labels.shape}): install snnkit anew, or run scripts/{_SCRIPT}."
            )
    return ImageArrays(**arrays, origin="vendored subset")


def read_folder(folder: Path) -> ImageArrays:
    """Read the four IDX files ``{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]`` of a folder."""
    if not folder.is_dir():
        raise CorruptFileError(f"{folder} is not a folder: give one with the four Fashion-MNIST IDX files.")
    arrays = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images = read_idx(_find(folder, f"{prefix}-images-idx3-ubyte"), _IMAGE_MAGIC)
        labels = read_idx(_find(folder, f"{prefix}-labels-idx1-ubyte"), _LABEL_MAGIC)
        if len(images) != len(labels):
            raise CorruptFileError(f"{folder}: {len(images)} {split} images but {len(labels)} labels.")
        if labels.size and labels.max() >= len(CLASSES):
            raise CorruptFileError(f"{folder}: a {split} label is {labels.max()}, allowed are 0 to {len(CLASSES) - 1}.")
        arrays[f"x_{split}"], arrays[f"y_{split}"] = images, labels
    return ImageArrays(**arrays, origin=str(folder))


def read_idx(path: Path, magic: int) -> np.ndarray:
    """Read one IDX file of unsigned bytes: big-endian magic, one length per axis, then the data.

    Raises:
        CorruptFileError: wrong magic number, no data, more than may be read, or the file is shorter or longer than its
            header says.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            shape = _idx_shape(path, file.read(4 * (1 + (magic & 0xFF))), magic)
            claimed = math.prod(shape)
            check_size(path, claimed)
            data = file.read(claimed + 1)  # no more is unpacked than it claims
    except CorruptFileError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        raise CorruptFileError(f"{path} cannot be read: {error}. Fetch the file again.") from None
    if not claimed:
        raise CorruptFileError(f"{path} holds no data: its header announces the size {tuple(shape)}.")
    if len(data) != claimed:
        more = "more" if len(data) > claimed else str(len(data))
        raise CorruptFileError(
            f"{path} is truncated or padded: its header announces {claimed} bytes of data, it holds {more}. "
            "Fetch the file again."
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def _idx_shape(path: Path, head: bytes, magic: int) -> list[int]:
    axes = magic & 0xFF
    if len(head) < 4 * (axes + 1):
        raise CorruptFileError(f"{path} has {len(head)} bytes, too few for an IDX header. Fetch the file again.")
    found, *shape = struct.unpack(f">{axes + 1}I", head)
    if found != magic:
        raise CorruptFileError(f"{path} starts with {found:#010x}, an IDX file of this kind with {magic:#010x}.")
    return shape


def _find(folder: Path, name: str) -> Path:
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.exists():
            return candidate
    raise CorruptFileError(f"{folder} lacks {name}[.gz]; the four Fashion-MNIST IDX files are needed.")
