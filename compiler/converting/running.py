"""Run a spiking form step by step, computing only what can have changed.

What ``interpret`` does for any graph, for graphs of conversion: a layer that got no event and a function whose inputs
are what they were is not computed again, so that a network at rest costs nothing, and rest is seen: a step in which no
neuron sends anything, while the input stays the same, repeats itself for ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compiler.converting.fast import Blocks
from compiler.converting.fast_plan import MAX_STEPS, event_signals, plan_of
from compiler.graph import Graph, Node
from compiler.graph.facts import Facts
from compiler.graph.operation import run_node
from compiler.interpreting import Watch, fed_inputs, start_of


@dataclass
class Sent:
    """What a layer of neurons has sent: events, spikes (levels added up), and how many neurons there are."""

    neurons: int
    events: int = 0
    spikes: int = 0


class Stepper:
    """A spiking form under way.

    Args:
        graph: of ``spiking_form``.
        batch: number of samples.
        like: a tensor of the input's device.
        watch: told of every node that ran and what it did, as by ``interpret``.
        plainly: compute node by node and step by step, even where several steps can be computed at once.
    """

    def __init__(self, graph: Graph, batch: int, like: Tensor, watch: Watch | None = None, plainly: bool = False):
        self.graph, self.batch, self.watch = graph, batch, watch
        self.steps = 0
        self.silent = False
        self.sent: dict[str, Sent] = {}
        self._values: dict[str, Tensor] = {}
        self._events = event_signals(graph)
        self._wants: dict[str, bool] = {}
        plainly = plainly or watch is not None or like.device.type != "cpu"
        plan = None if plainly else plan_of(graph)
        self._blocks = None if plan is None else Blocks(graph, plan, batch, like)
        self._states = start_of(graph, batch, like) if self._blocks is None else {}
        for node in graph:
            if node.op == "trace":
                self.sent[node.name] = Sent(graph.signals[node.output].size * batch)

    @property
    def states(self) -> Mapping[str, Tensor]:
        """The states (B, …) after the latest step."""
        return self._states if self._blocks is None else self._blocks.states()

    def go_on(self, states: Mapping[str, Tensor]) -> None:
        """Take up the states (B, …) that another one had after its latest step; for one that goes step by step."""
        assert self._blocks is None
        self._states = dict(states)

    def ahead(self, inputs: Sequence[Sequence[Tensor]], more: bool = True) -> Iterator[tuple[tuple[Tensor, ...], bool]]:
        """Advance by as many steps as there are inputs.

        Args:
            inputs: of every step the inputs (B, …).
            more: whether further steps can follow.

        Yields:
            Of every step the values of the outputs, (B, …) each, and whether no neuron sent anything.
        """
        for at in range(0, len(inputs), MAX_STEPS):
            part = inputs[at : at + MAX_STEPS]
            if self._blocks is None:
                for one in part:
                    yield self._plain(one), self.silent
                continue
            outputs, layers = self._blocks.advance(part, more or at + MAX_STEPS < len(inputs))
            self._count(layers)
            self.steps += len(part)
            for t in range(len(part)):
                self.silent = not any(counts[t][0] for counts in layers.values())
                yield tuple(one[t] for one in outputs), self.silent

    def step(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Advance by one step: inputs (B, …) → the values of the outputs, (B, …) each.

        ``silent`` then says whether no neuron sent anything.
        """
        ((values, _),) = self.ahead([inputs])
        return values

    def _count(self, layers: Mapping[str, Sequence[Sequence[int]]]) -> None:
        for name, steps in layers.items():
            self.sent[name].events += sum(events for events, _ in steps)
            self.sent[name].spikes += sum(spikes for _, spikes in steps)

    @torch.no_grad()
    def _plain(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        changed: set[str] = set()
        moved: dict[str, Tensor] = {}  # event signals that are not all 0 in this step
        for name, x in zip(self.graph.inputs, inputs, strict=True):
            before = self._values.get(name)
            if before is None or (before is not x and not torch.equal(before, x)):
                changed.add(name)
            self._values[name] = x
        first, self.silent = self.steps == 0, True
        for node in self.graph.nodes:
            if node.op == "trace":
                self._trace(node, changed, moved)
            elif node.output in self._events:
                self._route(node, moved)
            elif fed_inputs(node) < len(node.inputs):
                self._sum(node, changed, moved, first)
            elif first or any(name in changed for name in node.inputs):
                self._put(node, [self._values[name] for name in node.inputs], changed)
        self.steps += 1
        return tuple(self._values[name].expand(self.batch, *self.graph.shape(name)) for name in self.graph.outputs)

    def _trace(self, node: Node, changed: set[str], moved: dict[str, Tensor]) -> None:
        """Let neurons whose value changed, or that had more to say, send their events."""
        value, total = node.inputs
        if value not in changed and not self._wants.get(node.name, True):
            return
        results = self._run(node, [self._values[value], self._states[total]])
        sent, self._states[total] = results
        events = int(torch.count_nonzero(sent))
        self._wants[node.name] = bool(events)
        if events:
            moved[node.output] = sent
            self.silent = False
            one = self.sent[node.name]
            one.events += events
            one.spikes += int(sent.abs().sum(dtype=torch.float64))

    def _route(self, node: Node, moved: dict[str, Tensor]) -> None:
        """Move events, or let them meet weights."""
        if any(name in moved for name in node.inputs):
            inputs = [moved[name] if name in self._events else self._values[name] for name in node.inputs]
            moved[node.output] = self._run(node, inputs)[0]

    def _sum(self, node: Node, changed: set[str], moved: dict[str, Tensor], first: bool) -> None:
        """Add what events brought; the first step finds the values that none has reached yet."""
        fed = fed_inputs(node)
        if not first and not any(name in moved for name in node.inputs[:fed]):
            return
        states = node.inputs[fed:]
        brought = [
            moved.get(name, torch.zeros_like(self._states[state]))
            for name, state in zip(node.inputs[:fed], states, strict=True)
        ]
        value, *after = self._run(node, [*brought, *(self._states[state] for state in states)])
        self._states.update(zip(states, after, strict=True))
        self._values[node.output] = value
        changed.add(node.output)

    def _put(self, node: Node, inputs: Sequence[Tensor], changed: set[str]) -> None:
        self._values.update(zip(node.outputs, self._run(node, inputs), strict=True))
        changed.update(node.outputs)

    def _run(self, node: Node, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        results = run_node(node, *inputs)
        if self.watch is not None:
            signals = self.graph.signals
            before, after = [signals[n] for n in node.inputs], [signals[n] for n in node.outputs]
            self.watch(node, Facts(self.batch, before, after, inputs, results))
        return results
