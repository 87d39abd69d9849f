"""What an image model makes of an image as a whole.

    ordinary   f = forward_head(forward_features(x), pre_logits=True)                  what its classifier would read
    spiking    f = mean over time of forward_head(…, pre_logits=True), steps encoded   the same

Letters: B images, F features.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from snnkit.models.classifier import SpikingClassifier


def features(model: nn.Module, images_BCHW: Tensor) -> Tensor:
    """Return the features (B, F) of images."""
    network: Any = model
    if isinstance(model, SpikingClassifier):
        maps = model.forward_stages(model.forward_currents(images_BCHW))[-1]
        return model.forward_head(maps, pre_logits=True).mean(0)
    found: Tensor = network.forward_head(network.forward_features(images_BCHW), pre_logits=True)
    return found


def width(model: nn.Module) -> int:
    """Return F."""
    network: Any = model
    return int(getattr(network, "head_hidden_size", 0) or network.num_features)


def reads_whole_images(model: nn.Module) -> bool:
    """Whether the model has the methods that ``features`` calls."""
    return hasattr(model, "forward_features") and hasattr(model, "forward_head")
