"""A spiking form several steps at once: layer after layer, each for all of them.

Neurons send in the step in which their values change, so nothing a layer does depends on a later layer: all steps of
it can be computed before the next one begins. Weights are then read once, sums and states stay in the first cache, and
what no longer changes is not computed: a signal is known by its first steps, and stays as it is after them. The same
numbers as step by step, bit for bit: sums are those of integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compiler.converting.fast_plan import Chain, Plan
from compiler.graph import Graph, Node, State, operation
from compiler.graph.operation import run_node
from compiler.interpreting import fed_inputs, start_of
from snnkit.events.graded import Events, Pass, empty_events, split, whole_panels

_AT_ONCE = 1 << 19
"""Values of one signal and step, of all samples that are computed at once."""


@dataclass(slots=True)
class Known:
    """Values of a signal: (n·B, …), or (n, …) where all samples have the same; constant from the last step on.

    ``fresh``: whether any of them can differ from that before these steps.
    """

    tensor: Tensor
    steps: int
    fresh: bool


@dataclass(slots=True)
class Moved:
    """Events of a signal as they lie for layers that read images or rows, and as a tensor (n·B, …) once needed."""

    steps: int
    laid: dict[bool, Events]
    tensor: Tensor | None = None
    split: tuple[bool, int, Events] | None = None


class Blocks:
    """A batch under way, in parts that fit into the cache.

    Args:
        graph: of ``spiking_form``.
        plan: of it.
        batch: number of samples.
        like: a tensor of the input's device.
    """

    def __init__(self, graph: Graph, plan: Plan, batch: int, like: Tensor):
        size = max(graph.signals[c.value].size for c in plan.steps if isinstance(c, Chain)) if plan.steps else 1
        self.graph, self.batch = graph, batch
        self._at_once = max(1, min(batch, _AT_ONCE // max(size, 1)))
        starts = range(0, batch, self._at_once)
        self._parts = [Block(graph, plan, min(self._at_once, batch - start), like) for start in starts]

    def advance(
        self, inputs: Sequence[Sequence[Tensor]], more: bool
    ) -> tuple[list[Tensor], dict[str, list[list[int]]]]:
        """Advance by as many steps as there are inputs (B, …).

        Returns:
            The outputs (T, B, …), and of every trace, for every step, its events and their sizes added up.
        """
        outputs: list[list[Tensor]] = [[] for _ in self.graph.outputs]
        layers: dict[str, list[list[int]]] = {}
        start = 0
        for part in self._parts:
            mine = inputs
            if len(self._parts) > 1:
                cut: dict[int, Tensor] = {}  # what is one tensor at several steps stays one
                for x in {id(x): x for step in inputs for x in step}.values():
                    cut[id(x)] = x[start : start + part.batch]
                mine = [[cut[id(x)] for x in step] for step in inputs]
            values, counted = part.advance(mine, more)
            for name, sequence, known in zip(self.graph.outputs, outputs, values, strict=True):
                sequence.append(_sequence(known, len(inputs), part.batch, self.graph.shape(name)))
            for name, steps in counted.items():
                before = layers.get(name, [[0, 0]] * len(steps))
                layers[name] = [[a + c, b + d] for (a, b), (c, d) in zip(before, steps, strict=True)]
            start += part.batch
        return [one[0] if len(one) == 1 else torch.cat(one, 1) for one in outputs], layers

    def states(self) -> dict[str, Tensor]:
        """Return the states (B, …) as the graph has them."""
        found = [part.states() for part in self._parts]
        return {name: torch.cat([one[name] for one in found]) for name in found[0]}


class Block:
    """Samples under way.

    Args:
        graph: of ``spiking_form``.
        plan: of it.
        batch: number of samples.
        like: a tensor of the input's device.
    """

    def __init__(self, graph: Graph, plan: Plan, batch: int, like: Tensor):
        self.graph, self.plan, self.batch = graph, plan, batch
        self._values: dict[str, Known] = {}
        self._moved: dict[str, Moved] = {}
        self._sums: dict[str, Tensor] = {}
        self._totals: dict[str, Tensor] = {}
        self._wants: dict[str, bool] = {}
        owned = {c.integrate.inputs[1] for c in plan.steps if isinstance(c, Chain) and c.integrate is not None}
        owned |= {c.trace.inputs[1] for c in plan.steps if isinstance(c, Chain) and c.trace is not None}
        rest = tuple(state for state in graph.states if state.read not in owned)
        self._initial = {state.read: state.initial for state in graph.states}
        self._states = start_of(_with_states(graph, rest), batch, like)

    @torch.no_grad()
    def advance(self, inputs: Sequence[Sequence[Tensor]], more: bool) -> tuple[list[Known], dict[str, list[list[int]]]]:
        """Advance by as many steps as there are inputs.

        Args:
            inputs: of every step the inputs (B, …).
            more: whether further steps can follow.

        Returns:
            The outputs, and of every trace, for every step, its events and their sizes added up.
        """
        counted: dict[str, list[list[int]]] = {}
        self._steps = len(inputs)
        for at, name in enumerate(self.graph.inputs):
            self._feed(name, [step[at] for step in inputs])
        for one, done in zip(self.plan.steps, self.plan.last, strict=True):
            if isinstance(one, Chain):
                self._chain(one, counted)
            else:
                self._node(one)
            for name in done:
                self._moved.pop(name, None)
                if not more:
                    self._values.pop(name, None)
        outputs = [self._values[name] for name in self.graph.outputs]
        if more:
            for name, known in self._values.items():
                self._values[name] = self._kept(known)
        return outputs, counted

    def _kept(self, known: Known) -> Known:
        """Return the last step of a signal, alone."""
        if known.steps == 1:
            return Known(known.tensor, 1, False)
        size = known.tensor.shape[0] // known.steps
        return Known(known.tensor[-size:].clone(), 1, False)

    def _feed(self, name: str, steps: Sequence[Tensor]) -> None:
        before = self._values.get(name)
        while len(steps) > 1 and _same(steps[-1], steps[-2]):
            steps = steps[:-1]
        if before is not None and len(steps) == 1 and _same(before.tensor, steps[0]):
            self._values[name] = Known(before.tensor, 1, False)
        else:
            self._values[name] = Known(torch.cat(list(steps)) if len(steps) > 1 else steps[0], len(steps), True)

    # ------------------------------------------------------------------------------------------------------- chains

    def _chain(self, c: Chain, counted: dict[str, list[list[int]]]) -> None:
        value, trace = c.value, c.trace
        x = self._read(c) if c.layer is not None else None
        other = self._values[c.other] if c.other is not None else None
        known = c.layer is None or value in self._values or (value in self._sums and not c.kept)
        moves = x is not None or (other is not None and other.fresh) or not known
        if not moves and not (trace is not None and self._wants.get(trace.name, True)):
            return
        shape = self.graph.shape(value)
        pixels, channels = _pixels(shape, self.batch, c.image)
        one = Pass(pixels, channels, self._steps, c.weights, x, least=c.least, most=c.most, neurons=c.neurons)
        if other is not None:
            one.other = self._laid_out(other, pixels, channels, c.image)
        if c.layer is not None:
            one.sums = self._sum_of(c)
        if c.kept and moves:
            one.y = torch.empty(one.steps_y, *pixels, channels)
        if trace is not None:
            one.total = self._total_of(trace, c)
            padding = self.plan.padding.get(trace.output, (0, 0)) if c.image else (0, 0)
            one.sent = empty_events(self._steps, pixels[0], pixels[1:], channels, padding)
        one.run()
        if one.y is not None:
            self._values[value] = Known(_signal(one.y, shape, c.image), one.steps_y, True)
        if trace is not None and one.sent is not None:
            counted[trace.name] = one.sent.counts
            self._wants[trace.name] = bool(one.sent.counts[-1][0])
            if one.sent.steps:
                self._moved[trace.output] = Moved(one.sent.steps, {c.image: one.sent})

    def _read(self, c: Chain) -> Events | None:
        """Return the events that a layer reads, laid out for it; None where there are none."""
        assert c.layer is not None
        assert c.weights is not None
        signal = c.layer.inputs[0]
        moved = self._moved.get(signal)
        if moved is None:
            return None
        if c.image not in moved.laid:
            pixels, channels = _pixels(self.graph.shape(signal), self.batch, c.image)
            padding = self.plan.padding.get(signal, (0, 0)) if c.image else (0, 0)
            made = empty_events(moved.steps, pixels[0], pixels[1:], channels, padding)
            tensor = self._tensor(signal)
            if not c.image:
                tensor = tensor.reshape(-1, *pixels[1:], channels).permute(0, 3, 1, 2)
            made.images().copy_(tensor)
            by_step = tensor.reshape(moved.steps, -1)
            made.counts = [[int(torch.count_nonzero(one)), 0] for one in by_step]
            moved.laid[c.image] = made
        laid = moved.laid[c.image]
        if c.weights.shift == 0:
            return laid
        if moved.split is None or moved.split[:2] != (c.image, c.weights.shift):
            moved.split = c.image, c.weights.shift, split(laid, c.weights.shift)
        return moved.split[2]

    def _tensor(self, signal: str) -> Tensor:
        """Return events as (n·B, …)."""
        moved = self._moved[signal]
        if moved.tensor is None:
            image, events = next(iter(moved.laid.items()))
            inner = events.images()
            shape = self.graph.shape(signal)
            moved.tensor = inner if image else inner.permute(0, 2, 3, 1).reshape(-1, *shape)
        return moved.tensor

    def _laid_out(self, known: Known, pixels: tuple[int, int, int], channels: int, image: bool) -> Tensor:
        """Return values as (n, pixels, channels), contiguous."""
        x = known.tensor.to(torch.float32)
        if x.shape[0] != known.steps * self.batch:
            x = x.reshape(known.steps, 1, *x.shape[1:]).expand(-1, self.batch, *x.shape[1:]).flatten(0, 1)
        x = x.permute(0, 2, 3, 1) if image else x
        return x.contiguous().view(known.steps, *pixels, channels)

    def _sum_of(self, c: Chain) -> Tensor:
        assert c.integrate is not None
        assert c.weights is not None
        name = c.value
        if name not in self._sums:
            pixels, _ = _pixels(self.graph.shape(name), self.batch, c.image)
            rows = pixels[0] * pixels[1] * pixels[2]
            self._sums[name] = c.weights.bias.repeat(rows, 1)
            before = self._before(c.integrate.inputs[1], c)
            if before is not None:
                units = torch.round(whole_panels(before) / c.weights.step)
                self._sums[name] += units.to(torch.int32).repeat(self.batch, 1)
        return self._sums[name]

    def _before(self, state: str, c: Chain) -> Tensor | None:
        """Return what a state of a chain starts at, (pixels, channels) of one sample; None for 0."""
        initial = self._initial[state]
        shape = self.graph.shape(c.value)
        if not isinstance(initial, Tensor):
            if initial == 0:
                return None
            initial = torch.full(shape, float(initial))
        channels = shape[0 if c.image else -1] if shape else 1
        x = initial.to(torch.float32)
        return (x.movedim(0, -1) if c.image else x).reshape(-1, channels)

    def _total_of(self, trace: Node, c: Chain) -> Tensor:
        if trace.name not in self._totals:
            pixels, channels = _pixels(self.graph.shape(c.value), self.batch, c.image)
            before = self._before(trace.inputs[1], c)
            total = torch.zeros(pixels[0] * pixels[1] * pixels[2], channels)
            self._totals[trace.name] = whole_panels(total if before is None else before.repeat(self.batch, 1))
        return self._totals[trace.name]

    # -------------------------------------------------------------------------------------------------------- nodes

    def _node(self, node: Node) -> None:
        fed = fed_inputs(node)
        if fed < len(node.inputs):
            self._neuron(node, fed)
        elif any(name in self._moved or name in self.plan.events for name in node.inputs):
            self._route(node)
        elif node.output not in self._values or any(self._values[name].fresh for name in node.inputs):
            self._put(node)

    def _put(self, node: Node) -> None:
        known = [self._values[name] for name in node.inputs]
        steps = max((one.steps for one in known), default=1)
        results = run_node(node, *(_folded(one, steps, self.batch) for one in known))
        for name, result in zip(node.outputs, results, strict=True):
            self._values[name] = Known(result, steps, True)

    def _route(self, node: Node) -> None:
        """Move events, or let them meet weights."""
        if not any(name in self._moved for name in node.inputs):
            return
        moving = [self._tensor(name) for name in node.inputs if name in self._moved]
        steps = max(one.shape[0] for one in moving) // self.batch
        inputs = []
        for name in node.inputs:
            if name in self._moved:
                inputs.append(_longer(self._tensor(name), steps * self.batch))
            else:
                inputs.append(_folded(self._values[name], steps, self.batch))
        if operation(node.op).kind != "move":
            inputs = [x.to(torch.float32) for x in inputs]
        self._moved[node.output] = Moved(steps, {}, operation(node.op).run(node, *inputs)[0])

    def _neuron(self, node: Node, fed: int) -> None:
        """Add what events brought; the first steps find the values that none has reached yet."""
        if node.output in self._values and not any(name in self._moved for name in node.inputs[:fed]):
            self._values[node.output] = Known(self._values[node.output].tensor, 1, False)
            return
        states = node.inputs[fed:]
        given = [self._states[state] for state in states]
        brought = [self._tensor(name) if name in self._moved else None for name in node.inputs[:fed]]
        steps = max(1, *(x.shape[0] // self.batch for x in brought if x is not None), 1)
        sequences = []
        for x, state in zip(brought, given, strict=True):
            shape = (steps * self.batch, *state.shape[1:])
            whole = torch.zeros(shape) if x is None else _longer(x.to(state.dtype), shape[0])
            sequences.append(whole.reshape(steps, self.batch, *state.shape[1:]))
        sequence = operation(node.op).sequence
        assert sequence is not None
        y, *after = sequence(node, *sequences, *given)
        self._states.update(zip(states, after, strict=True))
        self._values[node.output] = Known(y.flatten(0, 1), steps, True)

    def states(self) -> Mapping[str, Tensor]:
        """Return the states (B, …) as the graph has them."""
        found = dict(self._states)
        for c in self.plan.steps:
            if not isinstance(c, Chain):
                continue
            if c.integrate is not None and c.weights is not None:
                whole = (self._sum_of(c) - c.weights.bias).float() * c.weights.step
                found[c.integrate.inputs[1]] = self._as_signal(whole, c)
            if c.trace is not None:
                found[c.trace.inputs[1]] = self._as_signal(self._total_of(c.trace, c), c)
        return found

    def _as_signal(self, rows: Tensor, c: Chain) -> Tensor:
        shape = self.graph.shape(c.value)
        pixels, channels = _pixels(shape, self.batch, c.image)
        found = rows[:, :channels].reshape(*pixels, channels)
        return found.permute(0, 3, 1, 2) if c.image else found.reshape(self.batch, *shape)


def _same(a: Tensor, b: Tensor) -> bool:
    return a is b or torch.equal(a, b)


def _pixels(shape: tuple[int, ...], batch: int, image: bool) -> tuple[tuple[int, int, int], int]:
    """Return (images, height, width) and the channels of a signal (B, …)."""
    if image:
        return (batch, shape[1], shape[2]), shape[0]
    if not shape:
        return (batch, 1, 1), 1
    return (batch, 1, math.prod(shape[:-1])), shape[-1]


def _signal(rows: Tensor, shape: tuple[int, ...], image: bool) -> Tensor:
    """Return values (n, images, height, width, channels) as (n·B, …)."""
    whole = rows.flatten(0, 1)
    return whole.permute(0, 3, 1, 2) if image else whole.reshape(-1, *shape)


def _folded(known: Known, steps: int, batch: int) -> Tensor:
    """Return values for ``steps`` steps of ``batch`` samples; those that all samples share stay alone."""
    x = known.tensor
    if known.steps == steps or (x.shape[0] == 1 and batch > 1):
        return x
    last = x[-(x.shape[0] // known.steps) :]
    if known.steps == 1:
        return last.expand(steps, *x.shape[1:]) if batch == 1 else last.expand(steps, *x.shape).flatten(0, 1)
    return torch.cat([x, *[last] * (steps - known.steps)])


def _sequence(known: Known, steps: int, batch: int, shape: tuple[int, ...]) -> Tensor:
    """Return values as (T, B, …)."""
    x = known.tensor.reshape(known.steps, -1, *shape).expand(known.steps, batch, *shape)
    return x if known.steps == steps else torch.cat([x, x[-1:].expand(steps - known.steps, *x.shape[1:])])


def _longer(events: Tensor, rows: int) -> Tensor:
    """Return events (n·B, …) with none behind, up to ``rows``."""
    if events.shape[0] == rows:
        return events
    return torch.cat([events, events.new_zeros(rows - events.shape[0], *events.shape[1:])])


def _with_states(graph: Graph, states: tuple[State, ...]) -> Graph:
    return replace(graph, states=states)
