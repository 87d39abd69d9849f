"""Running sums of what a graph did, over samples: exact totals, and every sample's own for the intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from compiler.conventions import Conventions
from compiler.errors import GraphError
from compiler.fitting import fitted
from compiler.graph import Graph, Node, operation
from compiler.graph.facts import Facts, largest_unit, total_events
from compiler.interpreting import interpret, read_inputs, static_signals
from hw.counts import Counts, LayerCounts
from hw.statistics import Statistic, half_width
from snnkit.errors import InvalidArgumentError
from snnkit.neurons import OPERATORS

NEURON_OPERATIONS = {
    "lif_fixed": (1, 2, 1),
    "lif_graded": (1, 3, 1),
    "lif_n1": (2, 4, 1),  # with a current that decays as well
    "if_sequential": (0, 1, 1),
    "readout_sequential": (0, 2, 1),
    "trace": (1, 3, 3),  # as the tracer, but for the sum of what comes in and the scale of what is sent
    **{name: one.operations for name, one in OPERATORS.items()},
}
"""(multiplications, additions, comparisons) of one update of every neuron; the first two are of graphs alone: integer
ones, and what conversion makes (y/s; + ½, − S, + o; one comparison rounds down and two clip)."""

_COUNTS = frozenset(f.name for f in fields(LayerCounts) if f.type in ("float", "float | None"))
_OPERATIONS = ("mac", "ac", "shift_adds")

Key = tuple[str, str]
"""A node and a count."""


@dataclass
class Sums:
    """Sums over samples: of counts that are the same for all, and of those that are not, with their spread."""

    fixed: dict[Key, float] = field(default_factory=dict)
    """Added up over all samples."""
    keys: list[Key] = field(default_factory=list)
    """What varies; ``COUNTED`` totals have the node ""."""
    total: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    """(keys,) exact sums."""
    squares: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    """(keys,) squared distances from the mean."""
    samples: int = 0

    def add(self, keys: list[Key], block: Tensor) -> None:
        """Add a batch: every key's counts of every sample, (keys, samples)."""
        samples = block.shape[1]
        if keys != self.keys:
            block = self._in_order(keys, block)
        total = block.sum(1)
        self.merge(total, (block - total[:, None] / samples).square().sum(1), samples)

    def _in_order(self, keys: list[Key], block: Tensor) -> Tensor:
        """Take up keys that are new, with nothing in the samples before, and return the counts in the order kept."""
        known = set(self.keys)
        new = [key for key in keys if key not in known]
        self.keys = self.keys + new
        self.total, self.squares = (torch.cat([x, x.new_zeros(len(new))]) for x in (self.total, self.squares))
        place = {key: index for index, key in enumerate(self.keys)}
        ordered = block.new_zeros(len(self.keys), block.shape[1])
        ordered[[place[key] for key in keys]] = block
        return ordered

    def merge(self, total: Tensor, squares: Tensor, samples: int) -> None:
        """Take in the sums of other samples (Chan, Golub and LeVeque, 1979)."""
        if self.samples:
            apart = total / samples - self.total / self.samples
            squares = squares + apart.square() * (self.samples * samples / (self.samples + samples))
        self.total, self.squares = self.total + total, self.squares + squares
        self.samples += samples


