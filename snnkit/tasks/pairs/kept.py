"""Outputs of a frozen tower: kept in the first pass of a step, given again in the second.

A frozen tower gives the same rows both times and has no gradient, so that the second pass needs its rows alone. What it
draws from generators, as a Poisson encoder does, is skipped there too: the states behind it are kept beside the rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from torch import Tensor

from snnkit.models.two_towers import TwoTowers
from snnkit.tasks.pairs.draws import Draws


class KeptRows:
    """What ``TwoTowers.recall`` calls in place of a tower.

    Args:
        model: the towers.
        side: the frozen one, "image" or "text".
    """

    def __init__(self, model: TwoTowers, side: str):
        self._model, self._side = model, side
        self._rows: deque[tuple[Tensor, Draws]] = deque()
        self.again = False
        """Whether rows are given again, in the order in which they were kept."""

    def __call__(self, side: str, tower: Callable[[], Tensor]) -> Tensor:
        """Return the rows of a part, (B, C)."""
        if side != self._side:
            return tower()
        if self.again:
            rows, behind = self._rows.popleft()
            behind.restore(self._model, rows.device)
            return rows
        rows = tower().detach()
        self._rows.append((rows, Draws.now(self._model, rows.device)))
        return rows
