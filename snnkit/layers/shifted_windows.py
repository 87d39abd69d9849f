"""Windows of a map, plain or shifted cyclically: which tokens they hold, and which of these may see each other.

A shifted window at the lower or right border of the map holds tokens from opposite borders, which must not see each
other. There are four kinds of windows in that respect: inside, at the right border, at the lower border, in the corner.
Here windows are ordered by kind, so that a mask belongs to a kind and never to a window: 4 masks for any map.

Source: Liu et al., "Swin Transformer", arXiv 2103.14030.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """Windows of (height, width) = ``window`` over a map (height, width) = ``size``, shifted by ``shift``.

    The windows divide the map. An axis with only one window has no shift.
    """

    size: tuple[int, int]
    window: tuple[int, int]
    shift: tuple[int, int]

    @property
    def area(self) -> int:
        """S, tokens of a window."""
        return self.window[0] * self.window[1]

    def _parts(self, axis: int) -> list[tuple[int, int, bool]]:
        """(first window, end, whether it wraps around) along an axis."""
        count = self.size[axis] // self.window[axis]
        if not self.shift[axis]:
            return [(0, count, False)]
        return [(0, count - 1, False), (count - 1, count, True)]

    def counts(self) -> list[int]:
        """Windows of each kind."""
        return [(b - a) * (d - c) for a, b, _ in self._parts(0) for c, d, _ in self._parts(1)]

    def order(self) -> Tensor:
        """Return the tokens (row · width + column) window by window, kind by kind: (height · width)."""
        rows, columns = (
            ((torch.arange(size) + shift) % size).view(-1, window)
            for size, window, shift in zip(self.size, self.window, self.shift, strict=True)
        )
        tokens = rows[:, None, :, None] * self.size[1] + columns[None, :, None, :]
        return torch.cat([tokens[a:b, c:d].flatten() for a, b, _ in self._parts(0) for c, d, _ in self._parts(1)])

    def hidden(self) -> Tensor:
        """Return for each kind which pairs of tokens must not see each other: bool (kinds, S, S)."""
        far_h, far_w = (
            torch.arange(window) >= window - shift for window, shift in zip(self.window, self.shift, strict=True)
        )
        masks = []
        for *_, wraps_h in self._parts(0):
            for *_, wraps_w in self._parts(1):
                side = 2 * (far_h & wraps_h)[:, None] + 1 * (far_w & wraps_w)[None, :]
                masks.append(side.flatten()[:, None] != side.flatten()[None, :])
        return torch.stack(masks)

    def offsets(self) -> Tensor:
        """Return all distances query − key in a window, in tokens: ((2·Wh − 1) · (2·Ww − 1), 2)."""
        axes = [torch.arange(1 - window, window) for window in self.window]
        return torch.cartesian_prod(*axes)

    def distances(self) -> Tensor:
        """Return the row of ``offsets`` that holds query − key of each pair of tokens: (S, S)."""
        rows, columns = (torch.arange(window) for window in self.window)
        row = rows.repeat_interleave(self.window[1])
        column = columns.repeat(self.window[0])
        down = row[:, None] - row[None, :] + self.window[0] - 1
        right = column[:, None] - column[None, :] + self.window[1] - 1
        return down * (2 * self.window[1] - 1) + right
