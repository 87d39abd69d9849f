"""How a run begins: from which weights, and whether its data are fit for a task without labels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NoReturn

from torch import nn

from snnkit.checkpoints import LoadReport, load_weights, read_any
from snnkit.engine.config import RunConfig
from snnkit.engine.progress import console
from snnkit.engine.run_folder import find_checkpoint
from snnkit.errors import CorruptFileError, InvalidArgumentError
from snnkit.models.backbones import OnBackbone
from snnkit.models.masked import MaskedModel
from snnkit.models.registry import pretrains
from snnkit.models.two_towers import TwoTowers

# What a classifier has behind the encoder that was pre-trained, and what such an encoder ends in.
_NEW = re.compile(r"^(head\w*|fc_norm|fc|classifier)\.")
_OLD = re.compile(r"^(norm|mask_token|text|text_projection|image_projection|logit_scale|logit_bias)(\.|$)")
_BEHIND = re.compile(f"{_NEW.pattern}|{_OLD.pattern}")  # what a network on the encoder's maps has no use for


def start_from(model: nn.Module, weights: str, strict: bool) -> LoadReport:
    """Load the weights that a run starts from, and say what was taken.

    An encoder out of a pre-training fills a classifier but for its new head, an image model the backbone of what stands
    on one, and a network for another task on the same backbone that backbone and what fits of its neck; that is no
    error even where loading is strict; anything else that is missing is.

    Args:
        model: to be filled.
        weights: a checkpoint, or the folder of a run, whose last weights are meant.
        strict: as for ``load_weights``.

    Raises:
        CorruptFileError, InvalidArgumentError, NonFiniteError: as ``load_weights``.
    """
    path = find_checkpoint(weights) if Path(weights).is_dir() else weights
    if isinstance(model, TwoTowers) and not _is_two_towers(path):
        # What a classifier learned is where the image tower begins.
        report = load_weights(model.encoder, path, strict=False)
        _check_encoder(model.encoder, path, report, _NEW)
        console.print(f"{path}: {report} (the image tower)")
        return report
    if isinstance(model, OnBackbone) and _is_of_another_task(path, model):
        return _borrowed(model, path, strict)
    if isinstance(model, OnBackbone) and _is_image_model(path, model):
        encoder = model.backbone.encoder
        report = load_weights(encoder, path, strict=False)
        if strict:
            _check_encoder(encoder, path, report, _BEHIND)
        console.print(f"{path}: {report} (the image model)")
        return report
    fresh = strict and not isinstance(model, MaskedModel) and _is_pretraining(path)
    report = load_weights(model, path, strict=strict and not fresh)
    if fresh:
        _check_encoder(model, path, report, _OLD)
    console.print(f"{path}: {report}")
    return report


def recorded_form(folder: Path) -> dict[str, Any] | None:
    """Return the arguments that a run's network was made with, as its last checkpoint says; None if it has none yet."""
    try:
        about = read_any(find_checkpoint(str(folder)))[1]
    except CorruptFileError:
        return None
    return {key: value for key, value in about.items() if key not in ("name", "trained_size")}


def _borrowed(model: OnBackbone, path: str | Path, strict: bool) -> LoadReport:
    """Load the backbone and the neck of a network for another task; heads that happen to fit are not taken."""
    given = read_any(path)[0]
    report = load_weights(model, {k: v for k, v in given.items() if k.startswith(("backbone.", "neck."))}, strict=False)
    lost = [key for key in (*report.missing, *report.left) if key.startswith("backbone.")]
    if strict and lost:
        _refuse(model.backbone.encoder, path, f"{len(lost)} missing ({', '.join(lost[:3])})")
    console.print(f"{path}: {report} (the backbone, and what fits of the neck)")
    return report


def _check_encoder(model: nn.Module, path: str | Path, report: LoadReport, behind: re.Pattern[str]) -> None:
    """Refuse a checkpoint that fills something else, or that holds more, but for what lies ``behind`` an encoder."""
    lost = [key for key in (*report.missing, *report.left) if not _NEW.match(key)]
    unused = [key for key in report.unused if not behind.match(key)]
    if lost or unused:
        missing = f"{len(lost)} missing ({', '.join(lost[:3])})"
        _refuse(model, path, missing if lost else f"{len(unused)} unused ({unused[0]} …)")


def _refuse(encoder: nn.Module, path: str | Path, what: str) -> NoReturn:
    raise InvalidArgumentError(
        f"{path} does not hold the encoder of this {getattr(encoder, 'model_name', type(encoder).__name__)}: {what}. "
        "Create it with the sizes of the training before (model.sizes.…), or set model.strict=false."
    )


def _is_two_towers(path: str | Path) -> bool:
    return str(read_any(path)[1].get("name", "")).startswith("basic:")


def _is_of_another_task(path: str | Path, model: OnBackbone) -> bool:
    """Whether a checkpoint says that it is of another network on a backbone: ``mask_rcnn:X`` for ``semantic_fpn:X``."""
    tensors, about = read_any(path)
    method, _, encoder = str(about.get("name", "")).partition(":")
    own = str(getattr(model, "model_name", "")).partition(":")[0]
    return bool(encoder) and method not in ("timm", own) and any(key.startswith("backbone.") for key in tensors)


def _is_image_model(path: str | Path, model: OnBackbone) -> bool:
    """Whether a checkpoint is of an image model, and not of what stands on one: as it says, or by what fits."""
    tensors, about = read_any(path)
    if isinstance(name := about.get("name"), str):
        return ":" not in name.removeprefix("timm:")
    try:
        load_weights(model, tensors, strict=False)
    except InvalidArgumentError:
        return True
    return False


def _is_pretraining(path: str | Path) -> bool:
    """Whether a checkpoint says that it is of a masked model, or of an encoder without classes."""
    about = read_any(path)[1]
    name = about.get("name")
    return isinstance(name, str) and (pretrains(name) or about.get("num_classes") == 0)


def check_unlabelled(config: RunConfig, images: int, processes: int) -> None:
    """Refuse what a task without labels has no use for, and too few images for a batch.

    Raises:
        InvalidArgumentError: names the setting and what would do.
    """
    for key, value in (("data.mixup", config.data.mixup), ("data.cutmix", config.data.cutmix)):
        if value:
            raise InvalidArgumentError(f"{key}={value}: mixes labels, and {config.task.name} has none; set it to 0.")
    step = config.data.batch_size * processes
    if images < step:
        raise InvalidArgumentError(
            f"data.batch_size={config.data.batch_size}: {processes} process{'es need' if processes > 1 else ' needs'} "
            f"{step} images a step, and there are {images}; give at most {max(images // processes, 1)}."
        )
