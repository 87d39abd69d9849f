"""Is a network spike-driven? Read off the types: no weight and no product may meet two real numbers."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.graph import Graph, Node, is_neuron, operation


@dataclass(frozen=True)
class Verdict:
    """Whether a network is spike-driven: weights and products meet events only, but for layers that read the input.

    ``encoding_layers`` read the real input; ``first_break`` names the first edge elsewhere that is real, in words,
    ``layer`` the node it leads to, and ``breaks`` how many there are.
    """

    spike_driven: bool
    encoding_layers: tuple[str, ...]
    first_break: str | None
    layer: str = ""
    breaks: int = 0

    def __str__(self) -> str:
        if self.first_break:
            return f"not spike-driven: {self.first_break}"
        if self.encoding_layers:
            return f"spike-driven but for the encoding layer {', '.join(self.encoding_layers)}"
        return "spike-driven"


def spike_driven(graph: Graph) -> Verdict:
    """Return the verdict on a typed graph."""
    encoding: list[str] = []
    breaks: list[tuple[str, str]] = []
    spiking = any(is_neuron(node) for node in graph)
    images = set(graph.inputs)  # the input itself, also under another shape
    for node in graph:
        if operation(node.op).kind == "move" and node.inputs and all(name in images for name in node.inputs):
            images.add(node.output)
        edge = _real_edge(graph, node)
        if edge is None:
            continue
        if spiking and edge in images and operation(node.op).kind == "synapse":
            encoding.append(node.name)
        else:
            breaks.append((node.name, _words(graph, node, edge)))
    if breaks:
        return Verdict(False, tuple(encoding), breaks[0][1], breaks[0][0], len(breaks))
    return Verdict(True, tuple(encoding), None)


def _real_edge(graph: Graph, node: Node) -> str | None:
    """Return the real signal that a node multiplies with reals; None where it does not."""
    kind, inputs = operation(node.op).kind, node.inputs
    real = [name for name in inputs if not graph.type(name).is_event]
    if kind == "synapse":
        # One number for all values can go into the layer before or the threshold after.
        factor = node.op == "scale" and node.parameters["weight"].numel() == 1
        return real[0] if real and not factor else None
    if node.op == "attention":
        first = all(not graph.type(name).is_event for name in inputs[:2])
        return inputs[0] if first else inputs[2] if not graph.type(inputs[2]).is_event else None
    if kind == "product":
        return real[0] if len(real) == len(inputs) else None
    return real[0] if kind == "norm" and real else None


def _words(graph: Graph, node: Node, edge: str) -> str:
    kind = graph.type(edge)
    what = f"{node.name} ({node.op})"
    if operation(node.op).kind == "synapse":
        return f"{what} multiplies its weights with the {kind} signal {edge!r}"
    if operation(node.op).kind == "norm":
        return f"{what} normalises the {kind} signal {edge!r}"
    other = next((name for name in node.inputs if name != edge), edge)
    return f"{what} multiplies the {kind} signal {edge!r} with the {graph.type(other)} signal {other!r}"
