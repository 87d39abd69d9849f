"""Chip: a description of silicon as data. Limits and costs are ``Quantity`` objects, each with its source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TypedDict, Unpack

from hw.layers import LayerLimits
from hw.lookup import lookup
from hw.numbers import NUMBERS, OF_THE_WHOLE
from hw.quantity import Quantity
from hw.validity import contradictions


class ChipError(ValueError):
    """A description that contradicts itself, or one asked for what it does not hold."""

    user_error = True


@dataclass(frozen=True)
class CoreLimits:
    """What one core holds."""

    neurons: Quantity
    in_axons: Quantity
    out_axons: Quantity
    synapse_bits: Quantity

    def items(self) -> Iterator[tuple[str, int]]:
        """Yield (name, limit) pairs as whole numbers."""
        for limit in fields(self):
            yield limit.name, int(getattr(self, limit.name).value)


@dataclass(frozen=True)
class Arithmetic:
    """Integer formats of a core: bits of weights, states, biases, and the ranges that follow.

    ``payload_bits`` of an event, sign included (0: spikes are 0 or 1); ``products``: whether two signals of events may
    be multiplied on the chip. ``source`` is that of the plain numbers here, ``confirmed`` whether it was looked at.
    """

    weight_bits: tuple[int, ...]
    weight_exponent: tuple[int, int]
    state_bits: Quantity
    threshold_bits: Quantity
    bias_mantissa_bits: Quantity
    bias_exponent_bits: Quantity
    decay_bits: Quantity
    threshold_shift: int
    source: str
    payload_bits: int = 0
    products: bool = False
    confirmed: bool = True


@dataclass(frozen=True)
class SynapseFormat:
    """How synapses are packed in memory.

    An axon's weights are stored in chunks of at most ``chunk_weights``; a chunk takes
    n·(weight_bits + delay_bits + tag_bits + index_bits) + ``chunk_header_bits`` bits, rounded up to ``word_bits``.
    """

    word_bits: int
    chunk_weights: int
    chunk_header_bits: int
    delay_bits: int
    tag_bits: int
    index_bits: tuple[int, ...]
    source: str
    confirmed: bool = True

    def index_bits_for(self, neurons: int) -> int:
        """Return the smallest index format that addresses ``neurons`` compartments.

        Raises:
            ValueError: more than the longest index addresses.
        """
        needed, longest = max(0, neurons - 1).bit_length(), max(self.index_bits)
        if needed > longest:
            raise ValueError(f"{neurons} neurons on a core: the longest index has {longest} bits, for {2**longest}")
        return next(bits for bits in self.index_bits if bits >= needed)

    def axon_bits(self, synapses: int, weight_bits: int, neurons: int) -> int:
        """Return the memory in bits of one axon with ``synapses`` sparse synapses, on a core with ``neurons``."""
        each = weight_bits + self.delay_bits + self.tag_bits + self.index_bits_for(neurons)
        full, rest = divmod(synapses, self.chunk_weights)
        return full * self._words(self.chunk_weights * each) + (self._words(rest * each) if rest else 0)

    def _words(self, payload_bits: int) -> int:
        return -(-(payload_bits + self.chunk_header_bits) // self.word_bits) * self.word_bits


@dataclass(frozen=True)
class Mesh:
    """A 2-D mesh of tiles with ``cores_per_tile`` cores each; core k lies on tile k // cores_per_tile.

    Tile i has x = i // height and y = i % height; packets go along x first, then along y.
    """

    width: int
    height: int
    cores_per_tile: int
    source: str
    confirmed: bool = True

    def position(self, core: int) -> tuple[int, int]:
        """Return (x, y) of the core's tile.

        Raises:
            ValueError: no such core.
        """
        cores = self.width * self.height * self.cores_per_tile
        if not 0 <= core < cores:
            raise ValueError(f"core {core} is outside the mesh, whose cores are 0 to {cores - 1}")
        tile = core // self.cores_per_tile
        return tile // self.height, tile % self.height

    def hops(self, source: int, target: int) -> int:
        """Return the number of tile-to-tile links between two cores."""
        (x0, y0), (x1, y1) = self.position(source), self.position(target)
        return abs(x0 - x1) + abs(y0 - y1)

    def route(self, source: int, target: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """Yield the links ((x, y), (x, y)) from one core's tile to the other's, x first."""
        (x, y), (x1, y1) = self.position(source), self.position(target)
        while (x, y) != (x1, y1):
            step = (x + (1 if x1 > x else -1), y) if x != x1 else (x, y + (1 if y1 > y else -1))
            yield (x, y), step
            x, y = step


class Changes(TypedDict, total=False):
    """What ``Chip.rebuilt`` may change."""

    cores: Quantity
    core: CoreLimits
    arithmetic: Arithmetic
    synapses: SynapseFormat
    mesh: Mesh


@dataclass(frozen=True)
class Build:
    """What programs are made from: ``cores`` equal cores on a mesh, their limits and integer formats."""

    cores: Quantity
    core: CoreLimits
    arithmetic: Arithmetic
    synapses: SynapseFormat
    mesh: Mesh

    def numbers(self) -> dict[str, Quantity]:
        """Return the numbers of the build under the names that all chips share."""
        a, s, m = self.arithmetic, self.synapses, self.mesh
        found = {
            "cores": self.cores,
            "neurons_per_core": self.core.neurons,
            "in_axons": self.core.in_axons,
            "out_axons": self.core.out_axons,
            "synapse_bits_per_core": self.core.synapse_bits,
            "weight_bits": _widths(a.weight_bits, a.source, a.confirmed, "; the range: formats there are"),
            "state_bits": a.state_bits,
            "threshold_bits": a.threshold_bits,
            "bias_mantissa_bits": a.bias_mantissa_bits,
            "bias_exponent_bits": a.bias_exponent_bits,
            "decay_bits": a.decay_bits,
            "synapse_word_bits": Quantity(s.word_bits, "bits", s.source, confirmed=s.confirmed),
            "index_bits": _widths(s.index_bits[-1:], s.source, s.confirmed),
            "mesh_width": Quantity(m.width, "tiles", m.source, confirmed=m.confirmed),
            "mesh_height": Quantity(m.height, "tiles", m.source, confirmed=m.confirmed),
            "cores_per_tile": Quantity(m.cores_per_tile, "cores", m.source, confirmed=m.confirmed),
        }
        if a.payload_bits:
            found["payload_bits"] = Quantity(a.payload_bits, "bits", a.source, confirmed=a.confirmed)
        return found


def _widths(bits: tuple[int, ...], source: str, confirmed: bool, note: str = "") -> Quantity:
    if len(bits) < 2:
        return Quantity(max(bits, default=0), "bits", source, confirmed=confirmed)
    return Quantity(max(bits), "bits", f"{source}{note}", min(bits), None, confirmed)


@dataclass(frozen=True)
class Chip:
    """A chip: its numbers, and what is needed to make programs for it where that is known.

    Attributes:
        semantics: the name of the target (``compiler.targets``) that makes its programs; "": described only.
        numbers: every number by a name that all chips share (``hw.numbers``); those of ``build`` are among them.
        build: the parts that programs are made from, for chips of equal cores on a mesh.
        layers: limits of a layer, for chips that are programmed layer by layer.
        neurons: the dynamics it runs; (): any, or not described (``notes``).
        resets: "hard", "soft" or "none"; (): not described.
        reset_value: the only value that a hard reset leaves (None: any).
        notes: what may and may not be claimed.

    Raises:
        ChipError: the description contradicts itself.
    """

    name: str
    title: str
    neurons: tuple[str, ...]
    resets: tuple[str, ...]
    notes: str
    semantics: str = ""
    reset_value: float | None = None
    numbers: Mapping[str, Quantity] = field(default_factory=dict, hash=False)
    build: Build | None = None
    layers: LayerLimits | None = None

    def __post_init__(self) -> None:
        built = self.build.numbers() if self.build else {}
        order = {key: place for place, key in enumerate(NUMBERS)}
        numbers = sorted({**self.numbers, **built}.items(), key=lambda item: order.get(item[0], len(order)))
        object.__setattr__(self, "numbers", dict(numbers))
        wrong = contradictions(self)
        if wrong:
            raise ChipError(f"{self.name or 'a chip'}: {'; '.join(wrong)}.")

    def number(self, key: str) -> Quantity:
        """Return one number.

        Raises:
            UnknownNameError: this chip has none of that name (gives the nearest match and all that it has).
        """
        return lookup(f"number of {self.name}", key, self.numbers)

    def rebuilt(self, **changes: Unpack[Changes]) -> Chip:
        """Return this chip with other parts of its build: ``chip.rebuilt(cores=…, mesh=…)``.

        What was said of the whole chip is of other parts then, and left out.
        """
        numbers = {key: number for key, number in self.numbers.items() if key not in OF_THE_WHOLE}
        return replace(self, build=replace(self._build, **changes), numbers=numbers)

    @property
    def _build(self) -> Build:
        if self.build is None:
            raise ChipError(f"{self.name} is described by its numbers and limits only: it has no build to look at")
        return self.build

    @property
    def cores(self) -> Quantity:
        """How many cores it has."""
        return self.number("cores")

    @property
    def core(self) -> CoreLimits:
        """What one core holds."""
        return self._build.core

    @property
    def arithmetic(self) -> Arithmetic:
        """Integer formats of a core."""
        return self._build.arithmetic

    @property
    def synapses(self) -> SynapseFormat:
        """How synapses are packed."""
        return self._build.synapses

    @property
    def mesh(self) -> Mesh:
        """Where the cores lie."""
        return self._build.mesh
