"""Model families, one file a paper; importing this package fills the registry."""

from snnkit.models import spiking_cnn
from snnkit.models.registry import ModelInfo, create_model, list_models, model_info, register_model

__all__ = ["ModelInfo", "create_model", "list_models", "model_info", "register_model", "spiking_cnn"]
