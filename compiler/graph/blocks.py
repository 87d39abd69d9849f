"""A graph in a few blocks: nodes of one module that follow one another, as deep as a page has room for.

Blocks are stretches of the order of computation, so no block depends on a later one: whatever is drawn from top to
bottom flows downwards, but for what carries over to the next step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from compiler.graph.graph import Graph, Node
from compiler.graph.operation import operation

MOST = 25
_FEW = 10  # with fewer blocks than that, one more level is opened in part


@dataclass(frozen=True)
class Block:
    """Nodes that follow one another, and the path of the module they belong to."""

    label: str
    nodes: tuple[Node, ...]

    @property
    def operations(self) -> Counter[str]:
        """How many nodes do what, the most frequent first."""
        return Counter(node.op for node in self.nodes)

    @property
    def kinds(self) -> Counter[str]:
        """How many nodes are of which kind."""
        return Counter(operation(node.op).kind for node in self.nodes)


@dataclass(frozen=True)
class Link:
    """Signals that one block, or input, writes and another block, or output, reads; ``later`` in the next step.

    Numbers are places in ``blocks``; −1 stands for the graph's inputs as source, and for its outputs as target.
    """

    source: int
    target: int
    signals: tuple[str, ...]
    later: bool = False


def blocks(graph: Graph, most: int = MOST) -> tuple[Block, ...]:
    """Return the nodes of a graph in at most ``most`` blocks."""
    paths = _paths(graph)
    opened: set[tuple[str, ...]] = {()}
    for depth in range(1, max((len(path) for path in paths), default=1)):
        deeper = Counter(path[:depth] for path in paths if len(path) > depth and path[: depth - 1] in opened)
        if len(_runs(paths, opened | set(deeper))) <= most:
            opened |= set(deeper)
            continue
        for prefix, _ in deeper.most_common():  # where most happens first
            if len(_runs(paths, opened)) < _FEW and len(_runs(paths, opened | {prefix})) <= most:
                opened.add(prefix)
        break
    runs = _merged(_runs(paths, opened), most)
    return tuple(Block(_label(graph, run), tuple(graph.nodes[i] for i in run[1])) for run in runs)


Run = tuple[tuple[tuple[str, ...], ...], list[int]]
"""The paths of modules, and the numbers of nodes that follow one another in them."""


def _paths(graph: Graph) -> list[tuple[str, ...]]:
    """Where each node belongs: its module's path, or its own name where no node has a module."""
    scoped = any(node.scope for node in graph)
    names = [node.scope if scoped else node.name for node in graph]
    return [tuple(name.split(".")) if name else () for name in names]


def _runs(paths: Sequence[tuple[str, ...]], opened: set[tuple[str, ...]]) -> list[Run]:
    runs: list[Run] = []
    for index, path in enumerate(paths):
        depth = next((d for d in range(len(path)) if path[:d] not in opened), len(path))
        if runs and runs[-1][0] == (path[:depth],):
            runs[-1][1].append(index)
        else:
            runs.append(((path[:depth],), [index]))
    return runs


def _merged(runs: list[Run], most: int) -> list[Run]:
    """Join the smallest neighbours until no more than ``most`` are left."""
    runs = list(runs)
    while len(runs) > most:
        at = min(range(len(runs) - 1), key=lambda i: len(runs[i][1]) + len(runs[i + 1][1]))
        runs[at : at + 2] = [(runs[at][0] + runs[at + 1][0], runs[at][1] + runs[at + 1][1])]
    return runs


def _label(graph: Graph, run: Run) -> str:
    names = list(dict.fromkeys(".".join(path) for path in run[0]))
    named = [name for name in names if name]
    if len(named) > 1:
        return f"{named[0]} … {named[-1]}"
    inside = all(graph.nodes[i].scope == "".join(named) for i in run[1])
    if named and not (inside and _has_parts(graph, named[0])):
        return named[0]
    # What a module does itself, between the modules it holds.
    does = list(dict.fromkeys(graph.nodes[i].op for i in run[1]))
    words = ", ".join(does[:3]) + (" …" if len(does) > 3 else "")
    return f"{named[0]}: {words}" if named else words


def _has_parts(graph: Graph, scope: str) -> bool:
    return any(node.scope.startswith(f"{scope}.") for node in graph)


def links(graph: Graph, found: Sequence[Block]) -> tuple[Link, ...]:
    """Return what flows between blocks, inputs and outputs, in order of the sources."""
    place = {signal: index for index, block in enumerate(found) for node in block.nodes for signal in node.outputs}
    place |= dict.fromkeys(graph.inputs, -1)
    written = {state.read: state.written for state in graph.states}
    flows: dict[tuple[int, int, bool], dict[str, None]] = {}

    def flow(signal: str, target: int) -> None:
        later = signal in written and signal not in place
        source = place.get(written[signal] if later else signal)
        if source is not None and (source != target or source == -1) and not (later and source == target):
            flows.setdefault((source, target, later), {})[signal] = None

    for index, block in enumerate(found):
        for node in block.nodes:
            for signal in node.inputs:
                flow(signal, index)
    for signal in graph.outputs:
        flow(signal, -1)
    return tuple(Link(s, t, tuple(names), later) for (s, t, later), names in sorted(flows.items(), key=_order))


def _order(flow: tuple[tuple[int, int, bool], dict[str, None]]) -> tuple[int, int, bool]:
    return flow[0]
