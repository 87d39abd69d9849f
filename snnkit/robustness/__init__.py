"""How well a classifier keeps its accuracy on images that are not like those it learned from.

Corrupted images are made of any test set when they are asked for (``corruptions``, ``corrupted``) and counted kind by
kind (``harness``); natural test sets are folders by class, matched to what the network knows (``folders``).
"""

from snnkit.robustness.classifiers import classifier
from snnkit.robustness.corrupted import Corrupted, check_images, corrupted
from snnkit.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from snnkit.robustness.folders import FolderSet
from snnkit.robustness.folders import find as find_folders
from snnkit.robustness.folders import score as score_folder
from snnkit.robustness.harness import FILE, Predict, Result, Score, check_baseline, load, robustness

__all__ = [
    "CORRUPTIONS",
    "FILE",
    "SEVERITIES",
    "Corrupted",
    "FolderSet",
    "Predict",
    "Result",
    "Score",
    "check_baseline",
    "check_images",
    "classifier",
    "corrupt",
    "corrupted",
    "find_folders",
    "load",
    "robustness",
    "score_folder",
]
