"""Detection: things on images by their boxes, classes and masks; losses are the detector's, the score is COCO's AP.

    loss = Σ w_i · loss_i                 of objectness, proposals, classes, boxes, masks, each with a weight
    AP                                    area below precision over recall (101 places), its mean over classes and over
                                          IoU thresholds 0.50, 0.55 … 0.95; AP50 and AP75 have one threshold
    small, medium, large                  the same for things of less than 32², less than 96², and more pixels

Tests measure in pixels of the image as it is stored; with masks, AP of boxes and of masks. Crowds are not learned, and
what is found on them is neither right nor wrong. The test loss is that of training with batch norm as in tests and
sampled from a fixed seed (``models.detector``). AP is not measured while training: the score of the training split is
minus its loss.

Source: Lin et al., "Microsoft COCO", arXiv 1405.0312, by torchmetrics and pycocotools. Letters: B images, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn
from torchmetrics import MeanMetric
from torchmetrics.detection import MeanAveragePrecision
from torchvision.models.detection.transform import resize_boxes

from snnkit.errors import InvalidArgumentError
from snnkit.files import write_json
from snnkit.layers.memory_order import channels_innermost
from snnkit.models.detector import Detector
from snnkit.tasks import detection_teacher
from snnkit.tasks.contrastive.processes import rank_and_world
from snnkit.tasks.drawing import Colour, colours, fitted, with_things
from snnkit.tasks.firing import firing_neurons, listening
from snnkit.tasks.pictures import write_rows
from snnkit.tasks.tap import Tap
from snnkit.tasks.task import Plan
from snnkit.tasks.teaching import Taught

RECORDS = "detection.json"
_PARTS = {
    "loss_objectness": "objectness",
    "loss_rpn_box_reg": "proposals",
    "loss_classifier": "classes",
    "classification": "classes",
    "loss_box_reg": "boxes",
    "bbox_regression": "boxes",
    "loss_mask": "masks",
}
_UNTAUGHT = ("loss_objectness", "loss_rpn_box_reg")  # what teachers say nothing of
_IOUS = np.linspace(0.5, 0.95, 10).tolist()
"""COCO's thresholds: torchmetrics' own are of 32 bits, of which some are above, and some below, what they should be."""
_RECALLS = np.linspace(0.0, 1.0, 101).tolist()
_AT_50, _AT_75 = 0, 5  # places among the thresholds
_SIZES = ("small", "medium", "large")  # as tables of AP have them, after things of any size
_KINDS = {"bbox": "box", "segm": "mask"}
_FEW = 50  # a result with more boxes is drawn with those alone
_SHOWN, _SIDE = 6, 288  # images in the picture of a test, and the pixels of their longer side there
_DRAWN = 0.5  # and with no thing that is found with less


class Detection(Taught):
    """Train a detector on batches (list of images (C, H, W), list of ``data.object_transforms.things``).

    Args:
        model: a ``Detector``.
        num_classes: K.
        objectness, proposals, classes, boxes, masks: weights of the losses; where a detector has no such loss, nothing.

    Raises:
        InvalidArgumentError: another kind of model, a weight below 0, or pycocotools is not installed.
    """

    name: ClassVar[str] = "detection"
    measure: ClassVar[str] = "box_ap"
    takes: ClassVar[str] = "objects"
    model: Detector
    losses: MeanMetric
    rate: MeanMetric
    by_part: nn.ModuleDict
    precision: MeanAveragePrecision
    things: Tensor

    def __init__(
        self,
        model: nn.Module,
        num_classes: int,
        objectness: float = 1.0,
        proposals: float = 1.0,
        classes: float = 1.0,
        boxes: float = 1.0,
        masks: float = 1.0,
    ):
        super().__init__()
        if not isinstance(model, Detector):
            raise InvalidArgumentError(
                f"task detection: {getattr(model, 'model_name', type(model).__name__)} finds no boxes; give "
                "mask_rcnn:NAME or retinanet:NAME, such as mask_rcnn:timm:resnet10t."
            )
        self.weights = {"objectness": objectness, "proposals": proposals, "classes": classes, "boxes": boxes}
        self.weights["masks"] = masks
        for key, value in self.weights.items():
            if not 0 <= value < math.inf:
                raise InvalidArgumentError(f"task.options.{key}={value:g}: must be a number ≥ 0.")
        self.model, self.num_classes = channels_innermost(model), num_classes
        self.losses, self.rate = MeanMetric(), MeanMetric()
        self.by_part = nn.ModuleDict({name: MeanMetric() for name in self.weights})
        self.precision = average_precision(model.predicts_masks)
        # No buffer: before every batch DDP gives all processes the buffers of the first.
        self.things = torch.zeros(num_classes, dtype=torch.long)
        self.class_names: tuple[str, ...] = ()
        self._neurons = firing_neurons(model)
        self._found: dict[str, Any] | None = None
        self._seen: list[_Shown] = []
        self._shown: list[_Shown] = []

    def begin(self, plan: Plan) -> None:
        """Take note of the classes' names; refuse a penalty on energy."""
        if self.energy is not None:
            raise InvalidArgumentError(
                "task.energy: heads of a detector run on regions, more in training than in tests, and its test runs "
                "them twice, for losses and for what is found; leave it out, and count the trained network: snnkit "
                "energy RUN."
            )
        self.class_names = plan.classes

    def loss(self, batch: tuple[Sequence[Tensor], Sequence[dict[str, Tensor]]]) -> Tensor:
        """Return the loss of a training batch."""
        images, targets = batch
        with self.studying() as seen:
            losses = self.model(images, targets)
        total = self._weighed(losses, len(images))
        if self.teaching is None:
            return total
        untaught = [self.weights[_PARTS[name]] * losses[name] for name in _UNTAUGHT if name in losses]
        alone = torch.stack(untaught).sum() if untaught else total.new_zeros(())
        return alone + self.taught(total - alone, batch, detection_teacher.said(seen), seen)

    def taps(self) -> tuple[str, ...]:
        """Return the modules that say what is compared, and where."""
        return detection_teacher.taps(self.model)

    def check_teacher(self, teacher: nn.Module, temperature: float) -> None:
        """Refuse another kind of detector, and one that judges other places."""
        detection_teacher.check(self.model, teacher)

    def ask(self, teacher: nn.Module, batch: Any, seen: Tap) -> dict[str, Tensor]:
        """Return what the teacher says of the places that the student's losses were computed on."""
        return detection_teacher.ask(teacher, seen)

    def teacher_loss(self, batch: Any, said: Any, answer: Any, temperature: float) -> Tensor:
        """Return the sum over classes, boxes and masks (``detection_teacher``), weighted as the losses are."""
        parts = detection_teacher.apart(said, answer, temperature)
        return torch.stack([self.weights[name] * value for name, value in parts.items()]).sum()

    def evaluate(self, batch: tuple[Sequence[Tensor], Sequence[dict[str, Tensor]]]) -> None:
        """Feed the metrics with a test batch, whose targets may be in pixels of other sizes than its images'."""
        images, targets = batch
        sizes = [stored_size(image, target) for image, target in zip(images, targets, strict=True)]
        with torch.no_grad():
            with listening(self._neurons) as rates:
                seen = self.model.see(images)
                found = self.model.find(seen, sizes)
            scaled = [_scaled(target, image) for image, target in zip(images, targets, strict=True)]
            self._weighed(self.model.test_losses(seen, scaled), len(images))
        if rates:
            self.rate.update(torch.stack(rates).mean(), len(images))
        self.note(found, targets)
        for image, target, said, size in zip(images, targets, found, sizes, strict=True):
            if len(self._seen) < _SHOWN and image.ndim == 3:
                self._seen.append(_Shown(fitted(image.cpu(), _SIDE), size, _there(target), _sure(said)))

    def note(self, found: Sequence[dict[str, Tensor]], targets: Sequence[dict[str, Tensor]]) -> None:
        """Feed AP with what was found in images, and with what is on them, in the same pixels."""
        _feed(self.precision, found, targets, self.model.predicts_masks)
        for target in targets:
            asked = target["labels"][target["iscrowd"] == 0] if "iscrowd" in target else target["labels"]
            self.things += torch.bincount(asked, minlength=self.num_classes).cpu()

    def _weighed(self, losses: dict[str, Tensor], images: int) -> Tensor:
        parts = {_PARTS[name]: value for name, value in losses.items()}
        total = torch.stack([self.weights[name] * value for name, value in parts.items()]).sum()
        self._note_losses(total, parts, images)
        return total

    @torch.compiler.disable
    def _note_losses(self, total: Tensor, parts: dict[str, Tensor], images: int) -> None:
        self.losses.update(total.detach(), images)
        for name, value in parts.items():
            self.by_part[name].update(value.detach(), images)

    def compute(self) -> dict[str, float]:
        """Return loss, its parts and, after ``evaluate``, AP of boxes (= score), of masks, and the firing rate.

        What no thing of the split says anything of, such as AP of large things where there are none, is left out.
        """
        loss = float(self.losses.compute())
        result = {"loss": loss, "score": -loss}
        for name, metric in self.by_part.items():
            if metric.update_called:
                result[f"{name}_loss"] = float(metric.compute())
        if self.precision.update_called:
            result |= self._average_precision()
        if self.rate.update_called:
            result["firing_rate"] = float(self.rate.compute())
        for metric in (self.losses, self.rate, *self.by_part.values()):
            metric.reset()
        return result

    def _average_precision(self) -> dict[str, float]:
        _same_number(self.precision)
        found = self.precision.compute()
        if rank_and_world()[1] > 1:
            together = self.things.to(self.precision.device)
            distributed.all_reduce(together)
            self.things = together.cpu()
        kinds = [kind for kind in _KINDS if kind in self.precision.iou_type]
        prefixes = {kind: f"{kind}_" if len(kinds) > 1 else "" for kind in kinds}
        result = {
            f"{_KINDS[kind]}_{name}": value
            for kind in kinds
            for name, value in _averages(found, prefixes[kind]).items()
            if value is not None
        }
        result.setdefault("box_ap", 0.0)
        names = self._names()
        tables = {_KINDS[kind]: (found, prefixes[kind]) for kind in kinds}
        self._found = {"summary": result, **_records(tables, names, self.things.tolist())}
        self.precision.reset()
        self.things.zero_()
        self._shown, self._seen = self._seen, []  # of the last split alone
        return result | {"score": result["box_ap"]}

    def keep_records(self, folder: Path, epoch: int) -> None:
        """Write detection.json: AP by class, precision over recall, and what is and was found on the first test images.

        Beside it predictions.png: these images, the things that are on them, and those that were found with a score of
        at least one half, boxes and masks in the colours of their classes.
        """
        if self._found is None:
            return
        shades, names = colours(self.num_classes), self._names()
        classes = [row | {"colour": _hex(shade)} for row, shade in zip(self._found["classes"], shades, strict=True)]
        shown = [
            {"truth": _told(one.truth, names), "found": _told(one.found, names), "size": list(one.size)}
            for one in self._shown
        ]
        write_json(folder / RECORDS, {"epoch": epoch, **self._found, "classes": classes, "shown": shown})
        if self._shown:
            rows = [[one.drawn(things, shades) for things in (one.truth, one.found)] for one in self._shown]
            write_rows(folder / "predictions.png", [torch.stack(column) for column in zip(*rows, strict=True)])

    def _names(self) -> tuple[str, ...]:
        return self.class_names or tuple(map(str, range(self.num_classes)))

    @torch.no_grad()
    def predict(self, image: Tensor, size: tuple[int, int]) -> dict[str, Any]:
        """Return the things on an image, best first, and with masks a map: 0 for none, n for the n-th of them."""
        found = self.model(image if image.ndim == 4 else image[None], sizes=[size])[0]
        names = self._names()
        told: dict[str, Any] = {
            "things": [
                {"name": names[label], "score": round(score, 4), "box": [round(side, 1) for side in box]}
                for label, score, box in zip(
                    found["labels"].tolist(), found["scores"].tolist(), found["boxes"].tolist(), strict=True
                )
            ]
        }
        if "masks" in found:
            numbers = torch.zeros(size, dtype=torch.long)
            for number in range(len(found["masks"]), 0, -1):  # the best lies on top
                numbers[found["masks"][number - 1].cpu()] = number
            told["masks"] = numbers
        return told

    def draw(self, picture: Tensor, found: dict[str, Any]) -> Tensor | None:
        """Return a picture with boxes, names and masks of the things that are surer than one in two."""
        shown = [number for number, one in enumerate(found["things"]) if one["score"] >= _DRAWN][:_FEW]
        if not shown:
            return picture
        names = [found["things"][number]["name"] for number in shown]
        known = list(dict.fromkeys([*self.class_names, *names]))
        shades = colours(len(known))
        chosen = [shades[known.index(name)] for name in names]
        masks = torch.stack([found["masks"] == number + 1 for number in shown]) if "masks" in found else None
        boxes = torch.tensor([found["things"][number]["box"] for number in shown])
        return with_things(picture, boxes, chosen, masks, names)


