"""Image: a lowered network on its cores, with what the host does before and between the steps.

Inputs are packed into input lines and bias registers; the chip runs step by step (``mapping.engine``); what it did is
handed back by signal of the quantised graph, each layer's delay removed.

Shapes: B images, T steps of the network, S steps of the chip, L input lines, N neurons.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compiler.errors import CompileError, Violation
from compiler.graph import Graph, Node
from compiler.interpreting import interpret
from compiler.mapping import Mapping, engine, place
from compiler.network import Lowered, Network
from compiler.targets.loihi import arithmetic
from compiler.targets.loihi.between import Between
from compiler.targets.loihi.lower import lower
from compiler.targets.target import Activity, Options
from hw.chip import Chip
from snnkit.errors import InvalidArgumentError

_BATCH = 50
DYNAMICS = engine.Dynamics(arithmetic.row_step, arithmetic.shift_sum, arithmetic.PARTS)


def build(graph: Graph, chip: Chip, options: Options | None = None) -> MappedImage:
    """Lower a quantised graph and map it.

    Raises:
        CompileError: it does not fit the chip.
    """
    return MappedImage(graph, place(lower(graph, chip), chip, arithmetic.effective_weights), DYNAMICS)


@dataclass(frozen=True)
class MappedImage:
    """A network on the cores of a chip: the quantised ``graph``, its ``mapping``, and how neurons step."""

    graph: Graph
    mapping: Mapping
    dynamics: engine.Dynamics

    @property
    def chip(self) -> Chip:
        """The chip it was made for."""
        return self.mapping.chip

    @property
    def lowered(self) -> Lowered:
        """Populations and synapses."""
        return self.mapping.lowered

    @cached_property
    def tables(self) -> engine.Tables:
        """The mapping laid out for the engine."""
        return engine.flatten(self.mapping)

    @cached_property
    def host_graph(self) -> Graph | None:
        """What runs on the host before the steps: from the input to biases and to its own operations; or None."""
        late = {drive for unit in self.lowered.units for drive, _ in unit.drives}
        drives = [p.drive for p in self.lowered.placed if p.drive and p.drive not in late]
        still = self.graph.static_signals() - set(self.graph.inputs)
        read = [name for node in self.graph if node.role == "host" for name in node.inputs if name in still]
        outputs = tuple(dict.fromkeys([*drives, *(name for name in read if self._is_computed(name))]))
        if not outputs:
            return None
        host = replace(self.graph, outputs=outputs, states=(), timesteps=1)
        return host.with_nodes(self.graph.ancestors(outputs), self.graph.signals)

    def _is_computed(self, signal: str) -> bool:
        """Whether a signal hangs on the input, and is not only stored."""
        return any(name in self.graph.inputs for node in self.graph.ancestors(signal) for name in node.inputs)

    @cached_property
    def host_operations(self) -> tuple[str, ...]:
        """Names of the operations that the host does between the chip's steps."""
        return tuple(node.name for node in self.graph if node.role == "host")

    def to_dict(self) -> dict[str, Any]:
        """Return the mapping as plain data for JSON."""
        return self.mapping.to_dict()

    def inputs(self, x: Tensor) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return what enters the chip for B images: levels of input lines (B, L, S) and biases (B, 1 or T, N), int64.

        Raises:
            InvalidArgumentError: the input does not fit the network (shape, values that are not finite, or others than
                its events have).
        """
        sequence = self._is_sequence(x)
        lowered = self.lowered
        images = x.shape[1] if sequence else x.shape[0]
        lines = np.zeros((images, lowered.lines, lowered.steps), np.int32)
        lines[:, lowered.first_clock :] = lowered.clock_lines()
        if lowered.external:
            lines[:, : lowered.external, : lowered.timesteps] = self._events(x, sequence)
        elif sequence and self.graph.static_input:
            raise InvalidArgumentError("this program takes images (B, …), the same at every step, not a sequence.")
        return lines, self._biases(x)

    def _is_sequence(self, x: Tensor) -> bool:
        shape = self.graph.shape(self.graph.inputs[0])
        sequence = tuple(x.shape[2:]) == shape and x.ndim == len(shape) + 2
        if not sequence and tuple(x.shape[1:]) != shape:
            raise InvalidArgumentError(
                f"the program takes (B, {', '.join(map(str, shape))}) or (T, B, …) of spikes, got {tuple(x.shape)}."
            )
        if sequence and len(x) != self.lowered.timesteps:
            raise InvalidArgumentError(f"this program takes {self.lowered.timesteps} steps; got {len(x)}.")
        return sequence

    def _events(self, x: Tensor, sequence: bool) -> NDArray[np.int32]:
        """(T, B, …) or (B, …) of events → (B, lines, T)."""
        kind = self.graph.type(self.graph.inputs[0])
        steps = x if sequence else x.expand(self.lowered.timesteps, *x.shape)
        if not bool(((steps == steps.round()) & (steps >= kind.low) & (steps <= kind.high)).all()):
            values = "0 or 1" if (kind.low, kind.high) == (0, 1) else f"{kind.low} … {kind.high}"
            raise InvalidArgumentError(
                f"this program takes {self.lowered.timesteps} steps of spikes ({values}); got {len(steps)} steps with "
                f"values from {float(steps.min()):g} to {float(steps.max()):g}."
            )
        packed: NDArray[np.int32] = steps.flatten(2).permute(1, 2, 0).int().numpy()
        return packed

    def _biases(self, x: Tensor) -> NDArray[np.int64]:
        """What the host writes into bias registers, (B, 1 or T, N); 0 where spikes alone drive a population."""
        host, lowered = self.host_graph, self.lowered
        images = x.shape[x.ndim - 1 - len(self.graph.shape(self.graph.inputs[0]))]
        rows = lowered.timesteps if any(unit.drives for unit in lowered.units) else 1
        biases = np.zeros((images, rows, lowered.neurons), np.int64)
        if host is None:
            return biases
        if not bool(torch.isfinite(x).all()):
            raise InvalidArgumentError("the input holds NaN or infinity, of which no bias can be made.")
        outputs, _ = interpret(host, x.double(), timesteps=1)
        values = (outputs,) if isinstance(outputs, Tensor) else outputs
        drives = dict(zip(host.outputs, values, strict=True))
        start = 0
        for placed in lowered.placed:
            if placed.drive in drives:
                written = drives[placed.drive][0].flatten(1).unsqueeze(1).numpy()
                biases[:, :, start : start + placed.population.size] = written
            start += placed.population.size
        return biases

    def simulate(self, x: Tensor) -> Activity:
        """Run images (B, …), or events (T, B, …), through the mapped integer program.

        Raises:
            InvalidArgumentError: the input does not fit the network.
        """
        axis = 1 if self._is_sequence(x) else 0
        parts: tuple[Tensor, ...] = torch.split(x, _BATCH, axis)
        engine.kernel(self.dynamics)  # its sources are read here: `inspect` is not safe in several threads
        # The inner loop holds no lock: one thread for each core that torch would use.
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            done = list(pool.map(self._run, parts))
        spikes = {name: np.concatenate([one.spikes[name] for one in done], 1) for name in done[0].spikes}
        return Activity(
            spikes=spikes,
            membrane=torch.cat([one.membrane for one in done]),
            membranes=torch.cat([one.membranes for one in done if one.membranes is not None], 1),
            synaptic_events=np.sum([one.synaptic_events for one in done], axis=0),
            packets=np.sum([one.packets for one in done], axis=0),
            fired=sum(one.fired for one in done),
            counters={key: sum(one.counters[key] for one in done) for key in done[0].counters},
        )

    def _run(self, x: Tensor) -> Activity:
        lowered, (lines, biases) = self.lowered, self.inputs(x)
        session = engine.Session(self.mapping, self.tables, self.dynamics, lines, biases)
        between = Between(self.graph, lowered, session, self.tables, x.double()) if lowered.units else None
        membranes = np.zeros((lowered.timesteps, len(lines), self._outputs), np.int64)
        for t in range(lowered.steps):
            if between is not None:
                between.before(t)
            session.advance(t, t + 1)
            for depth, part in self._readouts:
                if 0 <= t - depth < lowered.timesteps:
                    membranes[t - depth] += session.v[:, part]
        crossed, extra = ({}, {}) if between is None else (between.counters(), between.spikes())
        done, bounds, spikes = session.activity(), self.tables.neuron_start, dict(extra)
        for index, placed in enumerate(lowered.placed):
            part = slice(int(bounds[index]), int(bounds[index + 1]))
            if placed.kind in ("neuron", "gate"):
                whole = done.spikes[:, placed.depth : placed.depth + lowered.timesteps, part]
                spikes[placed.signal] = whole.transpose(1, 0, 2)
        shape = self.graph.shape(self._readout.output)
        read = torch.from_numpy(membranes).double().reshape(*membranes.shape[:2], *shape)
        return Activity(
            spikes=spikes,
            membrane=read[-1],
            membranes=read,
            synaptic_events=done.synaptic_events,
            packets=done.packets,
            fired=int(np.count_nonzero(done.spikes)),
            counters=crossed,
        )

    @cached_property
    def _readouts(self) -> list[tuple[int, slice]]:
        """Of each population that integrates a share of the output: its depth, and where its neurons are."""
        starts = self.tables.neuron_start
        return [
            (placed.depth, slice(int(starts[index]), int(starts[index + 1])))
            for index, placed in enumerate(self.lowered.placed)
            if placed.kind == "readout"
        ]

    @cached_property
    def _readout(self) -> Node:
        return next(node for node in self.graph if node.role == "readout")

    @property
    def _outputs(self) -> int:
        return self.graph.signals[self._readout.output].size

    def network(self, x: Tensor) -> Network:
        """Return the integer network with the input of **one** image (1, …): what lava and the reference run.

        Raises:
            CompileError: the host takes part between the steps, which such a network cannot say.
        """
        late = [p.population.name for p in self.lowered.placed if p.drive and p.depth]
        if self.lowered.units or late:
            what = ", ".join((*self.host_operations, *late)) or "products of events"
            limit = "a network for lava runs by itself: spikes and biases that never change"
            raise CompileError(Violation(self.graph.name, f"the host between the steps ({what})", limit))
        if any(p.population.further for p in self.lowered.placed):
            limit = f"lava's fixed-point LIF is another; compile for loihi1, or keep the program of {self.chip.name}"
            raise CompileError(Violation(self.graph.name, f"neurons that follow {self.chip.semantics!r}", limit))
        lines, biases = self.inputs(x)
        if len(lines) != 1:
            raise InvalidArgumentError(f"an artifact holds the input of one image, got {len(lines)}.")
        populations, start = [], 0
        for placed in self.lowered.placed:
            p = placed.population
            if placed.host_driven:
                exponent = self._bias_exponent(placed.drive)
                mantissa = (biases[0, 0, start : start + p.size] >> exponent).astype(np.int32)
                p = replace(p, bias_mant=mantissa, bias_exp=np.full(p.size, exponent, np.int32))
            populations.append(p)
            start += p.size
        return Network(tuple(populations), self.lowered.projections, lines[0].astype(np.uint8))

    def _bias_exponent(self, signal: str) -> int:
        node = self.graph.producer(signal)
        assert node is not None
        return int(node.attributes["exponent"])
