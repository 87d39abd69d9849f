"""Captions of composed scenes, by an ordinary and by a spiking image model.

The image models learn with the decoder, since none is pre-trained here; with weights of a classifier
(``model.weights=RUN``) leave out ``model.sizes.frozen=false``.
"""

from __future__ import annotations

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, ScheduleConfig, TaskConfig
from snnkit.recipes.recipe import recipe

_RESNET = {"stem_type": "", "stem_width": 32, "channels": (32, 64, 96, 128), "output_stride": 16}
_SPIKING = {"embed_dim": (16, 32, 64, 96), "depths": (1, 1, 1, 2, 1), "num_heads": 4}
_TEXT = {"text_width": 128, "text_depth": 2, "text_heads": 4, "text_dropout": 0.0, "frozen": False}


@recipe(paper="Vaswani et al., Attention Is All You Need, arXiv 1706.03762", expected="not measured")
def captioning_scenes() -> RunConfig:
    """Captions of composed scenes, byte by byte: two decoder blocks over a narrow ten-layer ResNet of timm."""
    return _captioning(ModelConfig("captioner:timm:resnet10t", sizes={**_RESNET, **_TEXT}))


@recipe(paper="Yao et al., Spike-driven Transformer V2, arXiv 2404.03663", expected="not measured")
def captioning_scenes_spiking() -> RunConfig:
    """The same over a small Meta-SpikeFormer of two time steps; the decoder is an ordinary one."""
    return _captioning(ModelConfig("captioner:meta_spikeformer_15m", timesteps=2, sizes={**_SPIKING, **_TEXT}))


def _captioning(model: ModelConfig) -> RunConfig:
    config = RunConfig(model=model, task=TaskConfig(name="captioning"))
    config.data.dataset, config.data.batch_size, config.data.context = "scenes", 32, 72
    config.data.flip, config.data.shift_pixels = False, 4
    config.optim = OptimConfig(lr=1e-3, weight_decay=0.05, clip=1.0)
    config.schedule = ScheduleConfig("warmup_cosine", warmup_epochs=0.5)
    config.epochs = 12
    return config