class Tally:
    """Running sums over samples of one graph."""

    def __init__(self, graph: Graph, conventions: Conventions | None = None):
        self.graph, self.conventions = graph, conventions or Conventions()
        self.steps = 0
        self.static: frozenset[str] = frozenset()
        self._static_now = self.static
        self.sums = Sums()
        self._batch, self._now = 0, dict[Key, list[Tensor]]()
        self._owners: Tensor | None = None  # of every run of the batch, where a sample takes several
        self._grouped, self._several = 0, 0

    @property
    def runs(self) -> int:
        """How often the graph ran: once a sample, but where ``add_groups`` said otherwise."""
        return self.samples + self._several

    @property
    def samples(self) -> int:
        """Number of samples so far."""
        return self.sums.samples

    def add(self, x: Tensor | Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
        """Interpret one batch, add what it did, and return what ``interpret`` did.

        Raises:
            InvalidArgumentError: another number of time steps than before, or values that the input's type or the
                precision of the weights does not allow.
            NonFiniteError: values that are not finite.
        """
        given = read_inputs(self.graph, x, None)
        if self.steps not in (0, given.timesteps):
            raise InvalidArgumentError(
                f"batches of {self.steps} and of {given.timesteps} time steps cannot be averaged."
            )
        tensors = fitted(self.graph, given.tensors)
        self.begin(given.batch, static_signals(self.graph, given.still))
        self.steps = given.timesteps
        made = interpret(self.graph, tensors, watch=self.watch)[0]
        self.end()
        return made

    def add_groups(self, x: Tensor, owners: Sequence[int], samples: int) -> None:
        """Add a batch whose every sample took the graph as often as it has entries in x, (R, …) or (T, R, …).

        Args:
            x: what the graph was given, all samples after another; none at all is a batch as well.
            owners: of each of the R entries, which sample it belongs to, from 0.
            samples: how many there are.

        Raises:
            InvalidArgumentError, NonFiniteError: as ``add``.
        """
        self._several += len(owners) - samples
        if not owners:
            self.sums.add([], torch.zeros(0, samples, dtype=torch.float64))
            return
        self._owners = torch.tensor(owners, dtype=torch.long)
        self._grouped = samples
        try:
            self.add(x)
        finally:
            self._owners = None

    def begin(self, batch: int, static: frozenset[str] = frozenset()) -> None:
        """Get ready for a batch of so many samples, whose nodes ``watch`` is told of; ``static`` as in ``add``."""
        self.static = static if self.samples == 0 else self.static & static
        self._static_now, self._batch, self._now = static, batch, {}

    def end(self, steps: int = 0) -> None:
        """Add up the batch that ``begin`` began; ``steps``, where it took more than those before."""
        self.steps = max(self.steps, steps)
        if not self._batch:
            return
        keys = list(self._now)
        block = self._block()
        if self._owners is not None:
            block = block.new_zeros(len(keys), self._grouped).index_add_(1, self._owners, block)
        names = {what: index for index, what in enumerate(dict.fromkeys(what for _, what in keys))}
        totals = block.new_zeros(len(names), block.shape[1])
        totals.index_add_(0, torch.tensor([names[what] for _, what in keys], dtype=torch.long), block)
        self.sums.add(keys + [("", what) for what in names], torch.cat([block, totals]))

    def _block(self) -> Tensor:
        """The counts of the batch, (keys, samples): those of all steps added up, which lie in front of samples."""
        block = torch.zeros(len(self._now), self._batch, dtype=torch.float64)
        by_size: dict[int, tuple[list[int], list[Tensor]]] = {}
        for index, amounts in enumerate(self._now.values()):
            for amount in amounts:
                places, found = by_size.setdefault(amount.numel(), ([], []))
                places.append(index)
                found.append(amount)
        for places, found in by_size.values():
            rows = torch.stack(found).double().cpu().reshape(len(found), -1, self._batch).sum(1)
            block.index_add_(0, torch.tensor(places), rows)
        return block

    def watch(self, node: Node, facts: Facts) -> None:
        """Add what one node did, as ``interpret`` tells it."""
        if not self._batch:
            return
        op = operation(node.op)
        done = dict(op.count_rule(node, facts))
        if "mac" in done:
            done.setdefault("effective_macs", done["mac"])
        if op.kind in ("synapse", "product"):
            events = [index for index in range(len(facts.inputs)) if facts.is_event(index)]
            if events:
                done["input_events"] = sum(_events(facts, index) for index in events)
        if "resets" in done:
            done["output_events"] = done["resets"]
        elif op.kind == "activation":
            done["output_events"] = total_events(facts.results[0], facts.outputs[0], facts.evaluations)
        if "padding_macs" in done and "mac" in done and self.conventions.padding == "skipped":
            done["mac"] = done["mac"] - done["padding_macs"]
        each_step = self.conventions.first_layer == "each step" and node.output in self._static_now
        repeats = facts.repeats * (self.steps if each_step else 1)
        for name, amount in done.items():
            if name not in _COUNTS:
                raise GraphError(f"the operation {node.op!r} counts {name!r}, which hw.counts does not know.")
            key = node.name, name
            if not isinstance(amount, Tensor):
                self.sums.fixed[key] = self.sums.fixed.get(key, 0.0) + amount * repeats
                continue
            self._now.setdefault(key, []).append(amount.detach() if repeats == 1 else amount.detach() * repeats)

    def state(self) -> dict[str, Any]:
        """Return the sums as plain data, for other processes."""
        sums = self.sums
        return {
            "fixed": dict(sums.fixed),
            "keys": list(sums.keys),
            "total": sums.total.tolist(),
            "squares": sums.squares.tolist(),
            "samples": sums.samples,
            "steps": self.steps,
            "static": self.static,
        }

    def with_states(self, states: Sequence[dict[str, Any]]) -> Tally:
        """Return a tally of this graph with the sums of ``states``, added up in their order.

        Raises:
            InvalidArgumentError: they are of different numbers of time steps, or of different networks.
        """
        made = Tally(self.graph, self.conventions)
        steps = {state["steps"] for state in states}
        if len(steps) > 1:
            raise InvalidArgumentError(f"processes counted different numbers of time steps: {sorted(steps)}.")
        if any(state["keys"] != states[0]["keys"] for state in states):
            raise InvalidArgumentError("processes counted different networks.")
        made.steps, made.static = steps.pop(), frozenset.intersection(*(state["static"] for state in states))
        made.sums.keys = list(states[0]["keys"])
        made.sums.total = torch.zeros(len(made.sums.keys), dtype=torch.float64)
        made.sums.squares = made.sums.total.clone()
        for state in states:
            for key, amount in state["fixed"].items():
                made.sums.fixed[key] = made.sums.fixed.get(key, 0.0) + amount
            total, squares = (torch.tensor(state[name], dtype=torch.float64) for name in ("total", "squares"))
            made.sums.merge(total, squares, state["samples"])
        return made

    def counts(self) -> Counts:
        """Return means per sample.

        Raises:
            InvalidArgumentError: the batches hold no samples.
        """
        if self.samples == 0:
            raise InvalidArgumentError("the batches hold no images.")
        found = self._means()
        layers = tuple(
            self._layer(node, *found.get(node.name, ({}, {})))
            for node in self.graph
            if operation(node.op).kind != "constant"
        )
        used = {node.op for node in self.graph}
        costs = {name: cost for name, cost in NEURON_OPERATIONS.items() if name in used}
        sums, n = self.sums, self.samples
        statistics = {
            what: Statistic.of(float(total) / n, float(squares), n)
            for (node, what), total, squares in zip(sums.keys, sums.total, sums.squares, strict=True)
            if not node and n > 1
        }
        # What is the same for every sample belongs to the mean as well.
        for what, one in statistics.items():
            fixed = sum(amount for (_, name), amount in sums.fixed.items() if name == what)
            statistics[what] = replace(one, mean=one.mean + fixed / n)
        said = self.conventions.said(self.graph, self.steps)
        return Counts(layers, self.steps, n, (), costs, said, statistics)

    def _means(self) -> dict[str, tuple[dict[str, Any], dict[str, float]]]:
        """Return, by node, every count, mean per sample, and the half-widths of those that vary."""
        n, sums = self.samples, self.sums
        found: dict[str, tuple[dict[str, Any], dict[str, float]]] = {}
        for (name, what), amount in sums.fixed.items():
            found.setdefault(name, ({}, {}))[0][what] = amount / n
        for (name, what), total, squares in zip(sums.keys, sums.total.tolist(), sums.squares.tolist(), strict=True):
            means, spread = found.setdefault(name, ({}, {}))
            means[what] = means.get(what, 0.0) + total / n
            if n > 1 and squares > 0:
                spread[what] = half_width(squares, n)
        return found

    def _layer(self, node: Node, means: dict[str, Any], spread: dict[str, float]) -> LayerCounts:
        graph, op = self.graph, operation(node.op)
        static = node.output in self.static and self.conventions.first_layer == "once"
        # Once a step, and for as many runs as a sample takes; a whole number where each takes one.
        often = (1 if static else self.steps) * (self.runs / self.samples if self._several else 1)
        sizes = _sizes(graph, node)
        numbers = {**sizes, **means}
        if op.kind == "neuron":
            numbers["neurons"] = size = sizes["outputs"]
            numbers["rate"] = means["spikes"] / (size * often) if "spikes" in means else None
            comparisons = NEURON_OPERATIONS.get(node.op, (0, 0, 0))[2]
            numbers["threshold_tests"] = means.get("neuron_updates", 0.0) * comparisons
        if op.kind in ("synapse", "product", "norm"):
            fetched = [name for name in (*_OPERATIONS, "bias_adds") if name in means]
            numbers["weight_fetches"] = sum(means[name] for name in fetched)
            numbers["weight_reads"] = float(sizes["weights"] * often)
            numbers["fan_in"] = round(means.get("dense_macs", 0.0) / max(sizes["outputs"] * often, 1))
            varies = sum(spread[name] for name in fetched if name in spread)
            spread = {**spread, **({"weight_fetches": varies} if varies else {})}
        if op.kind != "move":
            numbers["activation_reads"] = float(sizes["inputs"] * often)
            numbers["activation_writes"] = float(sizes["outputs"] * often)
            numbers["state_reads"] = numbers["state_writes"] = float(sizes["states"] * often)
        return LayerCounts(
            name=node.name,
            op=node.op,
            kind=op.kind,
            input_type=str(graph.type(node.inputs[0])) if node.inputs else "",
            output_type=str(graph.type(node.output)),
            static=static,
            static_repeats=self.steps if static else 1,
            evaluations=often,
            shape=_shapes(graph, node),
            settings={name: value for name, value in node.attributes.items() if isinstance(value, _PLAIN)},
            spread=spread,
            **numbers,
        )


_PLAIN = (bool, int, float, str, tuple)


def _sizes(graph: Graph, node: Node) -> dict[str, int]:
    """How many numbers a node stores, reads, makes and keeps."""
    states = {state.read for state in graph.states}
    sizes = {name: graph.signals[name].size for name in node.inputs}
    return {
        "weights": sum(parameter.numel() for parameter in node.parameters.values()),
        "inputs": sum(size for name, size in sizes.items() if name not in states),
        "outputs": graph.signals[node.output].size,
        "states": sum(size for name, size in sizes.items() if name in states),
    }


def _shapes(graph: Graph, node: Node) -> dict[str, tuple[int, ...]]:
    found = {"output": tuple(graph.shape(node.output))}
    if node.inputs:
        found["input"] = tuple(graph.shape(node.inputs[0]))
    if "weight" in node.parameters:
        found["weight"] = tuple(node.parameters["weight"].shape)
    return found


def _events(facts: Facts, index: int) -> Tensor:
    """How many values of an event input are not zero, in every evaluation."""
    signal = facts.inputs[index]
    if largest_unit(signal) <= 1:
        return facts.total_units(index)
    return total_events(facts.values[index], signal, facts.evaluations)
