"""A NIR graph as a module: the order of its nodes, nested graphs, and recurrent parts.

Nodes that depend on each other run step by step. Of every cycle one edge carries what its source sent a step before, 0
in the first step: the edge that leads back to a node which the input has reached already. That is how the simulators
that NIR names run such graphs. All other nodes get the whole sequence at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.errors import CorruptFileError, InvalidArgumentError
from snnkit.neurons.carry import active_carry, within

Sources = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Part:
    """Nodes that run together: one, or those of a recurrent part, whose edges (source, node) in ``late`` are late."""

    names: tuple[str, ...]
    late: frozenset[tuple[str, str]] = frozenset()


def flat(network: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return nodes and edges of a graph with its nested graphs unfolded; their nodes are called outer.inner.

    Input and Output nodes of a nested graph stay, under the names outer.input…; the edges of the outer graph lead
    there.

    Raises:
        InvalidArgumentError: a nested graph with several inputs or outputs.
    """
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    ends: dict[str, tuple[str, str]] = {}
    for name, node in network.nodes.items():
        if not hasattr(node, "nodes"):
            nodes[name] = node
            continue
        inner, inside = flat(node)
        doors = [[n for n, part in node.nodes.items() if type(part).__name__ == kind] for kind in ("Input", "Output")]
        if any(len(door) != 1 for door in doors):
            raise InvalidArgumentError(
                f"from_nir: the graph nested at {name!r} has {len(doors[0])} inputs and {len(doors[1])} outputs; "
                "one of each is translated."
            )
        ends[name] = (f"{name}.{doors[0][0]}", f"{name}.{doors[1][0]}")
        nodes |= {f"{name}.{key}": part for key, part in inner.items()}
        edges += [(f"{name}.{a}", f"{name}.{b}") for a, b in inside]
    for start, end in network.edges:
        edges.append((ends[start][1] if start in ends else start, ends[end][0] if end in ends else end))
    return nodes, edges


def sources_of(nodes: dict[str, Any], edges: list[tuple[str, str]]) -> Sources:
    """Return, for every node, those whose outputs it gets.

    Raises:
        CorruptFileError: an edge names a node that is not there.
    """
    before: Sources = {name: [] for name in nodes}
    for start, end in edges:
        if start not in before or end not in before:
            raise CorruptFileError(f"NIR graph: the edge {start!r} → {end!r} names a node that is not there.")
        before[end].append(start)
    return before


def schedule(before: Sources, first: list[str]) -> list[Part]:
    """Return the parts in an order in which they can run.

    Args:
        before: the sources of every node.
        first: where the input arrives.

    Raises:
        InvalidArgumentError: nodes depend on each other alone, so that nothing reaches them.
    """
    rank, reach = _ranks(before, first), {name: _ancestors(before, name) for name in before}
    together = {name: tuple(other for other in before if other in reach[name] and name in reach[other]) or (name,)
                for name in before}  # fmt: skip
    done: set[str] = set()
    parts: list[Part] = []
    while waiting := [name for name in before if name not in done]:
        names = next(
            together[name]
            for name in waiting
            if all(source in done or source in together[name] for member in together[name] for source in before[member])
        )
        parts.append(_part(names, before, rank))
        done.update(names)
    return parts


def _part(names: tuple[str, ...], before: Sources, rank: dict[str, int]) -> Part:
    """Order the nodes of one part by how the input reaches them, and find the edges that lead back."""
    if len(names) == 1 and names[0] not in before[names[0]]:
        return Part(names)
    inside, order, late = set(names), [], set()
    while left := [name for name in names if name not in order]:
        reached = [name for name in left if any(s in order or s not in inside for s in before[name])]
        if not reached:
            raise InvalidArgumentError(
                f"from_nir: {', '.join(sorted(names))} depend on each other, and nothing else feeds them."
            )
        missing = {name: [s for s in before[name] if s in inside and s not in order] for name in reached}
        ready = [name for name in reached if all(s == name for s in missing[name])]
        chosen = min(ready or reached, key=lambda name: rank.get(name, len(rank)))
        late.update((source, chosen) for source in missing[chosen])
        order.append(chosen)
    return Part(tuple(order), frozenset(late))


