"""Is what training tested what the chip does? Predictions, logits and spikes, one by one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from compiler.program import Program
from compiler.training.module import ChipNetwork


@dataclass(frozen=True)
class Agreement:
    """Training's network and the chip's program on the same images.

    ``predictions`` (one an image), ``logits`` and ``spikes`` (neuron-steps) that were compared, and how many differ;
    ``training_accuracy`` and ``chip_accuracy`` on the images' labels.
    """

    predictions: int
    predictions_differ: int
    logits: int
    logits_differ: int
    spikes: int
    spikes_differ: int
    training_accuracy: float
    chip_accuracy: float

    @property
    def exact(self) -> bool:
        """Whether nothing differs."""
        return self.predictions_differ == self.logits_differ == self.spikes_differ == 0

    def __str__(self) -> str:
        relation = "=" if self.exact else "≠"
        return (
            f"training accuracy {relation} chip accuracy: {self.predictions_differ:,} of {self.predictions:,} "
            f"predictions, {self.logits_differ:,} of {self.logits:,} logits, {self.spikes_differ:,} of "
            f"{self.spikes:,} spikes differ"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**asdict(self), "exact": self.exact}


@torch.no_grad()
def compare(network: ChipNetwork, program: Program, batches: Iterable[tuple[Tensor, Tensor]]) -> Agreement:
    """Run both on batches of images with labels (B,) and compare all they say; ``network`` is left in eval mode."""
    network.eval()
    counts = dict.fromkeys(("predictions", "logits", "spikes"), 0)
    differ, right = dict(counts), [0, 0]
    for x, labels in batches:
        tested, layers = network.run(x, spikes=True)
        trace = program.simulate(x)
        pairs = {
            "predictions": [(tested.argmax(1), trace.logits.argmax(1))],
            "logits": [(tested, trace.logits)],
            "spikes": [(layers[name].flatten(2), torch.from_numpy(mine)) for name, mine in trace.spikes.items()],
        }
        for kind, found in pairs.items():
            counts[kind] += sum(ours.numel() for ours, _ in found)
            differ[kind] += sum(int((ours != theirs).sum()) for ours, theirs in found)
        for place, logits in enumerate((tested, trace.logits)):
            right[place] += int((logits.argmax(1) == labels).sum())
    images = counts["predictions"]
    return Agreement(
        **counts,
        **{f"{kind}_differ": number for kind, number in differ.items()},
        training_accuracy=right[0] / images,
        chip_accuracy=right[1] / images,
    )
