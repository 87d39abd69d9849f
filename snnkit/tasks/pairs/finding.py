"""How well images and texts find each other: recall@k both ways, and zero-shot classification by prompts.

Equal texts are one text: an image has found its own when any image's text of the same tokens comes first. What is as
near as the right one counts as nearer, so that features that are all the same find nothing.
Letters: N images, U different texts, D width, K classes, M prompts, L tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, distributed

from snnkit.models.two_towers import TwoTowers
from snnkit.tasks.contrastive.processes import rank_and_world

TOPS = (1, 5, 10)
_ROWS = 512
_PROMPTS = 256


@dataclass
class Found:
    """What a test found.

    Attributes:
        images, texts: unit features of all test pairs, in the order of the test, (N, D).
        tokens: of their texts, (N, L).
        labels: (N,), −1 for none.
        own: which different text each image has, (N,).
        first: an image of each different text, (U,).
        classes: predictions by prompts (N,), None without prompts.
    """

    images: Tensor
    texts: Tensor
    tokens: Tensor
    labels: Tensor
    own: Tensor
    first: Tensor
    classes: Tensor | None = None


class Finding:
    """Collects the features of a test, on the CPU."""

    def __init__(self) -> None:
        self.rows: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self.last: Found | None = None

    def add(self, images_BD: Tensor, texts_BD: Tensor, tokens_BL: Tensor, labels_B: Tensor | None) -> None:
        """Add a test batch."""
        labels = torch.full((len(images_BD),), -1) if labels_B is None else labels_B
        self.rows.append(tuple(t.detach().cpu() for t in (images_BD.float(), texts_BD.float(), tokens_BL, labels)))  # type: ignore[arg-type]

    def compute(self, weights_KD: Tensor | None) -> dict[str, float]:
        """Return recalls, and accuracy where there are prompts and labels, of everything since the last call."""
        images, texts, tokens, labels = (torch.cat(part) for part in zip(*_of_all_processes(self.rows), strict=True))
        self.rows = []
        _, own = torch.unique(tokens, dim=0, return_inverse=True)
        first = torch.full((int(own.max()) + 1,), len(own)).scatter_reduce_(0, own, torch.arange(len(own)), "amin")
        found = self.last = Found(images, texts, tokens, labels, own, first)
        image_rank, text_rank = ranks(images, texts[first], own)
        result = {f"image_recall_{k}": float((image_rank < k).double().mean()) for k in TOPS}
        result |= {f"text_recall_{k}": float((text_rank < k).double().mean()) for k in TOPS}
        known = labels >= 0
        if weights_KD is not None and known.any():
            found.classes = (images @ weights_KD.float().cpu().t()).argmax(1)
            result["accuracy"] = float((found.classes == labels)[known].double().mean())
        return result


def ranks(images_ND: Tensor, texts_UD: Tensor, own_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many texts are at least as near as an image's own, (N,), and images as near as a text's nearest, (U,).

    Args:
        images_ND, texts_UD: unit features.
        own_N: number of each image's text.
    """
    count = len(images_ND)
    image_rank = torch.empty(count, dtype=torch.int64)
    nearest = torch.full((len(texts_UD),), -2.0)
    for first in range(0, count, _ROWS):
        rows = slice(first, first + _ROWS)
        near = images_ND[rows] @ texts_UD.t()
        mine = near.gather(1, own_N[rows, None])
        image_rank[rows] = (near >= mine).sum(1) - 1
        nearest.scatter_reduce_(0, own_N[rows], mine[:, 0], "amax")
    text_rank = torch.zeros(len(texts_UD), dtype=torch.int64)
    for first in range(0, count, _ROWS):
        rows = slice(first, first + _ROWS)
        near = images_ND[rows] @ texts_UD.t()
        near.scatter_(1, own_N[rows, None], -2.0)
        text_rank += (near >= nearest).sum(0)
    return image_rank, text_rank


@torch.no_grad()
def class_weights(model: TwoTowers, prompts_KML: Tensor) -> Tensor:
    """Return unit rows (K, D): of each class the mean of its prompts' features, made unit again.

    Source: Radford et al., arXiv 2103.00020, section 3.1.4 (ensembles of prompts).
    """
    flat = prompts_KML.flatten(0, 1)
    found = torch.cat([model.encode_texts(part) for part in flat.split(_PROMPTS)])
    return F.normalize(found.float().unflatten(0, prompts_KML.shape[:2]).mean(1))


def _of_all_processes(rows: list[tuple[Tensor, Tensor, Tensor, Tensor]]) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Return the rows of all processes, in the order of the test: samples are dealt out in turn."""
    world = rank_and_world()[1]
    if world == 1:
        return rows
    own: Any = tuple(torch.cat(part) for part in zip(*rows, strict=True))
    parts: list[Any] = [None] * world
    distributed.all_gather_object(parts, own)
    sizes = [len(part[0]) for part in parts]
    places = torch.cat([torch.arange(size) * world + rank for rank, size in enumerate(sizes)])
    order = places.argsort()
    return [tuple(torch.cat([part[n] for part in parts])[order] for n in range(4))]  # type: ignore[list-item]
