"""Natural test sets: folders of images by class, whose classes are some of those that a network knows.

ImageNet-A and -R (200 classes), -Sketch, -V2 and ObjectNet come like this: ``PATH/NAME/….jpg``. A name is matched to
the network's class of that name, whatever its case, with _ and - for spaces; or by a mapping, lines NAME<tab>CLASS in
a file, several for a name that stands for several classes. Names that are all numbers, where no class is called so,
are numbers of classes, as ImageNet-V2's are.

Sources: ImageNet-A: Hendrycks et al., arXiv 1907.07174; -R: arXiv 2006.16241; -Sketch: Wang et al., arXiv 1905.13549;
-V2: Recht et al., arXiv 1902.10811; ObjectNet: Barbu et al., NeurIPS 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms import v2

from snnkit.data.batches import OrderedBatches
from snnkit.data.class_folders import Files
from snnkit.data.image_folder import read_image
from snnkit.data.loaders import ArrayImages
from snnkit.data.parts import Part
from snnkit.data.samples import Samples
from snnkit.errors import CorruptFileError, InvalidArgumentError, nearest, unknown_name
from snnkit.robustness.harness import Predict, Watch, predictions, unwatched

ON_MISSING = ("stop", "skip")


@dataclass(frozen=True)
class FolderSet:
    """What lies in a folder.

    Attributes:
        samples: (path, number of its folder).
        folders: names of those that are tested.
        right: the classes of the network that are right for each of them.
        missing: names of the folders that the network has no class for, and how many images lie in each.
        by_number: whether names were read as numbers of classes.
    """

    samples: list[tuple[str, int]]
    folders: tuple[str, ...]
    right: tuple[tuple[int, ...], ...]
    missing: dict[str, int]
    by_number: bool = False


def find(
    path: str | Path, classes: Sequence[str], mapping: str | Path | None = None, on_missing: str = "stop"
) -> FolderSet:
    """Match the folders in ``path`` to the classes of a network.

    Args:
        path: holds a folder of images for each class.
        classes: of the network, by label.
        mapping: a file of lines NAME<tab>CLASS.
        on_missing: "stop" at a folder without a class, or "skip" and count it.

    Raises:
        InvalidArgumentError: no such folder, no images, or a folder without a class.
        CorruptFileError: the mapping cannot be read.
    """
    if on_missing not in ON_MISSING:
        raise unknown_name("value of on_missing", on_missing, ON_MISSING)
    root = Path(path)
    if not root.is_dir():
        raise InvalidArgumentError(f"{path} is not a folder: give one that holds a folder of images for each class.")
    names = sorted(f.name for f in root.iterdir() if f.is_dir() and not f.name.startswith(".") and f.name != "__MACOSX")
    files = {name: _images(root / name) for name in names}
    files = {name: found for name, found in files.items() if found}
    if not files:
        raise InvalidArgumentError(f"{path} holds no folders of images: they belong into {root.name}/CLASS/.")
    table = _by_name(classes)
    chosen = _read_mapping(Path(mapping), table) if mapping is not None else {}
    by_number = not chosen and not any(_plain(name) in table for name in files) and _are_numbers(files, len(classes))
    known: dict[str, tuple[int, ...]] = {}
    missing: dict[str, int] = {}
    for name in files:
        if by_number:
            known[name] = (int(name),)
        elif name in chosen:
            known[name] = chosen[name]
        elif _plain(name) in table:
            known[name] = (table[_plain(name)],)
        else:
            missing[name] = len(files[name])
    if missing and (on_missing == "stop" or not known):
        raise _unmatched(path, missing, classes)
    folders = tuple(known)
    samples = [(file, number) for number, name in enumerate(folders) for file in files[name]]
    return FolderSet(samples, folders, tuple(known[name] for name in folders), missing, by_number)


def score(
    predict: Predict,
    found: FolderSet,
    like: Any,
    classes: int,
    *,
    skip: bool = False,
    batch_size: int = 100,
    workers: int = 0,
    views: int = 1,
    title: str = "folder",
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Return the accuracy on a folder's images among all of the network's classes, and among those that lie there.

    Args:
        predict: the classifier.
        found: the folder.
        like: the test set that the classifier is fed by otherwise, whose transform the images get.
        classes: of the network.
        skip: leave out and count what cannot be read, instead of raising.
        batch_size, workers, views: as for ``OrderedBatches``.
        title, watch: what is shown meanwhile.

    Raises:
        CorruptFileError: an image cannot be read.
        InvalidArgumentError: the images do not fit the transform.
    """
    right = torch.zeros(len(found.folders), classes, dtype=torch.bool)
    for number, allowed in enumerate(found.right):
        right[number, list(allowed)] = True
    there = right.any(0)
    dataset = Samples(Files(found.samples, read_image), _Fitted(like), skip)
    batches = OrderedBatches(dataset, batch_size, default_collate, workers, views)
    count, hits_all, hits_there = 0, 0, 0
    for logits, numbers in predictions(predict, watch(batches, title, len(batches))):
        accepted = right[numbers]
        hits_all += int(accepted.gather(1, logits.argmax(1, keepdim=True)).sum())
        masked = logits.masked_fill(~there, -torch.inf).argmax(1, keepdim=True)
        hits_there += int(accepted.gather(1, masked).sum())
        count += len(numbers)
    return {
        "accuracy": hits_there / count,
        "accuracy_among_all_classes": hits_all / count,
        "images": count,
        "folders": len(found.folders),
        "classes": int(there.sum()),
        "classes_of_network": classes,
        "by_number": found.by_number,
        "unreadable": len(batches.skipped),
        "left_out": {"folders": len(found.missing), "images": sum(found.missing.values()), "names": [*found.missing]},
    }


