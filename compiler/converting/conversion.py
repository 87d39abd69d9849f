"""Convert: an ordinary network becomes a spiking one that reaches the integers of its quantised form.

capture → simplify → attention split into its products → quantisers at the input of every weight operation and product →
calibration → two executables of one graph, ``qann`` and ``snn``. What the spiking form loses against the float network
is the quantisation alone, as soon as it is at rest; before that its output is a guess that gets better.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from compiler.capturing import capture
from compiler.converting.calibrating import calibrate, inputs_of
from compiler.converting.forms import events_form, quantised_form, spiking_form
from compiler.converting.places import Places
from compiler.converting.quantisers import BITS, Quantiser, check_exact
from compiler.converting.rest import bound_of
from compiler.converting.running import Sent, Stepper
from compiler.converting.starting import mean_codes, started
from compiler.converting.streaming import SpikingModule
from compiler.errors import CaptureError
from compiler.graph import Graph, is_neuron
from compiler.graph.builder import stored_dtype
from compiler.interpreting import Watch, interpret, read_inputs
from compiler.passes import simplify, split_attention
from snnkit.errors import InvalidArgumentError, NonFiniteError, unknown_name
from snnkit.files import made_folder

_AHEAD = 8
"""Steps that are computed together."""

_FEW = 8
"""Samples below which it is said how few a network was calibrated on."""
STARTS = ("zero", "mean")
Batches = Iterable[Tensor | tuple[Tensor, ...] | list[Tensor]]


@dataclass(frozen=True)
class SpikingRun:
    """What a spiking network did on a batch.

    Args:
        logits: its output after every step, (T, B, …).
        spikes: what all neurons sent, levels added up, mean per sample.
        events: how many events that were, mean per sample.
        rest: the number of steps after which nothing was sent any more (T0; the step that showed it is T0 + 1); None
            where the run ended before.
        bound: after so many steps the network is at rest, whatever the input.
        layers: what each layer of neurons sent, summed over the samples.
    """

    logits: Tensor
    spikes: float
    events: float
    rest: int | None
    bound: int
    layers: Mapping[str, Sent] = field(repr=False)

    @property
    def events_per_neuron(self) -> float:
        """Events of a neuron and sample, mean over all."""
        neurons = sum(one.neurons for one in self.layers.values())
        return sum(one.events for one in self.layers.values()) / max(neurons, 1)


@dataclass(frozen=True)
class Converted:
    """A converted network: the float graph it comes from, and its quantised and spiking forms.

    Args:
        source: the float network, simplified, its attention split.
        quantisers: of every signal that becomes codes.
        qann_graph, snn_graph: the two executables; codes of the signal ``x`` are called ``x.code`` in both.
        levels, max_exponent: L, and K (None: graded events).
        spike_input: whether the input is sent as events too.
        notes: what calibration had to say.
        start: the code that every neuron starts with, by ``x.code``; None: 0.
        activation_codes: whether events are all that leaves an activation.
    """

    source: Graph
    quantisers: Mapping[str, Quantiser]
    qann_graph: Graph
    snn_graph: Graph
    levels: int
    max_exponent: int | None
    spike_input: bool = False
    notes: tuple[str, ...] = ()
    start: Mapping[str, Tensor] | None = None
    activation_codes: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """The type of numbers both forms compute in; whole numbers up to 2^24 or 2^53 are exact in it."""
        return stored_dtype(self.qann_graph)

    @property
    def bound(self) -> int:
        """After so many steps of a constant input the spiking network is at rest, whatever the input was."""
        return bound_of(self.snn_graph)

    def qann(self, x: Tensor | Sequence[Tensor]) -> Tensor:
        """Return the quantised network's output (B, …) for inputs (B, …).

        Raises:
            InvalidArgumentError: the input does not fit. NonFiniteError: it is not finite.
        """
        (output, *_), _ = self._codes(x, ())
        return output

    def codes(self, x: Tensor | Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the codes of the quantised network by signal: whole numbers (B, …)."""
        names = {f"{signal}.code": signal for signal in self.quantisers}
        _, records = self._codes(x, tuple(names))
        return {names[name]: record[0] for name, record in records.items()}

    def _codes(self, x: Tensor | Sequence[Tensor], probes: Sequence[str]) -> tuple[list[Tensor], dict[str, Tensor]]:
        inputs = self._inputs(x)
        outputs, records = interpret(self.qann_graph, inputs, 1, probes=probes)
        return [one[0] for one in ((outputs,) if isinstance(outputs, Tensor) else outputs)], records

    def _inputs(self, x: Tensor | Sequence[Tensor], sequence: bool = False) -> tuple[Tensor, ...]:
        tensors = tuple(t.to(self.dtype) for t in ((x,) if isinstance(x, Tensor) else x))
        given = read_inputs(self.qann_graph, tensors, None)
        if not (given.still or sequence):
            raise InvalidArgumentError(
                f"a quantised network takes samples (B, …), got a sequence of shape {tuple(tensors[0].shape)}; "
                "run(x) takes sequences."
            )
        for name, tensor in zip(self.qann_graph.inputs, tensors, strict=True):
            if not bool(torch.isfinite(tensor).all()):
                raise NonFiniteError(f"the input {name!r} holds values that are not finite.")
        return given.tensors

    def run(self, x: Tensor | Sequence[Tensor], until: str | int = "rest", watch: Watch | None = None) -> SpikingRun:
        """Run the spiking network from the start.

        Args:
            x: samples (B, …), which stay; or a sequence (T, B, …), whose changes go in as they come, without reset.
            until: "rest", or a number of steps. A sequence is run to its end, and after it until rest where that is
                asked for.
            watch: told of everything that is computed, as by ``compiler.interpret``.

        Raises:
            InvalidArgumentError: the input does not fit, or no such ``until``.
            NonFiniteError: the input is not finite.
        """
        limit = _limit(until)
        inputs = self._inputs(x, sequence=True)
        given = read_inputs(self.snn_graph, inputs, None)
        frames = 1 if given.still else given.timesteps
        if not given.still and limit is not None and limit < frames:
            raise InvalidArgumentError(f"until={until}: the sequence has {frames} steps.")
        stepper = Stepper(self.snn_graph, given.batch, inputs[0], watch)
        logits: list[Tensor] = []
        quiet: int | None = None
        bound = self.bound
        most = frames + bound if limit is None else limit
        t = 0
        while t < most and (quiet is None or limit is not None):
            end = min(t + _AHEAD, most)
            fed = [inputs if given.still else tuple(one[min(i, frames - 1)] for one in inputs) for i in range(t, end)]
            for outputs, silent in stepper.ahead(fed, more=end < most):
                logits.append(outputs[0])
                quiet = (quiet if quiet is not None else t) if silent and t >= frames - 1 else None
                t += 1
                if quiet is not None and limit is None:
                    break
        if limit is None and quiet is None:
            raise AssertionError(f"not at rest after its bound of {bound} steps")  # a defect, and not the caller's
        layers = stepper.sent
        return SpikingRun(
            torch.stack(logits),
            sum(one.spikes for one in layers.values()) / given.batch,
            sum(one.events for one in layers.values()) / given.batch,
            quiet,
            bound,
            layers,
        )

    def snn(self, x: Tensor | Sequence[Tensor], timesteps: int) -> Tensor:
        """Return the spiking network's output after each of so many steps, (T, B, K), for inputs (B, …)."""
        return self.run(x, until=timesteps).logits

    def module(self) -> SpikingModule:
        """Return the spiking network as a module on sequences (T, B, …): ``snnkit.Stream(converted.module())``."""
        return SpikingModule(self.snn_graph)

    @property
    def places(self) -> Places:
        """Where the network is quantised."""
        return Places(self.source, self.spike_input, self.activation_codes)

    @property
    def events_graph(self) -> Graph:
        """The quantised network for a chip of graded events: one time step, in which neurons send whole codes.

        Raises:
            CaptureError: codes may be negative, which such chips do not send.
        """
        return simplify(events_form(self.places, self.quantisers, self.dtype))

    def with_exponent(self, max_exponent: int | None) -> Converted:
        """Return the same network with other events: K, or None for graded ones."""
        check_exponent(max_exponent)
        graph = spiking_form(self.places, self.quantisers, self.dtype, max_exponent)
        graph = graph if self.start is None else started(graph, self.start)
        return replace(self, snn_graph=graph, max_exponent=max_exponent)

    def started_at(self, batches: Batches) -> Converted:
        """Return the same network with neurons that start with the mean codes of samples (B, …) instead of 0.

        It is at rest with the same integers, after fewer events, and near it sooner.
        """
        inputs = [self._inputs(x)[0] for x in inputs_of(batches)]
        return self.started_with(mean_codes(self.qann_graph, inputs))

    def started_with(self, start: Mapping[str, Tensor] | None) -> Converted:
        """Return the same network with neurons that start with these codes, of ``start``; None: with 0."""
        return replace(self, start=start).with_exponent(self.max_exponent)

    def save(self, folder: str | Path) -> None:
        """Write ``qann.graph``, ``snn.graph`` and ``source.graph`` into a folder."""
        place = made_folder(folder)
        for name, graph in (("source", self.source), ("qann", self.qann_graph), ("snn", self.snn_graph)):
            graph.save(place / f"{name}.graph")


