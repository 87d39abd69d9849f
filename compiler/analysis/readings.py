"""Which signals do weights, products and norms read, and which of them break a spike-driven claim?"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.analysis.spike_driven import real_edge, spike_driven
from compiler.graph import Graph, Node, SignalType, operation

WEIGHS = ("synapse", "product", "norm")


@dataclass(frozen=True)
class Reading:
    """One node that weighs or multiplies, and one signal that it reads.

    ``breaks``: the signal is real where a spike-driven network has events; ``encodes``: it is the real input, which
    encoding layers may read.
    """

    node: Node
    signal: str
    type: SignalType
    breaks: bool
    encodes: bool


def readings(graph: Graph) -> tuple[Reading, ...]:
    """Return what every node that weighs, multiplies or normalises reads, in order."""
    encoding = set(spike_driven(graph).encoding_layers)
    found = []
    for node in graph:
        if operation(node.op).kind not in WEIGHS:
            continue
        broken = real_edge(graph, node)
        for signal in dict.fromkeys(node.inputs):
            mark = signal == broken
            encodes = mark and node.name in encoding
            found.append(Reading(node, signal, graph.type(signal), mark and not encodes, encodes))
    return tuple(found)
