"""Give every edge its type, from the operations alone: never from a layer's name, never from data.

Spikes are binary; a sum of event signals of one scale is an integer; averaging divides the scale; reshaping changes
nothing; whatever leaves a layer with weights is real.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from compiler.graph import BINARY, REAL, Graph, Node, SignalType
from compiler.operations import OPERATIONS, events_of
from snnkit.neurons import OPERATORS


def infer_signals(graph: Graph) -> Graph:
    """Return the graph with typed signals."""
    types = {name: graph.type(name) for name in graph.inputs}
    types |= {state.read: REAL for state in graph.states}
    for node in graph:
        inferred = _type(node, [types[name] for name in node.inputs])
        types.update({name: inferred if name == node.output else REAL for name in node.outputs})
    signals = {name: replace(signal, type=types.get(name, REAL)) for name, signal in graph.signals.items()}
    return replace(graph, signals=signals)


def _type(node: Node, inputs: list[SignalType]) -> SignalType:
    if node.op in OPERATORS:
        return events_of(node.op, node.attributes)
    if OPERATIONS[node.op].kind == "neuron":
        return BINARY
    if node.op in ("flatten", "identity"):
        return inputs[0]
    if node.op == "relu":
        x = inputs[0]
        return replace(x, low=max(x.low, 0), high=max(x.high, 0)) if x.is_event else REAL
    if node.op == "add":
        return _sum(*inputs)
    if node.op == "avg_pool2d" and inputs[0].is_event:
        kh, kw = node.attributes["kernel_size"]
        x = inputs[0]
        return SignalType("integer", kh * kw * x.low, kh * kw * x.high, x.scale / (kh * kw))
    return REAL


def _sum(x: SignalType, y: SignalType) -> SignalType:
    if not (x.is_event and y.is_event and x.scale == y.scale):
        return REAL
    return SignalType("integer", x.low + y.low, x.high + y.high, x.scale)


@dataclass(frozen=True)
class Verdict:
    """Whether a network is spike-driven: every weight meets events only, but for layers that read the input itself.

    ``encoding_layers`` read the real input; ``first_break`` names the first other layer that meets a real signal.
    """

    spike_driven: bool
    encoding_layers: tuple[str, ...]
    first_break: str | None

    def __str__(self) -> str:
        if self.first_break:
            return f"not spike-driven: {self.first_break}"
        if self.encoding_layers:
            return f"spike-driven but for the encoding layer {', '.join(self.encoding_layers)}"
        return "spike-driven"


def spike_driven(graph: Graph) -> Verdict:
    """Read the verdict off the types of a graph that ``infer_signals`` has been over."""
    encoding: list[str] = []
    spiking = any(OPERATIONS[node.op].kind == "neuron" for node in graph)
    images = set(graph.inputs)  # the input itself, also under another shape
    for node in graph:
        if node.op in ("flatten", "identity") and node.inputs[0] in images:
            images.add(node.output)
        # A batch norm that could not be folded multiplies whatever it reads.
        weights = OPERATIONS[node.op].kind == "synapse" and not graph.type(node.inputs[0]).is_event
        if not (weights or node.op == "batch_norm"):
            continue
        if spiking and node.inputs[0] in images:
            encoding.append(node.name)
            continue
        kind = graph.type(node.inputs[0])
        edge = f"{node.name} ({node.op}) multiplies its weights with the {kind} signal {node.inputs[0]!r}"
        return Verdict(False, tuple(encoding), edge)
    return Verdict(True, tuple(encoding), None)
