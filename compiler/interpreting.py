"""Interpret: run a graph on tensors, step after step. This is what a graph means.

Where every state belongs to one neuron that reads and writes it, the steps need not follow one another node by node: T
is folded into the batch, neurons run their whole sequence at once, and what never changes is computed once. Feedback,
and whoever looks at states, takes the plain way; both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from compiler.graph import Graph, Node, Signal, operation
from compiler.graph.facts import Facts
from compiler.graph.operation import run_node
from snnkit.errors import InvalidArgumentError, unknown_name

Watch = Callable[[Node, Facts], None]
"""Called after every node with what it did; for counting."""


@torch.no_grad()
def interpret(
    graph: Graph,
    x: Tensor | Sequence[Tensor],
    timesteps: int | None = None,
    probes: Sequence[str] = (),
    watch: Watch | None = None,
    stepwise: bool = False,
) -> tuple[Tensor | tuple[Tensor, ...], dict[str, Tensor]]:
    """Run ``graph`` from rest.

    Args:
        graph: any graph.
        x: (B, …), fed at every step, or a sequence (T, B, …); for several inputs one tensor each.
        timesteps: T for an input without time; the graph's own by default.
        probes: names of signals to record.
        watch: called after every node with the node and what it did.
        stepwise: run step after step even where that is not needed.

    Returns:
        The output sequence (T, B, …), a tuple of them where the graph has several outputs, and each probed signal as
        (T, B, …).

    Raises:
        InvalidArgumentError: the input does not fit the graph.
        UnknownNameError: a probe names no signal.
    """
    return evaluate(graph, x, timesteps, probes, watch, stepwise)


def evaluate(
    graph: Graph,
    x: Tensor | Sequence[Tensor],
    timesteps: int | None = None,
    probes: Sequence[str] = (),
    watch: Watch | None = None,
    stepwise: bool = False,
) -> tuple[Tensor | tuple[Tensor, ...], dict[str, Tensor]]:
    """Run ``graph`` as ``interpret`` does, with gradients to whatever of its parameters and inputs asks for them."""
    for probe in probes:
        if probe not in graph.signals:
            raise unknown_name("signal", probe, graph.signals)
    given = read_inputs(graph, x, timesteps)
    at_once = not stepwise and runs_at_once(graph, probes)
    run = _AtOnce(graph, given, probes, watch) if at_once else _Stepwise(graph, given, probes, watch)
    outputs, records = run.result()
    return (outputs[0] if len(outputs) == 1 else tuple(outputs)), records


@dataclass(frozen=True)
class Inputs:
    """What goes in: ``tensors`` are (B, …) where ``still``, else (T, B, …)."""

    tensors: tuple[Tensor, ...]
    still: bool
    timesteps: int
    batch: int


def read_inputs(graph: Graph, x: Tensor | Sequence[Tensor], timesteps: int | None) -> Inputs:
    """Check what is fed to a graph.

    Raises:
        InvalidArgumentError: it does not fit.
    """
    tensors = (x,) if isinstance(x, Tensor) else tuple(x) if isinstance(x, (tuple, list)) else ()
    if not tensors or any(not isinstance(tensor, Tensor) for tensor in tensors):
        given = type(x).__name__ if not tensors else ", ".join(type(tensor).__name__ for tensor in tensors)
        raise InvalidArgumentError(f"the graph {graph.name!r} takes a tensor, or a tuple of them, got {given}.")
    if len(tensors) != len(graph.inputs):
        raise InvalidArgumentError(f"the graph {graph.name!r} has {len(graph.inputs)} inputs, got {len(tensors)}.")
    kinds = set()
    for name, tensor in zip(graph.inputs, tensors, strict=True):
        shape = graph.shape(name)
        if tensor.ndim == len(shape) + 1 and tuple(tensor.shape[1:]) == shape:
            kinds.add("still")
        elif tensor.ndim == len(shape) + 2 and tuple(tensor.shape[2:]) == shape and len(tensor):
            kinds.add("sequence")
        else:
            wanted = ", ".join(map(str, shape))
            raise InvalidArgumentError(
                f"the graph {graph.name!r} takes (B, {wanted}) or (T, B, {wanted}), got {tuple(tensor.shape)}."
            )
    if len(kinds) > 1:
        raise InvalidArgumentError("some inputs are sequences (T, B, …) and some are not; give all alike.")
    still = kinds == {"still"}
    batches = {tensor.shape[0 if still else 1] for tensor in tensors}
    lengths = {len(tensor) for tensor in tensors} if not still else {timesteps or graph.timesteps}
    if len(batches) > 1 or len(lengths) > 1:
        raise InvalidArgumentError(f"the inputs have {batches} samples and {lengths} steps; give all alike.")
    steps = lengths.pop()
    if timesteps is not None and (timesteps < 1 or (not still and timesteps != steps)):
        wrong = "must be ≥ 1" if timesteps < 1 else f"the sequence has {steps} steps"
        raise InvalidArgumentError(f"timesteps={timesteps}: {wrong}.")
    return Inputs(tensors, still, steps, batches.pop())


def runs_at_once(graph: Graph, probes: Sequence[str] = ()) -> bool:
    """Whether every state belongs to one neuron, which alone reads and writes it, and nobody looks at it."""
    seen = {*graph.outputs, *probes}
    for state in graph.states:
        readers, writer = graph.consumers(state.read), graph.producer(state.written)
        if len(readers) != 1 or readers[0] is not writer or operation(writer.op).sequence is None:
            return False
        node = readers[0]
        place = node.inputs.index(state.read) - fed_inputs(node) + 1
        if node.inputs.count(state.read) != 1 or place < 1 or node.outputs[place] != state.written:
            return False
        if state.read in seen or state.written in seen or graph.consumers(state.written):
            return False
    return all(operation(n.op).kind != "neuron" or operation(n.op).sequence is not None for n in graph)


def fed_inputs(node: Node) -> int:
    """Return how many inputs a neuron reads besides its states; its further outputs are the next states, in order."""
    return len(node.inputs) - len(node.outputs) + 1


def static_signals(graph: Graph, still: bool) -> frozenset[str]:
    """Return the signals that are the same at every step; a sequence as input (not ``still``) may change."""
    return replace(graph, static_input=graph.static_input and still).static_signals()


def last_reads(graph: Graph, kept: set[str]) -> dict[str, list[str]]:
    """Return, for each node, the signals that nothing reads after it."""
    last: dict[str, str] = {}
    for node in graph.nodes:
        for signal in (*node.inputs, *node.outputs):
            last[signal] = node.name
    done: dict[str, list[str]] = {}
    for signal, name in last.items():
        if signal not in kept:
            done.setdefault(name, []).append(signal)
    return done


def start_of(graph: Graph, batch: int, like: Tensor) -> dict[str, Tensor]:
    """Return the states at rest, (B, …) each, in the type that the graph computes in."""
    dtype = next(
        (p.dtype for node in graph for p in node.parameters.values() if p.is_floating_point()),
        like.dtype if like.is_floating_point() else torch.get_default_dtype(),
    )
    if dtype in (torch.float16, torch.bfloat16):
        dtype = torch.float32  # half types are storage; the dynamics is computed in float32
    found = {}
    for state in graph.states:
        shape = (batch, *graph.shape(state.read))
        if isinstance(state.initial, Tensor):
            found[state.read] = state.initial.to(dtype).expand(shape).clone()
        else:
            found[state.read] = torch.full(shape, float(state.initial), dtype=dtype, device=like.device)
    return found


@dataclass
class _Run:
    graph: Graph
    given: Inputs
    probes: Sequence[str]
    watch: Watch | None
    values: dict[str, Tensor] = field(default_factory=dict)

    def tell(
        self, node: Node, evaluations: int, inputs: Sequence[Tensor], results: Sequence[Tensor], repeats: int = 1
    ) -> None:
        """Tell the one who watches what a node did, and in how many steps the same."""
        if self.watch is not None:
            signals = self.graph.signals
            before: list[Signal] = [signals[name] for name in node.inputs]
            after: list[Signal] = [signals[name] for name in node.outputs]
            self.watch(node, Facts(evaluations, before, after, inputs, results, repeats))


class _Stepwise(_Run):
    """One step after the other, one node after the other."""

    def result(self) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Run and return outputs and records, (T, B, …) each."""
        graph, given = self.graph, self.given
        state = start_of(graph, given.batch, given.tensors[0])
        outputs: list[list[Tensor]] = [[] for _ in graph.outputs]
        records: dict[str, list[Tensor]] = {probe: [] for probe in self.probes}
        kept = {*graph.outputs, *self.probes, *(s.written for s in graph.states)}
        static = static_signals(graph, given.still)
        # What never changes is computed in the first step, and what of it later steps read stays.
        kept |= {n for node in graph.nodes if node.output not in static for n in node.inputs if n in static}
        done = last_reads(graph, kept)
        same: dict[str, Tensor] = {}
        for t in range(given.timesteps):
            fed = given.tensors if given.still else tuple(x[t] for x in given.tensors)
            values = {**same, **dict(zip(graph.inputs, fed, strict=True)), **state}
            for node in graph.nodes:
                if t > 0 and node.output in static:
                    continue
                inputs = [values[name] for name in node.inputs]
                results = run_node(node, *inputs)
                values.update(zip(node.outputs, results, strict=True))
                self.tell(node, given.batch, inputs, results)
                for signal in done.get(node.name, ()):
                    del values[signal]
            state = {s.read: values[s.written] for s in graph.states}
            same = {name: values[name] for name in static if name in values} if t == 0 else same
            for sequence, name in zip(outputs, graph.outputs, strict=True):
                sequence.append(_whole(values[name], given.batch))
            for probe in self.probes:
                records[probe].append(_whole(values[probe], given.batch))
        return [torch.stack(s) for s in outputs], {probe: torch.stack(s) for probe, s in records.items()}


