"""Things in composed scenes: their boxes, kinds of clothing and masks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snnkit.data.captioned_fashion_mnist import NAMES
from snnkit.data.object_transforms import things
from snnkit.data.scenes import Scene, Scenes


class SceneObjects:
    """A ``DenseSource``: everything on a scene."""

    classes = NAMES

    def __init__(self, scenes: Scenes):
        self._scenes = scenes
        self.names, self.labels = scenes.names, scenes.labels

    def read(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        """Return a scene and its things."""
        scene = self._scenes.read(index)
        return scene.image, objects(scene)


def objects(scene: Scene) -> dict[str, Any]:
    """Return boxes, labels and masks of what is seen of the things on a scene."""
    return things(
        torch.tensor([thing.box for thing in scene.things]),
        torch.tensor([thing.label for thing in scene.things]),
        (scene.image.shape[-2], scene.image.shape[-1]),
        torch.stack([thing.mask for thing in scene.things]),
    )
