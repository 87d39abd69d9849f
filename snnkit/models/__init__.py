"""Model families, one file a paper; importing this package fills the registry."""

from snnkit.models import (
    e_spikeformer,
    e_spikeformer_large,
    meta_spikeformer,
    meta_spikeformer_seg,
    ms_resnet,
    sew_resnet,
    spiking_cnn,
    spiking_vgg,
    swin_v2,
    uniformer,
    uniformer_dense,
    uniformer_light,
    uniformer_video,
)
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
    "e_spikeformer_large",
    "families",
    "family_of",
    "list_models",
    "meta_spikeformer",
    "meta_spikeformer_seg",
    "model_info",
    "ms_resnet",
    "register_model",
    "register_variant",
    "sew_resnet",
    "spiking_cnn",
    "spiking_vgg",
    "swin_v2",
    "uniformer",
    "uniformer_dense",
    "uniformer_light",
    "uniformer_video",
]
