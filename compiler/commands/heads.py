"""What a detector finds where something else runs its backbone and neck: a chip, or the forms of a conversion.

Letters: T steps, B images, K values of all maps of the pyramid.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from compiler.front import WHAT, Front
from compiler.graph import Graph
from compiler.interpreting import interpret
from compiler.program import Equality, Program, Trace
from compiler.run import outputs
from snnkit.errors import InvalidArgumentError
from snnkit.measures import MEASURES
from snnkit.models.detector import Found
from snnkit.tasks.detection import box_ap, stored_size

_BATCH = 50
_SURE = 0.5


@dataclass(frozen=True)
class Heads:
    """Heads of a detector on the host, the images (B, C, H, W) that they look at, and what is on each."""

    front: Front
    images: Tensor
    targets: list[dict[str, Tensor]]
    measure = MEASURES["box_ap"].words
    what, first = WHAT, ""

    @cached_property
    def x(self) -> Tensor:
        """The images as backbone and neck see them."""
        return self.front.prepared(self.images)

    @property
    def judge(self) -> Boxes:
        """AP of boxes."""
        return Boxes(self.front)

    def pairs(self, batches: Sequence[Tensor]) -> list[tuple[Tensor, Any]]:
        """Return batches as backbone and neck see them, beside each the images and what is on them."""
        ends = list(itertools.accumulate(len(part) for part in batches))
        parts = zip([0, *ends], ends, strict=False)
        truth = [(self.images[start:end], self.targets[start:end]) for start, end in parts]
        return list(zip(batches, truth, strict=True))

    def scores(self, program: Program, trace: Trace, equality: Equality) -> dict[str, Any]:
        """Return AP of boxes before, between and on the chip, and how many values that the host reads differ.

        Raises:
            InvalidArgumentError: the chip does not hand out its output at every step.
        """
        if trace.outputs is None and program.graph.timesteps > 1:
            raise InvalidArgumentError(
                f"{program.chip.name} gives its output after the last step, and the heads read it at all "
                f"{program.graph.timesteps}; take a chip of Loihi's kind, such as loihi2, or a detector of one step."
            )
        made = trace.logits[None] if trace.outputs is None else trace.outputs
        wanted = torch.cat([outputs(program, membranes) for membranes in self._run(program.graph)], 1)
        return {
            "float_accuracy": self._score(torch.cat(list(self._run(program.source_graph.double())), 1)),
            "quantised_accuracy": self._score(wanted),
            "chip_accuracy": self._score(made),
            "outputs": made.numel(),
            "output_mismatches": int((made != wanted).sum()),
        }

    def _run(self, graph: Graph) -> Iterator[Tensor]:
        for part in torch.split(self.x.double(), _BATCH):
            made, _ = interpret(graph, part)
            assert isinstance(made, Tensor)
            yield made

    def _score(self, made: Tensor) -> float:
        found = []
        parts = torch.split(self.images, _BATCH), torch.split(made, _BATCH, 1), self._sizes()
        for images, read, sizes in zip(*parts, strict=True):
            found += self.front.find(images, read, sizes)
        return box_ap(found, self.targets)

    def _sizes(self) -> list[list[tuple[int, int]]]:
        sizes = [stored_size(image, target) for image, target in zip(self.images, self.targets, strict=True)]
        return [sizes[start : start + _BATCH] for start in range(0, len(sizes), _BATCH)]


class Boxes:
    """The judge of a converted detector (``compiler.decisions.Judge``): AP of boxes; truth is images and targets."""

    every_step = False

    def __init__(self, front: Front):
        self._front = front

    def decide(self, outputs: Tensor, x: Tensor, truth: Any) -> list[Found]:
        """Return what the heads find in the images of a batch."""
        images, targets = truth
        sizes = [stored_size(image, target) for image, target in zip(images, targets, strict=True)]
        return self._front.find(images, outputs, sizes)

    def score(self, said: Sequence[Any], truth: Sequence[Any]) -> float:
        """Return AP of boxes."""
        return box_ap([one for batch in said for one in batch], [one for _, targets in truth for one in targets])

    def agreement(self, said: Sequence[Any], other: Sequence[Any]) -> float:
        """Return AP of boxes where what the other network finds, and is surer of than one in two, is the truth."""
        sure = [
            {key: one[key][one["scores"] >= _SURE] for key in ("boxes", "labels")} for batch in other for one in batch
        ]
        return box_ap([one for batch in said for one in batch], sure)
