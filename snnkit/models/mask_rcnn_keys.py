"""Published keys of detectors, torchvision's and mmdet's, as those of ``mask_rcnn`` and ``retinanet``."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from snnkit.models.family import Replacement, StateDict, renamed
from snnkit.models.meta_spikeformer import backbone_keys

_TORCHVISION: tuple[tuple[str, Replacement], ...] = (
    (r"^backbone\.body\.", "backbone.encoder."),
    (r"^backbone\.fpn\.extra_blocks\.", "neck.extra_blocks."),
    (r"^backbone\.fpn\.(\w+)_blocks\.(\d+)\.(weight|bias)$", r"neck.\1_blocks.\2.0.\3"),  # before 2022
    (r"^backbone\.fpn\.", "neck."),
    (r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1"),
    (r"^roi_heads\.mask_head\.mask_fcn(\d)\.", lambda m: f"roi_heads.mask_head.{int(m[1]) - 1}.0."),
    (r"^head\.(\w+)\.conv\.(\d)\.(weight|bias)$", lambda m: f"retina.head.{m[1]}.conv.{int(m[2]) // 2}.0.{m[3]}"),
    (r"^head\.", "retina.head."),
)
# A layer stands behind its neuron under a number, or not; mmdet's convolutions are called conv in their module.
_LAYER = r"(?:\.\d+)*(?:\.conv)?\.(weight|bias)$"
_MMDET: tuple[tuple[str, Replacement], ...] = (
    (r"^neck\.lateral_convs\.(\d)" + _LAYER, r"neck.laterals.\1.\2"),
    (r"^neck\.fpn_convs\.(\d)" + _LAYER, r"neck.pyramid.\1.\2"),
    (r"^rpn_head\.rpn_conv" + _LAYER, r"rpn.head.conv.\1"),
    (r"^rpn_head\.rpn_cls" + _LAYER, r"rpn.head.cls_logits.\1"),
    (r"^rpn_head\.rpn_reg" + _LAYER, r"rpn.head.bbox_pred.\1"),
    (r"^roi_head\.bbox_head\.shared_fcs\.(\d)" + _LAYER, lambda m: f"roi_heads.box_head.fc{int(m[1]) + 6}.{m[2]}"),
    (r"^roi_head\.bbox_head\.fc_cls" + _LAYER, r"roi_heads.box_predictor.cls_score.\1"),
    (r"^roi_head\.bbox_head\.fc_reg" + _LAYER, r"roi_heads.box_predictor.bbox_pred.\1"),
    (r"^roi_head\.mask_head\.convs\.(\d)" + _LAYER, r"roi_heads.mask_head.convs.\1.\2"),
    (r"^roi_head\.mask_head\.upsample" + _LAYER, r"roi_heads.mask_predictor.conv5_mask.\1"),
    (r"^roi_head\.mask_head\.conv_logits" + _LAYER, r"roi_heads.mask_predictor.mask_fcn_logits.\1"),
)


def convert(state: StateDict, model: nn.Module) -> dict[str, Tensor]:
    """Return published tensors under the model's own keys; both kinds are told apart by their keys."""
    if any(key.startswith("rpn_head.") for key in state):
        return _from_mmdet(state)
    made = renamed(state, _TORCHVISION)
    own = model.state_dict()
    for key in [key for key in made if key.endswith(".running_mean")]:
        counted = key.removesuffix("running_mean") + "num_batches_tracked"  # frozen norms of torchvision count nothing
        if counted in own:
            made.setdefault(counted, torch.zeros_like(own[counted]))
    return made


def _from_mmdet(state: StateDict) -> dict[str, Tensor]:
    inside = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
    rest = {key: value for key, value in state.items() if not key.startswith("backbone.")}
    made = {f"backbone.encoder.{key}": value for key, value in backbone_keys(inside).items()}
    for key, value in renamed(rest, _MMDET).items():
        # mmdet's background is the last class, torchvision's the first.
        made[key] = value.roll(1, 0) if re.search(r"\.cls_score\.", key) else value
    return made


def without_background(state: StateDict, model: nn.Module) -> dict[str, Tensor]:
    """Return ``convert`` of a RetinaNet's state, without the class 0 that torchvision's has and never learns."""
    made = convert(state, model)
    for name in ("weight", "bias"):
        key = f"retina.head.classification_head.cls_logits.{name}"
        if key in made:
            anchors = model.retina.head.classification_head.num_anchors  # type: ignore[union-attr]
            made[key] = made[key].unflatten(0, (anchors, -1))[:, 1:].flatten(0, 1)  # type: ignore[arg-type]
    return made
