"""What a model can and cannot price: questions about counts that several models ask."""

from __future__ import annotations

from collections.abc import Collection

from hw.counts import Counts

NO_PRICE = ("divisions", "exponentials", "roots")
"""Operations that no table of energies gives a number for."""


CONNECTIONS = ("linear", "conv", "conv_transpose")
"""Operations with synapses; a batch norm or a scale has weights as well, one for each value."""


def layers_with(counts: Counts, names: Collection[str]) -> list[str]:
    """Return the names of the layers that have any of these counts."""
    return [layer.name for layer in counts.per_layer if any(getattr(layer, name) for name in names)]


def unknown_neurons(counts: Counts, known: Collection[str]) -> list[str]:
    """Return the names of the layers of neurons whose operator is not one of ``known``."""
    return [layer.name for layer in counts.per_layer if layer.neuron_updates and layer.op not in known]


def without_memory(counts: Counts) -> str | None:
    """Say why memory cannot be priced where the counts hold no sizes; None where they do."""
    working = [layer for layer in counts.per_layer if layer.mac or layer.synaptic_events or layer.neuron_updates]
    if working and not any(layer.inputs or layer.outputs for layer in working):
        return (
            "the counts say nothing of memory (weights, inputs, outputs and states of each layer); "
            "count the network again with compiler.count."
        )
    return None


def without_events(counts: Counts) -> str | None:
    """Say why a chip of events cannot run this: an ordinary network; None for a spiking one."""
    if any(layer.synaptic_events or layer.spikes is not None for layer in counts.per_layer):
        return None
    return (
        "it prices events, and these counts hold none: an ordinary network does not run there; "
        "price it with 45nm, 45nm-memory or yan2024."
    )
