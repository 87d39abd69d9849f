"""Real images to train and test on, and the loaders that feed them."""

from snnkit.data.config import DataConfig
from snnkit.data.loaders import DATASETS, ImageData, load_images

__all__ = ["DATASETS", "DataConfig", "ImageData", "load_images"]