def _whole(value: Tensor, batch: int) -> Tensor:
    return value.expand(batch, *value.shape[1:])


class _AtOnce(_Run):
    """All steps of a node at once, T folded into the batch; what never changes is computed for one step."""

    def result(self) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Run and return outputs and records, (T, B, …) each."""
        graph, given = self.graph, self.given
        kept = {*graph.outputs, *self.probes}
        done = last_reads(graph, kept)
        self.single = set() if not given.still else set(graph.inputs)
        self.static = static_signals(graph, given.still)
        self.states = start_of(graph, given.batch, given.tensors[0])
        for name, x in zip(graph.inputs, given.tensors, strict=True):
            self.values[name] = x if given.still else x.flatten(0, 1)
        for node in graph.nodes:
            self._run(node)
            for signal in done.get(node.name, ()):
                self.values.pop(signal, None)
        return [self._sequence(n) for n in graph.outputs], {p: self._sequence(p) for p in self.probes}

    def _run(self, node: Node) -> None:
        op, steps = operation(node.op), self.given.timesteps
        stateful = any(name in self.states for name in node.inputs)
        if stateful:
            fed = fed_inputs(node)
            xs = [self._folded(name) for name in node.inputs[:fed]]
            sequences = [x.expand(steps * self.given.batch, *x.shape[1:]).reshape(steps, -1, *x.shape[1:]) for x in xs]
            given = [self.states[name] for name in node.inputs[fed:]]
            assert op.sequence is not None
            out, *after = op.sequence(node, *sequences, *given)
            results = (out.flatten(0, 1), *after)
            self.values[node.output] = results[0]
            self.tell(node, steps * self.given.batch, [*xs, *given], results)
            return
        once = all(name in self.single for name in node.inputs)
        inputs = [self.values[name] if once else self._folded(name) for name in node.inputs]
        results = run_node(node, *inputs)
        self.values.update(zip(node.outputs, results, strict=True))
        if once:
            self.single.update(node.outputs)
        # Computed once, and yet done at every step unless the graph says that its input never changes.
        repeats = steps if once and node.output not in self.static else 1
        self.tell(node, self.given.batch * (1 if once else steps), inputs, results, repeats)

    def _folded(self, name: str) -> Tensor:
        """Return a signal for all steps; one that is the same at every step and for every sample stays as it is."""
        value = self.values[name]
        if name not in self.single or value.shape[0] == 1:
            return value
        steps = self.given.timesteps
        return value if steps == 1 else value.expand(steps, *value.shape).flatten(0, 1)

    def _sequence(self, name: str) -> Tensor:
        value, steps, batch = self.values[name], self.given.timesteps, self.given.batch
        if name in self.single or value.shape[0] == 1:
            # A copy: whoever writes into a result must not write into an input, a weight or another step.
            return value.expand(batch, *value.shape[1:]).expand(steps, batch, *value.shape[1:]).clone()
        return value.reshape(steps, batch, *value.shape[1:])
