"""Corners of things in composed scenes, found on crops around them, with an ordinary and a spiking backbone."""

from __future__ import annotations

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, TaskConfig
from snnkit.recipes.recipe import recipe

_RESNET = {"stem_type": "", "stem_width": 32, "channels": (32, 64, 128, 256)}
_SPIKING = {"embed_dim": (16, 32, 48, 64), "depths": (1, 1, 1, 1, 1), "num_heads": 4}


@recipe(
    paper="Xiao et al., Simple Baselines for Human Pose Estimation and Tracking, arXiv 1804.06208",
    expected="AP 47.4 %, PCK 87.8 % of 250 test crops after 8 epochs",
)
def pose_scenes() -> RunConfig:
    """The corners of things in composed scenes: heat maps on a narrow ten-layer ResNet of timm."""
    return _pose(ModelConfig("pose:timm:resnet10t", sizes={**_RESNET, "head_channels": 64}))


@recipe(
    paper="Yao et al., Spike-driven Transformer V2, arXiv 2404.03663",
    expected="AP 0.7 %, PCK 23.5 % of 100 test crops after 248 steps (all 1,000 were not measured)",
)
def pose_scenes_spiking() -> RunConfig:
    """The same with a small Meta-SpikeFormer, its deconvolutions spiking too."""
    return _pose(ModelConfig("pose:meta_spikeformer_15m", timesteps=2, sizes={**_SPIKING, "head_channels": 32}))


def _pose(model: ModelConfig) -> RunConfig:
    config = RunConfig(model=model, task=TaskConfig(name="pose"))
    config.data.dataset, config.data.batch_size = "scenes", 32
    config.data.img_size, config.data.crop_height, config.data.crop_width = 96, 64, 64
    config.data.smallest_scale, config.data.largest_scale, config.data.rotate = 0.8, 1.2, 20.0
    config.optim, config.epochs = OptimConfig(lr=2e-3, weight_decay=0.05), 8
    return config
