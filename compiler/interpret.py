"""Interpret: run a graph on tensors, one step after the other. This is what a graph means."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from compiler.graph import Graph
from compiler.operations import OPERATIONS
from snnkit.errors import InvalidArgumentError, unknown_name


@torch.no_grad()
def interpret(
    graph: Graph, x: Tensor, timesteps: int | None = None, probes: Sequence[str] = ()
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run ``graph`` from rest.

    Args:
        graph: with one input and one output.
        x: (B, …), fed at every step, or a sequence (T, B, …).
        timesteps: T for an input without time; the graph's own by default.
        probes: names of signals to record.

    Returns:
        The output sequence (T, B, …), and each probed signal as (T, B, …).

    Raises:
        InvalidArgumentError: the input does not fit the graph.
        UnknownNameError: a probe names no signal.
    """
    for probe in probes:
        if probe not in graph.signals:
            raise unknown_name("signal", probe, graph.signals)
    steps = _sequence(graph, x, timesteps)
    batch = steps[0].shape[0]
    state = {s.read: steps[0].new_full((batch, *graph.shape(s.read)), s.initial) for s in graph.states}
    outputs: list[Tensor] = []
    records: dict[str, list[Tensor]] = {probe: [] for probe in probes}
    for x_t in steps:
        values = {graph.inputs[0]: x_t, **state}
        for node in graph.nodes:
            results = OPERATIONS[node.op].run(node, *(values[name] for name in node.inputs))
            values.update(zip(node.outputs, results, strict=True))
        state = {s.read: values[s.written] for s in graph.states}
        outputs.append(values[graph.outputs[0]])
        for probe in probes:
            records[probe].append(values[probe])
    return torch.stack(outputs), {probe: torch.stack(values) for probe, values in records.items()}


def _sequence(graph: Graph, x: Tensor, timesteps: int | None) -> list[Tensor]:
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise InvalidArgumentError(
            f"interpret runs graphs with one input and one output; this one has {len(graph.inputs)} and "
            f"{len(graph.outputs)}."
        )
    shape = graph.shape(graph.inputs[0])
    if tuple(x.shape[1:]) == shape:
        timesteps = graph.timesteps if timesteps is None else timesteps
        if timesteps < 1:
            raise InvalidArgumentError(f"timesteps={timesteps}: must be ≥ 1.")
        return [x] * timesteps
    if tuple(x.shape[2:]) == shape and len(x):
        if timesteps is not None and timesteps != len(x):
            raise InvalidArgumentError(f"timesteps={timesteps}, but the sequence has {len(x)} steps.")
        return list(x)
    raise InvalidArgumentError(
        f"the graph {graph.name!r} takes (B, {', '.join(map(str, shape))}) or (T, B, …), got {tuple(x.shape)}."
    )
