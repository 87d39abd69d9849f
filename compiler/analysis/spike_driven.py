"""Is a network spike-driven? Read off the types: no weight and no product may meet two real numbers."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.graph import REAL, Graph, Node, is_neuron, operation


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
    """Return the verdict on a typed graph.

    Only signals that come from the input count: what is made of stored numbers alone could be stored itself.
    """
    encoding: list[str] = []
    breaks: list[tuple[str, str]] = []
    spiking = any(is_neuron(node) for node in graph)
    images = set(graph.inputs)  # the input itself, also under another shape
    stored: set[str] = set()
    for node in graph:
        if all(name in stored for name in node.inputs):
            stored.update(node.outputs)
            continue
        if _keeps_pixels(graph, node) and all(name in images or name in stored for name in node.inputs):
            images.add(node.output)
        edge = real_edge(graph, node)
        if edge is None:
            continue
        if spiking and edge in images and operation(node.op).kind == "synapse":
            encoding.append(node.name)
        else:
            breaks.append((node.name, _words(graph, node, edge)))
    if breaks:
        return Verdict(False, tuple(encoding), breaks[0][1], breaks[0][0], len(breaks))
    return Verdict(True, tuple(encoding), None)


def _keeps_pixels(graph: Graph, node: Node) -> bool:
    """Whether the input is still the input after a node: moved, pooled, or less a stored mean."""
    return operation(node.op).kind in ("move", "pool") or node.op in ("add", "sub")


def real_edge(graph: Graph, node: Node) -> str | None:
    """Return the real signal that a node multiplies with reals, or the one it normalises; None if it does neither."""
    kind, inputs = operation(node.op).kind, node.inputs
    real = [name for name in inputs if not graph.type(name).is_event]
    if kind == "synapse":
        # One number for all values can go into the layer before or the threshold after.
        factor = node.op == "scale" and node.parameters["weight"].numel() == 1
        return real[0] if real and not factor else None
    if kind == "norm" or node.op == "attention":
        return inputs[0]
    if node.op in ("var", "norm") or (node.op == "pow" and node.attributes["exponent"] not in (0, 1)):
        return real[0] if real else None
    if kind == "product" or node.op == "div":
        return real[0] if len(real) > 1 else None
    return None


def _words(graph: Graph, node: Node, edge: str) -> str:
    what, signal = f"{node.name} ({node.op})", f"the {graph.type(edge)} signal {edge!r}"
    if operation(node.op).kind == "synapse":
        return f"{what} multiplies its weights with {signal}"
    if operation(node.op).kind == "norm":
        return f"{what} normalises {signal}"
    others = [f"the {graph.type(name)} signal {name!r}" for name in node.inputs if name != edge]
    if node.op == "attention" and any(graph.type(name).is_event for name in node.inputs[:2]):
        return f"{what} normalises the product of {signal} with {others[0]}"
    if not others or node.op in ("var", "norm", "pow"):
        return f"{what} multiplies {signal} with itself"
    met = [name for name in node.inputs if name != edge and not graph.type(name).is_event]
    other = f"the {REAL} signal {met[0]!r}" if met and node.op != "attention" else others[0]
    verb, by = ("divides", "by") if node.op == "div" else ("multiplies", "with")
    return f"{what} {verb} {signal} {by} {other}"
