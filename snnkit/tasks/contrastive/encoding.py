"""What encoders make of views of images (``models.image_features``), and which sizes of images they can read.

Letters: B images, F features, V views.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from snnkit.archives import first_line
from snnkit.errors import InvalidArgumentError, SnnkitError
from snnkit.models.image_features import features, reads_whole_images, width

_TRIES = 64


def features_of_views(model: nn.Module, views: Sequence[Tensor]) -> Tensor:
    """Return the features of views (B, C, h, w), view-major, (V · B, F); those of one size in a row go in together."""
    groups = [torch.cat(list(group)) for _, group in groupby(views, key=lambda view: view.shape[2:])]
    return torch.cat([features(model, group) for group in groups])


def encoder(model: nn.Module, task: str) -> nn.Module:
    """Return the model, its classifier frozen, since nothing here reads that.

    Raises:
        InvalidArgumentError: it has no features of whole images.
    """
    if not reads_whole_images(model):
        raise InvalidArgumentError(
            f"task {task}: {getattr(model, 'model_name', type(model).__name__)} has no forward_features() and "
            "forward_head(); take a classifier by name, such as timm:resnet50."
        )
    found = model.get_classifier() if hasattr(model, "get_classifier") else ()  # type: ignore[operator]
    for head in found if isinstance(found, (tuple, list)) else (found,):
        if isinstance(head, nn.Module):
            head.requires_grad_(False)
    return model


@torch.no_grad()
def check_sizes(model: nn.Module, shapes: Sequence[tuple[int, ...]]) -> None:
    """Raise InvalidArgumentError where the encoder cannot read one of the views (C, H, W); names sizes that it can."""
    training, name = model.training, getattr(model, "model_name", type(model).__name__)
    model.eval()
    try:
        with torch.random.fork_rng(devices=[]):
            for number, shape in enumerate(shapes):
                if shape in shapes[:number]:
                    continue
                why = _refusal(model, shape)
                if why:
                    key = "data.img_size" if number == 0 else "data.local_size"
                    raise InvalidArgumentError(
                        f"{key}={shape[-1]}: {name} cannot read images of {shape[-2]}×{shape[-1]} "
                        f"({why.rstrip('.')}); {_would(model, shape, shapes[0])}."
                    )
    finally:
        model.train(training)


def freeze_unread(model: nn.Module, shape: tuple[int, ...]) -> None:
    """Freeze what no feature depends on, such as second heads; a trained parameter that no loss reaches stops DDP."""
    training = model.training
    like = next(model.parameters())
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        found = features(model.eval(), torch.zeros(2, *shape, dtype=like.dtype, device=like.device))
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        for parameter, gradient in zip(
            trained, torch.autograd.grad(found.sum(), trained, allow_unused=True), strict=True
        ):
            parameter.requires_grad_(gradient is not None)
    model.train(training)


def _refusal(model: nn.Module, shape: tuple[int, ...]) -> str:
    """Return why the model cannot read images of a shape; "" if it can."""
    like = next(model.parameters())
    try:
        found = features(model, torch.zeros(2, *shape, dtype=like.dtype, device=like.device))
    except (SnnkitError, RuntimeError, AssertionError, ValueError, IndexError) as error:
        return first_line(error)
    if found.ndim != 2 or found.shape[1] != width(model):
        return f"features {tuple(found.shape)} where (2, {width(model)}) were expected"
    return ""


def _would(model: nn.Module, shape: tuple[int, ...], large: tuple[int, ...]) -> str:
    side, fit = shape[-1], []
    for sign in (-1, 1):
        tried = (side + sign * step for step in range(1, _TRIES) if side + sign * step >= 4)
        fit += [next((size for size in tried if not _refusal(model, (*shape[:-2], size, size))), 0)]
    fit = [size for size in fit if size]
    others = [size for size in (large[-1] // 2, 2 * large[-1]) if not _refusal(model, (*shape[:-2], size, size))]
    if shape != large and fit in ([], [large[-1]]) and not others:
        return (
            f"it reads one size only: set data.local_size={large[-1]}, or, of timm's transformers, "
            "model.sizes.dynamic_img_size=true"
        )
    return f"{' or '.join(map(str, fit))} would do" if fit else "take another model, or other sizes"
