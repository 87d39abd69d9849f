"""Sums, biases and integrators in NIR, both ways: several edges into one node mean their sum."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from compiler.exchange.nir.context import Reading, Writing
from compiler.exchange.nir.numbers import constant, gain_or_one
from compiler.exchange.nir.package import NirError
from compiler.graph import Node


def write_identity(w: Writing, node: Node) -> None:
    """identity → what it reads."""
    w.sources[node.output] = w.read(node.inputs[0], node.name)


def read_end(r: Reading, name: str, node: Any, x: str) -> str:
    """Output, and Input of a nested graph → what they read."""
    kind = "output" if type(node).__name__ == "Output" else "input"
    shape = (node.output_type if kind == "output" else node.input_type)[kind]
    if shape is not None and tuple(int(size) for size in np.atleast_1d(shape)) != r.shape(x):
        raise ValueError(f"its shape is {tuple(int(size) for size in np.atleast_1d(shape))}")
    return x


def write_constant(w: Writing, node: Node) -> None:
    """constant → part of the node that reads it."""
    w.constants[node.output] = node.parameters["value"]


def write_add(w: Writing, node: Node) -> None:
    """add → edges from both summands into every reader; with stored numbers a bias; with itself a step before, I."""
    stored = [signal for signal in node.inputs if signal in w.constants]
    if stored:
        _write_bias(w, node, stored[0])
        return
    _same_shapes(w, node)
    if _accumulates(w, node):
        x = next(signal for signal in node.inputs if signal not in w.states)
        w.put(node, w.package.I(np.full(w.shape(x), 1.0 / w.dt, w.dtype)), signal=x)
        return
    first, second = (w.read(signal, node.name) for signal in node.inputs)
    w.sources[node.output] = _joined(w, first, second, node.inputs[1])


def _joined(w: Writing, x: tuple[str, ...], y: tuple[str, ...], second: str) -> tuple[str, ...]:
    """Return the sources of a sum, so ordered that summing them from the left rounds as the graph does."""
    if len(x) > 1 and len(y) > 1:
        y = w.sources[second] = w.sum_node(second)
    return y + x if len(y) > 1 else x + y


def _same_shapes(w: Writing, node: Node) -> None:
    first, second = (w.shape(signal) for signal in node.inputs)
    if first != second:
        raise NirError(f"{node.name} ({node.op}) joins signals of shapes {first} and {second}; NIR sums equal shapes.")


def _accumulates(w: Writing, node: Node) -> bool:
    """Whether a sum adds to what it was a step before and starts at 0: v ← v + x."""
    own = [signal for signal in node.inputs if signal in w.states and w.states[signal].written == node.output]
    if len(own) != 1 or len(set(node.inputs)) != 2 or len(w.graph.consumers(own[0])) != 1:
        return False
    return own[0] not in w.graph.outputs and not np.any(np.asarray(w.states[own[0]].initial))


def _write_bias(w: Writing, node: Node, stored: str) -> None:
    """Add stored numbers to the bias of the layer before, where nothing else reads that layer."""
    x = next((signal for signal in node.inputs if signal not in w.constants), "")
    layer = w.graph.producer(x)
    alone = len(w.graph.consumers(x)) == 1 and x not in (*w.graph.outputs, *(s.written for s in w.graph.states))
    bias = None
    if layer is not None and layer.op in ("conv", "linear") and alone and w.shape(x) == w.shape(node.output):
        bias = _by_channel(w.constants[stored], w.shape(x))
    if bias is None or layer is None:
        raise NirError(
            f"{node.name} ({node.op}) adds stored numbers, which NIR has as biases only: one for each channel, right "
            "after a convolution or linear layer that nothing else reads. Make them its bias."
        )
    (name,) = w.sources[x]
    made = w.nodes[name]
    total = (w.array(bias) + getattr(made, "bias", 0)).astype(w.dtype)
    if hasattr(made, "bias"):
        made.bias = total
    else:
        w.nodes[name] = w.package.Affine(made.weight, total)
    w.sources[node.output] = (name,)
    w.notes.append(f"{node.name} became the bias of {layer.name}: sums may round differently")


def _by_channel(value: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """Return stored numbers as one a channel (C,), None where they differ within a channel."""
    spread = value.expand(shape)
    rows = spread.reshape(shape[0], -1)
    return rows[:, 0] if bool((rows == rows[:, :1]).all()) else None


def write_sub(w: Writing, node: Node) -> None:
    """sub → edges, through a Scale by −1 for what is taken away."""
    _same_shapes(w, node)
    x = w.read(node.inputs[0], node.name)
    w.sources[node.output] = x + w.scaled(node.inputs[1], -1.0, node.name)


def write_neg(w: Writing, node: Node) -> None:
    """neg → Scale by −1."""
    w.put(node, w.package.Scale(np.full(w.shape(node.output), -1.0, w.dtype)))


def read_integrator(r: Reading, name: str, node: Any, x: str) -> str:
    """I → add to a state: v ← v + dt·r·x."""
    gain = constant("r", node.r, r.shape(x))
    x = r.scaled(r.new(f"{name}.gain"), x, gain_or_one(gain, gain.astype(np.float64) * r.dt))
    state = r.state(f"{name}.v", r.shape(x))
    total = r.add(name, "add", (x, state))
    r.builder.carry(state, total)
    return total