@dataclass(frozen=True)
class _Shown:
    """A test image for a report: its picture, its size (H, W) as it is stored, and things in pixels of that size."""

    picture: Tensor
    size: tuple[int, int]
    truth: dict[str, Tensor]
    found: dict[str, Tensor]

    def drawn(self, things: dict[str, Tensor], shades: Sequence[Colour]) -> Tensor:
        """Return a square picture 0…255 with things, white where the image leaves room."""
        now = self.picture.shape[-2], self.picture.shape[-1]
        boxes = resize_boxes(things["boxes"], list(self.size), list(now))
        masks = None
        if "masks" in things and len(things["masks"]):
            masks = F.interpolate(things["masks"][None].float(), now)[0] > 0.5
        picture = with_things(self.picture, boxes, [shades[k] for k in things["labels"].tolist()], masks, width=2)
        return F.pad(picture.float(), (0, _SIDE - now[1], 0, _SIDE - now[0]), value=255.0)


def _there(target: dict[str, Tensor]) -> dict[str, Tensor]:
    """What is on an image, without crowds."""
    count = len(target["labels"])
    one = target["iscrowd"] == 0 if "iscrowd" in target else torch.ones(count, dtype=torch.bool)
    kept = {key: target[key] for key in ("boxes", "labels", "masks") if key in target}
    return {key: value[one].cpu() for key, value in kept.items()}