def convert(
    model: nn.Module | Graph,
    calibration: Batches,
    levels: int = 16,
    max_exponent: int | None = 2,
    *,
    per_channel: bool = False,
    spike_input: bool = False,
    start: str = "mean",
    activation_codes: bool = False,
    seed: int = 0,
) -> Converted:
    """Convert an ordinary network into a quantised and a spiking one.

    Args:
        model: a module in eval mode, or its graph.
        calibration: batches of inputs (B, …), or pairs whose first entry is that: a few hundred real samples.
        levels: L ≥ 2, the number of codes of a signal.
        max_exponent: K, events are ±1 … ±2^K levels; None: graded events, at rest after one step.
        per_channel: one scale a channel for signals that only layers with weights read.
        spike_input: send the input as events too; by default the first layers get the real numbers once.
        start: "mean": neurons begin with the mean codes of the calibration samples, which saves steps and events and
            costs a stored number a neuron; or "zero".
        activation_codes: what leaves a ReLU is its codes for sums and pools too, and events are all that layers hand
            on, as a chip needs it (``Converted.events_graph``); by default sums keep real numbers.
        seed: of the choice of values that scales are found from.

    Returns:
        The converted network; ``qann`` and ``snn`` agree in every integer at rest.

    Raises:
        InvalidArgumentError: a network in training mode, arguments out of range, samples of the wrong shape.
        CaptureError: the network holds what cannot be converted (``reasons`` names all of it).
        NonFiniteError: NaN or infinity in the samples or in what the network makes of them.
    """
    check_exponent(max_exponent)
    if start not in STARTS:
        raise unknown_name("start", start, STARTS)
    batches = list(inputs_of(calibration))
    if not batches:
        raise InvalidArgumentError("calibration needs at least one batch of samples.")
    graph = prepared(model, batches[0])
    places = Places(graph, spike_input, activation_codes)
    notes: list[str] = []
    samples = sum(len(batch) for batch in batches)
    if samples < _FEW:
        notes.append(f"scales, and what neurons begin with, are those of {samples:,} sample{'s' * (samples > 1)}.")
    quantisers = calibrate(places, batches, levels, per_channel, seed, notes.append)
    made = assembled(graph, quantisers, levels, max_exponent, spike_input, tuple(notes), activation_codes)
    return made.started_at(batches) if start == "mean" else made