def _ranks(before: Sources, first: list[str]) -> dict[str, int]:
    """Number the nodes in the order in which a breadth-first walk from the input finds them."""
    after: dict[str, list[str]] = {name: [] for name in before}
    for name, sources in before.items():
        for source in sources:
            after[source].append(name)
    found = dict.fromkeys(first)
    queue = list(first)
    for name in queue:
        for following in after[name]:
            if following not in found:
                found[following] = None
                queue.append(following)
    return {name: number for number, name in enumerate(found)}


def _ancestors(before: Sources, name: str) -> set[str]:
    """All nodes whose output reaches ``name``; itself only if it is part of a cycle."""
    found: set[str] = set()
    queue = list(before[name])
    while queue:
        source = queue.pop()
        if source not in found:
            found.add(source)
            queue += before[source]
    return found


class NirNetwork(nn.Module):
    """A network with NIR's nodes as layers: sequences (T, B, …) → (T, B, …).

    Args:
        parts: nodes in order.
        before: the sources of every node.
        results: the nodes whose outputs are returned.
        layers: a module on sequences for every node.
    """

    def __init__(self, parts: list[Part], before: Sources, results: list[str], layers: dict[str, nn.Module]):
        super().__init__()
        self.before, self.results = before, results
        order = [name for part in parts for name in part.names]
        keys = {name: name.replace(".", "_") for name in order}
        if len(set(keys.values())) < len(keys):
            keys = {name: f"node{number}" for number, name in enumerate(order)}
        self.keys = keys
        self.layers = nn.ModuleDict({keys[name]: layers[name] for name in order})
        self.parts = parts
        self.loops = nn.ModuleDict({str(number): _Loop(part) for number, part in enumerate(parts) if part.late})

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Run the network on a sequence (T, B, …)."""
        made: dict[str, Tensor] = {}
        for number, part in enumerate(self.parts):
            if part.late:
                self.loops[str(number)].run(self, made)
                continue
            (name,) = part.names
            given = [made[source] for source in self.before[name]]
            made[name] = self.layers[self.keys[name]](sum(given[1:], given[0]) if given else x)
        results = tuple(made[name] for name in self.results)
        return results[0] if len(results) == 1 else results


class _Loop(nn.Module):
    """A recurrent part, run step by step. It has no weights; states in a stream belong to modules, hence it is one."""

    starts_at_zero = True  # what has not been sent yet is 0

    def __init__(self, part: Part):
        super().__init__()
        self.part = part
        self.senders = sorted({source for source, _ in part.late})

    def run(self, network: NirNetwork, made: dict[str, Tensor]) -> None:
        """Add the outputs (T, B, …) of the part's nodes to those that were ``made``."""
        part, inside = self.part, set(self.part.names)
        outside = {s: made[s] for name in part.names for s in network.before[name] if s not in inside}
        like = next(iter(outside.values()))
        outer = active_carry()
        key, carried = (None, None) if outer is None else outer.start(self, like)
        sent = {} if carried is None else dict(zip(self.senders, carried[1:], strict=True))
        steps: dict[str, list[Tensor]] = {name: [] for name in part.names}
        with within() as carry:
            for t in range(len(like)):
                now: dict[str, Tensor] = {}
                with carry.active():
                    for name in part.names:
                        given = [outside[s][t] for s in network.before[name] if s in outside]
                        for source in network.before[name]:
                            if source in inside:
                                from_there = sent.get(source) if (source, name) in part.late else now[source]
                                given += [] if from_there is None else [from_there]
                        total = sum(given[1:], given[0]).unsqueeze(0)
                        now[name] = network.layers[network.keys[name]](total).squeeze(0)
                        steps[name].append(now[name])
                sent = {name: now[name] for name in self.senders}
        made.update({name: torch.stack(outputs) for name, outputs in steps.items()})
        if outer is not None:  # a step of what came in goes along: the next one must have its shape
            outer.leave(key, (like[-1], *(sent[name] for name in self.senders)))
