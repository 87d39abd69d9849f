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
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn
from torchmetrics import MeanMetric
from torchmetrics.detection import MeanAveragePrecision
from torchvision.models.detection.transform import resize_boxes
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from snnkit.errors import InvalidArgumentError
from snnkit.files import write_json
from snnkit.layers.memory_order import channels_innermost
from snnkit.models.detector import Detector
from snnkit.tasks.contrastive.processes import rank_and_world
from snnkit.tasks.firing import firing_neurons, listening
from snnkit.tasks.task import Plan, Task

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
_VALUES = {"map": "", "map_50": "50", "map_75": "75", "map_small": "_small", "map_medium": "_medium"}
_VALUES |= {"map_large": "_large", "mar_100": "_recall"}
_KINDS = {"bbox": "box", "segm": "mask"}
_FEW = 50  # a result with more boxes is drawn with those alone
_COLOURS = (
    "#e6194b",
    "#3cb44b",
    "#4363d8",
    "#f58231",
    "#911eb4",
    "#42d4f4",
    "#f032e6",
    "#bfef45",
    "#9a6324",
    "#ffe119",
)
_DRAWN = 0.5  # and with no thing that is found with less


class Detection(Task):
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
        self.register_buffer("things", torch.zeros(num_classes, dtype=torch.long), persistent=False)
        self.class_names: tuple[str, ...] = ()
        self._neurons = firing_neurons(model)
        self._found: dict[str, Any] | None = None

    def begin(self, plan: Plan) -> None:
        """Take note of the classes' names."""
        self.class_names = plan.classes

    def loss(self, batch: tuple[Sequence[Tensor], Sequence[dict[str, Tensor]]]) -> Tensor:
        """Return the loss of a training batch."""
        images, targets = batch
        return self._weighed(self.model(images, targets), len(images))

    def evaluate(self, batch: tuple[Sequence[Tensor], Sequence[dict[str, Tensor]]]) -> None:
        """Feed the metrics with a test batch, whose targets may be in pixels of other sizes than its images'."""
        images, targets = batch
        sizes = [_size(image, target) for image, target in zip(images, targets, strict=True)]
        with torch.no_grad():
            with listening(self._neurons) as rates:
                seen = self.model.see(images)
                found = self.model.find(seen, sizes)
            scaled = [_scaled(target, image) for image, target in zip(images, targets, strict=True)]
            self._weighed(self.model.test_losses(seen, scaled), len(images))
        if rates:
            self.rate.update(torch.stack(rates).mean(), len(images))
        self.note(found, targets)

    def note(self, found: Sequence[dict[str, Tensor]], targets: Sequence[dict[str, Tensor]]) -> None:
        """Feed AP with what was found in images, and with what is on them, in the same pixels."""
        kept = ("boxes", "labels", "iscrowd", "area", *(("masks",) if self.model.predicts_masks else ()))
        said = [{key: value.float() if key in ("boxes", "scores") else value for key, value in one.items()}
                for one in found]  # fmt: skip
        self.precision.update(said, [{key: one[key] for key in kept if key in one} for one in targets])
        for target in targets:
            asked = target["labels"][target["iscrowd"] == 0] if "iscrowd" in target else target["labels"]
            self.things += torch.bincount(asked, minlength=self.num_classes)

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
            distributed.all_reduce(self.things)
        kinds = [kind for kind in _KINDS if kind in self.precision.iou_type]
        prefixes = {kind: f"{kind}_" if len(kinds) > 1 else "" for kind in kinds}
        result = {
            f"{_KINDS[kind]}_{'recall' if key == 'mar_100' else 'ap' + end}": float(found[prefixes[kind] + key])
            for kind in kinds
            for key, end in _VALUES.items()
        }
        result = {key: value for key, value in result.items() if value >= 0}  # −1 where nothing can be said
        result.setdefault("box_ap", 0.0)
        names = self.class_names or tuple(map(str, range(self.num_classes)))
        tables = {_KINDS[kind]: (found, prefixes[kind]) for kind in kinds}
        self._found = {"summary": result, **_records(tables, names, self.things.tolist())}
        self.precision.reset()
        self.things.zero_()
        return result | {"score": result["box_ap"]}

    def keep_records(self, folder: Path, epoch: int) -> None:
        """Write detection.json: AP by class, and precision over recall."""
        if self._found is not None:
            write_json(folder / RECORDS, {"epoch": epoch, **self._found})

    @torch.no_grad()
    def predict(self, image: Tensor, size: tuple[int, int]) -> dict[str, Any]:
        """Return the things on an image, best first, and with masks a map: 0 for none, n for the n-th of them."""
        found = self.model(image if image.ndim == 4 else image[None], sizes=[size])[0]
        names = self.class_names or tuple(map(str, range(self.num_classes)))
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
        colours: Any = [_COLOURS[known.index(name) % len(_COLOURS)] for name in names]
        if "masks" in found:
            masks = torch.stack([found["masks"] == number + 1 for number in shown])
            picture = draw_segmentation_masks(picture, masks, alpha=0.4, colors=colours)
        boxes = torch.tensor([found["things"][number]["box"] for number in shown])
        return draw_bounding_boxes(picture, boxes, names, colours)


def average_precision(masks: bool) -> MeanAveragePrecision:
    """Return torchmetrics' measure of boxes, and of masks where there are some.

    Raises:
        InvalidArgumentError: pycocotools is not installed.
    """
    kinds: Any = ("bbox", "segm") if masks else ("bbox",)
    try:
        measure = MeanAveragePrecision(iou_type=kinds, class_metrics=True, extended_summary=True)
    except ModuleNotFoundError:
        raise InvalidArgumentError(
            "task detection: AP is measured by pycocotools, which is not installed: pip install 'snnkit[coco]'."
        ) from None
    measure.warn_on_many_detections = False  # of more than 100, COCO takes the best
    return measure


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
        measure.update([nothing | {"scores": torch.zeros(0, device=device)}], [nothing])


def _size(image: Tensor, target: dict[str, Tensor]) -> tuple[int, int]:
    """Height and width of the image as it is stored."""
    height, width = target["size"].tolist() if "size" in target else image.shape[-2:]
    return int(height), int(width)


def _scaled(target: dict[str, Tensor], image: Tensor) -> dict[str, Tensor]:
    """Return what is on an image in its own pixels."""
    before, now = _size(image, target), (image.shape[-2], image.shape[-1])
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
        values = torch.atleast_1d(found[f"{prefix}map_per_class"]).tolist()
        for place, label in enumerate(known):
            rows[label][f"{kind}_ap"] = _known(values[place])
            if precision_TRK.numel():
                rows[label][f"{kind}_ap50"] = _known(float(precision_TRK[0, :, place].mean()))
                rows[label][f"{kind}_precision50"] = _curve(precision_TRK[0, :, place])
        if precision_TRK.numel():
            told = (precision_TRK >= 0).all(1).all(0)
            for threshold, name in ((0, "50"), (5, "75")):
                curves[f"{kind}_precision{name}"] = _curve(precision_TRK[threshold][:, told].mean(1))
    return {"classes": rows, "curves": curves}


def _known(value: float) -> float | None:
    return value if value >= 0 else None


def _curve(values: Tensor) -> list[float] | None:
    """Return numbers, or None where they are none."""
    return (
        None
        if not values.numel() or values.isnan().any() or (values < 0).any()
        else [round(v, 4) for v in values.tolist()]
    )