def assembled(
    graph: Graph,
    quantisers: Mapping[str, Quantiser],
    levels: int,
    max_exponent: int | None,
    spike_input: bool = False,
    notes: tuple[str, ...] = (),
    activation_codes: bool = False,
) -> Converted:
    """Return the converted network for a prepared graph and its quantisers."""
    places, dtype = Places(graph, spike_input, activation_codes), stored_dtype(graph)
    dtype = dtype if dtype in BITS else torch.float32
    check_exact(graph, places, quantisers, dtype)
    quantised = quantised_form(places, quantisers, dtype)
    spiking = spiking_form(places, quantisers, dtype, max_exponent)
    forms = quantised, spiking, levels, max_exponent, spike_input, notes
    return Converted(graph, dict(quantisers), *forms, activation_codes=activation_codes)


def prepared(model: nn.Module | Graph, example: Tensor) -> Graph:
    """Return the graph that conversion starts from: simplified, its attention split into products.

    Raises:
        InvalidArgumentError: the network is in training mode.
        CaptureError: it cannot be captured, or is a spiking network already.
    """
    if isinstance(model, nn.Module) and model.training:
        raise InvalidArgumentError("the network is in training mode; call eval() before converting it.")
    return prepared_graph(model if isinstance(model, Graph) else capture(model, example))


def prepared_graph(graph: Graph) -> Graph:
    """Return a captured graph as conversion starts from it: simplified, its attention split into products.

    Raises:
        CaptureError: it is a spiking network already, or carries a state.
    """
    graph = simplify(split_attention(simplify(graph)))
    neurons = [node for node in graph if is_neuron(node)]
    reasons = []
    if neurons:
        more = f" and {len(neurons) - 1} more" if len(neurons) > 1 else ""
        reasons.append(f"the network is a spiking one already: {neurons[0].name} ({neurons[0].op}){more}")
    reasons += [f"the state {state.read!r} carries over from step to step" for state in graph.states if not neurons]
    if reasons:
        raise CaptureError(f"{graph.name} cannot be converted: {reasons[0]}.", tuple(reasons))
    return graph


def _limit(until: str | int) -> int | None:
    """Return the number of steps that ``until`` asks for, None for rest."""
    if until == "rest":
        return None
    if isinstance(until, bool) or not isinstance(until, int) or until < 1:
        raise InvalidArgumentError(f'until={until!r}: "rest", or a number of steps ≥ 1.')
    return until


def check_exponent(max_exponent: int | None) -> None:
    """Raise InvalidArgumentError unless K is None or a whole number from 0 to 30."""
    right = isinstance(max_exponent, int) and not isinstance(max_exponent, bool) and 0 <= max_exponent <= 30
    if max_exponent is not None and not right:
        raise InvalidArgumentError(
            f"max_exponent={max_exponent!r}: must be a whole number from 0 to 30, or None for graded events."
        )
