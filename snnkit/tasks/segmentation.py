"""Semantic segmentation: cross-entropy of every pixel, mean IoU, pixel accuracy, and every class by itself.

    loss = − Σ w_k log softmax(z)_k / Σ w_k  over the pixels whose class k is known; z: logits, enlarged to the classes'
    of auxiliary heads, which a network may have in training, 0.4 of theirs is added
    IoU_k = hits / (hits + misses + false alarms) over all pixels of a split;  mIoU: its mean over classes that have one

A class that neither occurs nor is predicted has no IoU. Letters: B images, K classes, C channels, H and W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassConfusionMatrix
from torchvision.utils import draw_segmentation_masks

from snnkit.data.dense import IGNORED
from snnkit.errors import InvalidArgumentError
from snnkit.files import write_json
from snnkit.layers.memory_order import channels_innermost
from snnkit.tasks.classification import channels_last
from snnkit.tasks.distillation import soft_loss
from snnkit.tasks.drawing import colours
from snnkit.tasks.firing import firing_neurons, listening
from snnkit.tasks.pictures import write_rows
from snnkit.tasks.task import Plan
from snnkit.tasks.teaching import Taught

_SHOWN = 8
_AUXILIARY = 0.4  # of the loss of further logits, as MMSegmentation weighs them


class Segmentation(Taught):
    """Train a network (B, C, H, W) → logits (B, K, h, w) on the classes (B, H, W) of pixels, 255 where none is known.

    Args:
        model: the network.
        num_classes: K.
        class_weights: w_k, one number a class; empty for 1 each.
        label_smoothing: share of probability spread over all classes in the training loss.
        window: test images are read in square windows of so many pixels, whose probabilities are averaged where they
            overlap; 0 reads them whole.
        overlap: share of a window that the next one covers too.

    Raises:
        InvalidArgumentError: an option outside its range.
    """

    name: ClassVar[str] = "segmentation"
    measure: ClassVar[str] = "miou"
    takes: ClassVar[str] = "maps"

    def __init__(
        self,
        model: nn.Module,
        num_classes: int,
        class_weights: Sequence[float] = (),
        label_smoothing: float = 0.0,
        window: int = 0,
        overlap: float = 1 / 3,
    ):
        super().__init__()
        if num_classes < 2:
            raise InvalidArgumentError(
                f"{num_classes} class: segmentation tells two apart at least; name the background."
            )
        if len(class_weights) not in (0, num_classes) or any(not 0 <= w < math.inf for w in class_weights):
            raise InvalidArgumentError(
                f"task.options.class_weights={list(class_weights)}: give {num_classes} numbers ≥ 0, one a class."
            )
        if class_weights and not any(class_weights):
            raise InvalidArgumentError(
                f"task.options.class_weights={list(class_weights)}: nothing is learned of classes of weight 0; give "
                "one class more at least."
            )
        if window < 0 or not 0 <= overlap < 1:
            raise InvalidArgumentError(
                f"task.options.window={window}, overlap={overlap:g}: must be a whole number ≥ 0, and at least 0 and "
                "below 1."
            )
        self.model, self.num_classes = channels_innermost(model), num_classes
        self.label_smoothing, self.window, self.overlap = label_smoothing, window, overlap
        weights = torch.tensor(class_weights, dtype=torch.float32) if class_weights else None
        self.register_buffer("class_weights", weights, persistent=False)
        self.losses, self.rate = MeanMetric(), MeanMetric()
        self.confusion = MulticlassConfusionMatrix(num_classes, ignore_index=IGNORED)
        self.classes: tuple[str, ...] = ()
        self._neurons = firing_neurons(model)
        self._found: Tensor | None = None
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []
        """Of the first test images: the image, its classes, and those that were predicted."""

    def begin(self, plan: Plan) -> None:
        """Take note of the classes' names."""
        self.classes = plan.classes

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss of a training batch; one without any known pixel of a class that has weight is worth 0."""
        images, maps = batch
        with self.studying() as seen:
            made = self.model(channels_last(images))
        first, *others = made if isinstance(made, tuple) else (made,)
        logits = _enlarged(first, maps)
        loss = self._cross_entropy(logits, maps, self.label_smoothing)
        for auxiliary in others:
            loss = loss + _AUXILIARY * self._cross_entropy(_enlarged(auxiliary, maps), maps, self.label_smoothing)
        self._note(loss, logits, maps)
        return self.taught(loss, batch, first, seen)

    def teacher_loss(self, batch: Any, said: Tensor, answer: Tensor, temperature: float) -> Tensor:
        """Return τ²·KL of the pixels' classes, at the resolution of the student's logits; all pixels count."""
        pairs = said.float(), _enlarged(answer.float(), said)
        student, teacher = (logits.movedim(1, -1).flatten(0, 2) for logits in pairs)
        return soft_loss(student, teacher, temperature)

    def evaluate(self, batch: tuple[Tensor, Tensor]) -> None:
        """Feed the metrics with a test batch."""
        images, maps = batch
        with listening(self._neurons) as rates, torch.no_grad():
            logits = self.logits(images)
        self._note(self._cross_entropy(logits, maps, 0.0), logits, maps)
        if images.ndim == 4 and (missing := _SHOWN - len(self._seen)) > 0:
            said = logits.argmax(1)
            self._seen += [(images[n].cpu(), maps[n].cpu(), said[n].cpu()) for n in range(min(missing, len(maps)))]
        if rates:
            self.rate.update(torch.stack(rates).mean(), len(images))

    @torch.compiler.disable  # counting branches on values; the network and its loss are one graph without it
    def _note(self, loss: Tensor, logits: Tensor, maps: Tensor) -> None:
        self.losses.update(loss.detach(), self._weight(maps))
        self.confusion.update(logits.detach().argmax(1), maps)

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits (B, K, H, W) of images, read whole or in windows."""
        if not self.window or self.window >= max(images.shape[-2:]):
            return _enlarged(self.model(channels_last(images)), images).float()
        return in_windows(self.model, images, self.window, self.overlap)

    def _cross_entropy(self, logits: Tensor, maps: Tensor, smoothing: float) -> Tensor:
        told = maps != IGNORED
        if self.class_weights is not None:
            told &= self.class_weights[maps.clamp(max=self.num_classes - 1)] > 0
        if not told.any():  # a mean over nothing
            return logits.sum() * 0.0
        return F.cross_entropy(
            logits.float(), maps, self.class_weights, ignore_index=IGNORED, label_smoothing=smoothing
        )

    def _weight(self, maps: Tensor) -> Tensor:
        """Return Σ w_k over the known pixels: what a batch's mean loss counts for in that of a split."""
        known = maps[maps != IGNORED]
        if self.class_weights is None:
            return torch.tensor(float(known.numel()), device=maps.device)
        return self.class_weights[known].sum()

    def compute(self) -> dict[str, float]:
        """Return loss, mIoU (= score), pixel accuracy and, after ``evaluate``, the mean firing rate over layers."""
        self._found = self.confusion.compute()
        miou = float(mean_iou(self._found))
        result = {"loss": float(self.losses.compute().nan_to_num(0.0)), "miou": miou, "score": miou}
        result["pixel_accuracy"] = float(self._found.trace() / self._found.sum().clamp(min=1))
        if self.rate.update_called:
            result["firing_rate"] = float(self.rate.compute())
        for metric in (self.losses, self.confusion, self.rate):
            metric.reset()
        return result

    @torch.no_grad()
    def predict(self, image: Tensor, size: tuple[int, int]) -> dict[str, Any]:
        """Return ``map``, the class of every pixel, and the share of the picture that each class covers."""
        logits = F.interpolate(self.logits(image), size, mode="bilinear", align_corners=False)
        classes = logits[0].argmax(0)
        shares = torch.bincount(classes.flatten(), minlength=self.num_classes) / classes.numel()
        covered = [
            {"class": self._name(k), "share": round(float(share), 4)} for k, share in enumerate(shares) if share > 0
        ]
        return {"covered": sorted(covered, key=lambda one: -one["share"]), "map": classes}

    def draw(self, picture: Tensor, found: dict[str, Any]) -> Tensor:
        """Return the picture under half-transparent colours, one a class; the first class, the background, has none."""
        masks = torch.stack([found["map"] == k for k in range(1, self.num_classes)])
        return draw_segmentation_masks(picture, masks, alpha=0.55, colors=colours(self.num_classes - 1))

    def _name(self, number: int) -> str:
        return self.classes[number] if number < len(self.classes) else str(number)

    def keep_records(self, folder: Path, epoch: int) -> None:
        """Write segmentation.json: the confusion matrix of the last test, rows the truth, and IoU by class.

        Beside it predictions.png: the first test images, their classes, and those that were predicted.
        """
        if self._found is None:
            return
        names = [self._name(number) for number in range(self.num_classes)]
        write_json(folder / "segmentation.json", {"epoch": epoch, **per_class(self._found, names)})
        sides = {tuple(image.shape) for image, _, _ in self._seen}
        if len(sides) == 1 and (shape := sides.pop())[1] == shape[2]:
            rows = [self._row(*one) for one in self._seen]
            write_rows(folder / "predictions.png", [torch.stack(column) for column in zip(*rows, strict=True)])
        self._seen = []

    def _row(self, image: Tensor, truth: Tensor, said: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """An image 0…1 (3, H, W) as it is, with its classes, and with those that were predicted."""
        low, high = image.amin(), image.amax()
        grey = image if len(image) == 3 else image.mean(0, keepdim=True).expand(3, -1, -1)
        pixels = ((grey - low) / (high - low).clamp(min=1e-6) * 255).round().byte()
        drawn = [self.draw(pixels, {"map": classes}) for classes in (truth, said)]
        return pixels / 255, drawn[0] / 255, drawn[1] / 255


def ious(confusion_KK: Tensor) -> Tensor:
    """Return IoU_k (K,) of a confusion matrix, NaN for a class that neither occurs nor is predicted."""
    confusion = confusion_KK.double()
    hits = confusion.diagonal()
    return hits / (confusion.sum(0) + confusion.sum(1) - hits)


def mean_iou(confusion_KK: Tensor) -> Tensor:
    """Return the mean IoU over classes that have one; 0 where none has."""
    return ious(confusion_KK).nanmean().nan_to_num(0.0)


def per_class(confusion_KK: Tensor, names: Sequence[str]) -> dict[str, Any]:
    """Return what a confusion matrix says of every class, as plain numbers; None for what is not defined."""
    confusion = confusion_KK.double()
    hits, truth, said = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    rows = [
        {"name": name, "iou": _plain(iou), "recall": _plain(recall), "precision": _plain(precision), "pixels": int(n)}
        for name, iou, recall, precision, n in zip(
            names, ious(confusion), hits / truth, hits / said, truth, strict=True
        )
    ]
    return {"classes": rows, "confusion": confusion_KK.long().tolist()}


def _plain(value: Tensor) -> float | None:
    return None if value.isnan() else float(value)


def in_windows(model: nn.Module, images: Tensor, side: int, overlap: float) -> Tensor:
    """Return the logarithm of the mean probability (B, K, H, W) over square windows that cover the images.

    Args:
        model: of (B, C, side, side).
        images: (B, C, H, W) or a sequence (T, B, C, H, W).
        side: of a window; the last of a row or column ends with the image.
        overlap: share of a window that the next one covers too.
    """
    height, width = images.shape[-2:]
    total: Tensor | None = None
    count = images.new_zeros(1, 1, height, width)
    for top in _starts(height, side, overlap):
        for left in _starts(width, side, overlap):
            part = images[..., top : top + side, left : left + side]
            found = _enlarged(model(channels_last(part)), part).float().softmax(1)
            if total is None:
                total = found.new_zeros(*found.shape[:2], height, width)
            total[..., top : top + side, left : left + side] += found
            count[..., top : top + side, left : left + side] += 1
    assert total is not None  # a window at least covers an image
    return (total / count).clamp(min=torch.finfo(total.dtype).tiny).log()


def _starts(length: int, side: int, overlap: float) -> list[int]:
    if length <= side:
        return [0]
    stride = max(int(side * (1 - overlap)), 1)
    return [*range(0, length - side, stride), length - side]


def _enlarged(logits_BKHW: Tensor, like: Tensor) -> Tensor:
    """Bring logits to the height and width of ``like``."""
    size = tuple(like.shape[-2:])
    if tuple(logits_BKHW.shape[-2:]) == size:
        return logits_BKHW
    return F.interpolate(logits_BKHW, size, mode="bilinear", align_corners=False)
