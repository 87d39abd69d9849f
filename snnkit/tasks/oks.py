"""How good key points are: AP by object key point similarity, and the share of key points near enough (PCK).

    OKS   mean over marked key points of exp(−d² / (2 a (2σ)²)); d: distance in pixels, a: area of the thing, σ: how
          exact that key point is marked
    AP    mean precision over recall, at thresholds 0.50, 0.55 … 0.95 of OKS, and over these; COCO's own evaluation
    PCK   share of the marked key points with d ≤ 0.1 · the longer side of the thing's box

A crop around a thing is one detection, whose score is the mean height of its heat maps' peaks; in an image each matches
the thing it resembles most, and the 20 surest count, as COCO has it. Things that are no samples (crowds, unmarked ones)
take no part. Source: cocodataset.org, "Keypoint evaluation" (pycocotools). Letters: N things, K key points.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from snnkit.errors import InvalidArgumentError

NEAR = 0.1
"""Share of the longer side of a thing's box within which a key point counts as found."""
_HEAD = 7  # numbers of a row before its key points: image, score, area, box


def check_installed() -> None:
    """Raise InvalidArgumentError unless pycocotools is installed."""
    try:
        import pycocotools.cocoeval  # type: ignore[import-untyped]  # noqa: F401
    except ImportError:
        raise InvalidArgumentError(
            "AP of key points is computed by pycocotools, which is not installed: pip install 'snnkit[coco]'."
        ) from None


class KeypointAP(Metric):
    """AP and PCK of the key points of things, over all processes: each gathers what the others have seen.

    Args:
        count: K.
    """

    full_state_update = False
    rows: list[Tensor]

    def __init__(self, count: int):
        super().__init__()
        self.count = count
        # Flat, so that a process that has seen nothing can be joined to others.
        self.add_state("rows", default=[], dist_reduce_fx="cat")

    def update(self, places: Tensor, scores: Tensor, targets: dict[str, Tensor], sigmas: Tensor) -> None:
        """Take note of things.

        Args:
            places: (N, K, 2) that were found, in the image.
            scores: (N,).
            targets: ``truth`` (N, K, 3), ``box`` (N, 4), ``area`` and ``image`` (N,).
            sigmas: (N, K).
        """
        image, area = targets["image"].float(), targets["area"]
        head = torch.cat([torch.stack([image, scores.float(), area], 1), targets["box"]], 1)
        rows = torch.cat([head, targets["truth"].flatten(1), places.float().flatten(1), sigmas], 1)
        self.rows.append(rows.float().flatten())

    def compute(self) -> Things | None:
        """Return what was seen; None where nothing was."""
        rows: Any = self.rows
        flat = torch.cat(rows) if isinstance(rows, list) and rows else rows
        if isinstance(flat, list) or not flat.numel():
            return None
        return Things(flat.view(-1, _HEAD + 6 * self.count).double().cpu(), self.count)


class Things:
    """Things with what was found of them, from rows of numbers (``KeypointAP``).

    Attributes:
        image, score, area: (N,) each.
        box: (N, 4): left, top, right, bottom.
        truth: (N, K, 3).
        found: (N, K, 2).
        sigmas: (K,).
    """

    def __init__(self, rows: Tensor, count: int):
        self.image, self.score, self.area = rows[:, 0].long(), rows[:, 1], rows[:, 2]
        self.box = rows[:, 3:_HEAD]
        truth, found, sigmas = torch.split(rows[:, _HEAD:], [3 * count, 2 * count, count], 1)
        self.truth: Tensor = truth.unflatten(1, (count, 3))
        self.found: Tensor = found.unflatten(1, (count, 2))
        self.sigmas: Tensor = sigmas[0]

    def __len__(self) -> int:
        return len(self.image)

    @property
    def marked(self) -> Tensor:
        """Which key points are marked, (N, K)."""
        return self.truth[..., 2] > 0

    def distances(self) -> Tensor:
        """Return how far from its mark each key point was found, in pixels (N, K)."""
        return torch.linalg.vector_norm(self.found - self.truth[..., :2], dim=-1)

    def oks(self) -> Tensor:
        """Return the similarity of each thing with what was found of it, (N,)."""
        marked, spread = self.marked, 2 * self.sigmas
        likeness: Tensor = torch.exp(-(self.distances() ** 2) / (2 * self.area[:, None] * spread**2)) * marked
        return likeness.sum(1) / marked.sum(1).clamp(min=1)

    def near(self) -> Tensor:
        """Return which key points were found near enough, (N, K)."""
        sides = (self.box[:, 2:] - self.box[:, :2]).amax(1)
        return (self.distances() <= NEAR * sides[:, None]) & self.marked

    def pck(self) -> float:
        """Return the share of marked key points that were found near enough; 0 where none is marked."""
        return float(self.near().sum() / self.marked.sum().clamp(min=1))

    def ap(self) -> dict[float, float]:
        """Return AP by threshold of OKS.

        Raises:
            InvalidArgumentError: pycocotools is not installed.
        """
        check_installed()
        from pycocotools.coco import COCO  # type: ignore[import-untyped]
        from pycocotools.cocoeval import COCOeval

        marked = [self._annotation(number) for number in range(len(self))]
        found = [self._detection(number, annotation) for number, annotation in enumerate(marked)]
        with contextlib.redirect_stdout(io.StringIO()):  # it tells of every step
            known: list[Any] = []
            for annotations in (marked, found):
                images = [{"id": image} for image in sorted({one["image_id"] for one in annotations})]
                coco = COCO()
                coco.dataset = {"images": images, "categories": [{"id": 1}], "annotations": annotations}
                coco.createIndex()
                known.append(coco)
            test = COCOeval(*known, iouType="keypoints")
            test.params.kpt_oks_sigmas = self.sigmas.numpy()
            test.params.areaRng, test.params.areaRngLbl = test.params.areaRng[:1], test.params.areaRngLbl[:1]
            test.evaluate()
            test.accumulate()
        precision = test.eval["precision"][:, :, 0, 0, -1].mean(1)
        thresholds = [round(float(value), 2) for value in test.params.iouThrs]
        return dict(zip(thresholds, precision.clip(0).tolist(), strict=True))

    def _annotation(self, number: int) -> dict[str, Any]:
        left, top, right, bottom = self.box[number].tolist()
        return {
            "id": number + 1,  # 0 would count as no match
            "image_id": int(self.image[number]),
            "category_id": 1,
            "keypoints": self.truth[number].flatten().tolist(),
            "num_keypoints": int(self.marked[number].sum()),
            "bbox": [left, top, right - left, bottom - top],
            "area": float(self.area[number]),
            "iscrowd": 0,
        }

    def _detection(self, number: int, annotation: dict[str, Any]) -> dict[str, Any]:
        places = torch.cat([self.found[number], torch.ones(len(self.sigmas), 1)], 1)
        return annotation | {"keypoints": places.flatten().tolist(), "score": float(self.score[number])}
