"""Semantic segmentation of composed scenes, with an ordinary and a spiking backbone."""

from __future__ import annotations

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, TaskConfig
from snnkit.recipes.recipe import recipe

_RESNET = {"stem_type": "", "stem_width": 32, "channels": (32, 64, 128, 256)}
_SPIKING = {"embed_dim": (32, 64, 96, 128), "depths": (1, 1, 1, 2, 1), "num_heads": 4}


@recipe(paper="Kirillov et al., Panoptic Feature Pyramid Networks, arXiv 1901.02446", expected="not measured")
def segmentation_scenes() -> RunConfig:
    """The class of every pixel of composed scenes: Semantic FPN on a narrow ten-layer ResNet of timm."""
    return _segmentation(ModelConfig("semantic_fpn:timm:resnet10t", sizes={**_RESNET, **_PYRAMID}))


@recipe(paper="Yao et al., Spike-driven Transformer V2, arXiv 2404.03663", expected="not measured")
def segmentation_scenes_spiking() -> RunConfig:
    """The same with a small Meta-SpikeFormer, its pyramid and head spiking too."""
    model = ModelConfig("semantic_fpn:meta_spikeformer_15m", timesteps=2, sizes={**_SPIKING, **_PYRAMID})
    return _segmentation(model)


_PYRAMID = {"fpn_channels": 64, "head_channels": 64}


def _segmentation(model: ModelConfig) -> RunConfig:
    config = RunConfig(model=model, task=TaskConfig(name="segmentation"))
    config.data.dataset, config.data.batch_size = "scenes", 16
    config.data.shift_pixels, config.data.crop_scale = 8, 1.0
    config.optim, config.epochs = OptimConfig(lr=2e-3, weight_decay=0.05), 8
    return config
