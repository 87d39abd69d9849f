"""Stored tensors: of the file itself, or of files of weights beside it, whose place and size are checked before."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compiler.exchange.onnx.package import OnnxError, onnx_package
from snnkit.errors import CorruptFileError

LIMIT = 2**32
"""Bytes that one computed tensor may take: 4 GiB."""

_TYPES = {
    "FLOAT": torch.float32,
    "DOUBLE": torch.float64,
    "FLOAT16": torch.float16,
    "BFLOAT16": torch.bfloat16,
    "INT8": torch.int8,
    "INT16": torch.int16,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "UINT8": torch.uint8,
    "BOOL": torch.bool,
}
_EXTERNAL = 1


def type_name(number: int) -> str:
    """Return ONNX's name of an element type."""
    kinds = onnx_package().TensorProto.DataType
    return str(kinds.Name(number)) if number in kinds.values() else f"type {number}"


def dtype_of(number: int, what: str) -> torch.dtype:
    """Return torch's type for an element type.

    Raises:
        OnnxError: graphs have no such numbers.
    """
    name = type_name(number)
    if name not in _TYPES:
        raise OnnxError(f"{what} holds numbers of type {name}; known are {', '.join(_TYPES)}.")
    return _TYPES[name]


def stored(proto: Any, path: Path) -> Tensor:
    """Return a stored tensor of a file at ``path``.

    Raises:
        CorruptFileError: it has not as many numbers as its shape says, or its file of weights is missing or too short.
        OnnxError: it holds strings or another type that graphs do not have.
    """
    what = f"{path}: {proto.name or 'a constant'!r}"
    dtype = dtype_of(proto.data_type, what)
    if proto.HasField("segment"):
        raise OnnxError(f"{what} is stored in segments, which are not read; save the model again.")
    if any(size < 0 for size in proto.dims):
        raise CorruptFileError(f"{what} has a negative size: {tuple(proto.dims)}.")
    if proto.data_location == _EXTERNAL:
        return _external(proto, path, dtype, what)
    try:
        array = onnx_package().numpy_helper.to_array(proto)
    except (ValueError, TypeError) as error:
        raise CorruptFileError(f"{what} does not hold what its shape {tuple(proto.dims)} says: {error}.") from None
    if dtype == torch.bfloat16:
        return torch.from_numpy(np.array(array.astype(np.float32))).to(dtype)
    return torch.from_numpy(np.array(array))  # a copy of its own: the file's bytes are read-only


def _external(proto: Any, path: Path, dtype: torch.dtype, what: str) -> Tensor:
    """Read numbers from a file of weights in the folder of the model."""
    entries = {entry.key: entry.value for entry in proto.external_data}
    place = _beside(path, entries.get("location", ""), what)
    size = math.prod(proto.dims) * dtype.itemsize
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
    except ValueError:
        raise CorruptFileError(f"{what}: its place in {place.name} is no number.") from None
    if length != size:
        raise CorruptFileError(f"{what} of shape {tuple(proto.dims)} takes {size} bytes; the file says {length}.")
    there = place.stat().st_size
    if offset < 0 or offset + size > there:
        raise CorruptFileError(
            f"{what} lies at bytes {offset} to {offset + size} of {place.name}, which has {there}: it was cut off."
        )
    with place.open("rb") as file:
        file.seek(offset)
        data = bytearray(file.read(size))
    if len(data) != size:
        raise CorruptFileError(f"{what}: {place.name} was cut off while it was read.")
    return torch.frombuffer(data, dtype=dtype).reshape(tuple(proto.dims)) if size else torch.empty(*proto.dims)


def _beside(path: Path, location: str, what: str) -> Path:
    """Return the file of weights; only one in the model's own folder, or below it, is opened."""
    folder = path.parent.resolve()
    place = (folder / location).resolve()
    if not location or Path(location).is_absolute() or not place.is_relative_to(folder) or place == folder:
        raise CorruptFileError(f"{what} has its numbers in {location!r}, outside of the model's folder: not opened.")
    if not place.is_file():
        raise CorruptFileError(
            f"{what} has its numbers in {location!r}, which is not beside {path.name}; copy it there."
        )
    return place


def check_size(value: Tensor, what: str) -> None:
    """Refuse a tensor before it is made.

    Raises:
        OnnxError: it would take more than ``LIMIT``.
    """
    size = value.numel() * value.dtype.itemsize
    if size > LIMIT:
        raise OnnxError(
            f"{what} would make a tensor of shape {tuple(value.shape)}, {size / 2**30:.3g} GiB; at most "
            f"{LIMIT / 2**30:g} GiB are made."
        )
