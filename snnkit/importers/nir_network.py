"""A NIR graph as a module: the order of its nodes, nested graphs, and recurrent parts.

Nodes that depend on each other run step by step. Of every cycle one edge carries what its source sent a step before, 0
in the first step: the edge that leads back to a node which the input has reached already. That is how the simulators
that NIR names run such graphs. A bias is no message, though: where the edge comes from an Affine or a convolution with
a bias, what goes into that layer is late, and its bias acts from the first step on, as in snnTorch. All other nodes get
the whole sequence at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
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


def memoryless(nodes: Mapping[str, Any]) -> dict[str, bool]:
    """Return the nodes that keep nothing from step to step, and whether they make 0 of 0."""
    found = {}
    for name, node in nodes.items():
        kind = type(node).__name__
        if kind in ("Input", "Output", "Linear", "Scale", "AvgPool2d", "SumPool2d", "Flatten"):
            found[name] = True
        elif kind in ("Affine", "Conv1d", "Conv2d"):
            found[name] = node.bias is None or not np.any(node.bias)
    return found


def shape_between(sender: Any, reader: Any) -> tuple[int, ...] | None:
    """Return the shape of what one NIR node sends to another, as far as either says it."""
    for type_, key in (
        (getattr(sender, "output_type", None), "output"),
        (getattr(reader, "input_type", None), "input"),
    ):
        size = None if type_ is None else type_.get(key)
        if size is not None and np.size(size) and None not in np.ravel(size):
            return tuple(int(n) for n in np.ravel(size))
    return None


def schedule(
    before: Sources, first: list[str], plain: Mapping[str, bool] | None = None, delays: Collection[str] = ()
) -> list[Part]:
    """Return the parts in an order in which they can run.

    Args:
        before: the sources of every node.
        first: where the input arrives.
        plain: nodes without memory, and whether they make 0 of 0 (``memoryless``).
        delays: nodes whose edges in are late where they stand in a cycle.

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
        parts.append(_with_biases(_part(names, before, rank, delays), before, plain or {}))
        done.update(names)
    return parts


def _part(names: tuple[str, ...], before: Sources, rank: dict[str, int], delays: Collection[str]) -> Part:
    """Order the nodes of one part by how the input reaches them, and find the edges that lead back."""
    if len(names) == 1 and names[0] not in before[names[0]]:
        return Part(names)
    inside, order = set(names), []
    late = {(source, name) for name in names if name in delays for source in before[name]}
    if outside := sorted(source for source, _ in late if source not in inside):
        raise InvalidArgumentError(
            f"from_nir: {', '.join(outside)} and a cycle lead into the same Delay; give each a Delay of its own."
        )
    while left := [name for name in names if name not in order]:
        reached = [n for n in left if n in delays or any(s in order or s not in inside for s in before[n])]
        if not reached:
            raise InvalidArgumentError(
                f"from_nir: {', '.join(sorted(names))} depend on each other, and nothing else feeds them."
            )
        missing = {
            name: [s for s in before[name] if s in inside and s not in order and (s, name) not in late]
            for name in reached
        }
        ready = [name for name in reached if all(s == name for s in missing[name])]
        chosen = min(ready or reached, key=lambda name: rank.get(name, len(rank)))
        late.update((source, chosen) for source in missing[chosen])
        order.append(chosen)
    return Part(tuple(order), frozenset(late))


def _with_biases(part: Part, before: Sources, plain: Mapping[str, bool]) -> Part:
    """Make late what goes into a layer with a bias, and not what comes out of it: its bias acts in every step.

    A layer on the way is passed only if all that it sends is late, and if nothing from outside comes in.
    """
    inside, late, passed = set(part.names), set(part.late), set()
    while True:
        node = next((source for source, _ in sorted(late) if source in plain and source not in passed
                     and _is_late(source, inside, late, before)), None)  # fmt: skip
        if node is None:
            break
        passed.add(node)
        late = {edge for edge in late if edge[0] != node} | {(source, node) for source in before[node]}
    if all(plain[node] for node in passed):
        return part
    order: list[str] = []
    while left := [name for name in part.names if name not in order]:
        order.append(next(n for n in left if all(s not in inside or s in order or (s, n) in late for s in before[n])))
    return Part(tuple(order), frozenset(late))


def _is_late(node: str, inside: set[str], late: set[tuple[str, str]], before: Sources) -> bool:
    out = {(node, reader) for reader, sources in before.items() if node in sources}
    return out <= late and all(s in inside and s != node and (s, node) not in late for s in before[node])


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
        shapes: of what an edge carries (without a batch), where that is known.
    """

    def __init__(
        self,
        parts: list[Part],
        before: Sources,
        results: list[str],
        layers: dict[str, nn.Module],
        shapes: dict[tuple[str, str], tuple[int, ...]] | None = None,
    ):
        super().__init__()
        self.before, self.results = before, results
        order = [name for part in parts for name in part.names]
        keys = {name: name.replace(".", "_") for name in order}
        if len(set(keys.values())) < len(keys):
            keys = {name: f"node{number}" for number, name in enumerate(order)}
        self.keys = keys
        self.layers = nn.ModuleDict({keys[name]: layers[name] for name in order})
        self.parts = parts
        self.loops = nn.ModuleDict({str(n): _Loop(part, shapes or {}) for n, part in enumerate(parts) if part.late})

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

    def __init__(self, part: Part, shapes: dict[tuple[str, str], tuple[int, ...]]):
        super().__init__()
        self.part, self.shapes = part, {edge: shapes[edge] for edge in part.late if edge in shapes}
        self.senders = sorted({source for source, _ in part.late})

    @torch.compiler.disable
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
                        given = given or [self._nothing(name, like)]
                        total = sum(given[1:], given[0]).unsqueeze(0)
                        now[name] = network.layers[network.keys[name]](total).squeeze(0)
                        steps[name].append(now[name])
                sent = {name: now[name] for name in self.senders}
        made.update({name: torch.stack(outputs) for name, outputs in steps.items()})
        if outer is not None:  # a step of what came in goes along: the next one must have its shape
            outer.leave(key, (like[-1], *(sent[name] for name in self.senders)))

    def _nothing(self, name: str, like: Tensor) -> Tensor:
        """Return zeros (B, …) for a node that reads only what was sent a step before, in the first step."""
        shape = next((self.shapes[edge] for edge in sorted(self.shapes) if edge[1] == name), None)
        if shape is None:
            raise InvalidArgumentError(
                f"{name}: the file does not say in which shape it is fed, which its first step needs. Write its input "
                "shape, or that of the neuron before it."
            )
        return like.new_zeros(like.shape[1], *shape)
