"""Count: what a network does on data, exactly, layer by layer.

The graph is interpreted, and every node counted by the rule of its own operation, from the types and levels of what it
reads: a real operand costs a multiply-accumulate a weight (``mac``); an event of level k costs |k| accumulates for
every weight it reaches (``ac``), a power of two one shift and accumulate. Which weights an event reaches is found by
running the connectivity over the events themselves, so strides, borders and groups are exact. Sums over samples are
whole numbers before they are divided by the number of samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from torch import Tensor, nn

from compiler.analysis.types import infer_signals
from compiler.capturing import capture
from compiler.errors import GraphError
from compiler.graph import Graph, Node, operation
from compiler.graph.facts import Facts
from compiler.interpreting import interpret, read_inputs, static_signals
from compiler.passes import simplify
from hw.counts import Counts, LayerCounts
from snnkit.errors import InvalidArgumentError
from snnkit.neurons import OPERATORS

NEURON_OPERATIONS = {
    "lif_fixed": (1, 2, 1),
    "trace": (1, 3, 3),  # as the tracer, but for the sum of what comes in and the scale of what is sent
    **{name: one.operations for name, one in OPERATORS.items()},
}
"""(multiplications, additions, comparisons) of one update of every neuron; the first two are of graphs alone: integer
ones, and what conversion makes (y/s; + ½, − S, + o; one comparison rounds down and two clip)."""

_COUNTS = frozenset(f.name for f in fields(LayerCounts) if f.type in ("float", "float | None"))


def count(
    model_or_graph: nn.Module | Graph,
    batches: Iterable[Tensor | tuple[Tensor, ...] | list[Tensor]],
    input_type: str = "real",
) -> Counts:
    """Count a network on data.

    Args:
        model_or_graph: a module (captured and simplified first) or a typed graph.
        batches: inputs (B, …) or sequences (T, B, …), or pairs whose first entry is that; every sample is counted.
        input_type: what a module's input consists of: "real", "binary", "signed", "integer[low,high]".

    Raises:
        InvalidArgumentError: there are no batches.
        CaptureError: the module holds what graphs do not have.
    """
    tally: Tally | None = None
    for batch in batches:
        x = batch[0] if isinstance(batch, (tuple, list)) else batch
        if tally is None:
            tally = Tally(_graph(model_or_graph, x, input_type))
        tally.add(x)
    if tally is None:
        raise InvalidArgumentError("count needs at least one batch of samples.")
    return tally.counts()


def _graph(model_or_graph: nn.Module | Graph, x: Tensor, input_type: str) -> Graph:
    if isinstance(model_or_graph, Graph):
        return infer_signals(model_or_graph)
    return simplify(capture(model_or_graph, x, input_type))


class Tally:
    """Running sums over samples of one graph."""

    def __init__(self, graph: Graph):
        self.graph, self.samples, self.steps = graph, 0, 0
        self.static: frozenset[str] = frozenset()
        self._sums: dict[str, dict[str, float]] = {}

    def add(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Interpret one batch, add what it did, and return what ``interpret`` did.

        Raises:
            InvalidArgumentError: another number of time steps than before.
        """
        given = read_inputs(self.graph, x, None)
        if self.steps not in (0, given.timesteps):
            raise InvalidArgumentError(
                f"batches of {self.steps} and of {given.timesteps} time steps cannot be averaged."
            )
        static = static_signals(self.graph, given.still)
        self.static = static if self.samples == 0 else self.static & static
        self.steps, self.samples = given.timesteps, self.samples + given.batch
        return interpret(self.graph, x, watch=self.watch)[0]

    def watch(self, node: Node, facts: Facts) -> None:
        """Add what one node did, as ``interpret`` tells it."""
        sums = self._sums.setdefault(node.name, {})
        for name, number in operation(node.op).count_rule(node, facts).items():
            if name not in _COUNTS:
                raise GraphError(f"the operation {node.op!r} counts {name!r}, which hw.counts does not know.")
            sums[name] = sums.get(name, 0.0) + number * facts.repeats

    def counts(self) -> Counts:
        """Return means per sample.

        Raises:
            InvalidArgumentError: the batches hold no samples.
        """
        if self.samples == 0:
            raise InvalidArgumentError("the batches hold no images.")
        layers = tuple(self._layer(node) for node in self.graph if operation(node.op).kind != "constant")
        used = {node.op for node in self.graph}
        costs = {name: cost for name, cost in NEURON_OPERATIONS.items() if name in used}
        return Counts(layers, self.steps, self.samples, (), costs)

    def _layer(self, node: Node) -> LayerCounts:
        graph, op = self.graph, operation(node.op)
        static = node.output in self.static
        numbers: dict[str, Any] = {key: value / self.samples for key, value in self._sums.get(node.name, {}).items()}
        if op.kind == "neuron":
            size, steps = graph.signals[node.output].size, 1 if static else self.steps
            numbers["neurons"] = size
            numbers["rate"] = numbers["spikes"] / (size * steps) if "spikes" in numbers else None
        return LayerCounts(
            name=node.name,
            op=node.op,
            kind=op.kind,
            input_type=str(graph.type(node.inputs[0])) if node.inputs else "",
            output_type=str(graph.type(node.output)),
            static=static,
            static_repeats=self.steps if static else 1,
            **numbers,
        )
