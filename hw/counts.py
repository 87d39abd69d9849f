"""Counts: what a network did, per sample. Filled by the compiler's counter, priced by ``hw.energy``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from hw.statistics import Statistic

# A total adds up one of these over the layers.
COUNTED = (
    "dense_macs",
    "padding_macs",
    "mac",
    "effective_macs",
    "ac",
    "shift_adds",
    "synaptic_events",
    "bias_adds",
    "spikes",
    "neuron_updates",
    "threshold_tests",
    "resets",
    "activations",
    "adds",
    "multiplies",
    "divisions",
    "exponentials",
    "roots",
    "lookups",
    "input_events",
    "output_events",
    "state_reads",
    "state_writes",
    "activation_reads",
    "activation_writes",
    "weight_fetches",
    "weight_reads",
)


@dataclass(frozen=True)
class LayerCounts:
    """What one layer did, mean per sample over all time steps (exact sums over the samples, divided by their number).

    ``kind`` is "synapse" (weights meet a signal), "product" (two signals meet), "neuron" (has dynamics of its own),
    "activation", "norm", "pool", "elementwise" or "move" (values change place, which is no arithmetic).

    | operations | what |
    |---|---|
    | dense_macs | multiply-accumulates of an accelerator that skips nothing; padding_macs of them lie on padding |
    | mac | multiply-accumulates where a weight or a signal meets a real number |
    | effective_macs | of ``mac``, those whose signals are not zero: what an accelerator that skips zeros does |
    | ac | accumulates: an event of level k adds each weight it reaches k times |
    | shift_adds | an event of a power of two adds each weight once, shifted |
    | synaptic_events | ac + shift_adds: synaptic operations |
    | bias_adds | biases added |
    | spikes | what neurons sent, levels added up: a spike of −1 counts 1, one of level 3 counts 3 |
    | rate | spikes per neuron and step |
    | neuron_updates | neurons × steps; each makes threshold_tests, and resets where it fired |
    | activations | comparisons: activations, largest values |
    | adds | additions outside of layers and neurons: residuals, pooling, sums |
    | multiplies | multiplications outside of layers: real × real, statistics of norms |
    | divisions, exponentials, roots | logarithms and trigonometric functions are exponentials |
    | lookups | rows read out of a table |

    Between two events, every unit of the one that meets a unit of the other is an accumulate.

    | memory | numbers, not bytes: a model says how wide a number is |
    |---|---|
    | input_events | values that are not zero, of the signals that come in and carry events |
    | output_events | values that are not zero, of what neurons and activations send |
    | weight_fetches | one weight (in a product: one value) for every mac, ac and shift_add, and every bias: no reuse |
    | weight_reads | every stored number once an evaluation: full reuse |
    | state_reads, state_writes | states of neurons, once an update each |
    | activation_reads, activation_writes | values of all signals that come in and go out, zeros included |

    ``weights``, ``inputs``, ``outputs``, ``states`` say how many numbers of each a layer has (one sample, one
    evaluation), ``fan_in`` how many weights stand behind one output, ``evaluations`` how often it ran per sample.
    ``shape`` holds the shapes "input", "output" and "weight"; ``settings`` stride, groups and the like.
    ``spread`` holds the half-widths of the 95 % intervals of those means that hang on the samples.

    ``static`` marks layers whose input is the same at every step, so that one evaluation serves all steps; their counts
    are those of one evaluation, and ``static_repeats`` how often a naive run repeats it.
    """

    name: str
    op: str
    kind: str
    input_type: str
    output_type: str
    dense_macs: float = 0.0
    padding_macs: float = 0.0
    mac: float = 0.0
    effective_macs: float = 0.0
    ac: float = 0.0
    shift_adds: float = 0.0
    synaptic_events: float = 0.0
    bias_adds: float = 0.0
    spikes: float | None = None
    neurons: int | None = None
    rate: float | None = None
    neuron_updates: float = 0.0
    threshold_tests: float = 0.0
    resets: float = 0.0
    activations: float = 0.0
    adds: float = 0.0
    multiplies: float = 0.0
    divisions: float = 0.0
    exponentials: float = 0.0
    roots: float = 0.0
    lookups: float = 0.0
    input_events: float = 0.0
    output_events: float = 0.0
    state_reads: float = 0.0
    state_writes: float = 0.0
    activation_reads: float = 0.0
    activation_writes: float = 0.0
    weight_fetches: float = 0.0
    weight_reads: float = 0.0
    weights: int = 0
    fan_in: int = 0
    inputs: int = 0
    outputs: int = 0
    states: int = 0
    evaluations: int | float = 1
    static: bool = False
    static_repeats: int = 1
    shape: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    spread: Mapping[str, float] = field(default_factory=dict)

    def upper(self) -> LayerCounts:
        """Return the layer with every mean at the upper end of its 95 % interval."""
        ends: dict[str, Any] = {name: (getattr(self, name) or 0.0) + width for name, width in self.spread.items()}
        return replace(self, **ends)


@dataclass(frozen=True)
class Traffic:
    """What crossed a chip that a network was mapped on, mean per sample over all time steps.

    ``packets`` between cores (one for every core that a spike goes to), their hops between tiles in either direction,
    ``host_packets`` from and to the host, the load of the ``busiest_link``, ``cores`` in use, ``neurons`` on them,
    ``steps`` that a sample takes, and what the chip did: its ``synaptic_events``, ``neuron_updates`` and ``fired``.
    ``format`` is how its synapses are stored: "dense", "sparse" or "conv".
    """

    chip: str
    packets: float
    hops_east_west: float
    hops_north_south: float
    host_packets: float
    busiest_link: float
    cores: int
    neurons: int
    steps: int
    synaptic_events: float
    neuron_updates: float
    fired: float
    format: str = "sparse"


@dataclass(frozen=True)
class Counts:
    """Counts of a whole network.

    ``per_layer`` is in the order of execution; ``images`` is the number of samples; ``uncounted`` names operations that
    could not be classified (empty for every network the compiler accepts); ``neuron_operations`` maps a neuron's
    operator to (multiplications, additions, comparisons) per update; ``conventions`` says what was counted how;
    ``statistics`` holds mean, standard deviation and 95 % interval over samples of those totals that hang on them;
    ``traffic`` what crossed a chip, once mapped.
    """

    per_layer: tuple[LayerCounts, ...]
    timesteps: int
    images: int
    uncounted: tuple[str, ...] = ()
    neuron_operations: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    conventions: Mapping[str, str] = field(default_factory=dict)
    statistics: Mapping[str, Statistic] = field(default_factory=dict)
    traffic: Traffic | None = None

    @property
    def samples(self) -> int:
        """Number of samples that the means are of."""
        return self.images

    @property
    def complete(self) -> bool:
        """Whether every operation was counted."""
        return not self.uncounted

    def total(self, what: str) -> float:
        """Return the sum of one count over all layers, mean per sample.

        Raises:
            LookupError: ``what`` is not one of ``COUNTED``.
        """
        if what not in COUNTED:
            raise LookupError(f"unknown count {what!r}; known: {', '.join(COUNTED)}")
        return float(sum(getattr(layer, what) or 0.0 for layer in self.per_layer))

    def upper(self) -> Counts:
        """Return the counts with every layer at the upper end of its 95 % interval."""
        return replace(self, per_layer=tuple(layer.upper() for layer in self.per_layer))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: ``per_layer``, ``totals`` and the fields above."""
        return {
            "timesteps": self.timesteps,
            "images": self.images,
            "samples": self.images,
            "per_layer": [_plain(layer) for layer in self.per_layer],
            "totals": {what: self.total(what) for what in COUNTED},
            "statistics": {what: asdict(one) for what, one in self.statistics.items()},
            "conventions": dict(self.conventions),
            "uncounted": list(self.uncounted),
            "complete": self.complete,
            "neuron_operations": {name: list(ops) for name, ops in self.neuron_operations.items()},
            "traffic": asdict(self.traffic) if self.traffic else None,
        }


def _plain(layer: LayerCounts) -> dict[str, Any]:
    data = {f.name: getattr(layer, f.name) for f in fields(layer)}
    data["shape"] = {name: list(shape) for name, shape in layer.shape.items()}
    data["settings"] = {k: list(v) if isinstance(v, tuple) else v for k, v in layer.settings.items()}
    return {**data, "spread": dict(layer.spread)}
