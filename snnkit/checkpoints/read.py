"""Reading weights from disk. A pickle that could run code is recognised and refused unless the caller insists."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from snnkit.archives import BAD_ARCHIVE, check_size, first_line
from snnkit.checksum import checksum
from snnkit.errors import CorruptFileError

# The formats of files written here; files of the first have no checksum.
FORMAT, BEFORE = "snnkit-weights-2", "snnkit-weights-1"
_ZIP = b"PK\x03\x04"
_PICKLE_SIGNS = (_ZIP, b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def read_any(path: str | Path, allow_pickle: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (content, model configuration) of a safetensors file or a torch file (.pt, .pth, .tar, .bin).

    Args:
        path: of the file.
        allow_pickle: open torch files that hold more than tensors too, which can run code of the file's author.

    Raises:
        CorruptFileError: missing, damaged, changed, larger than it may be, or holding objects that only code could
            restore.
    """
    path = Path(path)
    return (_read_torch(path, allow_pickle), {}) if _is_pickle(path) else read_weights(path)


def _is_pickle(path: Path) -> bool:
    """Whether a file is a pickle or a zip of some.

    A safetensors file begins with the length of its header, of which one of 640 or 896 bytes looks like a pickle's
    first two; what comes behind does not.
    """
    start = _start(path)
    return start.startswith(_PICKLE_SIGNS) and not (start[4:8] == bytes(4) and start[8:9] == b"{")


def _start(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(9)
    except FileNotFoundError:
        raise CorruptFileError(f"{path} does not exist.") from None
    except OSError as error:
        raise CorruptFileError(f"{path} cannot be read: {error.strerror or error}.") from None


def _read_torch(path: Path, allow_pickle: bool) -> dict[str, Any]:
    try:
        if _start(path).startswith(_ZIP):
            with zipfile.ZipFile(path) as archive:
                check_size(path, sum(member.file_size for member in archive.infolist()))
        with open(path, "rb") as file:  # by its path torch would go by its ending
            content = torch.load(file, map_location="cpu", weights_only=not allow_pickle)
    except pickle.UnpicklingError:
        raise CorruptFileError(
            f"{path} is a pickle or a zip of pickles (.pt, .pth) with more than tensors in it, which could run code "
            f"when opened; it was not. If you trust its author: snnkit convert-checkpoint {path} --allow-pickle."
        ) from None
    except CorruptFileError:
        raise
    except (*BAD_ARCHIVE, ImportError, AssertionError) as error:
        raise CorruptFileError(f"{path} is not a readable torch file: {first_line(error)}.") from None
    if not isinstance(content, dict):
        raise CorruptFileError(f"{path} holds a {type(content).__name__}, not weights by name.")
    return content


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return (state dict, model configuration) of a safetensors file.

    Raises:
        CorruptFileError: missing, damaged, of another format, or changed since snnkit wrote it.
    """
    path = Path(path)
    if _is_pickle(path):
        raise CorruptFileError(
            f"{path} is a pickle or a zip (.pt, .pth), not a safetensors file; load it into a model that you made "
            f"(snnkit.load_weights), or convert it once: snnkit convert-checkpoint {path} --model NAME."
        )
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (safetensors.SafetensorError, *BAD_ARCHIVE) as error:
        raise CorruptFileError(f"{path} is not a readable safetensors file: {first_line(error)}.") from None
    text, given = metadata.get("model", "{}"), metadata.get("format", "")
    if given.startswith(FORMAT.rstrip("2")) and given not in (FORMAT, BEFORE):
        raise CorruptFileError(f"{path} is of format {given!r}; this version reads {BEFORE} and {FORMAT}.")
    # Whatever says which model it holds was written here; only the format before has no checksum.
    ours = given == FORMAT or "sha256" in metadata or ("model" in metadata and given != BEFORE)
    if ours and metadata.get("sha256") != checksum(tensors, text):
        raise CorruptFileError(
            f"{path} has changed since it was written: its checksum is another. Take an older checkpoint, or a copy."
        )
    return tensors, _configuration(path, text)


def _configuration(path: Path, text: str) -> dict[str, Any]:
    """Return the configuration of a model: plain values by name, nothing nested but lists."""
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"{path} describes its model in what is no JSON: {first_line(error)}.") from None
    if not isinstance(config, Mapping):
        raise CorruptFileError(f"{path} describes its model by a {type(config).__name__}, not by names and values.")
    for key, value in config.items():
        if not _is_plain(value):
            raise CorruptFileError(
                f"{path} gives its model {key}={str(value)[:60]!r}; only numbers, words and lists of them are taken "
                "from a file."
            )
    return dict(config)


def _is_plain(value: Any, lists: int = 2) -> bool:
    """Whether a value of a file is a number, a word, or a short list of such, with at most ``lists`` in each other."""
    if isinstance(value, list):
        return lists > 0 and len(value) <= 256 and all(_is_plain(one, lists - 1) for one in value)
    if isinstance(value, str):
        return len(value) <= 256
    return value is None or (isinstance(value, (bool, int, float)) and abs(value) <= 1 << 24)
