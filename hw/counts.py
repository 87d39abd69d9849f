"""Counts: what a network did, per image. Filled by the compiler's counter, priced by ``hw.energy``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# A total adds up one of these over the layers.
COUNTED = (
    "dense_macs",
    "mac",
    "ac",
    "synaptic_events",
    "bias_adds",
    "spikes",
    "neuron_updates",
    "activations",
    "adds",
    "multiplies",
    "divisions",
    "exponentials",
    "roots",
)


@dataclass(frozen=True)
class LayerCounts:
    """What one layer did, mean per image over all time steps (exact sums over the images, divided by their number).

    ``kind`` is "synapse" (weights meet a signal), "product" (two signals meet), "neuron" (has dynamics of its own),
    "activation", "norm", "pool", "elementwise" or "move" (values change place, which is no arithmetic).

    | count | what |
    |---|---|
    | dense_macs | multiply-accumulates of an accelerator that skips nothing |
    | mac | multiply-accumulates where a weight or a signal meets a real number |
    | ac | accumulates: an event of level k adds each weight it reaches k times, a power of two once, shifted |
    | synaptic_events | the same number: synaptic operations |
    | bias_adds | biases added |
    | spikes | what neurons sent, levels added up: a spike of −1 counts 1, one of level 3 counts 3 |
    | rate | spikes per neuron and step |
    | neuron_updates | neurons × steps |
    | activations | comparisons: activations, largest values |
    | adds | additions outside of layers and neurons: residuals, pooling, sums |
    | multiplies | multiplications outside of layers: real × real, statistics of norms |
    | divisions, exponentials, roots | logarithms and trigonometric functions are exponentials |

    Between two events, every unit of the one that meets a unit of the other is an accumulate. ``static`` marks layers
    whose input is the same at every step, so that one evaluation serves all steps; their counts are those of one
    evaluation, and ``static_repeats`` how often a naive run repeats it.
    """

    name: str
    op: str
    kind: str
    input_type: str
    output_type: str
    dense_macs: float = 0.0
    mac: float = 0.0
    ac: float = 0.0
    synaptic_events: float = 0.0
    bias_adds: float = 0.0
    spikes: float | None = None
    neurons: int | None = None
    rate: float | None = None
    neuron_updates: float = 0.0
    activations: float = 0.0
    adds: float = 0.0
    multiplies: float = 0.0
    divisions: float = 0.0
    exponentials: float = 0.0
    roots: float = 0.0
    static: bool = False
    static_repeats: int = 1


@dataclass(frozen=True)
class Counts:
    """Counts of a whole network.

    ``per_layer`` is in the order of execution; ``uncounted`` names operations that could not be classified (empty for
    every network the compiler accepts); ``neuron_operations`` maps a neuron's operator to (multiplications, additions,
    comparisons) per update.
    """

    per_layer: tuple[LayerCounts, ...]
    timesteps: int
    images: int
    uncounted: tuple[str, ...] = ()
    neuron_operations: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)

    def total(self, what: str) -> float:
        """Return the sum of one count over all layers, mean per image.

        Raises:
            LookupError: ``what`` is not one of ``COUNTED``.
        """
        if what not in COUNTED:
            raise LookupError(f"unknown count {what!r}; known: {', '.join(COUNTED)}")
        return float(sum(getattr(layer, what) or 0.0 for layer in self.per_layer))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: ``per_layer``, ``totals`` and the fields above."""
        return {
            "timesteps": self.timesteps,
            "images": self.images,
            "per_layer": [asdict(layer) for layer in self.per_layer],
            "totals": {what: self.total(what) for what in COUNTED},
            "uncounted": list(self.uncounted),
            "neuron_operations": {name: list(ops) for name, ops in self.neuron_operations.items()},
        }
