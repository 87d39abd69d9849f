"""Start near the answer: neurons begin with the codes that are usual, not with 0.

The sum of events may start anywhere, as long as what these events would have brought is in the sums behind the layers;
at rest it is the same integer. Starting at the mean code of calibration samples, a network has to send only what a
sample has of its own. In a machine it is the initial membrane.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from compiler.converting.fast_plan import event_signals
from compiler.graph import Graph, Node, operation
from compiler.graph.facts import Facts
from compiler.interpreting import fed_inputs, interpret


def mean_codes(quantised: Graph, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """Return the mean code of every neuron over samples, rounded, by the signal's name; one sample's shape each."""
    sums: dict[str, Tensor] = {}
    count = 0

    def watch(node: Node, facts: Facts) -> None:
        if node.op == "quantise":
            added = facts.results[0].sum(0, dtype=torch.float64)
            sums[node.output] = sums[node.output] + added if node.output in sums else added

    for x in batches:
        interpret(quantised, x, 1, watch=watch)
        count += len(x)
    return {name: torch.round(total / count) for name, total in sums.items()}


def started(graph: Graph, codes: Mapping[str, Tensor]) -> Graph:
    """Return a spiking form whose neurons start with ``codes`` and its sums with what these have brought.

    Args:
        graph: of ``spiking_form``.
        codes: a whole number within its bounds for every neuron, by the signal of its events; one sample's shape.
    """
    events = event_signals(graph)
    brought: dict[str, Tensor] = {}
    initial: dict[str, Tensor] = {}
    for node in graph:
        if node.op == "trace":
            brought[node.output] = codes[node.output].to(node.parameters["scale"].dtype)[None]
            initial[node.inputs[1]] = brought[node.output][0]
        elif node.op == "constant":
            brought[node.output] = operation(node.op).run(node)[0]
        elif node.output in events:
            (brought[node.output],) = operation(node.op).run(node, *(brought[name] for name in node.inputs))
        elif (fed := fed_inputs(node)) < len(node.inputs):
            for name, state in zip(node.inputs[:fed], node.inputs[fed:], strict=True):
                initial[state] = brought[name][0]
    return replace(graph, states=tuple(replace(s, initial=initial[s.read]) for s in graph.states))
