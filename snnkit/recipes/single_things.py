"""Classes of single things on photographs: the image models of the recipes on composed scenes, to begin these with.

``snnkit train segmentation_scenes --set model.weights=RUN``, RUN one of these, and so for the other tasks.
"""

from __future__ import annotations

from typing import Any

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig
from snnkit.recipes.recipe import recipe

ORDINARY: tuple[str, dict[str, Any]] = (
    "timm:resnet10t",
    {"stem_width": 32, "channels": (32, 64, 128, 256), "layers": (1, 2, 2, 2)},
)
"""Name and sizes of the ordinary image model: a narrow ResNet of timm, three convolutions before its first pool."""
SPIKING: tuple[str, dict[str, Any]] = ("ms_resnet18", {"widths": (32, 64, 128, 256), "depths": (1, 1, 1, 1)})
"""Of the spiking one: MS-ResNet, as narrow and as deep, which spikes before every layer but the first."""
STEPS = 2
"""Time steps of the spiking ones."""


@recipe(paper="He et al., Deep Residual Learning, arXiv 1512.03385", expected="86.8 %")
def single_things() -> RunConfig:
    """Kinds of clothes on photographs, one to an image, by a narrow eighteen-layer ResNet of timm."""
    return _things(ModelConfig(ORDINARY[0], sizes=dict(ORDINARY[1])), 6)


@recipe(
    paper="Hu et al., Advancing Spiking Neural Networks Toward Deep Residual Learning, arXiv 2112.08954",
    expected="79.4 %",
)
def single_things_spiking() -> RunConfig:
    """The same by a narrow ten-layer MS-ResNet of two time steps."""
    return _things(ModelConfig(SPIKING[0], timesteps=STEPS, sizes=dict(SPIKING[1])), 8)


def _things(model: ModelConfig, epochs: int) -> RunConfig:
    config = RunConfig(model=model, epochs=epochs)
    config.data.dataset, config.data.batch_size = "single_things", 64
    config.data.img_size, config.data.shift_pixels = 48, 4
    config.optim = OptimConfig(lr=3e-3, weight_decay=0.05)
    return config
