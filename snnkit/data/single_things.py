"""Data set ``single_things``: scenes of a single thing (``data.scenes``), whose class it is to be told.

What classifies them has seen, as single things, what scenes of several are made of: a start for networks that look for
them there (``model.weights``). ``data.source`` is that of Fashion-MNIST. 60,000 to train on and 2,000 to test on, 48
pixels wide unless ``data.img_size`` says otherwise, in which a thing is as large as in a scene of 96 pixels.
"""

from __future__ import annotations

from torch import Tensor

from snnkit.data.captioned_fashion_mnist import NAMES
from snnkit.data.config import DataConfig
from snnkit.data.image_folder import MEAN, STD
from snnkit.data.samples import Samples, Splits
from snnkit.data.scenes import Scenes
from snnkit.data.transforms import for_testing, for_training

SIDE = 48
TRAIN_IMAGES, TEST_IMAGES = 60_000, 2_000
_SIZES = (0.56, 0.96)  # of 48 pixels, what a scene's things are of 96


class SingleThings:
    """A ``Source`` of scenes uint8 (3, side, side) with a single thing.

    Args:
        source: of Fashion-MNIST.
        train: of the training split; else of the test split.
        count: how many there are.
        side: height and width in pixels.

    Raises:
        CorruptFileError: Fashion-MNIST cannot be read.
        InvalidArgumentError: the photographs are not installed.
    """

    def __init__(self, source: str, train: bool, count: int, side: int = SIDE):
        self._scenes = Scenes(source, train, count, side, things=(1, 1), sizes=_SIZES)
        self.names, self.labels = self._scenes.names, self._scenes.labels
        self.origin = self._scenes.origin

    def read(self, index: int) -> Tensor:
        """Return a scene."""
        return self._scenes.read(index).image


def load(config: DataConfig) -> Splits:
    """Return single things, labelled by their kind.

    Raises:
        CorruptFileError: Fashion-MNIST cannot be read.
        InvalidArgumentError: scikit-image, whose photographs are behind the things, is not installed.
    """
    side, skip = config.img_size or SIDE, config.on_corrupt == "skip"
    train, test = (
        SingleThings(config.source, True, TRAIN_IMAGES, side),
        SingleThings(config.source, False, TEST_IMAGES, side),
    )
    return Splits(
        Samples(train, for_training(config, (side, side), MEAN, STD), skip),
        Samples(test, for_testing(config, (side, side), MEAN, STD), skip),
        NAMES,
        train.origin,
    )
