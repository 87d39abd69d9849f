"""Energy models by name: counts × constants → interval. To add one: a file with a ``MODEL``, and its line below."""

from __future__ import annotations

from hw.counts import Counts
from hw.energy import arithmetic_45nm, lemaire2022, loihi1, memory_45nm, neurobench, published, reduced_45nm, yan2024
from hw.energy.break_even import break_even
from hw.energy.comparing import compare
from hw.energy.idle import static
from hw.energy.model import Energy, EnergyModel, with_static_power
from hw.lookup import lookup

_ALL = (
    arithmetic_45nm.MODEL,
    *reduced_45nm.MODELS,
    *memory_45nm.MODELS,
    lemaire2022.MODEL,
    yan2024.MODEL,
    *loihi1.MODELS,
    *published.MODELS,
)
MODELS: dict[str, EnergyModel] = {model.name: model for model in _ALL}


def estimate(counts: Counts, model: str = "45nm", strict: bool = False) -> Energy:
    """Return what ``counts`` cost per sample by the named model, as an interval with its parts and sources.

    Args:
        counts: what a network did.
        model: one of ``MODELS``.
        strict: refuse constants that were not checked against their source, and counts that are not all priced.

    Raises:
        UnknownNameError: no such model (names the nearest match and what is known).
        EstimateError: the model cannot price these counts, or not strictly.
    """
    return lookup("energy model", model, MODELS).estimate(counts, strict)


__all__ = [
    "MODELS",
    "Energy",
    "EnergyModel",
    "break_even",
    "compare",
    "estimate",
    "neurobench",
    "static",
    "with_static_power",
]
