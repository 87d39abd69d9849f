"""Files in folders by class: ``SOURCE/train/CLASS/…`` and ``SOURCE/val/CLASS/…`` (or ``test`` for ``val``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor
from torchvision.datasets.folder import find_classes, make_dataset

from snnkit.data.config import DataConfig
from snnkit.data.samples import Partly
from snnkit.errors import InvalidArgumentError


@dataclass(frozen=True)
class ClassFolders:
    """What lies in the folders: (path, label) of both splits, the classes by label, the root."""

    train: list[tuple[str, int]]
    test: list[tuple[str, int]]
    classes: tuple[str, ...]
    root: str


class Files:
    """A ``Source`` of files, each read by ``reader``."""

    def __init__(self, samples: Sequence[tuple[str, int]], reader: Callable[[str], Tensor | Partly]):
        self.names = [path for path, _ in samples]
        self.labels = [label for _, label in samples]
        self.reader = reader

    def read(self, index: int) -> Tensor | Partly:
        """Return what the reader makes of the file."""
        return self.reader(self.names[index])


def find_files(config: DataConfig, endings: Sequence[str], what: str) -> ClassFolders:
    """Find files by torchvision's rules, no hidden ones.

    Args:
        config: ``source``.
        endings: of the files, such as ".jpg".
        what: the files' kind in the plural, for messages.

    Raises:
        InvalidArgumentError: no such folder, no files in it, or other classes in the two splits (names them).
    """
    root = Path(config.source)
    if not root.is_dir():
        raise InvalidArgumentError(
            f"data.source={config.source!r} is not a folder: give one with train/CLASS/… and val/CLASS/… {what}."
        )
    train, test = root / "train", next((root / n for n in ("val", "test") if (root / n).is_dir()), root / "val")
    classes, others = _classes(train, what), _classes(test, what)
    if classes != others:
        raise InvalidArgumentError(
            f"{root}: train and {test.name} have different classes: only in train {_some(set(classes) - set(others))}, "
            f"only in {test.name} {_some(set(others) - set(classes))}."
        )
    index = {name: number for number, name in enumerate(classes)}
    parts = []
    for folder in (train, test):
        samples = make_dataset(str(folder), index, is_valid_file=partial(_is_one, tuple(endings)), allow_empty=True)
        if not samples:
            raise InvalidArgumentError(f"{folder} holds no {what}: files end in {', '.join(endings)}.")
        parts.append(samples)
    return ClassFolders(parts[0], parts[1], tuple(classes), str(root))


def _classes(folder: Path, what: str) -> list[str]:
    try:
        return [name for name in find_classes(str(folder))[0] if not _is_leftover(name)]
    except FileNotFoundError:
        raise InvalidArgumentError(
            f"{folder} holds no class folders: {what} belong into train/CLASS/ and val/CLASS/."
        ) from None


def _is_leftover(name: str) -> bool:
    """Whether a name is one that systems and archives of macOS leave behind, hidden ones among them."""
    return name.startswith(".") or name == "__MACOSX"


def _is_one(endings: tuple[str, ...], path: str) -> bool:
    return path.lower().endswith(endings) and not _is_leftover(Path(path).name)


def _some(names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:3]) or "none"
    return shown + (" …" if len(names) > 3 else "")