class _Fitted:
    """The transform of a test set for images of any size; what lies in an array has one size and number of channels."""

    def __init__(self, like: Any):
        while isinstance(like, Part):
            like = like.whole
        self._transform, self._shape = like.transform, None
        if isinstance(like, ArrayImages):
            self._shape = tuple(like.images.shape[1:])

    def __call__(self, image: Tensor) -> Tensor:
        if self._shape is not None:
            channels, *size = self._shape
            image = _grey(image) if channels == 1 else image
            sides = [image.shape[-2] / size[0], image.shape[-1] / size[1]]
            fitting = [max(round(n / min(sides)), side) for n, side in zip(image.shape[-2:], size, strict=True)]
            image = v2.functional.resize(image, fitting, v2.InterpolationMode.BICUBIC, antialias=True)
            image = v2.functional.center_crop(image, size)
        return self._transform(image)


def _grey(image: Tensor) -> Tensor:
    """Return (1, H, W) of (3, H, W), rounded: torchvision's cuts off, so that grey 100 becomes 99."""
    return (image * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0, keepdim=True).round().to(torch.uint8)


def _images(folder: Path) -> list[str]:
    found = (f for f in folder.rglob("*") if f.suffix.lower() in IMG_EXTENSIONS and not f.name.startswith("."))
    return sorted(str(file) for file in found if file.is_file())


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _by_name(classes: Sequence[str]) -> dict[str, int]:
    table: dict[str, int] = {}
    for label, name in enumerate(classes):
        table.setdefault(_plain(name), label)
    return table


def _are_numbers(names: Any, classes: int) -> bool:
    return all(name.isdecimal() and int(name) < classes for name in names)


def _read_mapping(path: Path, table: dict[str, int]) -> dict[str, tuple[int, ...]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptFileError(f"{path} cannot be read: {error}.") from None
    found: dict[str, tuple[int, ...]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, tab, label = line.partition("\t")
        if not tab or not name.strip() or not label.strip():
            raise CorruptFileError(f"{path}, line {number}: {line!r} is not NAME<tab>CLASS.")
        # Classes that this network lacks are no mistake of the file's: other networks have them.
        if _plain(label) in table:
            found[name.strip()] = (*found.get(name.strip(), ()), table[_plain(label)])
    return found


def _unmatched(path: str | Path, missing: dict[str, int], classes: Sequence[str]) -> InvalidArgumentError:
    first = next(iter(missing))
    shown = ", ".join(list(missing)[:3]) + (" …" if len(missing) > 3 else "")
    hint = nearest(first, classes) or f" Its classes: {', '.join(classes[:3])}{' …' if len(classes) > 3 else ''}."
    return InvalidArgumentError(
        f"{path}: the network has no class for {len(missing)} of its folders ({shown}).{hint} Give a file of lines "
        "NAME<tab>CLASS (--mapping), or leave them out (--on-missing skip)."
    )
