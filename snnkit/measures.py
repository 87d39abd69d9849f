"""What scores are called. To add one: a line; it is what a task names as its ``measure`` and returns under that key."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """What a task's score is.

    Attributes:
        words: how people call it.
        share: whether it lies between 0 and 1, and is shown in percent.
    """

    words: str
    share: bool = True

    def shown(self, value: float) -> str:
        """Return a value in words."""
        return f"{value:.1%}" if self.share else f"{value:.4f}"


MEASURES = {
    "accuracy": Measure("accuracy"),
    "box_ap": Measure("box AP"),
    "cider": Measure("CIDEr-D", share=False),
    "loss": Measure("loss", share=False),
    "miou": Measure("mean IoU"),
    "pose_ap": Measure("AP of key points"),
}
"""By the key in the metrics. The score of "loss" is its negative."""
