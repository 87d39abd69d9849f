"""Energy models: counts × constants → interval. To add one: a file with a ``MODEL``, and its line in ``registry``."""

from __future__ import annotations

from hw.counts import Counts
from hw.energy import neurobench
from hw.energy.break_even import break_even
from hw.energy.comparing import compare
from hw.energy.idle import static
from hw.energy.model import Energy, EnergyModel, with_static_power
from hw.energy.registry import MODELS, model_of


def estimate(counts: Counts, model: str | EnergyModel = "45nm", strict: bool = False) -> Energy:
    """Return what ``counts`` cost per sample by one model, as an interval with its parts and sources.

    Args:
        counts: what a network did.
        model: the name of one of ``MODELS``, or a model.
        strict: refuse constants that were not checked against their source, and counts that are not all priced.

    Raises:
        UnknownNameError: no such model (names the nearest match and what is known).
        EstimateError: the model cannot price these counts, or not strictly; or it is no model, or these are no counts.
    """
    return model_of(model).estimate(counts, strict)


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
