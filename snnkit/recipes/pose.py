"""Corners of things in composed scenes, found on crops around them, with an ordinary and a spiking backbone."""

from __future__ import annotations

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, TaskConfig
from snnkit.recipes.recipe import recipe
from snnkit.recipes.single_things import ORDINARY, SPIKING, STEPS


@recipe(
    paper="Xiao et al., Simple Baselines for Human Pose Estimation and Tracking, arXiv 1804.06208",
    expected="AP 53.1 %, PCK 90.6 %, from single_things",
)
def pose_scenes() -> RunConfig:
    """The corners of things in composed scenes: heat maps on a narrow ResNet of timm."""
    return _pose(ModelConfig(f"pose:{ORDINARY[0]}", sizes={**ORDINARY[1], "head_channels": 64}))


@recipe(
    paper="Xiao et al., Simple Baselines for Human Pose Estimation and Tracking, arXiv 1804.06208",
    expected="AP 33.4 ± 2.8 %, PCK 86.2 %, from single_things_spiking",
)
def pose_scenes_spiking() -> RunConfig:
    """The same on a narrow MS-ResNet of two time steps, its deconvolutions spiking too."""
    return _pose(ModelConfig(f"pose:{SPIKING[0]}", timesteps=STEPS, sizes={**SPIKING[1], "head_channels": 64}))


def _pose(model: ModelConfig) -> RunConfig:
    config = RunConfig(model=model, task=TaskConfig(name="pose"))
    config.data.dataset, config.data.batch_size = "scenes", 32
    config.data.img_size, config.data.crop_height, config.data.crop_width = 96, 64, 64
    config.data.smallest_scale, config.data.largest_scale, config.data.rotate = 0.8, 1.2, 20.0
    config.optim, config.epochs = OptimConfig(lr=2e-3, weight_decay=0.05), 1
    return config
