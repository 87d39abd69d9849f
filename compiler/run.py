"""Run: decode what a chip did, and compare it with what it came from."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compiler.graph import Graph, Node, is_neuron
from compiler.interpreting import interpret
from compiler.targets import Image, target_of
from snnkit.errors import InvalidArgumentError

_BATCH = 50
_ROUNDING = 1e-12  # of the largest logit: sums of float64 in another order


class Runnable(Protocol):
    """What a run needs of a program (``compiler.program.Program``, where each is described)."""

    @property
    def source_graph(self) -> Graph: ...  # noqa: D102
    @property
    def graph(self) -> Graph: ...  # noqa: D102
    @property
    def image(self) -> Image: ...  # noqa: D102
    @property
    def readout(self) -> Node: ...  # noqa: D102
    @property
    def input_shape(self) -> tuple[int, ...]: ...  # noqa: D102


@dataclass(frozen=True)
class Trace:
    """What the chip did with B images. Shapes: T the network's time steps, N neurons, K outputs.

    ``chip``: its name; ``spikes``: by neuron layer of the float network, integers (T, B, N), aligned in time with the
    graph (each layer's delay removed); ``logits``: float64 (B, K), the mean over time as the float network would report
    it; ``synaptic_events`` and ``packets``: totals over the images, see ``compiler.targets.Activity``;
    ``fired``: all spikes, those of relays included; ``counters``: further totals of this chip by name; ``outputs``:
    float64 (T, B, K), what the float network gives at every step, of chips whose host can read the output then.
    """

    chip: str
    spikes: dict[str, NDArray[Any]]
    logits: Tensor
    synaptic_events: NDArray[np.int64]
    packets: NDArray[np.int64]
    fired: int = 0
    counters: Mapping[str, Any] = field(default_factory=dict)
    outputs: Tensor | None = None

    @property
    def events_per_core(self) -> NDArray[np.int64]:
        """The former name of ``synaptic_events``."""
        warnings.warn(
            "Trace.events_per_core is now Trace.synaptic_events; the old name goes with the next release.",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.synaptic_events


@dataclass(frozen=True, eq=False)
class Equality:
    """Float network, quantised graph and integer program on the same images, compared two by two.

    Quantised graph → integer program: of ``compared`` neuron-steps (with ``spikes`` spikes) ``mismatches`` differ, and
    ``membrane_mismatches`` output membranes; ``quantised_logits`` (B, K) are the graph's. ``verdict`` is one word.

    Float network → quantised graph: of ``float_compared`` neuron-steps ``float_mismatches`` differ, ``float_by_layer``
    says in which layers (differing, compared); the logits differ by ``float_logit_error`` at most, and by
    ``float_logit_bound`` at most wherever all spikes agree. ``float_proven`` says that nothing was rounded: they agree
    on every input. ``float_verdict`` is one word.
    """

    images: int
    spikes: int
    compared: int
    mismatches: int
    membrane_mismatches: int
    quantised_logits: Tensor
    float_logits: Tensor
    float_mismatches: int
    float_compared: int
    float_by_layer: dict[str, tuple[int, int]]
    float_logit_bound: float
    float_proven: bool

    @property
    def verdict(self) -> str:
        """Quantised graph → integer program: "exact" (every spike and output membrane) or "approximate"."""
        return "exact" if self.mismatches == self.membrane_mismatches == 0 else "approximate"

    @property
    def float_logit_error(self) -> float:
        """Largest difference of a logit between float network and quantised graph."""
        return float((self.float_logits - self.quantised_logits).abs().max())

    @property
    def float_verdict(self) -> str:
        """Float network → quantised graph: "exact", "bounded" (equal spikes, logits within bound) or "approximate"."""
        if self.float_mismatches:
            return "approximate"
        return "exact" if self.float_logit_error <= _ROUNDING * float(self.float_logits.abs().max()) else "bounded"

    def __str__(self) -> str:
        return f"{self.float_text}; {self.text}"

    @property
    def text(self) -> str:
        """The verdict on quantised graph → integer program, in words."""
        return (
            f"quantised graph → integer program: {self.verdict}: {self.mismatches:,} of {self.compared:,} spikes and "
            f"{self.membrane_mismatches:,} of {self.quantised_logits.numel():,} output membranes differ"
        )

    @property
    def float_text(self) -> str:
        """The verdict on float network → quantised graph, in words."""
        how = "proven, nothing was rounded; " if self.float_proven else ""
        said = f"float network → quantised graph: {self.float_verdict} ({how}measured on {self.images:,} samples): "
        said += f"{self.float_mismatches:,} of {self.float_compared:,} spikes differ"
        if self.float_mismatches:
            rates = {name: differ / count for name, (differ, count) in self.float_by_layer.items()}
            worst = max(rates, key=rates.__getitem__)
            said += f", most in {worst} ({rates[worst]:.2%})"
        bound = (
            "" if self.float_mismatches else f", proven to be at most {self.float_logit_bound:.3g} where spikes agree"
        )
        return f"{said}; logits differ by up to {self.float_logit_error:.3g}{bound}"


def stand_ins(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Return the layers of the float network that a quantised graph stands for: {layer: signals that add up to it}."""
    found: dict[str, tuple[str, ...]] = {}
    for node in graph:
        if is_neuron(node) and node.role != "readout":
            # A neuron that the host runs is the float network's own.
            layer = str(node.attributes.get("layer", node.output))
            if layer:
                found[layer] = (*found.get(layer, ()), node.output)
    return found


def runnable(x: Any) -> Tensor:
    """Return what a program can run: a dense tensor of real numbers with at least one sample, on the CPU.

    Raises:
        InvalidArgumentError: it is none.
    """
    if not isinstance(x, Tensor):
        raise InvalidArgumentError(f"a program takes a tensor of images or spikes, got {type(x).__name__}.")
    if x.is_complex() or x.layout != torch.strided or x.is_meta:
        kind = "complex" if x.is_complex() else "meta" if x.is_meta else "sparse"
        raise InvalidArgumentError(f"a program takes a dense tensor of real numbers, got a {kind} one.")
    if not x.numel():
        raise InvalidArgumentError(f"there is nothing to run: the input is empty, {tuple(x.shape)}.")
    return (x.float() if x.dtype == torch.bool else x).detach().cpu()


def simulate(program: Runnable, x: Tensor) -> Trace:
    """Run images (B, …), or spikes (T, B, …), through the mapped integer program."""
    done = program.image.simulate(runnable(x))
    return Trace(
        chip=program.image.chip.name,
        spikes={
            layer: sum((done.spikes[name] for name in rest), done.spikes[first])
            for layer, (first, *rest) in stand_ins(program.graph).items()
        },
        logits=logits(program, done.membrane),
        synaptic_events=done.synaptic_events,
        packets=done.packets,
        fired=done.fired,
        counters=done.counters,
        outputs=None if done.membranes is None else outputs(program, done.membranes),
    )


def outputs(program: Runnable, membranes: Tensor) -> Tensor:
    """Turn the readout's membrane at the end of every step (T, B, …) into outputs of each step, as ``logits`` does."""
    return torch.diff(membranes, dim=0, prepend=torch.zeros_like(membranes[:1])) / _unit(program)


def _unit(program: Runnable) -> float:
    """Units of the readout's membrane in one of the float network's output."""
    return float(target_of(program.image.chip).unit * program.readout.attributes["scale"])


def logits(program: Runnable, membrane: Tensor) -> Tensor:
    """Turn the readout's last membrane, of any shape, into the float network's units: mean outputs over time."""
    return membrane / (_unit(program) * program.graph.timesteps)


def _own(program: Runnable, x: Tensor, trace: Trace) -> int:
    """Refuse a trace that a program cannot have left of samples ``x``; returns the axis of the samples.

    Raises:
        InvalidArgumentError: it is of another chip, of other samples, or of a network of other layers or sizes.
    """
    axis, samples, graph = x.ndim - 1 - len(program.input_shape), len(trace.logits), program.graph
    name, ending = program.image.chip.name, "give what `simulate` of this program returned."
    if trace.chip != name:
        raise InvalidArgumentError(f"the trace is of {trace.chip}, the program for {name}: {ending}")
    if axis not in (0, 1) or x.shape[axis] != samples:
        raise InvalidArgumentError(
            f"the trace is of {samples:,} samples, the input is {tuple(x.shape)}: give the samples that were simulated."
        )
    wanted: dict[str, tuple[int, ...]] = {
        layer: (graph.timesteps, samples, graph.signals[first].size) for layer, (first, *_) in stand_ins(graph).items()
    }
    found: dict[str, tuple[int, ...]] = {layer: sent.shape for layer, sent in trace.spikes.items()}
    wanted["its output"] = (samples, *graph.shape(program.readout.output))
    found["its output"] = tuple(trace.logits.shape)
    for layer in (*wanted, *found):
        if wanted.get(layer) != found.get(layer):
            theirs, ours = (shapes.get(layer, "not there") for shapes in (found, wanted))
            shown = layer if layer == "its output" else f"layer {layer}"
            raise InvalidArgumentError(
                f"the trace is of another network: {shown} is {theirs}, in the program {ours}: {ending}"
            )
    return axis


def verify(program: Runnable, x: Tensor, trace: Trace) -> Equality:
    """Compare the mapped program with ``interpret`` of the quantised graph, and that with the float graph.

    Raises:
        InvalidArgumentError: the input does not fit the network, or the trace is not this program's of this input.
    """
    x = runnable(x)
    batch_axis = _own(program, x, trace)
    floating = program.source_graph.double()
    signals = stand_ins(program.graph)
    probes = [name for names in signals.values() for name in names]
    events = {node.output: _event(node, floating) for node in program.graph}
    by_layer = {name: [0, 0] for name in signals}
    mismatches = compared = spikes = differing = start = 0
    made, wanted = [], []
    for part in torch.split(x.double(), _BATCH, dim=batch_axis):
        images = slice(start, start + part.shape[batch_axis])
        start = images.stop
        membrane, quantised = interpret(program.graph, part, probes=probes)
        outputs, exact = interpret(floating, part, probes=list(signals))
        assert isinstance(membrane, Tensor)
        assert isinstance(outputs, Tensor)
        for name, (signal, *rest) in signals.items():
            levels = sum((quantised[other] for other in rest), quantised[signal])
            theirs, ours = levels.flatten(2).numpy(), trace.spikes[name][:, images]
            mismatches += int((theirs != ours).sum())
            compared += ours.size
            spikes += int(np.abs(ours.astype(np.int64)).sum())
            by_layer[name][0] += int((levels * events.get(signal, 1.0) != exact[name]).sum())
            by_layer[name][1] += ours.size
        made.append(logits(program, membrane[-1]))
        wanted.append(outputs.mean(0))
        differing += int((made[-1] != trace.logits[images]).sum())
    return Equality(
        images=trace.logits.shape[0],
        spikes=spikes,
        compared=compared,
        mismatches=mismatches,
        membrane_mismatches=differing,
        quantised_logits=torch.cat(made),
        float_logits=torch.cat(wanted),
        float_mismatches=sum(differ for differ, _ in by_layer.values()),
        float_compared=compared,
        float_by_layer={name: (differ, count) for name, (differ, count) in by_layer.items()},
        float_logit_bound=float(program.readout.attributes.get("rounding", float("inf"))),
        float_proven=_proven(program.graph, floating),
    )


def _event(node: Node, floating: Graph) -> float:
    """Return what one level of a neuron's events stands for in the float network."""
    if node.role == "host" and node.output in floating.signals:
        return float(floating.type(node.output).scale)
    return float(node.attributes.get("event", 1.0))


def _proven(graph: Graph, floating: Graph) -> bool:
    """Whether no weight, bias or threshold was rounded and nothing decays: then the float network computes the same.

    A power of two as scale says that the float network's own numbers, and so its sums, are exact too. Real numbers on
    the host are rounded there as they come.
    """
    kept = [n.attributes for n in graph if is_neuron(n) and n.role not in ("gate", "host")]
    leaks = any("tau" in {**n.attributes, **n.parameters} for n in floating if is_neuron(n))
    real = any(n.role == "host" and not is_neuron(n) and not graph.type(n.output).is_event for n in graph)
    return not (leaks or real) and all(
        a.get("rounding", 1.0) == 0.0
        and a.get("dv", 1) == 0
        and a.get("drive", "current") == "current"
        and math.frexp(float(a["scale"]))[0] == 0.5
        for a in kept
    )
