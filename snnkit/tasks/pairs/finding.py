"""How well images and texts find each other: recall@k both ways, and zero-shot classification by prompts.

Equal texts are one text, equal images one image: an image of five texts has found its own when any of the five comes
first, a text of five images likewise. What is as near as the right one counts as nearer, so that features that are all
the same find nothing.
Letters: N pairs, V different images, U different texts, D width, K classes, M prompts, L tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, distributed

from snnkit.errors import NonFiniteError
from snnkit.models.two_towers import TwoTowers
from snnkit.tasks.contrastive.processes import in_turn, rank_and_world

TOPS = (1, 5, 10)
_ROWS = 512
_Rows = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
_PROMPTS = 256


@dataclass
class Found:
    """What a test found.

    Attributes:
        images, texts: unit features of all test pairs, in the order of the test, (N, D).
        tokens: of their texts, (N, L).
        labels: (N,), −1 for none.
        own: which different text each pair has, (N,).
        image: which different image each pair has, (N,).
        first: a pair of each different text, (U,).
        classes: predictions by prompts (N,), None without prompts.
        pictures: the first images, (C, H, W), as many as were to be kept.
    """

    images: Tensor
    texts: Tensor
    tokens: Tensor
    labels: Tensor
    own: Tensor
    image: Tensor
    first: Tensor
    classes: Tensor | None = None
    pictures: list[Tensor] = field(default_factory=list)


class Finding:
    """Collects the features of a test, on the CPU, and its first ``pictures`` images."""

    def __init__(self, pictures: int = 0) -> None:
        self.rows: list[_Rows] = []
        self._kept: list[Tensor] = []
        self._most = pictures
        self.last: Found | None = None

    def add(
        self, f_BD: Tensor, g_BD: Tensor, images_BCHW: Tensor, tokens_BL: Tensor, labels_B: Tensor | None = None
    ) -> None:
        """Add a test batch: features of its images and texts, these themselves, and labels where there are any."""
        labels = torch.full((len(f_BD),), -1) if labels_B is None else labels_B
        self._kept += list(images_BCHW[: self._most - len(self._kept)].float().cpu())
        found = f_BD.float(), g_BD.float(), fingerprints(images_BCHW), tokens_BL, labels
        self.rows.append(tuple(t.detach().cpu() for t in found))  # type: ignore[arg-type]

    def compute(self, weights_KD: Tensor | None) -> dict[str, float]:
        """Return recalls, and accuracy where there are prompts and labels, of everything since the last call.

        Raises:
            NonFiniteError: a feature is not finite.
        """
        rows, self.rows, kept, self._kept = self.rows, [], self._kept, []
        images, texts, prints, tokens, labels = (torch.cat(part) for part in zip(*_of_all_processes(rows), strict=True))
        check_finite(images, texts)
        _, own = torch.unique(tokens, dim=0, return_inverse=True)
        _, image = torch.unique(prints, return_inverse=True)
        first = _first(own)
        found = self.last = Found(images, texts, tokens, labels, own, image, first)
        found.pictures = in_turn(kept)[: self._most]
        image_rank, text_rank = ranks(images[_first(image)], texts[first], image, own)
        # Among no more than k everything is within the first k, which would say nothing.
        result = {f"image_recall_{k}": float((image_rank < k).double().mean()) for k in TOPS if k < len(text_rank)}
        result |= {f"text_recall_{k}": float((text_rank < k).double().mean()) for k in TOPS if k < len(image_rank)}
        known = labels >= 0
        if weights_KD is not None and known.any():
            found.classes = (images @ weights_KD.float().cpu().t()).argmax(1)
            result["accuracy"] = float((found.classes == labels)[known].double().mean())
        return result


def ranks(images_VD: Tensor, texts_UD: Tensor, image_N: Tensor, own_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many wrong texts are at least as near as an image's nearest, (V,), and wrong images as a text's, (U,).

    Args:
        images_VD, texts_UD: unit features.
        image_N, own_N: image and text of each pair.
    """
    nearest = torch.full((len(texts_UD),), -2.0)
    for _, near, right in _blocks(images_VD, texts_UD, image_N, own_N):
        nearest = torch.maximum(nearest, near.masked_fill(~right, -2.0).amax(0))
    image_rank, text_rank = (
        torch.empty(len(images_VD), dtype=torch.int64),
        torch.zeros(len(texts_UD), dtype=torch.int64),
    )
    for rows, near, right in _blocks(images_VD, texts_UD, image_N, own_N):
        best = near.masked_fill(~right, -2.0).amax(1, keepdim=True)
        wrong = near.masked_fill(right, -3.0)
        image_rank[rows] = (wrong >= best).sum(1)
        text_rank += (wrong >= nearest).sum(0)
    return image_rank, text_rank


def _blocks(
    images_VD: Tensor, texts_UD: Tensor, image_N: Tensor, own_N: Tensor
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield some images at a time how near each text is to them, and whether it is one of theirs."""
    for first in range(0, len(images_VD), _ROWS):
        rows = slice(first, first + _ROWS)
        near = images_VD[rows] @ texts_UD.t()
        here = (image_N >= first) & (image_N < first + _ROWS)
        right = torch.zeros(near.shape, dtype=torch.bool)
        right[image_N[here] - first, own_N[here]] = True
        yield rows, near, right


def fingerprints(images_BCHW: Tensor) -> Tensor:
    """Return a number of each image by its bytes, int64 (B,): equal images have equal ones."""
    whole = images_BCHW.detach().cpu().contiguous().flatten(1)
    hashes = [hashlib.blake2b(row.view(torch.uint8).numpy(), digest_size=8).digest() for row in whole]
    return torch.tensor([int.from_bytes(one, "little", signed=True) for one in hashes], dtype=torch.int64)


def check_finite(*features_ND: Tensor) -> None:
    """Raise NonFiniteError where a feature is not finite: it is nearer to nothing, which would count as found."""
    for features in features_ND:
        wrong = int((~features.isfinite().all(1)).sum())
        if wrong:
            raise NonFiniteError(
                f"the towers gave features that are not finite for {wrong:,} of {len(features):,}; the weights are "
                "damaged, or the training diverged."
            )


def _first(which_N: Tensor) -> Tensor:
    """Return the first place of each number."""
    return torch.full((int(which_N.max()) + 1,), len(which_N)).scatter_reduce_(
        0, which_N, torch.arange(len(which_N)), "amin"
    )


@torch.no_grad()
def class_weights(model: TwoTowers, prompts_KML: Tensor) -> Tensor:
    """Return unit rows (K, D): of each class the mean of its prompts' features, made unit again.

    Source: Radford et al., arXiv 2103.00020, section 3.1.4 (ensembles of prompts).
    """
    flat = prompts_KML.flatten(0, 1)
    found = torch.cat([model.encode_texts(part) for part in flat.split(_PROMPTS)])
    return F.normalize(found.float().unflatten(0, prompts_KML.shape[:2]).mean(1))


def _of_all_processes(rows: list[_Rows]) -> list[_Rows]:
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
    return [tuple(torch.cat([part[n] for part in parts])[order] for n in range(len(own)))]  # type: ignore[list-item]
