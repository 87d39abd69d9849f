"""Assignments of images to prototypes, equally many to each: Sinkhorn-Knopp.

    Q = exp(s / ε)ᵀ / sum;   repeat: every prototype's row to sum 1 / K, every image's column to sum 1 / N;   Q · N

s scores (N, K) of N images in all processes, K prototypes, ε > 0 sharpness. "log" does this on log Q, where nothing can
overflow; "published" on Q itself, where exp(s / ε) does for s / ε > 88 in float32.

Source: Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments" (SwAV),
arXiv 2006.09882; facebookresearch/swav@06b1b7c, main_swav.py, distributed_sinkhorn.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from snnkit.tasks.contrastive.losses import at_least_single
from snnkit.tasks.contrastive.processes import largest, rank_and_world, summed


@torch.no_grad()
def in_logarithms(scores_NK: Tensor, epsilon: float, iterations: int, together: bool = True) -> Tensor:
    """Return the assignments (n, K) of this process's n images; rows sum to 1.

    Args:
        scores_NK: of this process's images; every process gives as many.
        epsilon: ε.
        iterations: how often both sums are put right.
        together: whether the images of all processes are assigned together.
    """
    log_q = at_least_single(scores_NK) / epsilon
    images = len(log_q) * (rank_and_world()[1] if together else 1)
    for _ in range(iterations):
        top = log_q.amax(0, keepdim=True)
        top = largest(top) if together else top
        total = (log_q - top).exp().sum(0, keepdim=True)
        total = summed(total) if together else total
        log_q = log_q - (top + total.log() + math.log(log_q.shape[1]))
        log_q = log_q - (log_q.logsumexp(1, keepdim=True) + math.log(images))
    return (log_q + math.log(images)).exp()


@torch.no_grad()
def as_published(scores_NK: Tensor, epsilon: float, iterations: int, together: bool = True) -> Tensor:
    """Return the same by the published arithmetic; arguments as for ``in_logarithms``."""
    q = (at_least_single(scores_NK) / epsilon).exp().t()
    add: Callable[[Tensor], Tensor] = summed if together else lambda values: values
    images = q.shape[1] * (rank_and_world()[1] if together else 1)
    q = q / add(q.sum())
    for _ in range(iterations):
        q = q / add(q.sum(1, keepdim=True)) / q.shape[0]
        q = q / q.sum(0, keepdim=True) / images
    return (q * images).t()


SINKHORN: dict[str, Callable[..., Tensor]] = {"log": in_logarithms, "published": as_published}
"""The two ways, by the name of ``task.options.sinkhorn``."""
