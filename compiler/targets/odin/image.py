"""What ODIN or tinyODIN is loaded with, and how a host runs a network on it.

The chip stays in open loop: spikes leave it, and the host sends them back. In a time step it goes through the
populations one after the other; to each it sends the rows of all that feeds it, in the order of their addresses, each
as often as its source fired; the spikes that come out feed the populations behind it. Rows and neurons are numbered
apart: a source has a row of its own for each population that it feeds (two where it both raises and lowers membranes).

Shapes: B images, T time steps, N neurons and R rows in use, S values of the input.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compiler.errors import CompileError, Violation
from compiler.graph import Graph, Node
from compiler.targets.odin import events
from compiler.targets.odin.arithmetic import FORMATS, NEURONS, ODIN, OUTPUT_CYCLES, TINYODIN, Format
from compiler.targets.odin.events import SPIKE, Ints
from compiler.targets.odin.operations import ALWAYS, MOST_TIMES, STATES, value_of
from compiler.targets.odin.quantise import too_many
from compiler.targets.odin.simulator import Core, Neurons, loaded, text_of, update
from compiler.targets.target import Activity, Options
from hw.chip import Chip
from snnkit.errors import InvalidArgumentError
from snnkit.kernels.compiled import compiled


@dataclass(frozen=True, eq=False)
class Place:
    """A population on the chip: its node, its first neuron and how many, its first row and how many."""

    node: Node
    neuron: int
    neurons: int
    row: int
    rows: int


@dataclass(frozen=True, eq=False)
class CoreImage:
    """The memories of the chip, and the host's table.

    ``source`` (R,): what each row is sent for, an input s, a neuron S + n, or −1; ``delay`` (R,): how many steps later.
    """

    chip: Chip
    graph: Graph
    places: tuple[Place, ...]
    core: Core
    source: Ints
    delay: Ints

    @property
    def format(self) -> Format:
        """The chip's integer formats."""
        return self.core.format

    @cached_property
    def neurons(self) -> int:
        """Neurons in use."""
        return sum(place.neurons for place in self.places)

    def simulate(self, x: Tensor) -> Activity:
        """Run spikes (B, …), the same at every step, or (T, B, …) through the chip.

        Counters: ``cycles`` and ``host_events`` of all images; ``most_cycles`` of one image; ``synaptic_operations``:
        rows sent × neurons that each reaches, as the chip works them off; ``energy_pj``: these at the chip's own price,
        where one was measured on it.

        Raises:
            InvalidArgumentError: the input does not fit the network.
        """
        counts = self._counts(x)
        _kernel()  # made before threads ask for it: `inspect` reads sources safely in one thread only
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            done = list(pool.map(self._run, counts))
        spikes = np.stack([one[0] for one in done], 1)  # (T, B, neurons)
        sent = np.array([one[2] for one in done])
        cycles = np.array([one[3] for one in done])
        operations = int(sent.sum()) * self.core.updated
        last = self.places[-1]
        parts = {p.node.output: spikes[:, :, p.neuron : p.neuron + p.neurons] for p in self.places[:-1]}
        fired = torch.from_numpy(spikes[:, :, last.neuron : last.neuron + last.neurons].sum(0)).double()
        v = torch.from_numpy(np.stack([one[1] for one in done])[:, last.neuron : last.neuron + last.neurons]).double()
        counters: dict[str, Any] = {"cycles": int(cycles.sum()), "most_cycles": int(cycles.max())}
        counters |= {"host_events": int(sent.sum()), "synaptic_operations": operations}
        price = self.chip.numbers.get("pj_per_synop")
        if price is not None and price.confirmed:
            counters["energy_pj"] = operations * price.value
        return Activity(
            spikes=parts,
            membrane=value_of(last.node, v, fired),
            synaptic_events=np.array([operations]),
            packets=np.array([[0], [int(sent.sum())]]),
            fired=int(spikes.sum()),
            counters=counters,
        )

    def trace(self, x: Tensor) -> dict[str, NDArray[Any]]:
        """Return the chip and the events of **one** image (1, …) or (T, 1, …) as the arrays of a trace.

        Written to a file (``trace.write``), ``compiler.simulate.replay`` runs it; its neurons are the chip's own.

        Raises:
            InvalidArgumentError: the input does not fit the network, or is of several images.
        """
        counts = self._counts(x)
        if len(counts) != 1:
            raise InvalidArgumentError(f"a trace holds the events of one image, got {len(counts)}.")
        rows, steps = [], []
        spikes = self._run(counts[0])[0]
        given: Ints = np.concatenate([counts[0], spikes, np.ones((len(spikes), 1), np.int64)], 1)
        for t in range(len(given)):
            times = np.where(self.delay > t, 0, given[t - self.delay, self.source])
            sent = np.repeat(np.arange(len(self.source)), times)
            rows.append(sent)
            steps.append(np.full(len(sent), t))
        addresses = events.spikes(self.format, np.concatenate(rows))
        core = self.core
        arrays: dict[str, Any] = {"steps": len(given), "cfg_v_init": core.v, "cfg_thr": core.threshold}
        arrays |= {"cfg_leak": core.leak, "cfg_disable": core.disabled}
        arrays["cfg_events"] = np.stack([np.concatenate(steps), addresses], 1)
        if self.format is TINYODIN:
            arrays |= {"cfg_weights": core.weights, "max_neur": core.updated - 1, "open_loop": 1}
        else:
            inhibitory = (core.weights < 0).any(1)
            arrays |= {"cfg_weights": np.abs(core.weights), "cfg_mapped": (core.weights != 0).astype(np.int64)}
            arrays |= {"cfg_pre_sign": inhibitory.astype(np.int64), "cfg_leak_en": np.zeros(NEURONS, np.int64)}
            arrays["propagate_unmapped"] = 0
        return {key: np.asarray(value) for key, value in arrays.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the mapping as plain data for JSON."""
        populations = [
            {
                "name": p.node.name,
                "kind": "readout" if p.node.role == "readout" else "neuron",
                "depth": 0,
                "weight_bits": (self.format.weight[1] - self.format.weight[0]).bit_length(),
                "neurons": p.neurons,
                "first_neuron": p.neuron,
                "rows": p.rows,
                "first_row": p.row,
                "cores": [0],
            }
            for p in self.places
        ]
        load = {"id": 0, "neurons": self.neurons, "rows": len(self.source)}
        load["synapses"] = int((self.core.weights != 0).sum())
        return {
            "chip": self.chip.name,
            "limits": {"cores": 1, "neurons": NEURONS, "rows": NEURONS, "synapses": NEURONS**2},
            "populations": populations,
            "cores": [load],
            "steps": self.graph.timesteps,
        }

    def _counts(self, x: Tensor) -> Ints:
        """Return how often each input fires, (B, T, S)."""
        name, steps = self.graph.inputs[0], self.graph.timesteps
        shape, kind = self.graph.shape(name), self.graph.type(name)
        sequence = tuple(x.shape[2:]) == shape and x.ndim == len(shape) + 2
        if not sequence and tuple(x.shape[1:]) != shape:
            wanted = ", ".join(map(str, shape))
            raise InvalidArgumentError(f"the program takes (B, {wanted}) or (T, B, {wanted}), got {tuple(x.shape)}.")
        if not x.shape[1 if sequence else 0]:
            raise InvalidArgumentError("there are no images to run: the input has a batch of 0.")
        given = (x if sequence else x.expand(steps, *x.shape)).double()
        inside = (given >= kind.low) & (given <= kind.high) & (given == given.round())
        if len(given) != steps or not bool(inside.all()):
            raise InvalidArgumentError(
                f"this program takes {steps} steps of {kind} events; got {len(given)} steps with values from "
                f"{float(given.min()):g} to {float(given.max()):g}."
            )
        counts: Ints = given.flatten(2).transpose(0, 1).long().contiguous().numpy()
        return counts

    def _run(self, counts: Ints) -> tuple[Ints, Ints, int, int]:
        """Run one image (T, S): spikes (T, neurons), the last membranes (neurons,), rows sent, cycles."""
        core = self.core
        spikes = np.zeros((len(counts), self.neurons), np.int64)
        neurons = loaded(core)
        bounds = np.array([*(p.row for p in self.places), len(self.source)])
        alone = 2 * core.updated + self.format.spike_cycles
        sent, cycles, runaway = _kernel()(neurons, counts, self.source, self.delay, bounds, alone, MOST_TIMES, spikes)
        if runaway >= 0:
            raise InvalidArgumentError(
                f"a neuron of {self.graph.name} fires more than {MOST_TIMES:,} times in step {runaway}: spikes make "
                "ever more spikes. Make the weights of its loop smaller, or thresholds higher."
            )
        return spikes, neurons[0][: self.neurons], int(sent), int(cycles)


def build(graph: Graph, chip: Chip, options: Options) -> CoreImage:
    """Load a quantised graph.

    Raises:
        CompileError: it has more neurons or rows than the chip, or numbers that the chip cannot hold.
    """
    form, first = FORMATS[chip.semantics], graph.signals[graph.inputs[0]].size
    nodes = [node for node in graph if node.op in ("if_sequential", "readout_sequential")]
    nodes.sort(key=lambda node: node.op)  # the readout comes last
    wrong = [node.name for node in graph if node not in nodes]
    if wrong or not nodes or nodes[-1].op != "readout_sequential":
        limit = f"a program for {chip.name} has populations and a readout only"
        raise CompileError(Violation(graph.name, f"other operations ({', '.join(wrong)})", limit))
    sizes = {node.name: tuple(node.parameters["weight"].shape) for node in nodes}
    for axis, what in enumerate(("neurons", "rows of synapses")):
        of = {name: size[axis] for name, size in sizes.items()}
        if sum(of.values()) > NEURONS:
            raise CompileError(too_many(chip, of, what))
    _check_numbers(graph, chip, form, nodes)
    weights, thresholds = np.zeros((NEURONS, NEURONS), np.int64), np.full(NEURONS, form.threshold[1], np.int64)
    places: list[Place] = []
    neuron = row = 0
    for node in nodes:
        count, rows = sizes[node.name]
        places.append(Place(node, neuron, count, row, rows))
        weights[row : row + rows, neuron : neuron + count] = node.parameters["weight"].T.long().numpy()
        thresholds[neuron : neuron + count] = node.parameters["threshold"].long().numpy()
        neuron, row = neuron + count, row + rows
    zeros = np.zeros(NEURONS, np.int64)
    unused = (np.arange(NEURONS) >= neuron).astype(np.int64)
    updated = NEURONS if form is ODIN else neuron
    core = Core(form, zeros, thresholds, zeros, unused, weights, updated)
    tables = [_table(graph, place.node, places, first) for place in places]
    source, delay = (np.concatenate(column) for column in zip(*tables, strict=True))
    return CoreImage(chip, graph, tuple(places), core, source, delay)


def _table(graph: Graph, node: Node, places: list[Place], first: int) -> tuple[Ints, Ints]:
    """Return where the host finds the count of each row of a node, and how many steps back."""
    start = {graph.inputs[0]: 0} | {place.node.output: first + place.neuron for place in places}
    written = {state.read: state.written for state in graph.states}
    numbers, delays = [], []
    for name in node.inputs[: len(node.inputs) - STATES[node.op]]:
        delay, size = 0, graph.signals[name].size
        while name not in start:
            name, delay = written[name], delay + 1
        numbers.append(start[name] + np.arange(size))
        delays.append(np.full(size, delay))
    row = node.parameters["source"].long().numpy()
    return np.concatenate([*numbers, [ALWAYS]])[row], np.concatenate([*delays, [0]])[row]


def _check_numbers(graph: Graph, chip: Chip, form: Format, nodes: list[Node]) -> None:
    """Refuse weights, thresholds and membranes that the memories cannot hold."""
    low, high = form.weight
    for node in nodes:
        weight, threshold = node.parameters["weight"], node.parameters["threshold"]
        fed = sum(graph.signals[name].size for name in node.inputs[: len(node.inputs) - STATES[node.op]])
        asked = {
            "sources": (node.parameters["source"], (ALWAYS, fed - 1)),
            "weights": (weight, (low or -high, high)),
            "thresholds": (threshold, (1, form.threshold[1])),
            "membranes": (torch.tensor([node.attributes["low"], node.attributes["high"]]), form.state),
        }
        for what, (values, (least, most)) in asked.items():
            if values.numel() and (float(values.min()) < least or float(values.max()) > most):
                need = f"{what} from {float(values.min()):g} to {float(values.max()):g}"
                raise CompileError(Violation(node.name, need, f"{chip.name} has {least} to {most}"))
        if low == 0 and weight.numel() and bool(((weight.amax(0) > 0) & (weight.amin(0) < 0)).any()):
            raise CompileError(Violation(node.name, "a row of both signs", f"{chip.name} has one sign for each row"))


@cache
def _kernel() -> Callable[..., Any]:
    return _compiled(text_of(update))


def _compiled(text: str) -> Callable[..., Any]:
    """Compile the host's loop over one image."""

    @compiled(nogil=True)
    def run_image(
        neurons: Neurons,
        counts: Ints,
        source: Ints,
        delay: Ints,
        bounds: Ints,
        alone: int,
        most: int,
        spikes: Ints,
    ) -> tuple[int, int, int]:
        """Send all rows of all steps; return how many were sent, the clock cycles, and the step that ran away (−1)."""
        assert text
        inputs = counts.shape[1]
        fired = np.zeros(len(neurons[0]), np.int64)
        sent = cycles = 0
        for t in range(len(counts)):
            for population in range(len(bounds) - 1):
                for row in range(bounds[population], bounds[population + 1]):
                    s = source[row]
                    then = t - delay[row]
                    if then < 0:
                        continue
                    times = 1 if s < 0 else counts[then, s] if s < inputs else spikes[then, s - inputs]
                    if times > most:
                        return sent, cycles, t
                    for _ in range(times):
                        count = update(SPIKE, row, 0, neurons, fired)
                        for n in fired[:count]:
                            spikes[t, n] += 1
                        sent += 1
                        cycles += alone + OUTPUT_CYCLES * count
        return sent, cycles, -1

    return run_image
