"""A value over the steps of a run: a straight line, then half a cosine.

    v(s) = start + (peak − start) · s / (W − 1)                      s < W, the steps of the warm-up
    v(s) = final + (peak − final) · (1 + cos(π (s − W) / (N − W))) / 2     W ≤ s < N, the steps of the run

Source: facebookresearch/dino@7c446df, utils.cosine_scheduler; facebookresearch/swav@06b1b7c, main_swav.py (the same).
"""

from __future__ import annotations

import math


def warmup_cosine(step: int, steps: int, peak: float, final: float, warmup: int = 0, start: float = 0.0) -> float:
    """Return the value of step ``step`` of ``steps``, both counted in optimizer steps.

    Args:
        step: counted from 0; beyond the run's end it stays at ``final``.
        steps: N, of the whole run.
        peak, final, start: see above.
        warmup: W.
    """
    if step < warmup:
        return start + (peak - start) * (step / (warmup - 1) if warmup > 1 else 0.0)
    share = min((step - warmup) / max(steps - warmup, 1), 1.0)
    return final + 0.5 * (peak - final) * (1 + math.cos(math.pi * share))


def straight(epoch: int, warmup: int, start: float, end: float) -> float:
    """Return what goes from ``start`` to ``end`` in a straight line over the first ``warmup`` epochs, then stays."""
    if epoch >= warmup:
        return end
    return start + (end - start) * (epoch / (warmup - 1) if warmup > 1 else 0.0)
