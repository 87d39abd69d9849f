"""Boxes, classes and masks of things on composed scenes, with an ordinary and a spiking backbone.

Both learn faster from the weights of ``single_things`` and ``single_things_spiking`` (``model.weights=RUN``).
"""

from __future__ import annotations

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, TaskConfig
from snnkit.recipes.recipe import recipe
from snnkit.recipes.single_things import ORDINARY, SPIKING, STEPS

_HEADS = {"fpn_channels": 64, "box_channels": 256, "mask_channels": 32, "mask_layers": 2}
_FEW = {"proposals": 64, "regions": 32}  # a scene has four things at most
_COARSE = {"finest": 8, "levels": 3, "anchor_scale": 3.5}  # of 27 pixels at least
_SIZES = {**_HEADS, **_FEW, **_COARSE}


@recipe(
    paper="He et al., Mask R-CNN, arXiv 1703.06870",
    expected="box AP50 83.4 %, from single_things",
)
def detection_scenes() -> RunConfig:
    """Things on composed scenes: Mask R-CNN on a narrow ResNet of timm."""
    return _detection(ModelConfig(f"mask_rcnn:{ORDINARY[0]}", sizes={**ORDINARY[1], **_SIZES}), 2)


@recipe(
    paper="He et al., Mask R-CNN, arXiv 1703.06870",
    expected="box AP50 68.5 %, from single_things_spiking",
)
def detection_scenes_spiking() -> RunConfig:
    """The same on a narrow MS-ResNet of two time steps, its pyramid and heads spiking too."""
    return _detection(ModelConfig(f"mask_rcnn:{SPIKING[0]}", timesteps=STEPS, sizes={**SPIKING[1], **_SIZES}), 4)


def _detection(model: ModelConfig, epochs: int) -> RunConfig:
    config = RunConfig(model=model, epochs=epochs, task=TaskConfig(name="detection"))
    config.data.dataset, config.data.batch_size = "scenes", 16
    config.data.shift_pixels = 8
    config.optim = OptimConfig(lr=2e-3, weight_decay=0.05, clip=5.0)
    return config
