"""Chip: a description of silicon as data. Limits and costs are ``Quantity`` objects, each with its source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from hw.quantity import Quantity


@dataclass(frozen=True)
class CoreLimits:
    """What one core holds."""

    neurons: Quantity
    in_axons: Quantity
    out_axons: Quantity
    synapse_bits: Quantity

    def items(self) -> Iterator[tuple[str, int]]:
        """Yield (name, limit) pairs as whole numbers."""
        for field in fields(self):
            yield field.name, int(getattr(self, field.name).value)


@dataclass(frozen=True)
class Arithmetic:
    """Integer formats of a core: bits of weights, states, biases, and the ranges that follow.

    ``semantics`` names the target (``compiler.targets``) whose rules say what the numbers mean.
    """

    weight_bits: tuple[int, ...]
    weight_exponent: tuple[int, int]
    state_bits: Quantity
    threshold_bits: Quantity
    bias_mantissa_bits: Quantity
    bias_exponent_bits: Quantity
    decay_bits: Quantity
    threshold_shift: int
    semantics: str


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


@dataclass(frozen=True)
class Chip:
    """A chip with ``cores`` equal cores.

    ``neurons`` names the dynamics it runs, ``resets`` the kinds of reset ("hard", "soft" or "none") and
    ``reset_value`` the only value that a hard reset leaves (None: any); ``notes`` says what may and may not be claimed.
    """

    name: str
    title: str
    cores: Quantity
    core: CoreLimits
    arithmetic: Arithmetic
    synapses: SynapseFormat
    mesh: Mesh
    neurons: tuple[str, ...]
    resets: tuple[str, ...]
    reset_value: float | None
    notes: str
