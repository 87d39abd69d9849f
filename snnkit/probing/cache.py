"""Features on disk, as safetensors by their key; a file that is damaged or of another key is made anew."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import safetensors
from safetensors.torch import save
from torch import Tensor

from snnkit.checksum import checksum
from snnkit.errors import DiskError
from snnkit.files import atomic_path


class FeatureCache:
    """A folder of features.

    Args:
        folder: is made if it does not exist.

    Raises:
        DiskError: it cannot be made or written.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DiskError(f"{folder} cannot be made: {error.strerror}. Choose another with --cache.") from None
        if not os.access(folder, os.W_OK):
            raise DiskError(f"{folder} cannot be written. Choose another folder with --cache.")

    def path(self, key: str) -> Path:
        """Return where the features of a key lie, or would."""
        return self._folder / f"features-{key[:16]}.safetensors"

    def get(self, key: str) -> dict[str, Tensor] | None:
        """Return the tensors that were kept, or None where there are none, or a file that was damaged."""
        with suppress(OSError, safetensors.SafetensorError), safetensors.safe_open(str(self.path(key)), "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            told = file.metadata() or {}
            if told.get("key") == key and told.get("sha256") == checksum(tensors, key):
                return tensors
        return None

    def put(self, key: str, tensors: dict[str, Tensor]) -> None:
        """Keep tensors.

        Raises:
            DiskError: they cannot be written; nothing half-written is left.
        """
        tensors = {name: value.contiguous() for name, value in tensors.items()}
        content = save(tensors, {"key": key, "sha256": checksum(tensors, key)})
        with atomic_path(self.path(key)) as temporary:
            temporary.write_bytes(content)
