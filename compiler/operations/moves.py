"""Moves: values change place, none changes. Reshape, permute, expand, slice, concat, roll, take, pad, rearrange.

``rearrange`` is any of them, and any chain of them, as one index: value i of the output is value ``index[i]`` of the
flattened input, or 0 where the index is −1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from compiler.graph.facts import Facts
from compiler.graph.graph import Node
from compiler.graph.operation import NOT_CAPTURED, Operation, Shapes
from compiler.graph.signals import REAL, SignalType, single
from compiler.operations.call import Call
from compiler.operations.rules import INT, INTS, NUMBER, TEXT, free, same, stored, union


def _reshape(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (x.reshape(x.shape[0], *node.attributes["shape"]),)


def _capture_reshape(call: Call) -> None:
    call.give(call.reshape(call.signal("self"), call.out.sample))


def _capture_nothing(call: Call) -> None:
    """What changes neither values nor order: dropout in eval mode, copies, views."""
    call.give(call.signal("input" if _named(call, "input") else "self"))


def _named(call: Call, name: str) -> bool:
    try:
        return call.has(name)
    except KeyError:
        return False


def _permute(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    axes = node.attributes["axes"]
    lead = x.ndim - len(axes)
    return (x.permute(*range(lead), *(axis % x.ndim for axis in axes)),)


def _expand(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    shape = node.attributes["shape"]
    return (x.reshape(x.shape[0], *[1] * (len(shape) - x.ndim + 1), *x.shape[1:]).expand(x.shape[0], *shape),)


def _capture_expand(call: Call) -> None:
    x = call.operand("self")
    if call.shape_of(x) != call.out.sample:
        x = call.emit("expand", [x], {"shape": call.out.sample})
    call.give(x)


def _slice(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    a = node.attributes
    index: list[Any] = [slice(None)] * x.ndim
    index[a["axis"]] = slice(a["start"], a["stop"], a["step"])
    return (x[tuple(index)],)


def sliced(call: Call, name: str, dim: int, start: int, stop: int, step: int = 1) -> str:
    """Add a slice of an argument along an exported axis and return its signal."""
    x = call.signal(name)
    shape = call.layout(name).shape
    size = shape[dim]
    start, stop, _ = slice(start, stop, 1).indices(size)
    if (start, stop, step) == (0, size, 1):
        return x
    axis = call.axis(name, dim)
    if axis is None:
        raise call.refuse("takes time steps out of a sequence, which graphs do not have: they say what one step does")
    return call.emit("slice", [x], {"axis": axis, "start": start, "stop": stop, "step": step})


def _capture_slice(call: Call) -> None:
    start = call["start"] if call.has("start") else 0
    stop = call["end"] if call.has("end") else 2**62
    call.give(sliced(call, "self", call["dim"], start, stop, call["step"]))


def _capture_select(call: Call) -> None:
    size = call.layout("self").shape[call["dim"]]
    index = call["index"] % size
    call.give(call.reshape(sliced(call, "self", call["dim"], index, index + 1), call.out.sample))


def _capture_narrow(call: Call) -> None:
    call.give(sliced(call, "self", call["dim"], call["start"], call["start"] + call["length"]))


def _parts(call: Call, sizes: Sequence[int], dim: int) -> None:
    """Answer with consecutive slices of the given sizes."""
    made, start = [], 0
    for size in sizes:
        made.append(sliced(call, "self", dim, start, start + size))
        start += size
    call.give_many(made)


def _capture_unbind(call: Call) -> None:
    _parts(call, [1] * call.layout("self").shape[call["dim"]], call["dim"])


def _capture_split_sizes(call: Call) -> None:
    _parts(call, call["split_sizes"], call["dim"])


def _capture_split(call: Call) -> None:
    size, step = call.layout("self").shape[call["dim"]], call["split_size"]
    _parts(call, [min(step, size - start) for start in range(0, size, step)], call["dim"])


def _capture_chunk(call: Call) -> None:
    size = call.layout("self").shape[call["dim"]]
    step = -(-size // call["chunks"])
    _parts(call, [min(step, size - start) for start in range(0, size, step)], call["dim"])


def _capture_tensor_split(call: Call) -> None:
    size = call.layout("self").shape[call["dim"]]
    ends = [end if end >= 0 else end + size for end in [*call["indices"], size]]
    _parts(call, [end - start for start, end in zip([0, *ends], ends, strict=False)], call["dim"])


def _concat(node: Node, *values: Tensor) -> tuple[Tensor, ...]:
    batch = max(value.shape[0] for value in values)
    return (torch.cat([v.expand(batch, *v.shape[1:]) for v in values], node.attributes["axis"]),)


def _capture_cat(call: Call) -> None:
    call.give(call.joined())


def _capture_stack(call: Call) -> None:
    call.give(call.stacked())


def _repeated(call: Call) -> None:
    """repeat: every axis so many times, one after the other."""
    call.give(call.repeated([int(count) for count in call["repeats"]]))


def _capture_repeat_interleave(call: Call) -> None:
    call.give(call.interleaved(int(call["repeats"]), call["dim"] if call.has("dim") else None))


def _roll(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    a = node.attributes
    return (torch.roll(x, a["shifts"], a["axes"]),)


def _capture_roll(call: Call) -> None:
    axes = [call.axis("self", dim) for dim in call["dims"]]
    if not axes or any(axis is None for axis in axes):
        raise call.refuse("rolls over all axes at once; name the axes")
    attributes = {"shifts": tuple(call["shifts"]), "axes": tuple(axes)}
    call.give(call.emit("roll", [call.signal("self")], attributes))


def _take(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (x.index_select(node.attributes["axis"] % x.ndim, node.parameters["index"].long()),)


def _capture_index_select(call: Call) -> None:
    axis = call.axis("self", call["dim"])
    if axis is None:
        raise call.refuse("takes time steps out of a sequence")
    call.give(call.emit("take", [call.signal("self")], {"axis": axis}, {"index": call.tensor("index")}))


def _capture_flip(call: Call) -> None:
    x = call.signal("self")
    for dim in call["dims"]:
        axis = call.axis("self", dim)
        if axis is None:
            raise call.refuse("turns time around")
        index = torch.arange(call.shape_of(x)[axis]).flip(0)
        x = call.emit("take", [x], {"axis": axis}, {"index": index})
    call.give(x)


def _pad(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    a = node.attributes
    amounts, mode = list(a["amounts"]), a["mode"]
    if mode == "constant":
        return (F.pad(x, amounts, mode, a["value"]),)
    rank = len(amounts) // 2
    lead = x.shape[: x.ndim - rank]
    y = F.pad(x.reshape(1, -1, *x.shape[x.ndim - rank :]), amounts, mode)
    return (y.reshape(*lead, *y.shape[2:]),)


def _pad_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    a, kind = node.attributes, types[0]
    if a["mode"] != "constant" or not any(amount > 0 for amount in a["amounts"]):
        return kind
    return kind.union(single(a["value"])) if math.isfinite(a["value"]) else REAL


def _capture_pad(call: Call) -> None:
    amounts, shape = list(call["pad"]), call.layout("self").shape
    while len(amounts) > 2 and not any(amounts[-2:]):
        amounts = amounts[:-2]
    for position in range(len(amounts) // 2):
        if any(amounts[2 * position : 2 * position + 2]) and call.axis("self", len(shape) - 1 - position) is None:
            raise call.refuse("pads time steps")
    value = call["value"] if call.has("value") else 0.0
    attributes = {"amounts": tuple(amounts), "mode": call["mode"], "value": float(value or 0.0)}
    x = call.signal("self")
    call.give(call.emit("pad", [x], attributes) if any(amounts) else x)


def _capture_constant_pad(call: Call) -> None:
    attributes = {"amounts": tuple(call["pad"]), "mode": "constant", "value": float(call["value"])}
    call.give(call.emit("pad", [call.signal("self")], attributes))


def _rearrange(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    index, zeros = node.parameters["index"], node.attributes.get("zeros", 0)
    y = x.reshape(x.shape[0], -1).index_select(1, index.clamp(min=0) if zeros else index)
    if zeros:
        y = y.masked_fill(index < 0, 0)
    return (y.reshape(x.shape[0], *node.attributes["shape"]),)


def _rearrange_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    return types[0].with_zero() if node.attributes.get("zeros", 0) else types[0]


def _identity(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (x,)


def _constant(node: Node) -> tuple[Tensor, ...]:
    return (node.parameters["value"].unsqueeze(0),)


def _constant_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    return stored(node.parameters["value"])


def _filled(value: float | None) -> Callable[[Call], None]:
    """Tensors made of one number; new_zeros and the like follow the batch of what they are made from."""

    def capture(call: Call) -> None:
        number = value
        for name in ("fill_value", "value"):
            if number is None and _named(call, name):
                number = call[name]
        call.give_filled(number or 0)

    return capture


def _capture_copy(call: Call) -> None:
    """The result has the shape of ``self`` and the values of ``src``."""
    source = call.operand("src")
    if call.shape_of(source) != call.out.sample:
        source = call.emit("expand", [source], {"shape": call.out.sample})
    call.give(source)


def _replaced(call: Call, source: str, places: range) -> None:
    """Answer with ``self`` whose values at ``places`` along the axis ``dim`` are those of ``source``."""
    size, axis = call.layout("self").shape[call["dim"]], call.axis("self", call["dim"])
    if axis is None:
        raise call.refuse("writes into time steps")
    shape = list(call.shape_of(call.operand("self")))
    shape[axis] = len(places)
    if call.shape_of(source) != tuple(shape):
        source = call.emit("expand", [source], {"shape": tuple(shape)})
    if len(places) == size:
        call.give(source)
        return
    both = call.emit("concat", [call.operand("self"), source], {"axis": axis})
    index = torch.arange(size)
    index[torch.tensor(places, dtype=torch.long)] = size + torch.arange(len(places))
    call.give(call.emit("take", [both], {"axis": axis}, {"index": index}))


def _capture_slice_scatter(call: Call) -> None:
    """``self`` with a slice along one axis replaced by ``src``."""
    size = call.layout("self").shape[call["dim"]]
    start = call["start"] if call.has("start") else 0
    stop = call["end"] if call.has("end") else 2**62
    _replaced(call, call.operand("src"), range(*slice(start, stop, call["step"]).indices(size)))


def _capture_select_scatter(call: Call) -> None:
    """``self`` with one place along one axis replaced by ``src``, which lacks that axis."""
    size, axis = call.layout("self").shape[call["dim"]], call.axis("self", call["dim"])
    if axis is None:
        raise call.refuse("writes into time steps")
    shape = list(call.shape_of(call.operand("self")))
    shape[axis] = 1
    source = call.reshape(call.beside("src", call["dim"]), shape)
    place = call["index"] % size
    _replaced(call, source, range(place, place + 1))


def _capture_pixel_shuffle(call: Call) -> None:
    """Channels (C·r·r) of every pixel become r × r pixels."""
    x, r = call.operand("self"), int(call["upscale_factor"])
    *lead, channels, height, width = call.shape_of(x)
    if len(call.layout("self").shape) - call.layout("self").axis < 4:
        raise call.refuse("shuffles pixels of different samples")
    n = len(lead)
    x = call.reshape(x, (*lead, channels // r**2, r, r, height, width))
    x = call.emit("permute", [x], {"axes": (*range(-5 - n, -5), -5, -2, -4, -1, -3)})
    call.give(call.reshape(x, (*lead, channels // r**2, height * r, width * r)))


def _capture_pixel_unshuffle(call: Call) -> None:
    """r × r pixels become channels (C·r·r) of one."""
    x, r = call.operand("self"), int(call["downscale_factor"])
    *lead, channels, height, width = call.shape_of(x)
    n = len(lead)
    x = call.reshape(x, (*lead, channels, height // r, r, width // r, r))
    x = call.emit("permute", [x], {"axes": (*range(-5 - n, -5), -5, -3, -1, -4, -2)})
    call.give(call.reshape(x, (*lead, channels * r**2, height // r, width // r)))


_ZEROS = ("zeros", "zeros_like", "new_zeros", "empty_like", "new_empty")

_CONSTANTS = {
    **{f"aten.{name}.default": _filled(0) for name in _ZEROS},
    **{f"aten.{name}.default": _filled(1) for name in ("ones", "ones_like", "new_ones")},
    **{f"aten.{name}.default": _filled(None) for name in ("full", "full_like", "new_full")},
    "aten.zero.default": _filled(0),
    "aten.fill.Scalar": _filled(None),
    "aten.fill.Tensor": _filled(None),
}


def _no_count(node: Node, facts: Facts) -> Mapping[str, float]:
    return {}


def _move(name: str, run: Any, captures: Any, attributes: Any, type_rule: Any = same, **more: Any) -> Operation:
    return Operation(name, "move", run, type_rule, free, captures, attributes, linear=True, **more)


def _permute_captures() -> dict[str, Callable[[Call], None]]:
    def by(order: Callable[[Call, int], list[int]]) -> Callable[[Call], None]:
        def capture(call: Call) -> None:
            call.give(call.permuted(order(call, len(call.layout("self").shape))))

        return capture

    def swapped(first: str, second: str) -> Callable[[Call, int], list[int]]:
        def order(call: Call, rank: int) -> list[int]:
            dims = list(range(rank))
            i, j = call[first], call[second]
            dims[i], dims[j] = dims[j], dims[i]
            return dims

        return order

    def moved(call: Call, rank: int) -> list[int]:
        def dims(name: str) -> list[int]:
            given = call[name]
            return [dim % rank for dim in (given if isinstance(given, (list, tuple)) else [given])]

        source, target = dims("source"), dims("destination")
        rest = iter([dim for dim in range(rank) if dim not in source])
        return [source[target.index(dim)] if dim in target else next(rest) for dim in range(rank)]

    def reversed_two(call: Call, rank: int) -> list[int]:
        return [1, 0] if rank == 2 else list(range(rank))

    def last_two(call: Call, rank: int) -> list[int]:
        return [*range(rank - 2), rank - 1, rank - 2]

    def turned(call: Call, rank: int) -> list[int]:
        return list(range(rank))[::-1]

    def plain(call: Call, rank: int) -> list[int]:
        return [dim % rank for dim in call["dims"]]

    return {
        "aten.permute.default": by(plain),
        "aten.transpose.int": by(swapped("dim0", "dim1")),
        "aten.swapaxes.default": by(swapped("axis0", "axis1")),
        "aten.swapdims.default": by(swapped("dim0", "dim1")),
        "aten.movedim.int": by(moved),
        "aten.movedim.intlist": by(moved),
        "aten.t.default": by(reversed_two),
        "aten.mT.default": by(last_two),
        "aten.mH.default": by(last_two),
        "aten.adjoint.default": by(last_two),
        "aten.numpy_T.default": by(turned),
        "aten.pixel_shuffle.default": _capture_pixel_shuffle,
        "aten.pixel_unshuffle.default": _capture_pixel_unshuffle,
    }


_NOTHING = (
    "alias",
    "detach",
    "contiguous",
    "dropout",
    "feature_dropout",
    "alpha_dropout",
    "feature_alpha_dropout",
    "clone",
    "positive",
    "lift_fresh_copy",
    "native_dropout",
)
_RESHAPED = (
    "flatten.using_ints",
    "unflatten.int",
    "view.default",
    "reshape.default",
    "_unsafe_view.default",
    "unsqueeze.default",
    "squeeze.dim",
    "squeeze.dims",
    "squeeze.default",
    "view_as.default",
    "reshape_as.default",
)
_EXPANDED = ("expand.default", "expand_as.default", "broadcast_to.default")

OPERATIONS = (
    Operation(
        "constant", "constant", _constant, _constant_type, _no_count, _CONSTANTS, parameters=("value",), inputs=(0, 0)
    ),
    _move(
        "identity",
        _identity,
        {**{f"aten.{name}.default": _capture_nothing for name in _NOTHING}, "aten.copy.default": _capture_copy},
        {},
    ),
    _move("reshape", _reshape, {f"aten.{name}": _capture_reshape for name in _RESHAPED}, {"shape": INTS}),
    _move("permute", _permute, _permute_captures(), {"axes": INTS}),
    _move("expand", _expand, {f"aten.{name}": _capture_expand for name in _EXPANDED}, {"shape": INTS}),
    _move(
        "slice",
        _slice,
        {
            "aten.slice.Tensor": _capture_slice,
            "aten.select.int": _capture_select,
            "aten.narrow.default": _capture_narrow,
            "aten.unbind.int": _capture_unbind,
            "aten.split_with_sizes.default": _capture_split_sizes,
            "aten.split.Tensor": _capture_split,
            "aten.split.sizes": _capture_split_sizes,
            "aten.chunk.default": _capture_chunk,
            "aten.tensor_split.indices": _capture_tensor_split,
        },
        {"axis": INT, "start": INT, "stop": INT, "step": INT},
    ),
    _move(
        "concat",
        _concat,
        {
            "aten.cat.default": _capture_cat,
            "aten.concat.default": _capture_cat,
            "aten.concatenate.default": _capture_cat,
            "aten.stack.default": _capture_stack,
            "aten.slice_scatter.default": _capture_slice_scatter,
            "aten.select_scatter.default": _capture_select_scatter,
            "aten.repeat.default": _repeated,
            "aten.repeat_interleave.self_int": _capture_repeat_interleave,
        },
        {"axis": INT},
        union,
        inputs=(1, None),
    ),
    _move("roll", _roll, {"aten.roll.default": _capture_roll}, {"shifts": INTS, "axes": INTS}),
    _move(
        "take",
        _take,
        {"aten.index_select.default": _capture_index_select, "aten.flip.default": _capture_flip},
        {"axis": INT},
        parameters=("index",),
    ),
    _move(
        "pad",
        _pad,
        {"aten.pad.default": _capture_pad, "aten.constant_pad_nd.default": _capture_constant_pad},
        {"amounts": INTS, "mode": TEXT, "value": NUMBER},
        _pad_type,
    ),
    _move(
        "rearrange",
        _rearrange,
        NOT_CAPTURED,
        {"shape": INTS},
        _rearrange_type,
        optional={"zeros": INT},
        parameters=("index",),
    ),
)
