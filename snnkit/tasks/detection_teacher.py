"""What a teacher of detection says of the places that its student looks at, and how far the student is from it.

    Mask R-CNN   both second stages judge the student's regions: KL of classes with temperature, smooth L1 of box
                 offsets and KL of every pixel of masks, each class as much as the teacher sees it there; proposals are
                 learned from the truth alone
    RetinaNet    both judge the same anchors: KL of yes and no for every class with temperature, smooth L1 of box
                 offsets where the teacher sees a thing; both are divided by the things that it sees, 1 at least

The student's regions are those that its own losses were sampled on. Letters: R regions, N anchors, K classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.models.detector import Detector
from snnkit.models.mask_rcnn import MaskRCNN
from snnkit.models.retinanet import RetinaNet
from snnkit.tasks.distillation import soft_loss
from snnkit.tasks.tap import Tap
from snnkit.tasks.teaching import bernoulli_kl

Answer = dict[str, Tensor]
_HEAD = "retina.head"
_BOXES, _BOX_LAYER = "roi_heads.box_roi_pool", "roi_heads.box_predictor"
_MASKS, _MASK_LAYER = "roi_heads.mask_roi_pool", "roi_heads.mask_predictor"
_NEAR = 1 / 9  # from where on smooth L1 is straight, as in torchvision's losses


def check(student: Detector, teacher: nn.Module) -> None:
    """Raise InvalidArgumentError unless both judge the same places."""
    kind = "mask_rcnn" if isinstance(student, MaskRCNN) else "retinanet"
    if not isinstance(teacher, type(student)):
        raise InvalidArgumentError(
            f"task.options.teacher, a {type(teacher).__name__}, cannot teach a {type(student).__name__}; give a run of "
            f"{kind}:NAME."
        )
    if isinstance(student, MaskRCNN):
        assert isinstance(teacher, MaskRCNN)
        if student.predicts_masks and not teacher.predicts_masks:
            raise InvalidArgumentError(
                "task.options.teacher finds no masks, and the student learns them; give one with masks, or set "
                "model.sizes.masks=false."
            )
    elif (mine := _anchors(student)) != (theirs := _anchors(teacher)):
        raise InvalidArgumentError(
            f"task.options.teacher has anchors of {theirs}, the student of {mine}; make both with the same levels, "
            "finest, anchor_scale, anchor_ratios and octaves (a ResNet of timm has its last two strides alike, as "
            "Meta-SpikeFormer has, with model.sizes.output_stride=16)."
        )


def _anchors(model: nn.Module) -> str:
    assert isinstance(model, RetinaNet)
    made = model.retina.anchor_generator
    strides, sides = (", ".join(map(str, values)) for values in (model.backbone.strides, made.sizes[0]))
    ratios = ", ".join(f"{ratio:g}" for ratio in made.aspect_ratios[0])
    return f"strides {strides}, finest sides {sides} and ratios {ratios}"


def taps(student: Detector) -> tuple[str, ...]:
    """Return the names of the modules whose inputs and answers are compared."""
    if isinstance(student, MaskRCNN):
        masks = (_MASKS, _MASK_LAYER) if student.predicts_masks else ()
        return ("backbone", _BOXES, _BOX_LAYER, *masks)
    return ("backbone", _HEAD)


def said(seen: Tap) -> Answer:
    """Return what the student said while its losses were computed."""
    if _HEAD in seen.outputs:
        return seen.outputs[_HEAD]  # type: ignore[no-any-return]
    classes, offsets = seen.outputs[_BOX_LAYER]
    found = {"classes": classes, "offsets": offsets}
    return found | ({"masks": seen.outputs[_MASK_LAYER]} if _MASK_LAYER in seen.outputs else {})


def ask(teacher: nn.Module, seen: Tap) -> Answer:
    """Return what the teacher says of the same images at the same places.

    "mask_classes" are its logits of the classes of the regions that have masks.
    """
    assert isinstance(teacher, Detector)
    levels = teacher.levels(seen.inputs["backbone"][0])
    if isinstance(teacher, RetinaNet):
        return teacher.retina.head(levels)  # type: ignore[no-any-return]
    assert isinstance(teacher, MaskRCNN)
    heads = teacher.roi_heads
    named = {str(number): level for number, level in enumerate(levels)}

    def judged(regions: list[Tensor], sizes: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        classes, offsets = heads.box_predictor(heads.box_head(heads.box_roi_pool(named, regions, sizes)))
        return classes, offsets

    _, regions, sizes = seen.inputs[_BOXES]
    classes, offsets = judged(regions, sizes)
    found = {"classes": classes, "offsets": offsets}
    if _MASKS in seen.inputs:
        _, regions, sizes = seen.inputs[_MASKS]
        found["mask_classes"] = judged(regions, sizes)[0]
        found["masks"] = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(named, regions, sizes)))
    return found


def apart(student: Answer, teacher: Answer, temperature: float) -> dict[str, Tensor]:
    """Return how far the two are apart in "classes", "boxes" and "masks", scalars."""
    student, teacher = ({key: value.float() for key, value in one.items()} for one in (student, teacher))
    if "cls_logits" in student:
        return _anchors_apart(student, teacher, temperature)
    classes_RK, taught_RK = student["classes"], teacher["classes"]
    found = {"classes": soft_loss(classes_RK, taught_RK, temperature) if len(classes_RK) else classes_RK.sum()}
    seen_RK = taught_RK.softmax(1)[:, 1:]
    offsets, taught = (one["offsets"].view(len(seen_RK), -1, 4)[:, 1:] for one in (student, teacher))
    differ_RK = F.smooth_l1_loss(offsets, taught, reduction="none", beta=_NEAR).sum(-1)
    found["boxes"] = _mean(differ_RK, seen_RK)
    if "masks" in student:
        pixels_RK = bernoulli_kl(student["masks"][:, 1:], teacher["masks"][:, 1:]).mean((-2, -1))
        found["masks"] = _mean(pixels_RK, teacher["mask_classes"].softmax(1)[:, 1:])
    return found


def _anchors_apart(student: Answer, teacher: Answer, temperature: float) -> dict[str, Tensor]:
    seen_BN = teacher["cls_logits"].sigmoid().amax(-1)
    classes = bernoulli_kl(student["cls_logits"], teacher["cls_logits"], temperature).sum()
    offsets, taught = student["bbox_regression"], teacher["bbox_regression"]
    differ_BN = F.smooth_l1_loss(offsets, taught, reduction="none", beta=_NEAR).sum(-1)
    return {"classes": classes / seen_BN.sum().clamp(min=1), "boxes": _mean(differ_BN, seen_BN)}


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return the mean over what the teacher sees, of one thing at least; 0 where there is nothing to see."""
    return torch.sum(values * weights) / weights.sum().clamp(min=1)
