"""Corners of things in composed scenes, as key points: of each scene one of its things, which its number chooses."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from snnkit.data.keypoints import SIGMA, Marked, mirrored
from snnkit.data.scenes import Scenes

CORNERS = ("top left", "top right", "bottom right", "bottom left")


class SceneKeypoints:
    """A ``DenseSource``: a scene and a thing on it, with its corners.

    The box is that of the pixels that are seen; the area counts them. All corners are marked, hidden ones too.
    """

    classes = CORNERS

    def __init__(self, scenes: Scenes):
        self._scenes = scenes
        self.names, self.labels = scenes.names, [0] * len(scenes)  # which thing it will be is not known before
        self._sigmas, self._mirror = torch.full((len(CORNERS),), SIGMA), mirrored(CORNERS)

    def read(self, index: int) -> tuple[Tensor, Marked]:
        """Return a scene and a thing."""
        scene = self._scenes.read(index)
        thing = random.Random(f"thing {index}").choice(scene.things)
        box, area = torch.tensor(thing.box, dtype=torch.float32), float(thing.mask.sum())
        return scene.image, Marked(thing.corners, box, area, index, self._sigmas, self._mirror)
