"""Placing: populations onto cores, with the relays and bias neurons that they need there.

If everything fits on one core, neurons feed each other directly. Else every spike that a core needs arrives at a relay
of its own there (threshold 1, one source): two packets for one neuron in one step would overwrite each other. Inputs
come from the host, which writes a current of 1 into a relay on each core that reads the line; biases are the weights of
a neuron that the host makes fire in every step in which they count.

A core is filled with the neurons of one population after the other, as many as its neurons, synapse words and spikes a
step allow: 64 spikes reach synapses, so that no more than 64 neurons that can fire lie on a core. Where spikes may be
lost, more lie on it if one neuron needs them, or if there are too few cores. A readout only adds up: it is split where
more feeds it than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from compiler.errors import CompileError, Violation
from compiler.targets.catalyst_n1.populations import Ints, Population, timed
from compiler.targets.catalyst_n1.setup import SLOTS
from hw.chip import Chip

Key = tuple[str, int]
"""A source and how many steps its spikes are held back."""


@dataclass(frozen=True)
class Limits:
    """What a core holds; ``lossy``: it may hold more ``spikes`` than that where one neuron needs them."""

    cores: int
    neurons: int
    words: int
    spikes: int
    lossy: bool

    @staticmethod
    def of(chip: Chip, lossy: bool) -> Limits:
        """Read the limits off a chip."""
        named = ("cores", "neurons_per_core", "synapse_words_per_core", "core_spikes_per_step")
        cores, neurons, words, spikes = (int(chip.number(name).value) for name in named)
        return Limits(cores, neurons, words, spikes, lossy)


@dataclass(frozen=True, eq=False)
class Part:
    """Neurons of a population (its number) that lie on one core, by their numbers in it."""

    population: int
    neurons: Ints


@dataclass(eq=False)
class Core:
    """What lies on one core: parts of populations, relays (neurons of each source), bias neurons by their step."""

    parts: list[Part] = field(default_factory=list)
    relays: dict[Key, Ints] = field(default_factory=dict)
    biases: set[int] = field(default_factory=set)
    words: int = 0
    firing: int = 0

    @property
    def own(self) -> int:
        """Neurons of populations."""
        return sum(len(part.neurons) for part in self.parts)

    @property
    def helpers(self) -> int:
        """Relays and bias neurons."""
        return len(self.biases) + sum(len(neurons) for neurons in self.relays.values())

    @property
    def neurons(self) -> int:
        """All neurons."""
        return self.own + self.helpers

    @property
    def spikes(self) -> int:
        """Neurons that may fire in one step."""
        return self.firing + self.helpers


@dataclass(frozen=True, eq=False)
class Placed:
    """Populations with their times, and the cores that they lie on; ``alone``: whether there is one core only."""

    populations: tuple[Population, ...]
    cores: tuple[Core, ...]
    alone: bool


def place(found: Sequence[Population], inputs: Sequence[str], chip: Chip, lossy: bool) -> Placed:
    """Place populations.

    Raises:
        CompileError: a core cannot hold what a single neuron needs, there are too few cores, or a loop is too short.
    """
    limits = Limits.of(chip, lossy)
    # A loop that is too short for one core is so for several: what is said then holds.
    direct = _Placing(timed(found, inputs, 1, chip.name), inputs, limits, chip, alone=True)
    if direct.fill():
        return Placed(direct.populations, tuple(direct.cores), True)
    several = timed(found, inputs, 2, chip.name)
    relayed = _Placing(several, inputs, limits, chip, alone=False)
    relayed.fill()
    if lossy and (len(relayed.cores) > limits.cores or relayed.spread() > SLOTS):
        relayed = _Placing(several, inputs, replace(limits, spikes=limits.neurons), chip, alone=False)
        relayed.fill()
    if len(relayed.cores) > limits.cores:
        need = f"{len(relayed.cores):,} cores"
        limit = f"{chip.name} has {limits.cores:,}" + ("" if lossy else '; allow="drops" fills cores further')
        counted = len(relayed.cores), limits.cores
        raise CompileError(Violation("the network", need, limit, "make its layers narrower", "cores", *counted))
    return Placed(relayed.populations, tuple(relayed.cores), False)


class _Placing:
    def __init__(
        self,
        populations: tuple[Population, ...],
        inputs: Sequence[str],
        limits: Limits,
        chip: Chip,
        alone: bool,
    ):
        self.inputs, self.limits, self.chip, self.alone = inputs, limits, chip, alone
        self.cores: list[Core] = [Core()]
        self.sizes = {p.signal: p.size for p in populations}
        self.fires = {p.signal: p.fires for p in populations} | dict.fromkeys(inputs, 0)
        self.populations = populations if alone else tuple(part for p in populations for part in self._shares(p))
        self.can_fire = [p.can_fire for p in self.populations]

    def _shares(self, population: Population) -> tuple[Population, ...]:
        if not population.readout:
            return (population,)
        stages = [(fed.source, population.stage(fed, self.fires[fed.source])) for fed in population.fed]
        # One place is left for the bias.
        return population.shares([len(self._helpers(*stage)) for stage in stages], self.limits.spikes - 1)

    def fill(self) -> bool:
        """Place everything; return False where it should lie on one core and does not."""
        for number, population in enumerate(self.populations):
            start = 0
            while start < population.size:
                stop = self._most(number, start)
                if stop > start:
                    self.cores[-1] = self._with(self.cores[-1], number, start, stop)
                    start = stop
                elif self.alone:
                    return False
                elif not self.cores[-1].parts:
                    stop = self._most(number, start, lossy=self.limits.lossy)
                    if stop == start:
                        raise CompileError(self._too_large(number, start))
                    self.cores[-1] = self._with(self.cores[-1], number, start, stop)
                    start = stop
                if start < population.size and not self.alone:
                    self.cores.append(Core())
        return True

    def spread(self) -> int:
        """Return on how many cores one source is repeated at most; the host's do not count."""
        counts: dict[str, Ints] = {}
        for core in self.cores:
            for (source, held), neurons in core.relays.items():
                if held == 1 and source not in self.inputs:
                    counts.setdefault(source, np.zeros(self.sizes[source], np.int64))[neurons] += 1
        return max((int(count.max()) for count in counts.values()), default=0)

    def _most(self, number: int, start: int, lossy: bool = False) -> int:
        """Return up to which neuron of a population the last core can take them."""
        low, high = start, self.populations[number].size
        if self.alone:
            return high if self._fits(self._with(self.cores[-1], number, start, high)) else start
        while low < high:
            middle = (low + high + 1) // 2
            if self._fits(self._with(self.cores[-1], number, start, middle), lossy):
                low = middle
            else:
                high = middle - 1
        return low

    def _fits(self, core: Core, lossy: bool = False) -> bool:
        inside = core.neurons <= self.limits.neurons and core.words <= self.limits.words
        return inside and (lossy or core.spikes <= self.limits.spikes)

    def _with(self, core: Core, number: int, start: int, stop: int) -> Core:
        """Return a core that neurons of a population are added to."""
        population = self.populations[number]
        neurons = population.order[start:stop]
        made = Core([*core.parts, Part(number, neurons)], dict(core.relays), set(core.biases), core.words, core.firing)
        made.firing += int(self.can_fire[number][neurons].sum())
        biases = int(np.count_nonzero(population.bias[neurons]))
        if biases:
            made.biases.add(population.gathers)
            made.words += biases
        for fed in population.fed:
            rows = fed.weights[neurons]
            made.words += rows.nnz
            stage = population.stage(fed, self.fires[fed.source])
            used = np.unique(rows.indices).astype(np.int64)
            for key in self._helpers(fed.source, stage):
                before = made.relays.get(key, np.zeros(0, np.int64))
                made.relays[key] = np.union1d(before, used)
                # Each relay may take a word of what it repeats, but those that the host writes into.
                made.words += len(made.relays[key]) - len(before) if fed.source not in self.inputs else 0
        return made

    def _helpers(self, source: str, stage: int) -> list[Key]:
        """Return the relays that a source held back ``stage`` steps needs on a core."""
        if source in self.inputs:
            return [(source, stage)]
        return [(source, held) for held in range(1, stage + 1)]

    def _too_large(self, number: int, start: int) -> Violation:
        population, limits = self.populations[number], self.limits
        core = self._with(Core(), number, start, start + 1)
        layer = population.node.name
        if core.neurons > limits.neurons:
            need = f"{core.neurons:,} neurons on the core of each neuron (relays of what feeds it)"
            limit = f"a core of {self.chip.name} has {limits.neurons:,}; lower its fan-in"
            return Violation(layer, need, limit, "lower its fan-in", "fan-in", core.neurons, limits.neurons)
        if core.words > limits.words:
            need = f"{core.words:,} synapse words on the core of each neuron"
            limit = f"a core of {self.chip.name} has {limits.words:,}; lower its fan-in"
            return Violation(layer, need, limit, "lower its fan-in", "fan-in", core.words, limits.words)
        need = f"up to {core.spikes:,} spikes in a step on the core of each neuron (its fan-in)"
        limit = f"{limits.spikes} reach synapses on a core of {self.chip.name} and the rest is lost without a word"
        rewrite = 'lower its fan-in, or let spikes be lost and counted (allow="drops")'
        return Violation(layer, need, f"{limit}; {rewrite}", rewrite, "fan-in", core.spikes, limits.spikes)
