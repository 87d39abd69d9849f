"""Captions of composed scenes, by an ordinary and by a spiking image model.

The image models learn with the decoder; they begin better with the weights of ``single_things`` and
``single_things_spiking`` (``model.weights=RUN``).
"""

from __future__ import annotations

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, ScheduleConfig, TaskConfig
from snnkit.recipes.recipe import recipe
from snnkit.recipes.single_things import ORDINARY, SPIKING, STEPS

_TEXT = {"text_width": 128, "text_depth": 2, "text_heads": 4, "text_dropout": 0.0, "frozen": False}


@recipe(
    paper="Vaswani et al., Attention Is All You Need, arXiv 1706.03762", expected="CIDEr-D 5.44, from single_things"
)
def captioning_scenes() -> RunConfig:
    """Captions of composed scenes, byte by byte: two decoder blocks over a narrow ResNet of timm."""
    return _captioning(ModelConfig(f"captioner:{ORDINARY[0]}", sizes={**ORDINARY[1], "output_stride": 16, **_TEXT}))


@recipe(
    paper="Vaswani et al., Attention Is All You Need, arXiv 1706.03762",
    expected="CIDEr-D 4.39, from single_things_spiking",
)
def captioning_scenes_spiking() -> RunConfig:
    """The same over a narrow MS-ResNet of two time steps; the decoder is an ordinary one."""
    return _captioning(ModelConfig(f"captioner:{SPIKING[0]}", timesteps=STEPS, sizes={**SPIKING[1], **_TEXT}))


def _captioning(model: ModelConfig) -> RunConfig:
    config = RunConfig(model=model, task=TaskConfig(name="captioning"))
    config.data.dataset, config.data.batch_size, config.data.context = "scenes", 32, 72
    config.data.flip, config.data.shift_pixels = False, 4
    config.optim = OptimConfig(lr=1e-3, weight_decay=0.05, clip=1.0)
    config.schedule = ScheduleConfig("warmup_cosine", warmup_epochs=0.2)
    config.epochs = 2
    return config
