"""Run: pack inputs for a mapped program, run it, decode what it did, and compare it with what it came from."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compiler.graph import Graph, Node, is_neuron
from compiler.interpreting import interpret
from compiler.mapping import Mapping
from compiler.network import Network
from compiler.simulate import engine
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
    def mapping(self) -> Mapping: ...  # noqa: D102
    @property
    def host_graph(self) -> Graph | None: ...  # noqa: D102
    @property
    def readout(self) -> Node: ...  # noqa: D102
    @property
    def tables(self) -> engine.Tables: ...  # noqa: D102
    @property
    def input_shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def output_shape(self) -> tuple[int, ...]: ...  # noqa: D102


@dataclass(frozen=True)
class Trace:
    """What the chip did with B images. Shapes: T the network's time steps, N neurons, K outputs.

    ``spikes``: by neuron layer of the float network, uint8 (T, B, N), aligned in time with the graph (each layer's
    delay removed); ``logits``: float64 (B, K), the mean over time as the float network would report it;
    ``synaptic_events`` and ``packets``: totals over the images, see ``compiler.simulate.engine.CoreActivity``;
    ``fired``: all spikes, those of relays included.
    """

    spikes: dict[str, NDArray[np.uint8]]
    logits: Tensor
    synaptic_events: NDArray[np.int64]
    packets: NDArray[np.int64]
    fired: int = 0

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


def pack(program: Runnable, x: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return what enters the chip for B images: input lines (B, lines, steps) and biases (B, all neurons).

    Raises:
        InvalidArgumentError: the input does not fit the network (shape, values that are not finite, or other than 0 and
            1 for spikes).
    """
    lowered, shape = program.mapping.lowered, program.input_shape
    sequence = tuple(x.shape[2:]) == shape and x.ndim == len(shape) + 2
    if not sequence and tuple(x.shape[1:]) != shape:
        raise InvalidArgumentError(
            f"the program takes (B, {', '.join(map(str, shape))}) or (T, B, …) of spikes, got {tuple(x.shape)}."
        )
    images = x.shape[1] if sequence else x.shape[0]
    lines = np.zeros((images, lowered.lines, lowered.steps), np.uint8)
    lines[:, lowered.external :] = lowered.clock_lines()
    if lowered.external:
        lines[:, : lowered.external, : lowered.timesteps] = _spikes(x, sequence, lowered.timesteps)
    elif sequence:
        raise InvalidArgumentError("this program takes images (B, …), the same at every step, not a sequence.")
    return lines, _biases(program, x)


def _spikes(x: Tensor, sequence: bool, timesteps: int) -> NDArray[np.uint8]:
    """(T, B, …) or (B, …) of 0 and 1 → (B, lines, T)."""
    spikes = x if sequence else x.expand(timesteps, *x.shape)
    if not bool(((spikes == 0) | (spikes == 1)).all()) or len(spikes) != timesteps:
        raise InvalidArgumentError(
            f"this program takes {timesteps} steps of spikes (0 or 1); got {len(spikes)} steps with "
            f"values from {float(spikes.min()):g} to {float(spikes.max()):g}."
        )
    packed: NDArray[np.uint8] = spikes.flatten(2).permute(1, 2, 0).byte().numpy()
    return packed


def _biases(program: Runnable, x: Tensor) -> NDArray[np.int32]:
    """What the host writes into bias registers, (B, all neurons); 0 where spikes drive a population."""
    lowered, host = program.mapping.lowered, program.host_graph
    images = x.shape[x.ndim - 1 - len(program.input_shape)]
    biases = np.zeros((images, lowered.neurons), np.int32)
    if host is None:
        return biases
    if not bool(torch.isfinite(x).all()):
        raise InvalidArgumentError("the input holds NaN or infinity, of which no bias can be made.")
    outputs, _ = interpret(host, x.double(), timesteps=1)
    values = (outputs,) if isinstance(outputs, Tensor) else outputs
    drives = dict(zip(host.outputs, values, strict=True))
    start = 0
    for placed in lowered.placed:
        if placed.host_driven:
            biases[:, start : start + placed.population.size] = drives[placed.drive][0].flatten(1).numpy()
        start += placed.population.size
    return biases


