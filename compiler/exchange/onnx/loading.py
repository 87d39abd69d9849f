"""From a file to its network: one input, known operator sets, functions written out, nothing executed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compiler.exchange.onnx.package import OPSETS, OnnxError, onnx_package
from compiler.exchange.onnx.tensors import dtype_of, stored
from snnkit.errors import CorruptFileError, InvalidArgumentError

_MOST_NODES = 1_000_000
OWN_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class Loaded:
    """The network of a file.

    ``shape`` is that of one sample with a batch of 1 at ``batch_axis``; ``declared`` holds the shapes that a file
    with a fixed batch says of results (None for a size that it leaves open).
    """

    path: Path
    nodes: list[Any]
    opset: int
    stored: dict[str, Tensor]
    input: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    batch_axis: int
    outputs: list[str]
    declared: dict[str, tuple[int | None, ...]] = field(default_factory=dict)


def load(path: Path, batch_axis: int) -> Loaded:
    """Return the network of an ONNX file.

    Raises:
        CorruptFileError: the file is missing, damaged, does not hold together, or its weights are not beside it.
        OnnxError: it is of an unknown operator set, or has not one input of real numbers with a batch and fixed sizes.
        InvalidArgumentError: no such axis.
    """
    model = _parsed(path)
    opset = _opset(model, path)
    model = _inlined(model, path)
    graph = model.graph
    if graph.sparse_initializer:
        raise OnnxError(f"{path} holds sparse weights, which are not read; save them as ordinary tensors.")
    weights = {proto.name: stored(proto, path) for proto in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(repr(value.name) for value in inputs)
        raise OnnxError(f"{path} has {len(inputs)} inputs{': ' if names else ''}{names}; networks with one are read.")
    if not graph.output:
        raise CorruptFileError(f"{path} has no output.")
    shape, dtype = _input(inputs[0], batch_axis, path)
    described = [*graph.value_info, *graph.output]
    # Where the batch is open, exporters write shapes of the example that they were given.
    described = described if _sizes(inputs[0])[batch_axis] == 1 else []
    declared = {value.name: _sizes(value) for value in described if value.type.tensor_type.HasField("shape")}
    outputs = [value.name for value in graph.output]
    loaded = Loaded(
        path,
        list(graph.node),
        opset,
        weights,
        inputs[0].name,
        shape,
        dtype,
        batch_axis % len(shape),
        outputs,
        declared,
    )
    _check_order(loaded)
    return loaded


def _parsed(path: Path) -> Any:
    if not path.is_file():
        raise CorruptFileError(f"{path} does not exist." if not path.exists() else f"{path} is no file.")
    package = onnx_package()
    from google.protobuf.message import DecodeError

    try:
        model = package.load(str(path), format="protobuf", load_external_data=False)
    except OSError as error:
        raise CorruptFileError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (DecodeError, ValueError, RuntimeError):
        raise CorruptFileError(f"{path} is no ONNX file, or was cut off.") from None
    if not model.graph.node or not model.ir_version:
        raise CorruptFileError(f"{path} is no ONNX file: it holds no network.")
    return model


def _opset(model: Any, path: Path) -> int:
    """Return the version of the operator set."""
    versions = [entry.version for entry in model.opset_import if entry.domain in OWN_DOMAINS]
    if not versions:
        raise CorruptFileError(f"{path} does not say which version of the operators it uses.")
    if versions[0] not in OPSETS:
        older = versions[0] < OPSETS.start
        raise OnnxError(
            f"{path} uses version {versions[0]} of ONNX's operators; {OPSETS.start} to {OPSETS.stop - 1} are known. "
            + ("onnx.version_converter brings it up." if older else "Export it with opset_version=20.")
        )
    return int(versions[0])


def _inlined(model: Any, path: Path) -> Any:
    """Write the model's own functions out."""
    if not model.functions:
        return model
    _check_unfolding(model, path)
    package = onnx_package()
    try:
        return package.inliner.inline_local_functions(model)
    except (ValueError, RuntimeError) as error:
        raise CorruptFileError(f"{path}: its functions do not hold together: {_first_line(error)}.") from None


def _check_unfolding(model: Any, path: Path) -> None:
    """Refuse functions that call themselves, or unfold into more nodes than any network has."""
    calls = {(f.domain, f.name): Counter((n.domain, n.op_type) for n in f.node) for f in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(key: tuple[str, str], above: tuple[tuple[str, str], ...]) -> int:
        if key not in calls:
            return 1
        if key in above or len(above) > 100:
            raise CorruptFileError(f"{path}: the function {key[1]!r} calls itself.")
        if key not in sizes:
            sizes[key] = sum(count * size(inner, (*above, key)) for inner, count in calls[key].items())
        return sizes[key]

    total = sum(size((node.domain, node.op_type), ()) for node in model.graph.node)
    if total > _MOST_NODES:
        raise OnnxError(f"{path} unfolds into {total} operations; at most {_MOST_NODES} are read.")


def _sizes(value: Any) -> tuple[int | None, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in dims)


def _input(value: Any, batch_axis: int, path: Path) -> tuple[tuple[int, ...], torch.dtype]:
    """Return the input's shape with a batch of 1, and its type."""
    what = f"{path}: the input {value.name!r}"
    kind = value.type.tensor_type
    if not kind.elem_type or not kind.HasField("shape") or not kind.shape.dim:
        raise OnnxError(f"{what} is no tensor of a known shape; export the model with an example input.")
    dtype = dtype_of(kind.elem_type, what)
    if dtype not in (torch.float32, torch.float64):
        raise OnnxError(f"{what} is of {dtype}; networks that read float32 or float64 are read.")
    sizes = list(_sizes(value))
    if not -len(sizes) <= batch_axis < len(sizes):
        raise InvalidArgumentError(f"batch_axis={batch_axis}: {what} has {len(sizes)} axes.")
    batch_axis %= len(sizes)
    if sizes[batch_axis] not in (None, 1):
        raise OnnxError(
            f"{what} has a fixed batch of {sizes[batch_axis]} along axis {batch_axis}; export it with a batch of 1 or "
            "an open one, or name the axis: batch_axis."
        )
    sizes[batch_axis] = 1
    for axis, size in enumerate(sizes):
        if size is None:
            name = kind.shape.dim[axis].dim_param
            raise OnnxError(
                f"{what} leaves the size of axis {axis} open{f' ({name})' if name else ''}; graphs have fixed sizes: "
                "export it with only the batch open."
            )
    return tuple(size for size in sizes if size is not None), dtype


def _check_order(loaded: Loaded) -> None:
    """Raise CorruptFileError unless every value is written, once, before it is read."""
    known = {*loaded.stored, loaded.input}
    for node in loaded.nodes:
        for name in node.input:
            if name and name not in known:
                raise CorruptFileError(f"{loaded.path}: {called(node)} reads {name!r}, which nothing before it writes.")
        for name in node.output:
            if name and name in known:
                raise CorruptFileError(f"{loaded.path}: {called(node)} writes {name!r}, which was written before.")
            known.add(name)
    for name in loaded.outputs:
        if name not in known:
            raise CorruptFileError(f"{loaded.path}: nothing writes the output {name!r}.")


def called(node: Any) -> str:
    """Return a node in words: its name and operator."""
    name = node.name or next((f"the node of {output!r}" for output in node.output if output), "a node")
    return f"{name} ({node.op_type})"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
