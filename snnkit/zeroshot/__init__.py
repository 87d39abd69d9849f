"""What two towers can do without another training: classify by texts, find texts of images and images of texts."""

from snnkit.zeroshot.classifier import ZeroShot, zero_shot
from snnkit.zeroshot.evaluating import Trained, classify, load_towers, retrieve

__all__ = ["Trained", "ZeroShot", "classify", "load_towers", "retrieve", "zero_shot"]
