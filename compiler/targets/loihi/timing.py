"""Timing: how many steps each population of a lowered network is behind the graph.

Every set of synapses costs one step, and so does what the host or a multiplier does in between. A population is as deep
as its deepest source makes it; where spikes are from an earlier step, that much less. A loop settles if it has at least
as many steps as sets of synapses.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

from compiler.errors import CompileError, Violation
from compiler.graph import Graph, Node
from compiler.targets.loihi.links import Link

UNIT_ROLES = ("host", "product")


@dataclass(frozen=True)
class _Edge:
    source: str
    target: str
    steps: int


def depths_of(
    graph: Graph,
    found: Mapping[str, tuple[Link, ...]],
    drives: Mapping[str, str],
    chip: str,
    split: Container[str] = (),
) -> dict[str, int]:
    """Return the depth of every signal that spikes come from: inputs (0), neurons (``found``: their links), units.

    ``drives``: neurons and the signals that are written into their bias registers beside what spikes bring; ``split``:
    neurons whose currents are added up in parts, which takes a step more.

    Raises:
        CompileError: a loop has fewer steps than it needs (names its layers).
    """
    edges = [
        _Edge(link.source, target, 1 - link.delay + (target in split))
        for target, links in found.items()
        for link in links
    ]
    units = [node for node in graph if node.role in UNIT_ROLES]
    for node in units:
        edges += _unit_edges(graph, node, chip)
    depths = dict.fromkeys(graph.inputs, 0) | {signal: 0 if _host_driven(graph, signal) else 1 for signal in found}
    edges += [_Edge(drive, target, 0) for target, drive in drives.items() if _is_unit(graph, drive)]
    depths |= dict.fromkeys((signal for node in units for signal in node.outputs), 0)
    vertices, before = len(depths), dict[str, str]()
    for _ in range(vertices + 1):
        late = [e for e in edges if depths[e.target] < depths[e.source] + e.steps]
        if not late:
            # The run ends when the readout does, so that nothing comes in after its own T steps.
            last = {node.output: max(depths.values()) for node in graph if node.role == "readout"}
            return depths | last
        for edge in late:
            if depths[edge.target] < depths[edge.source] + edge.steps:
                depths[edge.target], before[edge.target] = depths[edge.source] + edge.steps, edge.source
        for node in units:  # the outputs of a node come together
            deepest = max(depths[signal] for signal in node.outputs)
            depths |= dict.fromkeys(node.outputs, deepest)
    names = ", ".join(_circle(before, late[0].target))
    limit = f"on {chip} each set of synapses takes one step; give the loop a delay of as many steps as it has layers"
    raise CompileError(Violation(names, "a loop that is shorter than its layers", limit))


def _circle(before: Mapping[str, str], signal: str) -> list[str]:
    """Return the signals of the loop that made ``signal`` deeper, in order."""
    for _ in before:
        signal = before.get(signal, signal)
    found = [signal]
    while before.get(found[-1], signal) != signal:
        found.append(before[found[-1]])
    return found[::-1]


def _is_unit(graph: Graph, signal: str) -> bool:
    node = graph.producer(signal)
    return node is not None and node.role in UNIT_ROLES


def _host_driven(graph: Graph, signal: str) -> bool:
    node = graph.producer(signal)
    return node is not None and node.attributes["drive"] == "bias"


def _unit_edges(graph: Graph, node: Node, chip: str) -> list[_Edge]:
    written = {state.read: state.written for state in graph.states}
    found, waiting = [], list(node.inputs)
    while waiting:
        name = waiting.pop()
        if name in written:
            if written[name] not in node.outputs:
                limit = f"programs for {chip} have loops on the chip alone; leave all of it to the host, or none"
                raise CompileError(Violation(node.name, f"a value of the step before ({name})", limit))
            continue
        before = graph.producer(name)
        if before is None:
            if graph.type(name).is_event:
                found.append(_Edge(name, node.output, 1))
        elif before.role in UNIT_ROLES:
            hop = 1 if before.role == "product" and node.role == "product" and _multiplies(node) else 0
            found.append(_Edge(before.outputs[0], node.output, hop))
        elif before.outputs[0] == name and "drive" in before.attributes:
            found.append(_Edge(name, node.output, 1))
        else:  # sums of what several populations send, and stored numbers
            waiting.extend(before.inputs)
    return found


def _multiplies(node: Node) -> bool:
    return node.op in ("mul", "matmul", "einsum")
