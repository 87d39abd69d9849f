"""What Catalyst N1 is loaded with: the tables of a trace (``setup``), and what its host writes for an input.

Shapes: B images, T steps of the network, S steps of the chip, C cores, N neurons built on a core.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compiler.graph import Graph
from compiler.interpreting import interpret
from compiler.targets.catalyst_n1 import simulator
from compiler.targets.catalyst_n1.arithmetic import WORD_BITS
from compiler.targets.catalyst_n1.populations import Ints, Population
from compiler.targets.catalyst_n1.setup import Setup, read
from compiler.targets.target import Activity
from hw.chip import Chip
from snnkit.errors import InvalidArgumentError
from snnkit.files import atomic_path

Tables = dict[str, NDArray[np.int32]]


@dataclass(frozen=True, eq=False)
class Host:
    """What the host writes.

    ``lines`` (rows, 4): input line, steps that it is held back, core, neuron: a current of 1 for each spike.
    ``always`` (rows, 3): first step, core, neuron: a current of 1 in each of T steps.
    ``driven``: population number, and core and neuron of each of its neurons (n, 2): the currents of its drive.
    """

    lines: Ints
    always: Ints
    driven: tuple[tuple[int, Ints], ...]


@dataclass(frozen=True, eq=False)
class ChipImage:
    """A programmed chip.

    ``places``: core and neuron of each neuron of each population, (n, 2); ``tables``: ``cfg_*`` but what the host
    writes; ``loads``: what each core holds, by name.
    """

    chip: Chip
    graph: Graph
    populations: tuple[Population, ...]
    places: tuple[Ints, ...]
    tables: Tables
    host: Host
    loads: tuple[dict[str, int], ...]

    @property
    def steps(self) -> int:
        """Steps of the chip for one input."""
        return max(p.gathers if p.readout else p.fires for p in self.populations) + self.graph.timesteps

    @cached_property
    def host_graph(self) -> Graph | None:
        """The part that the host computes once an input, up to the currents that it writes; None without one."""
        drives = tuple(self.populations[number].drive for number, _ in self.host.driven)
        if not drives:
            return None
        whole = replace(self.graph, outputs=drives, states=(), timesteps=1)
        return whole.with_nodes(self.graph.ancestors(drives), self.graph.signals)

    @cached_property
    def _setup(self) -> Setup:
        return read({**self._scalars(), **self.tables, "cfg_ext": np.zeros((0, 4), np.int32)}, self.graph.name)

    def _scalars(self) -> dict[str, NDArray[Any]]:
        neurons = int(self.chip.number("neurons_per_core").value)
        scalars = {"num_cores": len(self.loads), "neurons_per_core": neurons, "steps": self.steps}
        scalars |= dict.fromkeys(("graded", "dendritic", "noise", "scale_u", "noc_mode"), 0)
        return {key: np.array(value) for key, value in scalars.items()}

    def simulate(self, x: Tensor) -> Activity:
        """Run images (B, …), or spikes (T, B, …), through the chip, each from reset.

        Counters: ``cycles`` of all images and ``most_cycles`` of one; ``host_currents`` written; ``dropped_spikes``,
        which reached neither synapses nor other cores, and ``dropped_packets``: 0 unless they were allowed.

        Raises:
            InvalidArgumentError: the input does not fit the network.
        """
        written = self._host_rows(x)
        simulator.kernel()  # made before threads ask for it
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            done = list(pool.map(self._run, written))
        spikes, membrane, events, packets, fired, cycles, drops = zip(*done, strict=True)
        names = [p.signal for p in self.populations if not p.readout]
        return Activity(
            spikes={name: np.stack([one[name] for one in spikes], 1) for name in names},
            membrane=torch.from_numpy(np.stack(membrane))
            .double()
            .reshape(-1, *self.graph.shape(self.graph.outputs[0])),
            synaptic_events=np.sum(events, axis=0),
            packets=np.sum(packets, axis=0),
            fired=sum(fired),
            counters={
                "cycles": sum(cycles),
                "most_cycles": max(cycles),
                "host_currents": sum(len(rows) for rows in written),
                "dropped_spikes": sum(spike for spike, _ in drops),
                "dropped_packets": sum(packet for _, packet in drops),
            },
        )

    def trace(self, x: Tensor) -> dict[str, NDArray[Any]]:
        """Return the chip and the host's writes for **one** image (1, …) or (T, 1, …) as the arrays of a trace.

        Raises:
            InvalidArgumentError: the input does not fit the network, or is of several images.
        """
        rows = self._host_rows(x)
        if len(rows) != 1:
            raise InvalidArgumentError(f"a trace holds the input of one image, got {len(rows)}.")
        return {**self._scalars(), **self.tables, "cfg_ext": rows[0].astype(np.int32)}

    def save_trace(self, path: str | Path, x: Tensor) -> None:
        """Write ``trace(x)``, which ``compiler.simulate.replay`` runs; the file appears complete or not at all."""
        arrays: dict[str, Any] = self.trace(x)
        with atomic_path(Path(path)) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)

    def to_dict(self) -> dict[str, Any]:
        """Return the mapping as plain data for JSON."""
        named = {"cores": "cores", "neurons": "neurons_per_core", "synapse_words": "synapse_words_per_core"}
        named |= {"spikes_per_step": "core_spikes_per_step", "packets_per_step": "packets_per_step"}
        placed = [
            {
                "name": p.node.name if not p.share else f"{p.node.name}.{p.share}",
                "kind": "readout" if p.readout else "neuron",
                "neurons": p.size,
                "depth": p.gathers if p.readout else p.fires,
                "cores": sorted({int(core) for core in place[:, 0]}),
                "weight_bits": 0 if p.drive else WORD_BITS,
            }
            for p, place in zip(self.populations, self.places, strict=True)
        ]
        return {
            "chip": self.chip.name,
            "limits": {name: int(self.chip.number(key).value) for name, key in named.items()},
            "populations": placed,
            "cores": [{"id": index, **load} for index, load in enumerate(self.loads)],
            "steps": self.steps,
        }

    def _run(self, rows: Ints) -> tuple[dict[str, Ints], Ints, Ints, Ints, int, int, tuple[int, int]]:
        out = simulator.run(replace(self._setup, host=rows))
        steps, spikes, membrane = self.graph.timesteps, {}, np.zeros(1, np.int64)
        for p, place in zip(self.populations, self.places, strict=True):
            core, neuron = place.T
            if p.readout:
                membrane = membrane + out["u"][p.gathers + steps - 1, core, neuron].astype(np.int64)
            else:
                spikes[p.signal] = out["s"][p.fires : p.fires + steps, core, neuron].astype(np.int64)
        # Every step ends with a look at each core that is built.
        built = int(self.chip.number("cores").value) - len(self.loads)
        cycles = int(out["cycles"].sum()) + self.steps * built
        drops = int(out["fifo_drops"].sum()), int(out["inject_drops"].sum())
        return spikes, membrane, out["synops"].sum(0), self._packets(out["s"], rows), int(out["s"].sum()), cycles, drops

    def _packets(self, s: NDArray[Any], rows: Ints) -> Ints:
        """Return packets sent from core to core, lost ones included, and from the host."""
        count = len(self.loads)
        kept = s * (np.cumsum(s, axis=2) <= simulator.FIFO)
        found = np.zeros((count + 1, count), np.int64)
        routes = self.tables["cfg_routes"]
        np.add.at(found, (routes[:, 0], routes[:, 3]), kept.sum(0)[routes[:, 0], routes[:, 1]])
        found[count] = np.bincount(rows[:, 1], minlength=count)
        return found

    def _host_rows(self, x: Tensor) -> list[Ints]:
        """Return what the host writes for each image, (writes, 4) of step, core, neuron, current, sorted by step."""
        name, steps = self.graph.inputs[0], self.graph.timesteps
        shape, kind = self.graph.shape(name), self.graph.type(name)
        sequence = x.ndim == len(shape) + 2 and tuple(x.shape[2:]) == shape and not self.graph.static_input
        if not sequence and tuple(x.shape[1:]) != shape:
            wanted = ", ".join(map(str, shape))
            raise InvalidArgumentError(f"the program takes (B, {wanted}) or (T, B, {wanted}), got {tuple(x.shape)}.")
        images = x.shape[1] if sequence else len(x)
        lines = np.zeros((images, steps, 0), np.int64)
        if kind.is_event:
            given = x if sequence else x.expand(steps, *x.shape)
            if len(given) != steps or not bool(((given == 0) | (given == 1)).all()):
                raise InvalidArgumentError(
                    f"this program takes {steps} steps of spikes (0 or 1); got {len(given)} steps with values from "
                    f"{float(given.min()):g} to {float(given.max()):g}."
                )
            lines = given.flatten(2).transpose(0, 1).long().numpy()
        elif not bool(torch.isfinite(x).all()):
            raise InvalidArgumentError("the input holds NaN or infinity, of which no current can be made.")
        drives = self._drives(x)
        return [self._rows(lines[b], [drive[b] for drive in drives]) for b in range(images)]

    def _drives(self, x: Tensor) -> list[Ints]:
        """Return the current of each population that the host drives, (B, n)."""
        if self.host_graph is None:
            return []
        values, _ = interpret(self.host_graph, x.double(), timesteps=1)
        return [v[0].flatten(1).long().numpy() for v in ((values,) if isinstance(values, Tensor) else values)]

    def _rows(self, lines: Ints, drives: list[Ints]) -> Ints:
        host, steps = self.host, self.graph.timesteps
        made = [np.zeros((0, 4), np.int64)]
        for line, held, core, neuron in host.lines.tolist():
            when = np.flatnonzero(lines[:, line]) + held
            made.append(np.stack([when, *(np.full(len(when), n) for n in (core, neuron, 1))], 1))
        for first, core, neuron in host.always.tolist():
            made.append(np.stack([first + np.arange(steps), *(np.full(steps, n) for n in (core, neuron, 1))], 1))
        for (number, place), drive in zip(host.driven, drives, strict=True):
            first = self.populations[number].gathers
            for t in range(steps):
                made.append(np.column_stack([np.full(len(place), first + t), place, drive]))
        rows = np.concatenate(made)
        return rows[np.argsort(rows[:, 0], kind="stable")]
