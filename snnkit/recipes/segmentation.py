"""Semantic segmentation of composed scenes, with an ordinary and a spiking backbone.

Both learn faster from the backbones of ``detection_scenes`` and ``detection_scenes_spiking`` (``model.weights=RUN``).
"""

from __future__ import annotations

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, TaskConfig
from snnkit.recipes.recipe import recipe
from snnkit.recipes.single_things import ORDINARY, SPIKING, STEPS

_PYRAMID = {"fpn_channels": 64, "head_channels": 64}


@recipe(
    paper="Kirillov et al., Panoptic Feature Pyramid Networks, arXiv 1901.02446",
    expected="mean IoU 71.0 %, from detection_scenes",
)
def segmentation_scenes() -> RunConfig:
    """The class of every pixel of composed scenes: Semantic FPN on a narrow ResNet of timm."""
    return _segmentation(ModelConfig(f"semantic_fpn:{ORDINARY[0]}", sizes={**ORDINARY[1], **_PYRAMID}), 12, 1e-3)


@recipe(
    paper="Kirillov et al., Panoptic Feature Pyramid Networks, arXiv 1901.02446",
    expected="mean IoU 56.7 %, from detection_scenes_spiking",
)
def segmentation_scenes_spiking() -> RunConfig:
    """The same on a narrow MS-ResNet of two time steps, its pyramid and head spiking too."""
    sizes = {**SPIKING[1], **_PYRAMID, "neurons": "backbone"}
    return _segmentation(ModelConfig(f"semantic_fpn:{SPIKING[0]}", timesteps=STEPS, sizes=sizes), 10, 2e-3)


def _segmentation(model: ModelConfig, epochs: int, rate: float) -> RunConfig:
    config = RunConfig(model=model, task=TaskConfig(name="segmentation"))
    config.data.dataset, config.data.batch_size = "scenes", 16
    config.data.shift_pixels, config.data.crop_scale = 8, 1.0
    config.optim, config.epochs = OptimConfig(lr=rate, weight_decay=0.05), epochs
    return config
