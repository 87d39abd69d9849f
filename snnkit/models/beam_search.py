"""Beam search: the likely texts of a model that says how likely every next token is; greedy search with one beam.

    score = Σ log p(tₙ | t₁ … t₍ₙ₋₁₎) / n^α     over the n tokens of a text, its end among them

Each step, of all continuations of the K texts that are being written the best by Σ log p are taken: those that do not
end go on, K of them; one that ends is complete where it is among the K best. An image's search is over when K are
complete, when no text that goes on can still be better than the best of them, or at the longest text, where what has
not ended is taken as it is. With K = 1 that is greedy search; with K at least the number of all texts it is exact.

Letters: B images, K beams, L tokens at most, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from snnkit.errors import InvalidArgumentError

_END = 0

Step = Callable[[Tensor, Tensor], Tensor]
"""From texts so far (B·K, n) and, for each, the row that it goes on from of the call before, to log p (B·K, V)."""


class Written(NamedTuple):
    """Texts (B, L), 0 behind their ends, and their scores (B,)."""

    tokens: Tensor
    scores: Tensor


def check_search(beam: int, length_penalty: float) -> None:
    """Raise InvalidArgumentError for numbers that no search can have."""
    if not isinstance(beam, int) or isinstance(beam, bool) or beam < 1:
        raise InvalidArgumentError(f"beam={beam!r}: must be a whole number ≥ 1; 1 is greedy search.")
    if not 0 <= length_penalty < float("inf"):
        raise InvalidArgumentError(
            f"length_penalty={length_penalty!r}: must be a number ≥ 0: 0 ranks texts by Σ log p, 1 by its mean."
        )


def beam_search(
    step: Step, images: int, context: int, beam: int, length_penalty: float, device: torch.device | str = "cpu"
) -> Written:
    """Return the best text found for each image.

    Args:
        step: says how likely next tokens are.
        images: B.
        context: L.
        beam: K.
        length_penalty: α; 0 ranks by the whole probability, which favours short texts, 1 by its mean over tokens.
        device: that ``step`` computes on.

    Raises:
        InvalidArgumentError: a beam below 1, or a negative length penalty.
    """
    check_search(beam, length_penalty)
    found = _Complete(images, context, beam, length_penalty, device)
    texts = torch.zeros(images, beam, 0, dtype=torch.int64, device=device)
    # All texts of an image are the same empty one at first: one of them goes on.
    sums = torch.full((images, beam), -torch.inf, device=device)
    sums[:, 0] = 0.0
    first = torch.arange(images, device=device)[:, None] * beam
    rows = torch.arange(images * beam, device=device)
    for length in range(1, context + 1):
        log_p = step(texts.flatten(0, 1), rows).view(images, beam, -1)
        total = (sums[..., None] + log_p.to(sums.dtype)).flatten(1)
        # Each text ends in one way: at least K of the 2·K best go on.
        best, which = total.topk(min(2 * beam, total.shape[1]), 1)
        source, token = which // log_p.shape[2], which % log_p.shape[2]
        longer = torch.cat([texts.gather(1, source[..., None].expand(-1, -1, length - 1)), token[..., None]], 2)
        ended = token == _END
        found.add(longer[:, :beam], best[:, :beam].where(ended[:, :beam], -torch.inf))
        sums, chosen = best.masked_fill(ended, -torch.inf).topk(beam, 1)
        texts = longer.gather(1, chosen[..., None].expand(-1, -1, length))
        rows = (first + source.gather(1, chosen)).flatten()
        found.close(sums)
        if bool(found.closed.all()):
            break
    else:
        found.add(texts, sums)
    return Written(found.texts, found.scores)


class _Complete:
    """The best complete text of each image so far, how many there are, and which searches are over."""

    def __init__(self, images: int, context: int, beam: int, penalty: float, device: torch.device | str):
        self.context, self.beam, self.penalty = context, beam, penalty
        self.texts = torch.zeros(images, context, dtype=torch.int64, device=device)
        self.scores = torch.full((images,), -torch.inf, device=device)
        self.closed = torch.zeros(images, dtype=torch.bool, device=device)
        self._count = torch.zeros(images, dtype=torch.int64, device=device)

    def add(self, texts_BKn: Tensor, sums_BK: Tensor) -> None:
        """Take in complete texts; −∞ for what is none."""
        length = texts_BKn.shape[2]
        scores, which = (sums_BK / length**self.penalty).max(1)
        better = (scores > self.scores) & ~self.closed
        self.scores = scores.where(better, self.scores)
        best = texts_BKn.gather(1, which[:, None, None].expand(-1, 1, length))[:, 0]
        self.texts[:, :length] = best.where(better[:, None], self.texts[:, :length])
        self.texts[:, length:].masked_fill_(better[:, None], _END)
        self._count += (sums_BK > -torch.inf).sum(1)

    def close(self, sums_BK: Tensor) -> None:
        """End the searches that have K texts, or whose texts that go on cannot become better any more."""
        # Σ log p only falls; the longest text divides it by most.
        hope = sums_BK.max(1).values / self.context**self.penalty
        self.closed |= (self._count >= self.beam) | (self.scores >= hope)
