"""Captions of composed scenes: the two largest things and how they lie to each other, in every wording there is.

"a red coat to the left of a blue bag"    "a red coat on the left of a blue bag"
"""

from __future__ import annotations

import random

from torch import Tensor

from snnkit.data.captioned_fashion_mnist import NAMES
from snnkit.data.image_captions import Texts
from snnkit.data.scenes import Scene, Scenes, caption

_WORDINGS = (
    (" to the left of ", " on the left of "),
    (" to the right of ", " on the right of "),
    (" above ", " over "),
    (" below ", " under "),
)


class SceneCaptions:
    """A ``DenseSource``: all captions of a scene."""

    classes = NAMES

    def __init__(self, scenes: Scenes):
        self._scenes = scenes
        self.names, self.labels = scenes.names, scenes.labels

    def read(self, index: int) -> tuple[Tensor, Texts]:
        """Return a scene and its captions."""
        scene = self._scenes.read(index)
        return scene.image, Texts(self.names[index], captions(scene))


def captions(scene: Scene) -> tuple[str, ...]:
    """Return every wording of a scene's caption, always in the same order: two, or one where there is one thing."""
    said = caption(scene, random.Random(0))
    for wordings in _WORDINGS:
        for known in wordings:
            if known in said:
                return tuple(said.replace(known, wording) for wording in wordings)
    return (said,)
