"""The operations of integer graphs for ODIN and tinyODIN: neurons that take their weights one event after the other.

A node is a population with all that feeds it. In a time step the host sends rows of weights to it, in order: row r as
often as the source ``source[r]`` counts spikes (always once where that is −1: a bias). Every row changes the
population as an event does on the chip (``arithmetic``), which fires as soon as it reaches its threshold and may do so
several times in a step.

Values are floating point and hold whole numbers; only ``quantise`` makes these nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from compiler.graph.facts import Amount, Facts
from compiler.graph.graph import Node
from compiler.graph.operation import NOT_CAPTURED, Operation, Shapes
from compiler.graph.signals import BINARY, REAL, SignalType, integer
from compiler.operations.neurons import count_neuron
from compiler.operations.rules import real
from snnkit.errors import InvalidArgumentError

ALWAYS = -1
"""The source of a row that is sent once in every step."""
MOST_TIMES = 10_000
"""Spikes of one source in one step, beyond which a network is taken to have run away."""
STATES = {"if_sequential": 1, "readout_sequential": 2}
"""How many of a node's inputs, the last ones, are its own states."""


def rows_of(node: Node, sources: Sequence[Tensor]) -> Tensor:
    """Return how often each row is sent, int64 (B, R), from the counts of spikes of all sources (B, …).

    Raises:
        InvalidArgumentError: a source fires without measure.
    """
    batch = max(x.shape[0] for x in sources)
    flat = [x.reshape(x.shape[0], -1).expand(batch, -1) for x in sources]
    counts = torch.cat([*flat, torch.ones(batch, 1, dtype=sources[0].dtype, device=sources[0].device)], 1)
    rows = counts[:, node.parameters["source"].long()].round().long()
    if rows.numel() and int(rows.max()) > MOST_TIMES:
        raise InvalidArgumentError(
            f"a source of {node.name} fires more than {MOST_TIMES:,} times in a step: spikes make ever more spikes. "
            "Make the weights of its loop smaller, or thresholds higher."
        )
    return rows


def in_order(node: Node, rows: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Send rows (B, R) to membranes ``v`` (B, N), int64; return how often each neuron fired, and the membranes."""
    low, high = node.attributes["low"], node.attributes["high"]
    weight, threshold = node.parameters["weight"].long(), node.parameters["threshold"].long()
    spikes = torch.zeros_like(v)
    for row in range(rows.shape[1]):
        left = rows[:, row]
        while bool((left > 0).any()):
            x = (v + weight[:, row]).clamp(low, high)
            fires = (x >= 0) & (x >= threshold)
            sent = (left > 0)[:, None]
            v = torch.where(sent, torch.where(fires, 0, x), v)
            spikes = spikes + (sent & fires)
            left = left - 1
    return spikes, v


def if_sequential(node: Node, *inputs: Tensor) -> tuple[Tensor, ...]:
    """A population without leak: sources (B, …) … and membrane (B, …) → how often each neuron fired, and the membrane.

    Attributes low, high: range of the membrane. Parameters weight (N, R), threshold (N,), source (R,): the number of a
    value in all sources put one behind the other. ``scale``: smallest number of units that one unit of the float
    network's membrane is, each neuron having its own; ``layer``, ``rounding`` as of every integer neuron.
    """
    *sources, v = inputs
    if v.is_meta:  # shapes alone are asked for
        return torch.empty_like(v), torch.empty_like(v)
    rows = rows_of(node, sources)
    spikes, after = in_order(node, rows, v.reshape(v.shape[0], -1).long().expand(len(rows), -1))
    shape = (len(rows), *v.shape[1:])
    return spikes.to(v.dtype).reshape(shape), after.to(v.dtype).reshape(shape)


def readout_sequential(node: Node, *inputs: Tensor) -> tuple[Tensor, ...]:
    """The readout: sources …, membrane (B, N) and spikes so far (B, N) → value (B, K), membrane, spikes so far.

    A neuron stands for threshold · (spikes so far) + membrane; where there are 2 K neurons, the last K count against
    the first K. Attribute shape: that of the value, K numbers.
    """
    *sources, v, fired = inputs
    shape = (v.shape[0], *node.attributes["shape"])
    if v.is_meta:
        return v.new_empty(shape), torch.empty_like(v), torch.empty_like(v)
    rows = rows_of(node, sources)
    spikes, after = in_order(node, rows, v.long().expand(len(rows), -1))
    total = fired + spikes.to(v.dtype)
    return value_of(node, after.to(v.dtype), total), after.to(v.dtype), total


def value_of(node: Node, v: Tensor, fired: Tensor) -> Tensor:
    """Return what a readout's membranes and spikes (B, N) stand for, (B, *shape)."""
    each = node.parameters["threshold"].to(v.dtype) * fired + v
    outputs = torch.Size(node.attributes["shape"]).numel()
    value = each[:, :outputs] - each[:, outputs:] if each.shape[1] > outputs else each
    return value.reshape(len(v), *node.attributes["shape"])


def most_spikes(weight: Tensor, threshold: Tensor, most: Tensor) -> Tensor:
    """Return how often each neuron (N,) fires in a step at most; row r of ``weight`` (N, R) comes ``most[r]`` times.

    Between two spikes lies a threshold, and before the first at least one unit.
    """
    excitation = (weight.clamp(min=0) * most).sum(1)
    return torch.div(threshold - 1 + excitation, threshold, rounding_mode="floor")


def _type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    """Counts of spikes, as many as the excitation of a step can cause; unknown where a source is."""
    sources = types[:-1]
    if not all(kind.is_event and kind.low >= 0 and kind.scale == 1 for kind in sources):
        return REAL
    highs = [torch.full((torch.Size(s).numel(),), float(k.high)) for k, s in zip(sources, shapes[:-1], strict=True)]
    most = torch.cat([*highs, torch.ones(1)])[node.parameters["source"].long()].double()
    found = most_spikes(node.parameters["weight"].double(), node.parameters["threshold"].double(), most)
    highest = int(found.max())
    return BINARY if highest <= 1 else integer(0, highest)


def _count(node: Node, facts: Facts) -> Mapping[str, Amount]:
    """Every row that is sent is added to every neuron, as the chip does; without data, each row is sent once."""
    neurons, rows = node.parameters["weight"].shape
    done = dict(count_neuron(node, facts))
    sent: Amount = float(rows * facts.evaluations)
    if facts.known:
        sent = rows_of(node, facts.values[: len(facts.values) - STATES[node.op]]).sum(1).double()
        sent = sent.expand(facts.evaluations)
    done["neuron_updates"] = float(neurons * facts.evaluations)
    return {**done, "ac": sent * neurons, "synaptic_events": sent * neurons}


_WHOLE, _TEXT, _NUMBER = (int,), (str,), (float, int)
_SHARED = {"low": _WHOLE, "high": _WHOLE, "scale": _NUMBER}
_SAID = {"layer": _TEXT, "rounding": _NUMBER, "drive": _TEXT}
_STORED = ("weight", "threshold", "source")

OPERATIONS = (
    Operation(
        "if_sequential",
        "neuron",
        if_sequential,
        _type,
        _count,
        NOT_CAPTURED,
        _SHARED,
        _SAID,
        _STORED,
        inputs=(2, None),
    ),
    Operation(
        "readout_sequential",
        "neuron",
        readout_sequential,
        real,
        _count,
        NOT_CAPTURED,
        {**_SHARED, "shape": (tuple,)},
        _SAID,
        _STORED,
        inputs=(3, None),
    ),
)
