"""Counts that a claim may have been made of instead: of the first batch alone, and of batch norms in training mode.

In training mode a batch norm takes mean and variance from the batch that it is given, over all of its time steps, and
not those that were stored. Here the batches are the parts that an audit counts. Graphs have no dropout: it stays out.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from compiler.auditing.subject import Subject
from compiler.commands.source import batch_axis, first
from compiler.conventions import Conventions, has_norms
from compiler.counting import count
from compiler.fitting import fitted
from compiler.graph import Graph, Node
from compiler.graph.facts import Facts
from compiler.interpreting import interpret, read_inputs, runs_at_once, static_signals
from compiler.passes import simplify
from compiler.tally import Tally
from hw.counts import Counts

FIRST_BATCH = 32
"""Samples of a first batch: what published code loads at a time."""


def counts_elsewhere(subject: Subject, conventions: Conventions) -> dict[str, Counts]:
    """Return counts of a subject's network by where a claim may have them from; of random samples none."""
    found: dict[str, Counts] = {}
    if subject.noise or not subject.spiking:
        return found
    samples = subject.samples
    if samples.shape[batch_axis(subject.graph, samples)] > FIRST_BATCH:
        few = first(subject.graph, samples, FIRST_BATCH)
        graph = conventions.of_graph(subject.graph)
        found[f"the first batch of {FIRST_BATCH}"] = count(graph, [few], conventions=conventions)
    graph = subject.source.captured
    if subject.unrolled == 1 and has_norms(graph) and runs_at_once(graph):
        found["training mode"] = in_training_mode(graph, subject.parts(), conventions)
    return found


def in_training_mode(graph: Graph, batches: list[Tensor], conventions: Conventions) -> Counts:
    """Return the counts of a captured graph whose batch norms take their statistics from each batch.

    Args:
        graph: as it is captured: with its norms, and with no state but that of neurons.
        batches: inputs (B, …) or sequences (T, B, …).
        conventions: what is counted how.
    """
    tally: Tally | None = None
    for x in batches:
        made = conventions.of_graph(simplify(with_statistics_of(graph, x)))
        tally = tally or Tally(made, conventions)
        given = read_inputs(made, x, None)
        tally.steps = given.timesteps
        tally.begin(given.batch, static_signals(made, given.still))
        interpret(made, fitted(made, given.tensors), watch=tally.watch)
        tally.end()
    assert tally is not None
    return tally.counts()


def with_statistics_of(graph: Graph, x: Tensor) -> Graph:
    """Return a graph whose batch norms hold the statistics of one batch, each of what those before it make of that."""
    readers: dict[str, list[Node]] = {}
    nodes = []
    for node in graph:
        if node.op == "batch_norm":
            stored = {name: node.parameters[name].clone() for name in ("mean", "variance")}
            node = replace(node, parameters={**node.parameters, **stored})
            readers.setdefault(node.inputs[0], []).append(node)
        nodes.append(node)
    own = replace(graph, nodes=tuple(nodes))

    def settle(name: str, values: Tensor) -> None:
        for norm in readers.get(name, ()):
            channels = values.movedim(norm.attributes["axis"], -1).flatten(0, -2)
            variance, mean = torch.var_mean(channels, 0, correction=0)
            norm.parameters["mean"].copy_(mean)
            norm.parameters["variance"].copy_(variance)

    def told(node: Node, facts: Facts) -> None:
        # Nodes run in order: whoever reads a signal runs after the node that wrote it.
        for name, values in zip(node.outputs, facts.results, strict=True):
            settle(name, values)

    tensors = fitted(own, read_inputs(own, x, None).tensors)
    for name, fed in zip(own.inputs, tensors, strict=True):
        settle(name, fed)
    interpret(own, tensors, watch=told)
    return own