def simulate(program: Runnable, x: Tensor) -> Trace:
    """Run images (B, …), or spikes (T, B, …), through the mapped integer program."""
    lines, biases = pack(program, x)
    mapping, tables = program.mapping, program.tables

    def run(start: int) -> engine.CoreActivity:
        batch = slice(start, start + _BATCH)
        return engine.run(mapping, tables, lines[batch], biases[batch])

    # The inner loop holds no lock: one thread for each core that torch would use.
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        activities = list(pool.map(run, range(0, len(lines), _BATCH)))
    lowered = mapping.lowered
    spikes = {}
    for index, placed in enumerate(lowered.placed):
        if placed.kind == "neuron":
            whole = np.concatenate([a.spikes[index] for a in activities])
            spikes[placed.layer] = whole[:, placed.depth : placed.depth + lowered.timesteps].transpose(1, 0, 2)
    voltages = [np.sum([a.voltages[i].astype(np.int64) for i in lowered.readouts], axis=0) for a in activities]
    membrane = torch.from_numpy(np.concatenate(voltages)).double()
    return Trace(
        spikes=spikes,
        logits=logits(program, membrane.reshape(-1, *program.output_shape)),
        synaptic_events=np.sum([a.synaptic_events for a in activities], axis=0),
        packets=np.sum([a.packets for a in activities], axis=0),
        fired=sum(int(np.sum(spikes)) for a in activities for spikes in a.spikes),
    )


def logits(program: Runnable, membrane: Tensor) -> Tensor:
    """Turn the readout's last membrane, of any shape, into the float network's units: mean outputs over time."""
    scale, shift = program.readout.attributes["scale"], program.mapping.chip.arithmetic.threshold_shift
    return membrane / float(2**shift * scale * program.graph.timesteps)


def verify(program: Runnable, x: Tensor, trace: Trace) -> Equality:
    """Compare the mapped program with ``interpret`` of the quantised graph, and that with the float graph."""
    batch_axis = x.ndim - 1 - len(program.input_shape)
    floating = program.source_graph.double()
    signals = {p.layer: p.signal for p in program.mapping.lowered.placed if p.kind == "neuron"}
    by_layer = {name: [0, 0] for name in signals}
    mismatches = compared = spikes = differing = start = 0
    made, wanted = [], []
    for part in torch.split(x.double(), _BATCH, dim=batch_axis):
        images = slice(start, start + part.shape[batch_axis])
        start = images.stop
        membrane, quantised = interpret(program.graph, part, probes=list(signals.values()))
        outputs, exact = interpret(floating, part, probes=list(signals))
        assert isinstance(membrane, Tensor)
        assert isinstance(outputs, Tensor)
        for name, signal in signals.items():
            theirs, ours = quantised[signal].flatten(2).byte().numpy(), trace.spikes[name][:, images]
            mismatches += int((theirs != ours).sum())
            compared += ours.size
            spikes += int(ours.sum())
            by_layer[name][0] += int((quantised[signal] != exact[name]).sum())
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
        float_proven=_proven(program.graph),
    )


def _proven(graph: Graph) -> bool:
    """Whether no weight, bias or threshold was rounded and nothing decays: then the float network computes the same."""
    kept = [n.attributes for n in graph if is_neuron(n)]
    return all(a.get("rounding", 1.0) == 0.0 and a["dv"] == 0 and a["drive"] == "current" for a in kept)


def network(program: Runnable, x: Tensor) -> Network:
    """Return the integer network with the input of **one** image (1, …): what lava and the reference run."""
    lines, biases = pack(program, x)
    if len(lines) != 1:
        raise InvalidArgumentError(f"an artifact holds the input of one image, got {len(lines)}.")
    populations, start = [], 0
    for placed in program.mapping.lowered.placed:
        p = placed.population
        if placed.host_driven:
            exponent = _bias_exponent(program.graph, placed.drive)
            mantissa = biases[0, start : start + p.size] >> exponent
            p = replace(p, bias_mant=mantissa, bias_exp=np.full(p.size, exponent, np.int32))
        populations.append(p)
        start += p.size
    return Network(tuple(populations), program.mapping.lowered.projections, lines[0])


def _bias_exponent(graph: Graph, signal: str) -> int:
    node = graph.producer(signal)
    assert node is not None
    return int(node.attributes["exponent"])
