"""Boxes, classes and masks of things on composed scenes, with an ordinary and a spiking backbone."""

from __future__ import annotations

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, TaskConfig
from snnkit.recipes.recipe import recipe

_RESNET = {"stem_type": "", "stem_width": 32, "channels": (32, 64, 128, 256)}
_SPIKING = {"embed_dim": (32, 64, 96, 128), "depths": (1, 1, 1, 2, 1), "num_heads": 4}
_HEADS = {"fpn_channels": 64, "box_channels": 256, "mask_channels": 32, "mask_layers": 2}
_FEW = {"proposals": 64, "regions": 48, "anchor_scale": 7.0}  # a scene has four things at most


@recipe(paper="He et al., Mask R-CNN, arXiv 1703.06870", expected="not measured")
def detection_scenes() -> RunConfig:
    """Things on composed scenes: Mask R-CNN on a narrow ten-layer ResNet of timm."""
    return _detection(ModelConfig("mask_rcnn:timm:resnet10t", sizes={**_RESNET, **_HEADS, **_FEW}))


@recipe(paper="Yao et al., Spike-driven Transformer V2, arXiv 2404.03663", expected="not measured")
def detection_scenes_spiking() -> RunConfig:
    """The same with a small Meta-SpikeFormer at one time step, its pyramid and heads spiking too."""
    sizes = {**_SPIKING, **_HEADS, **_FEW}
    return _detection(ModelConfig("mask_rcnn:meta_spikeformer_15m", timesteps=1, sizes=sizes))


def _detection(model: ModelConfig) -> RunConfig:
    config = RunConfig(model=model, task=TaskConfig(name="detection"))
    config.data.dataset, config.data.batch_size = "scenes", 16
    config.data.shift_pixels = 8
    config.optim, config.epochs = OptimConfig(lr=2e-3, weight_decay=0.05, clip=5.0), 5
    return config
