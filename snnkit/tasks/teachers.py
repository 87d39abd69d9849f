"""Teachers: trained networks whose outputs a student learns from, alone or several, with their outputs kept on disk.

A teacher is given as text:

    runs/2026-…-swin           folder of a run, or a .safetensors file that knows its model
    NAME@weights.safetensors   a model by name (snnkit's, or timm:NAME) with its weights
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from snnkit.checkpoints import build_model, load_weights
from snnkit.errors import CorruptFileError, DiskError, InvalidArgumentError
from snnkit.files import atomic_path
from snnkit.models import create_model

_ENTRIES_PER_FILE = 256


class Teachers:
    """Frozen networks in eval mode; no module of a task, so that nothing trains, saves or shards them.

    Args:
        given: teachers as text (see above) or as modules.
        num_classes: K, which every teacher must have.
        cache: folder in which outputs are kept by the content of the batch; "" keeps none.

    Raises:
        InvalidArgumentError: no teacher, or one with other classes.
        CorruptFileError: weights that cannot be read.
        DiskError: the cache cannot be written.
    """

    def __init__(self, given: str | nn.Module | Sequence[str | nn.Module], num_classes: int, cache: str = ""):
        items = [given] if isinstance(given, (str, nn.Module)) else list(given)
        if not items:
            raise InvalidArgumentError("teachers=(): give at least one, as a run folder or NAME@weights.safetensors.")
        self.models = [_build(item, num_classes) if isinstance(item, str) else item for item in items]
        for item, model in zip(items, self.models, strict=True):
            classes = getattr(model, "num_classes", num_classes)
            if classes != num_classes:
                raise InvalidArgumentError(
                    f"teacher {item if isinstance(item, str) else type(item).__name__} has {classes} classes, the data "
                    f"{num_classes}: train it on these data, or give another."
                )
            model.eval().requires_grad_(False)
        self._cache = OutputCache(Path(cache) / self._fingerprint()) if cache else None

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits (teachers, B, K) for images (B, C, H, W)."""
        key = _content(images) if self._cache is not None else ""
        known = self._cache.get(key) if self._cache is not None else None
        if known is not None:
            return known.to(images.device, images.dtype)
        with torch.no_grad():
            found = torch.stack([_logits(self.at(model, images), images) for model in self.models])
        if self._cache is not None:
            self._cache.put(key, found)
        return found

    def flush(self) -> None:
        """Write outputs that are not on disk yet."""
        if self._cache is not None:
            self._cache.flush()

    @staticmethod
    def at(model: nn.Module, images: Tensor) -> nn.Module:
        """Return the teacher, on the device and in the dtype of the images."""
        parameter = next(model.parameters())
        if parameter.device != images.device or parameter.dtype != images.dtype:
            model.to(images.device, images.dtype)
        return model

    def _fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=8)
        for model in self.models:
            for key, value in model.state_dict().items():
                digest.update(key.encode())
                digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


class OutputCache:
    """Tensors by content on disk, in safetensors files of many entries each.

    Args:
        folder: is made if it does not exist.

    Raises:
        DiskError: it cannot be made or written.
        CorruptFileError: a file in it is damaged.
    """

    def __init__(self, folder: Path):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DiskError(f"cache={str(folder)!r} cannot be made: {error.strerror}. Choose another folder.") from None
        if not os.access(folder, os.W_OK):
            raise DiskError(f"cache={str(folder)!r} cannot be written. Choose another folder.")
        self._folder = folder
        self._where: dict[str, Path] = {}
        self._fresh: dict[str, Tensor] = {}
        for path in sorted(folder.glob("*.safetensors")):
            try:
                with safetensors.safe_open(str(path), framework="pt") as file:
                    self._where |= dict.fromkeys(file.keys(), path)
            except (safetensors.SafetensorError, OSError) as error:
                raise CorruptFileError(f"{path} is damaged ({error}); remove it, it will be made again.") from None

    def __len__(self) -> int:
        return len(self._where) + len(self._fresh)

    def get(self, key: str) -> Tensor | None:
        """Return the tensor, or None."""
        if key in self._fresh:
            return self._fresh[key]
        if key not in self._where:
            return None
        with safetensors.safe_open(str(self._where[key]), framework="pt") as file:
            return file.get_tensor(key)

    def put(self, key: str, value: Tensor) -> None:
        """Keep a tensor; it is written with the others when there are enough of them."""
        self._fresh[key] = value.detach().cpu().contiguous()
        if len(self._fresh) >= _ENTRIES_PER_FILE:
            self.flush()

    def flush(self) -> None:
        """Write what is not on disk yet."""
        if not self._fresh:
            return
        name = hashlib.blake2b("".join(self._fresh).encode(), digest_size=8).hexdigest()
        path = self._folder / f"outputs-{name}.safetensors"
        with atomic_path(path) as temporary:
            save_file(self._fresh, str(temporary))
        self._where |= dict.fromkeys(self._fresh, path)
        self._fresh = {}


def _content(images: Tensor) -> str:
    values = images.detach().cpu().contiguous()
    digest = hashlib.blake2b(f"{tuple(values.shape)}{values.dtype}".encode(), digest_size=16)
    digest.update(values.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _build(text: str, num_classes: int) -> nn.Module:
    name, path = located(text)
    if not name:
        return build_model(path)[0]
    model = create_model(name, num_classes=num_classes)
    load_weights(model, path)
    return model


def located(text: str) -> tuple[str, Path]:
    """Return what a teacher's text means: (name of a model, its weights), or ("", a checkpoint that knows its model).

    Raises:
        InvalidArgumentError: a name without weights.
        CorruptFileError: no such run folder or file.
    """
    path = Path(text)
    name, at, weights = text.partition("@")
    if at and not path.exists():
        if not weights:
            raise InvalidArgumentError(f"teacher {text!r}: give the file of its weights after the @.")
        return name, Path(weights)
    if path.is_dir():
        path = path / "checkpoints" / "last.safetensors"
    if not path.exists():
        raise CorruptFileError(
            f"teacher {text!r}: there is no such run folder or file. Give a run folder, a .safetensors file, or "
            "NAME@weights.safetensors."
        )
    return "", path


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    """A teacher's logits; images of another size than it was made for, or trained on, are resized."""
    size: Any = getattr(model, "img_size", None) or getattr(model, "trained_size", None)
    wanted = (size, size) if isinstance(size, int) else size
    if wanted is not None and tuple(images.shape[-2:]) != tuple(wanted):
        images = F.interpolate(images, tuple(wanted), mode="bicubic", antialias=True)
    out = model(images)
    return out[0] if isinstance(out, tuple) else out
