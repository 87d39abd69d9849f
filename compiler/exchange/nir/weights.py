"""Convolutions, linear layers and scales in NIR, both ways."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from compiler.exchange.nir.context import Reading, Writing
from compiler.exchange.nir.numbers import constant
from compiler.exchange.nir.package import Array, NirError
from compiler.graph import Node


def write_conv(w: Writing, node: Node) -> None:
    """conv → Conv1d, Conv2d: bias 0 where there is none; groups become zero blocks, rectangular kernels square ones."""
    a, weight, shape = node.attributes, w.weight(node), w.shape(node.inputs[0])
    rank = weight.ndim - 2
    if rank > 2:
        raise NirError(f"{node.name} (conv) has {rank} dimensions; NIR has convolutions in one and two.")
    if len(shape) != rank + 1:
        raise NirError(f"{node.name} (conv) works on a signal of shape {shape}, NIR's takes {rank + 1} axes.")
    groups, padding = a["groups"], tuple(a["padding"])
    if groups > 1 and w.grouped:
        w.checkable = False
        w.notes.append(f"{node.name} keeps {groups} groups: read with nir.read(path, type_check=False)")
    elif groups > 1:
        weight, groups = _dense(weight, groups), 1
        w.expanded.append(node.name)
    if rank == 2 and weight.shape[2] != weight.shape[3]:
        weight, padding = _square(w, node, weight)
    bias = node.parameters.get("bias")
    settings = [tuple(a["stride"]), padding, tuple(a["dilation"])]
    if rank == 1:
        settings = [values[0] for values in settings]
    made = (w.package.Conv1d if rank == 1 else w.package.Conv2d)(
        input_shape=shape[1] if rank == 1 else shape[1:],
        weight=weight,
        stride=settings[0],
        padding=settings[1],
        dilation=settings[2],
        groups=groups,
        bias=np.zeros(len(weight), w.dtype) if bias is None else w.array(bias),
    )
    w.put(node, made)


def _dense(weight: Array, groups: int) -> Array:
    """(Cout, Cin/groups, …) → (Cout, Cin, …) with zeros between the groups."""
    outputs, inputs = len(weight) // groups, weight.shape[1]
    dense = np.zeros((len(weight), inputs * groups, *weight.shape[2:]), weight.dtype)
    for g in range(groups):
        rows = slice(g * outputs, (g + 1) * outputs)
        dense[rows, g * inputs : (g + 1) * inputs] = weight[rows]
    return dense


def _square(w: Writing, node: Node, weight: Array) -> tuple[Array, tuple[int, ...]]:
    """Put zeros around a rectangular kernel and pad as much more: nir 1.0.8 takes its height for its width too."""
    side = max(weight.shape[2:])
    missing = [side - size for size in weight.shape[2:]]
    padding, dilation = node.attributes["padding"], node.attributes["dilation"]
    if any(m % 2 for m in missing):
        w.checkable = False
        w.notes.append(f"{node.name} has a rectangular kernel: read with nir.read(path, type_check=False)")
        return weight, tuple(padding)
    w.notes.append(f"{node.name}: its kernel got zeros around it to be square")
    half = [m // 2 for m in missing]
    squared = np.pad(weight, ((0, 0), (0, 0), (half[0], half[0]), (half[1], half[1])))
    return squared, (padding[0] + half[0] * dilation[0], padding[1] + half[1] * dilation[1])


def read_conv(r: Reading, name: str, node: Any, x: str) -> str:
    """Conv1d, Conv2d → conv: weights that are zero outside diagonal blocks become groups."""
    weight, bias, groups = np.asarray(node.weight), np.asarray(node.bias), int(node.groups)
    rank = 1 if type(node).__name__ == "Conv1d" else 2
    if weight.ndim != rank + 2:
        raise ValueError(f"its weights have shape {weight.shape}")
    shape = r.rank(x, rank + 1)
    if node.input_shape is not None:
        given = tuple(int(size) for size in np.atleast_1d(node.input_shape))
        if given != shape[1:]:
            raise ValueError(f"its input_shape is {given}")
    if bias.shape != (len(weight),):
        raise ValueError(f"{len(weight)} channels have a bias of shape {bias.shape}")
    if groups == 1:
        weight, groups = _grouped(weight)
    attributes: dict[str, Any] = {key: numbers(getattr(node, key), rank) for key in ("stride", "dilation")}
    x, padding = _padded(r, name, node, x, weight.shape[2:])
    return r.add(
        name, "conv", (x,), {**attributes, "padding": padding, "groups": groups}, {"weight": weight, "bias": bias}
    )


def numbers(value: Any, count: int) -> tuple[int, ...]:
    """Return ``count`` whole numbers from one or from as many."""
    given = [int(v) for v in np.atleast_1d(value)]
    if len(given) not in (1, count):
        raise ValueError(f"{len(given)} numbers are given for {count} dimensions")
    return tuple(given * count if len(given) == 1 else given)


def _padded(r: Reading, name: str, node: Any, x: str, kernel: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """Return the input and its padding in numbers; uneven padding, for "same", becomes a node of its own."""
    rank = len(kernel)
    if not isinstance(node.padding, str):
        return x, numbers(node.padding, rank)
    if node.padding == "valid":
        return x, (0,) * rank
    if numbers(node.stride, rank) != (1,) * rank:
        raise NirError(f"{name} ({type(node).__name__}): padding='same' needs stride 1; use numbers.")
    total = [d * (k - 1) for d, k in zip(numbers(node.dilation, rank), kernel, strict=True)]
    if all(t % 2 == 0 for t in total):
        return x, tuple(t // 2 for t in total)
    amounts = tuple(amount for t in reversed(total) for amount in (t // 2, t - t // 2))
    x = r.add(r.new(f"{name}.pad"), "pad", (x,), {"amounts": amounts, "mode": "constant", "value": 0.0})
    return x, (0,) * rank


def _grouped(weight: Array) -> tuple[Array, int]:
    """Return the weights with as many groups as their zeros allow: (Cout, Cin, …) → (Cout, Cin/groups, …)."""
    outputs, inputs = weight.shape[:2]
    used = (weight != 0).reshape(outputs, inputs, -1).any(2)
    for g in range(math.gcd(outputs, inputs), 1, -1):
        if outputs % g or inputs % g:
            continue
        blocks = used.reshape(g, outputs // g, g, inputs // g).any((1, 3))
        if not (blocks & ~np.eye(g, dtype=bool)).any():
            split = weight.reshape(g, outputs // g, g, inputs // g, *weight.shape[2:])
            kept = split[np.arange(g), :, np.arange(g)]
            return kept.reshape(outputs, inputs // g, *weight.shape[2:]), g
    return weight, 1


def write_linear(w: Writing, node: Node) -> None:
    """linear → Affine, Linear, on vectors."""
    shape = w.shape(node.inputs[0])
    if len(shape) != 1:
        raise NirError(
            f"{node.name} (linear) works on a signal of shape {shape}, NIR's on vectors only; flatten first."
        )
    weight, bias = w.weight(node), node.parameters.get("bias")
    w.put(node, w.package.Linear(weight) if bias is None else w.package.Affine(weight, w.array(bias)))


def read_linear(r: Reading, name: str, node: Any, x: str) -> str:
    """Affine, Linear → linear, on vectors."""
    r.rank(x, 1)
    parameters = {"weight": np.asarray(node.weight)}
    if parameters["weight"].ndim != 2:
        raise NirError(
            f"{name} ({type(node).__name__}): weights of shape {node.weight.shape}; graphs have matrices only."
        )
    if hasattr(node, "bias"):
        parameters["bias"] = np.asarray(node.bias)
        if parameters["bias"].shape != (len(parameters["weight"]),):
            raise ValueError(f"its bias has shape {parameters['bias'].shape}")
    return r.add(name, "linear", (x,), {}, parameters)


def write_scale(w: Writing, node: Node) -> None:
    """scale → Scale, an array of the signal's shape."""
    weight, shape = w.weight(node), w.shape(node.output)
    if shape != w.shape(node.inputs[0]):
        raise NirError(
            f"{node.name} (scale) makes a signal of shape {shape} of one of {w.shape(node.inputs[0])}; a NIR Scale "
            "keeps the shape."
        )
    w.put(node, w.package.Scale(np.broadcast_to(weight, shape).copy()))


def read_scale(r: Reading, name: str, node: Any, x: str) -> str:
    """Scale → scale, with the smallest weight that broadcasts to it; a Scale by 1 is no node."""
    return r.scaled(name, x, constant("scale", node.scale, r.shape(x)))
