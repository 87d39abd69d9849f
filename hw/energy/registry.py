"""Energy models by name. To add one: a file with a ``MODEL``, and its line below."""

from __future__ import annotations

from hw.energy import arithmetic_45nm, lemaire2022, loihi1, memory_45nm, published, reduced_45nm, yan2024
from hw.energy.model import EnergyModel, EstimateError
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


def model_of(model: str | EnergyModel) -> EnergyModel:
    """Return the model that is meant by its name, or by itself.

    Raises:
        UnknownNameError: no such model (names the nearest match and what is known).
        EstimateError: neither a name nor a model.
    """
    if isinstance(model, EnergyModel):
        return model
    if not isinstance(model, str):
        raise EstimateError(
            f"the energy model is a {type(model).__name__}; give its name, such as '45nm', or one of hw.energy.MODELS."
        )
    return lookup("energy model", model, MODELS)
