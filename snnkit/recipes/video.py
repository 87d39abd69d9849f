"""Clips whose class is a motion (``data.moving_things``): networks for clips, and one whose time steps are frames."""

from __future__ import annotations

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig
from snnkit.recipes.recipe import recipe

_UNIFORMER = {"depths": (1, 1, 2, 1), "dims": (16, 32, 64, 96), "head_dim": 16, "drop_path_rate": 0.0}
_LOOKUP = {"embed_dim": 96, "depth": 4, "num_heads": 4, "lookup_grid": (4, 2, 2)}


@recipe(paper="Li et al., UniFormer, arXiv 2201.04676", expected="71.2 ± 6.0 %")
def video_moving_things() -> RunConfig:
    """Which of eight ways a thing moves, of clips of 8 frames: a small UniFormer for video."""
    return _moving(ModelConfig("uniformer_video_small", sizes=_UNIFORMER))


@recipe(paper="Koner et al., LookupViT, arXiv 2407.12753", expected="not measured")
def video_moving_things_lookupvit() -> RunConfig:
    """The same with a small LookupViT, 16 compressed tokens of a clip."""
    config = _moving(ModelConfig("lookupvit_video_base", sizes=_LOOKUP))
    config.data.img_size = 64
    return config


@recipe(paper="own design", expected="42.0 ± 1.0 %")
def video_moving_things_spiking() -> RunConfig:
    """The same with a small spiking network, whose time steps are the frames."""
    config = _moving(ModelConfig("spiking_cnn_small"))
    config.data.time_first = True
    return config


def _moving(model: ModelConfig) -> RunConfig:
    config = RunConfig(model=model)
    config.data.dataset, config.data.flip, config.data.frames = "moving_things", False, 8
    config.data.img_size, config.data.batch_size, config.data.shift_pixels = 32, 16, 0
    config.optim, config.epochs = OptimConfig(lr=3e-3, weight_decay=0.05, clip=5.0), 8
    return config
