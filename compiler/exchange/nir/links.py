"""Edges of a NIR file: sources resolved, repeated edges apart, and what a step carries into the next one.

A state of the graph becomes an edge of a cycle where NIR's readers make that edge late (``cycles``), else a Delay.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compiler.exchange.nir.context import Writing, token
from compiler.exchange.nir.cycles import Edge, parts_of, retimed
from compiler.exchange.nir.package import NirError
from compiler.graph import is_neuron
from snnkit.importers.nir_network import memoryless


@dataclass(frozen=True)
class Link:
    """An edge between NIR nodes that carries what was sent ``late`` steps before."""

    source: str
    target: str
    late: int
    shape: tuple[int, ...]

    @property
    def edge(self) -> Edge:
        """The two nodes."""
        return self.source, self.target


def state_sources(w: Writing) -> None:
    """Give every state that is no neuron's own a token for a source.

    Raises:
        NirError: one that does not start at 0.
    """
    own = {signal for node in w.graph if is_neuron(node) for signal in node.inputs[1:]}
    for state in w.graph.states:
        if state.read in own:
            continue
        if np.any(np.asarray(state.initial)):
            raise NirError(
                f"the state {state.read!r} does not start at 0; what NIR sends a step late is 0 in the first step."
            )
        w.sources[state.read] = (token(state.read),)


def edges_of(w: Writing) -> list[Edge]:
    """Return the file's edges; adds the Delay nodes, and Scales by 1 where ``nir`` would need an edge twice."""
    for state in w.graph.states:
        if token(state.read) in w.sources.get(state.read, ()) and len(w.read(state.written, state.read)) > 1:
            w.sources[state.written] = w.sum_node(state.written)
    links = _apart(w, [_resolved(w, *link) for link in w.links])
    delayed = _delayed(w, links)
    edges: list[Edge] = []
    for link in links:
        if link not in delayed:
            edges.append(link.edge)
            continue
        name = w.name(f"{link.source}_delay")
        w.nodes[name] = w.package.Delay(np.full(link.shape, link.late * w.dt))
        edges += [(link.source, name), (name, link.target)]
    return edges


def _resolved(w: Writing, source: str, target: str, shape: tuple[int, ...]) -> Link:
    late = 0
    while source.startswith("\0"):
        late += 1
        if late > len(w.states):
            raise NirError(f"the state {source[1:]!r} is written by states alone, which is 0 for ever; remove it.")
        state = w.states[source[1:]]
        (source,) = w.read(state.written, state.read)
    return Link(source, target, late, shape)


def _apart(w: Writing, links: list[Link]) -> list[Link]:
    """``nir`` takes an edge only once: a repeated one goes through a Scale by 1."""
    seen: set[Edge] = set()
    made: list[Link] = []
    for link in links:
        source, late = link.source, link.late
        if link.edge in seen:
            again = w.name(f"{source}_again")
            w.nodes[again] = w.package.Scale(np.ones(link.shape, w.dtype))
            made.append(Link(source, again, late, link.shape))
            source, late = again, 0
        seen.add((source, link.target))
        made.append(Link(source, link.target, late, link.shape))
    return made


def _delayed(w: Writing, links: list[Link]) -> set[Link]:
    """Return the late links that need a Delay of their own."""
    found = {link for link in links if link.late > 1}
    single = {link.edge: link for link in links if link.late == 1}
    if not single:
        return found
    edges = [link.edge for link in links if link.late < 2]
    before: dict[str, list[str]] = {name: [] for name in w.nodes}
    for source, target in edges:
        before[target].append(source)
    inputs = [name for name, node in w.nodes.items() if type(node).__name__ == "Input"]
    plain = memoryless(w.nodes)
    quiet = {name for name, makes_none in plain.items() if makes_none and type(w.nodes[name]).__name__ != "Output"}
    for part in parts_of(before, inputs, (), plain):
        if not part.late:
            continue
        inside = {edge for edge in single if set(edge) <= set(part.names)}
        if retimed(set(inside), set(part.late), edges, quiet):
            for edge in inside:
                del single[edge]
    return found | set(single.values())
