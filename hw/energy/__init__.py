"""Energy models by name: counts × constants → interval. To add one: a file with a ``MODEL``, and its line below."""

from __future__ import annotations

import difflib

from hw.counts import Counts
from hw.energy import arithmetic_45nm
from hw.energy.model import Energy, EnergyModel

_ALL = (arithmetic_45nm.MODEL,)
MODELS: dict[str, EnergyModel] = {model.name: model for model in _ALL}


class UnknownEnergyModelError(LookupError):
    """No energy model of that name."""

    user_error = True


def estimate(counts: Counts, model: str = "45nm") -> Energy:
    """Return what ``counts`` cost per image by the named model, as an interval with its parts and sources.

    Raises:
        UnknownEnergyModelError: no such model (names the nearest match and what is known).
    """
    if model not in MODELS:
        close = difflib.get_close_matches(model, list(MODELS), n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UnknownEnergyModelError(f"unknown energy model {model!r}.{hint} Known: {', '.join(sorted(MODELS))}.")
    return MODELS[model].estimate(counts)


__all__ = ["MODELS", "Energy", "EnergyModel", "estimate"]
