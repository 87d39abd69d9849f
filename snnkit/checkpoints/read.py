"""Reading weights from disk. A pickle that could run code is recognised and refused unless the caller insists."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from snnkit.errors import CorruptFileError

_PICKLE_SIGNS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def read_any(path: str | Path, allow_pickle: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (content, model configuration) of a safetensors file or a torch file (.pt, .pth, .tar, .bin).

    Args:
        path: of the file.
        allow_pickle: open torch files that hold more than tensors too, which can run code of the file's author.

    Raises:
        CorruptFileError: missing, damaged, or holding objects that only code could restore.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            start = file.read(4)
    except FileNotFoundError:
        raise CorruptFileError(f"{path} does not exist.") from None
    except OSError as error:
        raise CorruptFileError(f"{path} cannot be read: {error}.") from None
    pickled = any(start.startswith(sign) for sign in _PICKLE_SIGNS)
    return (_read_torch(path, allow_pickle), {}) if pickled else read_weights(path)


def _read_torch(path: Path, allow_pickle: bool) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=not allow_pickle)
    except pickle.UnpicklingError:
        raise CorruptFileError(
            f"{path} is a pickle or a zip of pickles (.pt, .pth) with more than tensors in it, which could run code "
            f"when opened; it was not. If you trust its author: snnkit convert-checkpoint {path} --allow-pickle."
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, AttributeError, ImportError) as error:
        raise CorruptFileError(f"{path} is not a readable torch file: {str(error).splitlines()[0]}.") from None
    if not isinstance(content, dict):
        raise CorruptFileError(f"{path} holds a {type(content).__name__}, not weights by name.")
    return content


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return (state dict, model configuration) of a safetensors file.

    Raises:
        CorruptFileError: missing, damaged, or of another format.
    """
    path = Path(path)
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
        return tensors, json.loads(metadata.get("model", "{}"))
    except FileNotFoundError:
        raise CorruptFileError(f"{path} does not exist.") from None
    except (safetensors.SafetensorError, OSError, json.JSONDecodeError) as error:
        raise CorruptFileError(f"{path} is not a readable safetensors file: {error}.") from None
