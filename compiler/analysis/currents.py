"""Between two neurons: which linear paths feed a current.

A current is a sum of terms and of stored numbers. Each term is a linear path from one event signal (or an input) to the
current; sums, differences, concatenations and whatever only moves values in between split it or change its order. A
path may come from an earlier step, over one state or a chain of them.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compiler.errors import CompileError, Violation
from compiler.graph import Graph, Node, State, operation


@dataclass(frozen=True)
class Hop:
    """A node on a path, and which of its inputs the path comes in by."""

    node: Node
    position: int = 0

    @property
    def weighs(self) -> bool:
        """Whether values are weighed here (a layer, or a pool with its equal weights) and not only moved."""
        if self.node.op == "resize" and str(self.node.attributes["mode"]).startswith("nearest"):
            return False  # every value of it is one that was there
        return operation(self.node.op).kind in ("synapse", "pool")


@dataclass(frozen=True)
class Term:
    """One summand of a current: ``factor`` times what the ``path`` makes of the signal ``source``, without biases.

    ``delay``: how many steps ago the source's values are from.
    """

    source: str
    path: tuple[Hop, ...] = ()
    factor: float = 1.0
    delay: int = 0


NOTHING: Container[str] = frozenset()


def terms(
    graph: Graph, signal: str, reader: str, chip: str = "a chip", stops: Container[str] = NOTHING
) -> tuple[Term, ...]:
    """Return the summands of ``signal`` that depend on anything; ``reader`` names the neuron or output it feeds.

    A path may weigh its values several times: layers in a row are one linear map. It begins at a neuron, an
    input, or a signal in ``stops``. ``chip`` is named in what is refused.

    Raises:
        CompileError: there is an operation between two neurons that a set of synapses cannot do.
    """
    return _Search(graph, reader, chip, stops, {s.read: s for s in graph.states}).terms(signal)


@dataclass(frozen=True)
class _Search:
    graph: Graph
    reader: str
    chip: str
    stops: Container[str]
    states: dict[str, State]
    passed: tuple[str, ...] = ()

    def terms(self, signal: str) -> tuple[Term, ...]:
        graph = self.graph
        node = graph.producer(signal)
        if signal in self.stops:
            return (Term(signal),)
        if signal in self.states:
            return self._earlier(self.states[signal])
        if node is None or operation(node.op).kind == "neuron":
            return (Term(signal),)
        if operation(node.op).kind == "constant":
            return ()
        if not is_linear(graph, node):
            raise CompileError(self._refused(node))
        found: list[Term] = []
        for position, name in enumerate(node.inputs):
            factor, hops = _step(graph, node, position)
            for term in self.terms(name):
                found.append(replace(term, path=(*term.path, *hops), factor=term.factor * factor))
        return tuple(found)

    def _earlier(self, state: State) -> tuple[Term, ...]:
        """What a state holds is what was written one step before."""
        limit = f"{self.chip} carries spikes from step to step, and a membrane's own sum; put a neuron in the loop"
        if state.read in self.passed:
            raise CompileError(Violation(self.reader, f"a sum that feeds itself ({state.read})", limit))
        if isinstance(state.initial, Tensor) or state.initial != 0:
            raise CompileError(Violation(self.reader, f"{state.read}, which starts at another value than 0", limit))
        if bool(at_rest(self.graph, state.written, self.stops).any()):
            raise CompileError(Violation(self.reader, f"stored numbers of the step before ({state.read})", limit))
        further = replace(self, passed=(*self.passed, state.read))
        return tuple(replace(term, delay=term.delay + 1) for term in further.terms(state.written))

    def _refused(self, node: Node) -> Violation:
        return Violation(
            self.reader,
            f"{node.name} ({node.op}) before it, which synapses cannot do",
            f"between two neurons {self.chip} has sums of convolutions, linear layers, averages and shortcuts",
        )


def is_linear(graph: Graph, node: Node) -> bool:
    """Whether an operation adds, weighs, averages or moves values of one signal, up to a constant."""
    kind = operation(node.op)
    if kind.kind == "elementwise":
        return node.op in ("add", "sub", "neg") or _divisor(graph, node) is not None
    return kind.linear and kind.kind in ("synapse", "pool", "move")


def _divisor(graph: Graph, node: Node) -> float | None:
    """Return the number that a node divides by, None where it does something else."""
    by = graph.producer(node.inputs[1]) if node.op == "div" else None
    if by is None or by.op != "constant" or by.parameters["value"].numel() != 1:
        return None
    return float(by.parameters["value"]) or None


def _is_layer(node: Node) -> bool:
    return operation(node.op).kind == "synapse"


def _step(graph: Graph, node: Node, position: int) -> tuple[float, tuple[Hop, ...]]:
    """Return by what a node multiplies its input ``position``, and the hop where it does more than that."""
    same = graph.shape(node.inputs[position]) == graph.shape(node.output)
    if node.op == "scale" and node.parameters["weight"].numel() == 1 and not node.attributes and same:
        return float(node.parameters["weight"]), ()
    if node.op in ("add", "sub", "neg"):
        sign = -1.0 if node.op == "neg" or (node.op == "sub" and position == 1) else 1.0
        # What is broadcast takes the sign in its factor, and moves as in a sum.
        return sign, () if same else (Hop(replace(node, op="add"), position),)
    divisor = _divisor(graph, node)
    return (1.0, (Hop(node, position),)) if divisor is None else (1.0 / divisor, ())


def in_a_row(graph: Graph) -> bool:
    """Whether a layer reads, through sums and moves, what another layer makes of a signal that changes."""
    still = graph.static_signals()
    weighed: set[str] = set()
    for node in graph:
        if node.output in still or not is_linear(graph, node):
            continue
        before = any(name in weighed for name in node.inputs)
        if _is_layer(node) and before:
            return True
        if _is_layer(node) or before:
            weighed.update(node.outputs)
    return False


def at_rest(graph: Graph, signal: str, stops: Container[str] = NOTHING) -> Tensor:
    """Return what ``signal`` is where nothing fires, of its shape: the biases and stored numbers of a current.

    Signals in ``stops`` are 0, like those of neurons.
    """
    values: dict[str, Tensor] = {}

    def value(name: str) -> Tensor:
        return values[name] if name in values else torch.zeros(1, *graph.shape(name), dtype=torch.float64)

    for node in since_neurons(graph, signal, stops):
        results = operation(node.op).run(node, *(value(name) for name in node.inputs))
        values.update(zip(node.outputs, results, strict=True))
    return value(signal).expand(1, *graph.shape(signal))[0].double()


def since_neurons(graph: Graph, signal: str, stops: Container[str] = NOTHING) -> list[Node]:
    """Return the nodes between the last neurons (or inputs, or ``stops``) and a signal, in order."""
    waiting, found = [signal], {}
    while waiting:
        name = waiting.pop()
        node = None if name in stops else graph.producer(name)
        if node is not None and operation(node.op).kind != "neuron" and node.name not in found:
            found[node.name] = node
            waiting.extend(node.inputs)
    return [node for node in graph if node.name in found]


def through(graph: Graph, path: tuple[Hop, ...], x: Tensor) -> Tensor:
    """Send a tensor (B, …) along a path, without biases: with zeros at every other input on the way."""
    return _run(graph, path, x) - _run(graph, path, torch.zeros_like(x[:1]))


def _run(graph: Graph, path: tuple[Hop, ...], x: Tensor) -> Tensor:
    for hop in path:
        inputs = [torch.zeros(1, *graph.shape(name), dtype=x.dtype) for name in hop.node.inputs]
        inputs[hop.position] = x
        x = operation(hop.node.op).run(hop.node, *inputs)[0]
    return x
