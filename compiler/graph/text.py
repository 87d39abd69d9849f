"""A graph as text: one line a node, in order, so that two versions of a network compare line by line."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from compiler.graph.graph import Graph, Node


def to_text(graph: Graph) -> str:
    """Return the graph as text.

    Every line says: signals written with shape and type, operation, signals read, attributes and parameters::

        graph SpikingCnn, T=4, the input is the same at every step
          input (1, 28, 28) real
          stem.conv (16, 28, 28) real = conv(input; groups=1, padding=(1, 1), …) weight(16, 1, 3, 3) bias(16)
    """
    static = ", the input is the same at every step" if graph.static_input else ""
    lines = [f"graph {graph.name}, T={graph.timesteps}{static}"]
    lines += [f"  input {_signal(graph, name)}" for name in graph.inputs]
    for state in graph.states:
        start = f"tensor{tuple(state.initial.shape)}" if isinstance(state.initial, Tensor) else f"{state.initial:g}"
        lines.append(f"  state {_signal(graph, state.read)} starts at {start}, next is {state.written}")
    lines += [f"  {_node(graph, node)}" for node in graph]
    lines += [f"  output {_signal(graph, name)}" for name in graph.outputs]
    return "\n".join(lines)


def _signal(graph: Graph, name: str) -> str:
    return f"{name} {shape_text(graph.shape(name))} {graph.type(name)}"


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape as Python writes tuples."""
    return str(tuple(shape))


def _node(graph: Graph, node: Node) -> str:
    written = ", ".join(_signal(graph, name) for name in node.outputs)
    attributes = ", ".join(f"{key}={_value(value)}" for key, value in sorted(node.attributes.items()))
    given = "; ".join(part for part in (", ".join(node.inputs), attributes) if part)
    parameters = "".join(f" {key}{tuple(p.shape)}" for key, p in sorted(node.parameters.items()))
    role = f" [{node.role}]" if node.role else ""
    return f"{written} = {node.op}({given}){parameters}{role}"


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (tuple, list)) and len(value) > 12:
        return f"[{len(value)} numbers]"
    return str(value)
