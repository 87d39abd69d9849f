"""Weighted nearest neighbours: no training, so that nothing but the features speaks.

    s(q, i) = cos(q, xᵢ)            p(c | q) ∝ Σ over the k most similar i of class c of exp(s(q, i) / T)

Defaults k = 20, T = 0.07. Sources: Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance
Discrimination", arXiv 1805.01978, §3.4 (T = 0.07); Caron et al., DINO, arXiv 2104.14294, App. F (20 neighbours work
best), and facebookresearch/dino, eval_knn.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from snnkit.errors import InvalidArgumentError

K, TEMPERATURE = 20, 0.07
_ENTRIES = 1 << 24  # similarities held at a time


def vote(
    train: Tensor, labels: Tensor, test: Tensor, classes: int, k: int = K, temperature: float = TEMPERATURE
) -> Tensor:
    """Return the share (M, classes) of the votes of each class for test features.

    Args:
        train: features (N, F).
        labels: of these (N,).
        test: features (M, F).
        classes: number of classes.
        k: neighbours that vote.
        temperature: T.

    Raises:
        InvalidArgumentError: k is not from 1 to N, or T is not a finite number above 0.
    """
    if not 1 <= k <= len(train):
        raise InvalidArgumentError(
            f"k={k}: there are {len(train):,} labelled images to choose neighbours from; give at least 1 and at most "
            "as many (--k), or more labels."
        )
    if not 0 < temperature < float("inf"):
        raise InvalidArgumentError(f"temperature={temperature}: must be a finite number above 0.")
    known, asked = F.normalize(train.float(), dim=1), F.normalize(test.float(), dim=1)
    found = []
    for queries in asked.split(max(_ENTRIES // len(known), 1)):
        similarity, nearest = (queries @ known.T).topk(k, dim=1)
        # exp((s − s_max)/T): the shares are the same, and no T overflows.
        weights = ((similarity - similarity[:, :1]) / temperature).exp()
        votes = torch.zeros(len(queries), classes).scatter_add_(1, labels[nearest], weights)
        found.append(votes / votes.sum(1, keepdim=True))
    return torch.cat(found)