def _sure(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """What was found and is surer than one in two, the best first."""
    kept = {key: found[key] for key in ("boxes", "labels", "scores", "masks") if key in found}
    sure = torch.nonzero(found["scores"] >= _DRAWN)[:_FEW, 0]
    return {key: value[sure].cpu() for key, value in kept.items()}


def _told(things: dict[str, Tensor], names: Sequence[str]) -> list[dict[str, Any]]:
    """Things as plain numbers."""
    boxes = things["boxes"].tolist()
    told: list[dict[str, Any]] = [
        {"name": names[label], "box": [round(side, 1) for side in box]}
        for label, box in zip(things["labels"].tolist(), boxes, strict=True)
    ]
    scores = things["scores"].tolist() if "scores" in things else []
    return [one | {"score": round(score, 4)} for one, score in zip(told, scores, strict=True)] if scores else told


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def average_precision(masks: bool) -> MeanAveragePrecision:
    """Return torchmetrics' measure of boxes, and of masks where there are some.

    Raises:
        InvalidArgumentError: pycocotools is not installed.
    """
    kinds: Any = ("bbox", "segm") if masks else ("bbox",)
    try:
        measure = MeanAveragePrecision(
            iou_type=kinds, iou_thresholds=_IOUS, rec_thresholds=_RECALLS, extended_summary=True
        )
    except ModuleNotFoundError:
        raise InvalidArgumentError(
            "task detection: AP is measured by pycocotools, which is not installed: pip install 'snnkit[coco]'."
        ) from None
    measure.warn_on_many_detections = False  # of more than 100, COCO takes the best
    return measure


def box_ap(found: Sequence[dict[str, Tensor]], targets: Sequence[dict[str, Tensor]]) -> float:
    """Return AP of the boxes that were found in images, 0 … 1, given what is on them, in the same pixels.

    Raises:
        InvalidArgumentError: pycocotools is not installed.
    """
    measure = average_precision(masks=False)
    _feed(measure, [{key: one[key] for key in ("boxes", "labels", "scores")} for one in found], targets, masks=False)
    return _averages(measure.compute(), "").get("ap") or 0.0  # nothing is said where nothing was to be found


def _feed(
    measure: MeanAveragePrecision,
    found: Sequence[dict[str, Tensor]],
    targets: Sequence[dict[str, Tensor]],
    masks: bool,
) -> None:
    kept = ("boxes", "labels", "iscrowd", *(("masks",) if masks else ()))
    said = [
        {key: value.float() if key in ("boxes", "scores") else value for key, value in one.items()} for one in found
    ]
    there = [{key: one[key] for key in kept if key in one} for one in targets]
    # Where none is given torchmetrics takes integers: processes that gather tensors of two kinds are ended.
    areas = [one.get("area", torch.zeros_like(one["labels"])).float() for one in targets]
    measure.update(said, [one | {"area": area} for one, area in zip(there, areas, strict=True)])


def _same_number(measure: MeanAveragePrecision) -> None:
    """Add empty images until every process has as many: torchmetrics gathers them image by image."""
    if rank_and_world()[1] == 1:
        return
    device = measure.device
    most = torch.tensor(len(measure.detection_labels), device=device)
    distributed.all_reduce(most, op=distributed.ReduceOp.MAX)
    nothing = {"boxes": torch.zeros(0, 4, device=device), "labels": torch.zeros(0, dtype=torch.long, device=device)}
    nothing["masks"] = torch.zeros(0, 1, 1, dtype=torch.bool, device=device)
    for _ in range(int(most) - len(measure.detection_labels)):
        _feed(measure, [nothing | {"scores": torch.zeros(0, device=device)}], [nothing], masks=True)


def stored_size(image: Tensor, target: dict[str, Tensor]) -> tuple[int, int]:
    """Height and width of the image as it is stored."""
    height, width = target["size"].tolist() if "size" in target else image.shape[-2:]
    return int(height), int(width)


def _scaled(target: dict[str, Tensor], image: Tensor) -> dict[str, Tensor]:
    """Return what is on an image in its own pixels."""
    before, now = stored_size(image, target), (image.shape[-2], image.shape[-1])
    if before == now:
        return target
    moved = target | {"boxes": resize_boxes(target["boxes"], list(before), list(now))}
    if "masks" in target and len(target["masks"]):
        moved["masks"] = F.interpolate(target["masks"][None].float(), now)[0] > 0
    elif "masks" in target:
        moved["masks"] = target["masks"].new_zeros(0, *now)
    return moved


def _records(
    tables: dict[str, tuple[dict[str, Any], str]], names: Sequence[str], things: Sequence[int]
) -> dict[str, Any]:
    """Return AP by class and precision over recall as plain numbers; None for what no thing says anything of.

    Args:
        tables: by "box" and "mask", what torchmetrics found, and what its keys begin with.
        names: of the classes.
        things: of each class in the split.
    """
    rows: list[dict[str, Any]] = [{"name": name, "things": many} for name, many in zip(names, things, strict=True)]
    curves: dict[str, Any] = {"recall": [round(place / 100, 2) for place in range(101)]}
    for kind, (found, prefix) in tables.items():
        known = torch.atleast_1d(found["classes"]).tolist()
        # thresholds, recall, classes, sizes (all of them first), most detections (100 last)
        precision_TRK = found[f"{prefix}precision"][..., 0, -1]
        for place, label in enumerate(known):
            rows[label] |= {f"{kind}_{name}": value for name, value in _precisions(found, prefix, place).items()}
            if precision_TRK.numel():
                rows[label][f"{kind}_precision50"] = _curve(precision_TRK[_AT_50, :, place])
        if precision_TRK.numel():
            told = (precision_TRK >= 0).all(1).all(0)
            for threshold, name in ((_AT_50, "50"), (_AT_75, "75")):
                curves[f"{kind}_precision{name}"] = _curve(precision_TRK[threshold][:, told].mean(1))
    return {"classes": rows, "curves": curves}


def _averages(found: dict[str, Any], prefix: str) -> dict[str, float | None]:
    """Return AP over all classes, of thresholds and sizes, and recall; None for what no thing says anything of.

    From torchmetrics' tables, which are pycocotools' own: its means are rounded to floats.
    """
    if f"{prefix}precision" not in found:  # there were no images
        return {}
    recall_TK = found[f"{prefix}recall"][..., 0, -1]
    return _precisions(found, prefix, slice(None)) | {"recall": _mean(recall_TK)}


def _precisions(found: dict[str, Any], prefix: str, place: int | slice) -> dict[str, float | None]:
    """Return AP of a class, or of several, of thresholds and sizes."""
    precision = found[f"{prefix}precision"][:, :, place, ..., -1]
    any_size = precision[..., 0]
    averages = {"ap": _mean(any_size), "ap50": _mean(any_size[_AT_50]), "ap75": _mean(any_size[_AT_75])}
    return averages | {f"ap_{name}": _mean(precision[..., size]) for size, name in enumerate(_SIZES, start=1)}


def _mean(table: Tensor) -> float | None:
    known = table[table >= 0]  # −1 where nothing was to be found
    return float(known.mean()) if known.numel() else None


def _curve(values: Tensor) -> list[float] | None:
    """Return numbers, or None where they are none."""
    return (
        None
        if not values.numel() or values.isnan().any() or (values < 0).any()
        else [round(v, 4) for v in values.tolist()]
    )
