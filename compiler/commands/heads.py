"""What a detector finds where a chip runs its backbone and neck: AP of the float network, of both graphs, of the chip.

Letters: T steps, B images, K values of all maps of the pyramid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compiler.front import Front
from compiler.interpreting import interpret
from compiler.program import Program, Trace
from compiler.run import outputs
from snnkit.errors import InvalidArgumentError
from snnkit.tasks.detection import box_ap, stored_size

MEASURE = "box AP"
_BATCH = 50


@dataclass(frozen=True)
class Heads:
    """Heads of a detector on the host, the images (B, C, H, W) that they look at, and what is on each."""

    front: Front
    images: Tensor
    targets: list[dict[str, Tensor]]

    def scores(self, program: Program, trace: Trace) -> dict[str, Any]:
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
        wanted = torch.cat(list(self._quantised(program)), 1)
        return {
            "measure": MEASURE,
            "float_accuracy": self._float(),
            "quantised_accuracy": self._score(wanted),
            "chip_accuracy": self._score(made),
            "outputs": made.numel(),
            "output_mismatches": int((made != wanted).sum()),
        }

    def _quantised(self, program: Program) -> Iterator[Tensor]:
        for part in torch.split(self.front.prepared(self.images).double(), _BATCH):
            membranes, _ = interpret(program.graph, part)
            assert isinstance(membranes, Tensor)
            yield outputs(program, membranes)

    def _float(self) -> float:
        found = []
        with torch.no_grad():
            for images, sizes in zip(torch.split(self.images, _BATCH), self._sizes(), strict=True):
                found += self.front.model(images, sizes=sizes)
        return box_ap(found, self.targets)

    def _score(self, made: Tensor) -> float:
        found = []
        parts = torch.split(self.images, _BATCH), torch.split(made, _BATCH, 1), self._sizes()
        for images, read, sizes in zip(*parts, strict=True):
            found += self.front.find(images, read, sizes)
        return box_ap(found, self.targets)

    def _sizes(self) -> list[list[tuple[int, int]]]:
        sizes = [stored_size(image, target) for image, target in zip(self.images, self.targets, strict=True)]
        return [sizes[start : start + _BATCH] for start in range(0, len(sizes), _BATCH)]
