"""Model families, one file a paper; importing this package fills the registry."""

from snnkit.models import e_spikeformer, spiking_cnn
from snnkit.models.family import Family, Published
from snnkit.models.registry import (
    ModelInfo,
    create_model,
    families,
    family_of,
    list_models,
    model_info,
    register_model,
    register_variant,
)

__all__ = [
    "Family",
    "ModelInfo",
    "Published",
    "create_model",
    "e_spikeformer",
    "families",
    "family_of",
    "list_models",
    "model_info",
    "register_model",
    "register_variant",
    "spiking_cnn",
]
