"""Build: a quantised graph → the memories of a Catalyst N1.

On each core bias neurons come first, then relays, then the neurons of the populations: where a step has more spikes
than its FIFO holds (64), the last ones are lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from compiler.errors import CompileError, Violation
from compiler.graph import Graph, is_neuron
from compiler.targets.catalyst_n1.image import ChipImage, Host, Tables
from compiler.targets.catalyst_n1.legal import DROPS
from compiler.targets.catalyst_n1.placing import Core, Key, Placed, place
from compiler.targets.catalyst_n1.populations import Ints, Population, populations
from compiler.targets.catalyst_n1.scale import LIMIT
from compiler.targets.catalyst_n1.setup import SLOTS, SPARSE
from compiler.targets.target import Options
from hw.chip import Chip

_IDS = {"threshold": 0, "leak": 1, "rest": 2, "dv": 16, "du": 17, "vmin": 30, "vmax": 31}
_REFRACTORY, _BIAS = 3, 18
_RELAY = {"threshold": 1, "rest": 0}
_UNUSED = {"threshold": LIMIT, "rest": 0}
_PLAIN = {"leak": 0, "dv": 0, "du": 0, "bias": 0, "vmin": -LIMIT - 1, "vmax": LIMIT}


def build(graph: Graph, chip: Chip, options: Options) -> ChipImage:
    """Load a quantised graph.

    Raises:
        CompileError: it does not fit the chip's cores, words, routes, or spikes and packets a step.
    """
    wrong = [node.name for node in graph if is_neuron(node) and node.op != "lif_n1"]
    if wrong:
        raise CompileError(Violation(wrong[0], "another neuron than lif_n1", f"{chip.name} is loaded with these alone"))
    lossy = DROPS in options.allow
    placed = place(populations(graph), graph.inputs, chip, lossy)
    work = _Building(placed, graph.inputs, chip)
    for number, core in enumerate(placed.cores):
        work.number(number, core)
    for number, core in enumerate(placed.cores):
        work.connect(number, core)
    work.check(lossy)
    loads = tuple(
        {"neurons": c.neurons, "relays": c.helpers, "synapse_words": len(work.words[i]), "spikes_per_step": c.spikes}
        for i, c in enumerate(placed.cores)
    )
    return ChipImage(chip, graph, placed.populations, work.places(), work.tables(), work.host(), loads)


@dataclass(eq=False)
class _Building:
    """Numbers and synapses under construction, by core.

    ``own``: first neuron of each part; ``relays`` and ``biases``: first neuron of each; ``words``: rows of source,
    target, weight; ``routes``: rows of source core, source neuron, target core, target neuron.
    """

    placed: Placed
    inputs: tuple[str, ...]
    chip: Chip
    own: list[list[int]] = field(default_factory=list)
    relays: list[dict[Key, int]] = field(default_factory=list)
    biases: list[dict[int, int]] = field(default_factory=list)
    words: list[Ints] = field(default_factory=list)
    routes: list[Ints] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.of = {p.signal: (number, p) for number, p in enumerate(self.placed.populations)}
        self._place: dict[str, Ints] = {}

    def number(self, index: int, core: Core) -> None:
        """Give everything on a core its neurons."""
        self.biases.append({step: number for number, step in enumerate(sorted(core.biases))})
        at, relays = len(core.biases), {}
        for key, neurons in core.relays.items():
            relays[key] = at
            at += len(neurons)
        self.relays.append(relays)
        firsts = []
        for part in core.parts:
            firsts.append(at)
            at += len(part.neurons)
        self.own.append(firsts)

    def places(self) -> tuple[Ints, ...]:
        """Return core and neuron of each neuron of each population."""
        found = [np.zeros((p.size, 2), np.int64) for p in self.placed.populations]
        for index, core in enumerate(self.placed.cores):
            for part, first in zip(core.parts, self.own[index], strict=True):
                found[part.population][part.neurons, 0] = index
                found[part.population][part.neurons, 1] = first + np.arange(len(part.neurons))
        return tuple(found)

    def place_of(self, signal: str) -> Ints:
        """Return core and neuron of each neuron that makes a signal."""
        if not self._place:
            self._place = {p.signal: at for p, at in zip(self.placed.populations, self.places(), strict=True)}
        return self._place[signal]

    def connect(self, index: int, core: Core) -> None:
        """Write the words of a core, and the routes that lead to it."""
        made = [np.zeros((0, 3), np.int64)]
        for part, first in zip(core.parts, self.own[index], strict=True):
            population = self.placed.populations[part.population]
            made += self._bias(index, population, part.neurons, first)
            made += [
                self._synapses(index, core, population, k, part.neurons, first) for k in range(len(population.fed))
            ]
        for (source, held), neurons in core.relays.items():
            targets = self.relays[index][source, held] + np.arange(len(neurons))
            if source in self.inputs:
                continue
            if held > 1:
                before = core.relays[source, held - 1]
                made.append(_row(self.relays[index][source, held - 1] + np.searchsorted(before, neurons), targets, 1))
                continue
            at = self.place_of(source)[neurons]
            here = at[:, 0] == index
            made.append(_row(at[here, 1], targets[here], 1))
            far = np.column_stack([at, np.full(len(at), index), targets])[~here]
            self.routes.append(far)
        self.words.append(np.concatenate(made))

    def _bias(self, index: int, population: Population, neurons: Ints, first: int) -> list[Ints]:
        values = population.bias[neurons]
        used = np.flatnonzero(values)
        if not len(used):
            return []
        source = np.full(len(used), self.biases[index][population.gathers])
        return [np.column_stack([source, first + used, values[used]])]

    def _synapses(self, index: int, core: Core, population: Population, k: int, neurons: Ints, first: int) -> Ints:
        """Return the words from one source of a population to some of its neurons."""
        fed = population.fed[k]
        rows = fed.weights[neurons].tocoo()
        target, source = rows.coords
        fires = self.of[fed.source][1].fires if fed.source in self.of else 0
        held = population.stage(fed, fires)
        if held == 0 and fed.source not in self.inputs:
            at = self.place_of(fed.source)[source, 1]
        else:
            key = (fed.source, held)
            at = self.relays[index][key] + np.searchsorted(core.relays[key], source)
        return np.column_stack([at, first + target, rows.data]).astype(np.int64)

    def check(self, lossy: bool) -> None:
        """Refuse what has no place in routes, runs, or packets of a step."""
        routes, name = np.concatenate([np.zeros((0, 4), np.int64), *self.routes]), self.chip.name
        most, packets = (int(self.chip.number(key).value) for key in ("fan_out", "packets_per_step"))
        _, cores = np.unique(routes[:, :2], axis=0, return_counts=True)
        if len(cores) and cores.max() > SLOTS:
            source = np.unique(routes[:, :2], axis=0)[int(cores.argmax())]
            need = f"spikes on {int(cores.max())} other cores"
            rewrite = "make the layer that it feeds narrower"
            limit = f"a neuron of {name} sends to {SLOTS}; {rewrite}"
            counted = int(cores.max()), SLOTS
            raise CompileError(Violation(self._layer(source), need, limit, rewrite, "fan-out", *counted))
        for index, words in enumerate(self.words):
            run = np.bincount(words[:, 0]) if len(words) else np.zeros(1, np.int64)
            if run.max() > most:
                source = np.array([index, int(run.argmax())])
                limit = f"a source of {name} has {most:,}; make the layers that it feeds narrower"
                raise CompileError(Violation(self._layer(source), f"{int(run.max()):,} synapses on one core", limit))
        if len(routes) > packets and not lossy:
            need = f"up to {len(routes):,} packets in a step"
            rewrite = 'let them be lost and counted (allow="drops")'
            limit = f"{name} delivers {packets} and loses the rest; {rewrite}"
            raise CompileError(Violation("the network", need, limit, rewrite, "packets", len(routes), packets))

    def _layer(self, place: Ints) -> str:
        """Name the layer that a neuron on the chip belongs to."""
        for population in self.placed.populations:
            if (self.place_of(population.signal) == place).all(1).any():
                return population.node.name
        return "the input"

    def tables(self) -> Tables:
        """Return the programming writes."""
        pool, index = [np.zeros((0, 7), np.int64)], [np.zeros((0, 5), np.int64)]
        for core, words in enumerate(self.words):
            words = words[np.lexsort((words[:, 1], words[:, 0]))]
            source, base, count = np.unique(words[:, 0], return_index=True, return_counts=True)
            core_, zero = (np.full(len(words), n) for n in (core, 0))
            pool.append(np.column_stack([core_, np.arange(len(words)), words, zero, zero]))
            index.append(
                np.column_stack([np.full(len(source), core), source, base, count, np.full(len(source), SPARSE)])
            )
        routes = np.concatenate([np.zeros((0, 4), np.int64), *self.routes])
        routes = routes[np.lexsort((routes[:, 2], routes[:, 1], routes[:, 0]))]
        starts = np.flatnonzero(np.any(np.diff(routes[:, :2], axis=0, prepend=-1), axis=1))
        slot = np.arange(len(routes)) - np.repeat(starts, np.diff(np.append(starts, len(routes))))
        far = slot // 8
        one = np.ones(len(routes), np.int64)
        found = {
            "cfg_params": np.concatenate([self._parameters(core) for core in range(len(self.words))]),
            "cfg_pool": np.concatenate(pool),
            "cfg_index": np.concatenate(index),
            "cfg_routes": np.column_stack([routes[:, :2], slot - 8 * far, routes[:, 2:], one, far]),
        }
        return {key: rows.astype(np.int32) for key, rows in found.items()}

    def _parameters(self, core: int) -> Ints:
        neurons = int(self.chip.number("neurons_per_core").value)
        helpers = self.placed.cores[core].helpers
        rows = [_programmed(core, np.arange(helpers), _PLAIN | _RELAY)]
        for part, first in zip(self.placed.cores[core].parts, self.own[core], strict=True):
            node = self.placed.populations[part.population].node
            rows.append(_programmed(core, first + np.arange(len(part.neurons)), dict(node.attributes)))
        rows.append(_programmed(core, np.arange(self.placed.cores[core].neurons, neurons), _PLAIN | _UNUSED))
        return np.concatenate(rows)

    def host(self) -> Host:
        """Return what the host writes."""
        lines, always = [np.zeros((0, 4), np.int64)], [np.zeros((0, 3), np.int64)]
        for index, core in enumerate(self.placed.cores):
            for (source, held), neurons in core.relays.items():
                if source in self.inputs:
                    at = self.relays[index][source, held] + np.arange(len(neurons))
                    lines.append(np.column_stack([neurons, np.full(len(at), held), np.full(len(at), index), at]))
            for step, neuron in self.biases[index].items():
                always.append(np.array([[step - 1, index, neuron]]))
        numbered = enumerate(self.placed.populations)
        driven = tuple((number, self.place_of(p.signal)) for number, p in numbered if p.drive)
        return Host(np.concatenate(lines), np.concatenate(always), driven)


def _row(source: Ints, target: Ints, weight: int) -> Ints:
    return np.column_stack([source, target, np.full(len(source), weight)])


def _programmed(core: int, neurons: Ints, registers: dict[str, int]) -> Ints:
    """Return the writes that program neurons of a core alike; the bias as the finest register that holds it."""
    exponent = next(e for e in range(8) if abs(registers["bias"]) >> e <= 4095 or e == 7)
    bias = ((registers["bias"] >> exponent) & 0x1FFF) << 3 | exponent if registers["bias"] else 0
    values = {number: registers[name] for name, number in _IDS.items()} | {_REFRACTORY: 0, _BIAS: bias}
    rows = [
        np.column_stack([np.full(len(neurons), n) for n in (core, 0, number, value)])
        for number, value in values.items()
    ]
    for row in rows:
        row[:, 1] = neurons
    return np.concatenate(rows)
