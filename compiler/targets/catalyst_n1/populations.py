"""Populations: a quantised graph as sets of neurons with the synapses that lead to them, and when each one acts.

A spike of step t on the chip reaches the accumulators of its own core in step t + 1, and a neuron on another core,
whose only purpose is to repeat it there (a *relay*), in step t + 1 as well. A population gathers what belongs to step t
of the graph in step ``gathers`` + t of the chip; it fires in step ``fires`` + t, which is the same without leak and one
later in the current-based mode. A source that fires earlier than it is needed passes through relays, one a step.

Shapes: N neurons of a population, M of a source, T steps of the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from compiler.analysis.currents import at_rest
from compiler.errors import CompileError, Violation
from compiler.graph import Graph, Node, is_neuron
from compiler.targets.catalyst_n1.quantise import HOST
from compiler.targets.catalyst_n1.scale import READOUT
from compiler.targets.loihi.links import links
from compiler.targets.loihi.synapses import synapses

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Fed:
    """Synapses from one signal: ``weights`` (N, M), whole numbers; its spikes are from ``delay`` steps ago."""

    source: str
    delay: int
    weights: csr_array


@dataclass(frozen=True, eq=False)
class Population:
    """A neuron node: what feeds it, its biases (N,), the order in which its neurons are placed, and when it acts.

    A readout may be several populations, each with a ``share`` of what feeds it, whose sums the host adds up.
    """

    node: Node
    size: int
    fed: tuple[Fed, ...]
    bias: Ints
    order: Ints
    gathers: int = 1
    share: int = 0

    @property
    def signal(self) -> str:
        """The signal of its spikes."""
        return self.node.output

    @property
    def readout(self) -> bool:
        """Whether it only gathers."""
        return self.node.role == READOUT

    @property
    def drive(self) -> str:
        """The signal that the host writes into it, "" where synapses feed it."""
        return self.node.inputs[0] if self.node.attributes["drive"] == HOST else ""

    @property
    def fires(self) -> int:
        """Step of the chip in which it does what the graph's does in step 0."""
        return self.gathers + int(self.node.attributes["dv"] > 0)

    @property
    def can_fire(self) -> NDArray[np.bool_]:
        """Which neurons may fire (N,): all with anything that raises them."""
        if self.readout:
            return np.zeros(self.size, bool)
        always = bool(self.drive) or self.node.attributes["dv"] > 0
        found: NDArray[np.bool_] = (self.bias > 0) | always
        for fed in self.fed:
            found = found | (fed.weights.max(axis=1).toarray().ravel() > 0)
        return found

    def stage(self, fed: Fed, fires: int) -> int:
        """Return how many steps a spike of a source that fires in step ``fires`` must be held back."""
        return self.gathers - fires + fed.delay - 1

    def shares(self, costs: Sequence[int], most: int) -> tuple[Population, ...]:
        """Split a readout so that no part needs more than ``most`` relays; ``costs``: of a source, by what feeds it."""
        used = [np.unique(fed.weights.indices) for fed in self.fed]
        spent = np.cumsum(np.concatenate([[0], *(np.full(len(u), c) for u, c in zip(used, costs, strict=True))]))
        if spent[-1] <= most:
            return (self,)
        room = max(1, most - max(costs) + 1)
        share = np.split(spent[:-1] // room, np.cumsum([len(u) for u in used])[:-1])
        made = []
        for number in range(int(spent[-1] - 1) // room + 1):
            fed = tuple(_kept(f, u[s == number]) for f, u, s in zip(self.fed, used, share, strict=True))
            bias = self.bias if number == 0 else np.zeros_like(self.bias)
            made.append(replace(self, fed=tuple(f for f in fed if f.weights.nnz), bias=bias, share=number))
        return tuple(made)


def _kept(fed: Fed, columns: Ints) -> Fed:
    """Return synapses from some sources alone."""
    entries = fed.weights.tocoo()
    rows, cols = entries.coords
    kept = np.isin(cols, columns)
    return replace(fed, weights=csr_array((entries.data[kept], (rows[kept], cols[kept])), shape=fed.weights.shape))


def populations(graph: Graph) -> tuple[Population, ...]:
    """Return the populations of a quantised graph, in its order."""
    found = []
    for node in graph:
        if not is_neuron(node):
            continue
        size, shape = graph.signals[node.output].size, graph.shape(node.output)
        # Neurons at one place of a map read the same sources: they come one behind the other.
        order = np.arange(size).reshape(shape)
        order = np.moveaxis(order, 0, -1) if len(shape) > 1 else order
        feeding: tuple[Fed, ...] = ()
        bias = np.zeros(size, np.int64)
        if node.attributes["drive"] != HOST:
            read = links(graph, node.inputs[0], node.name)
            feeding = tuple(
                Fed(link.source, link.delay, synapses(link, graph.signals[link.source].size)) for link in read
            )
            bias = at_rest(graph, node.inputs[0]).reshape(-1).round().long().numpy()
        found.append(Population(node, size, feeding, bias, order.ravel()))
    return tuple(found)


def timed(found: Sequence[Population], inputs: Sequence[str], hop: int, chip: str) -> tuple[Population, ...]:
    """Return populations with the steps in which they gather; a spike takes ``hop`` steps from neuron to neuron.

    Raises:
        CompileError: a loop has fewer steps than it takes (names its layers).
    """
    now = {p.signal: p for p in found}
    for _ in range(len(now) + 1):
        late = {}
        for p in now.values():
            needed = [_fires(now, fed.source) + _hop(fed.source, inputs, hop) - fed.delay for fed in p.fed]
            if max(needed, default=1) > p.gathers:
                late[p.signal] = replace(p, gathers=max(needed))
        if not late:
            return tuple(now.values())
        now |= late
    takes = f"{hop} step{'s' if hop > 1 else ''} from neuron to neuron, and one more with leak"
    limit = f"on {chip} a spike takes {takes}; give the loop as many steps of delay"
    names = ", ".join(now[signal].node.name for signal in late if not now[signal].readout)
    raise CompileError(Violation(names, "a loop that is shorter than its layers", limit, kind="loop"))


def _fires(now: dict[str, Population], source: str) -> int:
    return now[source].fires if source in now else 0


def _hop(source: str, inputs: Sequence[str], hop: int) -> int:
    return 1 if source in inputs else hop
