"""Data set ``scenes``: composed scenes (``data.scenes``) with what the task asks for: maps.

``data.source`` is that of Fashion-MNIST; ``data.img_size`` is the scenes' side in pixels. 30,000 scenes to train on and
500 to test on; ``data.train_limit`` and ``test_limit`` take less.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors

from snnkit.data.captioned_fashion_mnist import NAMES
from snnkit.data.config import DataConfig
from snnkit.data.dense import COLLATES, Dense, Maps
from snnkit.data.image_captions import Captions
from snnkit.data.image_folder import MEAN, STD
from snnkit.data.keypoints import TopDown
from snnkit.data.object_transforms import Objects
from snnkit.data.samples import Splits
from snnkit.data.scene_captions import SceneCaptions
from snnkit.data.scene_keypoints import SceneKeypoints
from snnkit.data.scene_objects import SceneObjects
from snnkit.data.scenes import SIDE, Scene, Scenes
from snnkit.errors import unknown_name

TRAIN_SCENES, TEST_SCENES = 30_000, 500
BACKGROUND = "background"


class SceneMaps:
    """A ``DenseSource``: the class of every pixel, 0 for the photograph, 1 to 10 for clothes."""

    classes = (BACKGROUND, *NAMES)

    def __init__(self, scenes: Scenes):
        self._scenes = scenes
        self.names, self.labels = scenes.names, scenes.labels

    def read(self, index: int) -> tuple[Tensor, tv_tensors.Mask]:
        """Return a scene and its classes (H, W)."""
        scene = self._scenes.read(index)
        return scene.image, tv_tensors.Mask(class_map(scene))


def class_map(scene: Scene) -> Tensor:
    """Return the class of every pixel, uint8 (H, W)."""
    found = torch.zeros(scene.image.shape[1:], dtype=torch.uint8)
    for thing in scene.things:
        found[thing.mask] = thing.label + 1
    return found


SOURCES: dict[str, tuple[type, Callable[..., Any]]] = {
    "maps": (SceneMaps, Maps),
    "captions": (SceneCaptions, Captions),
    "keypoints": (SceneKeypoints, TopDown),
    "objects": (SceneObjects, Objects),
}
"""What can be asked for: the source, and what transforms it."""


def load(config: DataConfig) -> Splits:
    """Return scenes with ``config.targets``.

    Raises:
        UnknownNameError: other targets.
        CorruptFileError: Fashion-MNIST cannot be read.
        InvalidArgumentError: scikit-image, whose photographs are behind the clothes, is not installed.
    """
    if config.targets not in SOURCES:
        hint = "One class an image: data.dataset=single_things."
        raise unknown_name("targets of scenes", config.targets or "labels", SOURCES, hint)
    source, transform = SOURCES[config.targets]
    side, skip = config.img_size or SIDE, config.on_corrupt == "skip"
    parts = [Scenes(config.source, train, TRAIN_SCENES if train else TEST_SCENES, side) for train in (True, False)]
    made = [
        Dense(source(scenes), transform(config, (side, side), train, MEAN, STD), skip)
        for scenes, train in zip(parts, (True, False), strict=True)
    ]
    return Splits(
        made[0],
        made[1],
        source.classes,
        parts[0].origin,
        tokens=getattr(made[0].transform, "tokens", None),
        targets=config.targets,
        collate=COLLATES[config.targets],
    )
