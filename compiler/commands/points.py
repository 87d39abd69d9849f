"""Key points that are read off heat maps of a chip, or of the forms of a conversion.

They are read as the task of the run reads them (``snnkit.tasks.pose``), but off heat maps of a crop alone: a test of
training takes the mean with those of its mirror image, which would be run a second time.

Letters: B crops, K key points, h and w cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from snnkit.engine.evaluating import run_of
from snnkit.engine.run_folder import find_checkpoint
from snnkit.errors import InvalidArgumentError
from snnkit.measures import MEASURES
from snnkit.tasks import build_task
from snnkit.tasks.oks import NEAR, KeypointAP, Things
from snnkit.tasks.pose import Pose

if TYPE_CHECKING:
    from compiler.commands.source import Source
    from compiler.program import Equality, Program, Trace

NOTE = "key points are read off each crop alone, without its mirror image"


class Points:
    """The judge (``compiler.decisions.Judge``) of heat maps; truth is what ``data.keypoints`` gives beside crops."""

    every_step = True

    def __init__(self, task: Pose):
        self._task = task

    def decide(self, outputs: Tensor, x: Tensor, truth: dict[str, Tensor]) -> Tensor:
        """Return a row for every crop, as ``Things`` takes them, by heat maps (B, K, h, w)."""
        seen = KeypointAP(self._task.num_classes)
        self._task.look(seen, outputs.float(), x.float(), truth)
        return seen.rows[0].view(len(x), -1)

    def score(self, said: Sequence[Tensor], truth: Sequence[Any]) -> float:
        """Return AP by OKS, the mean over its thresholds."""
        aps = self._things(said).ap()
        return sum(aps.values()) / len(aps)

    def agreement(self, said: Sequence[Tensor], other: Sequence[Tensor]) -> float:
        """Return the share of marked key points that lie no farther apart than a tenth of the thing's box."""
        one, two = self._things(said), self._things(other)
        apart = torch.linalg.vector_norm(one.found - two.found, dim=-1)
        sides = (one.box[:, 2:] - one.box[:, :2]).amax(1)
        near = (apart <= NEAR * sides[:, None]) & one.marked
        return float(near.sum() / one.marked.sum().clamp(min=1))

    def _things(self, said: Sequence[Tensor]) -> Things:
        return Things(torch.cat(list(said)).double(), self._task.num_classes)


@dataclass(frozen=True)
class Crops:
    """Test crops (B, C, H, W), what is true of them, and how heat maps of them are read."""

    judge: Points
    x: Tensor
    targets: dict[str, Tensor]
    measure = MEASURES["pose_ap"].words
    what = first = ""

    def pairs(self, batches: Sequence[Tensor]) -> list[tuple[Tensor, Any]]:
        """Return batches of crops, beside each what is true of them."""
        parts = {name: torch.split(value, [len(one) for one in batches]) for name, value in self.targets.items()}
        truth = [dict(zip(parts, values, strict=True)) for values in zip(*parts.values(), strict=True)]
        return list(zip(batches, truth, strict=True))

    def scores(self, program: Program, trace: Trace, equality: Equality) -> dict[str, Any]:
        """Return AP of key points before, between and on the chip."""
        read = {
            "float_accuracy": equality.float_logits,
            "quantised_accuracy": equality.quantised_logits,
            "chip_accuracy": trace.logits,
        }
        found = {name: self.judge.decide(maps, self.x, self.targets) for name, maps in read.items()}
        return {name: self.judge.score([one], []) for name, one in found.items()}


def test_crops(given: Source, count: int) -> Crops:
    """Return ``count`` test crops of a run that finds key points.

    Raises:
        InvalidArgumentError: it is no run, whose options say how heat maps are read, or ``Source.test_pairs`` raises.
        CorruptFileError: none can be read.
    """
    config = None if given.folder is None else run_of(find_checkpoint(given.folder))
    if config is None:
        raise InvalidArgumentError(
            f"how key points are read off heat maps stands in the run, and {given.text} is none; give its folder."
        )
    x, targets = given.test_pairs(count)
    points = given.graph.shape(given.graph.outputs[0])[0]
    task = build_task(config.task.name, given.network, points, config.task.options, teach=False)  # type: ignore[arg-type]
    assert isinstance(task, Pose)
    return Crops(Points(task.eval()), x, default_collate(targets))
