"""A frozen network whose features, place by place, are what a student mimics.

Any model here, timm's, or the encoder of a pre-training: its last features without tokens that have no place. It sees
whole images, resized where it serves one size only; images of one channel are repeated for a teacher of three. Images
of three channels come in ImageNet's normalisation: for published weights of timm (timm:NAME.TAG@weights.safetensors)
they are brought into the one that timm knows them to want; networks trained here have seen them as they come.
Letters: B images, C channels, D width of features, L places.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snnkit.checkpoints import build_model, load_weights
from snnkit.errors import InvalidArgumentError
from snnkit.models import create_model
from snnkit.models.classifier import IMAGENET, SpikingClassifier
from snnkit.models.masked import MaskedModel
from snnkit.models.sizes import as_pair
from snnkit.tasks.maps import channels_come_last, laid_out
from snnkit.tasks.teachers import located


class FeatureTeacher:
    """Features of a frozen network in eval mode; no module of a task, so that nothing trains, saves or shards it.

    Args:
        given: a run folder, a .safetensors file, NAME@weights.safetensors (see ``teachers``), or a module with
            ``forward_features``.
        grid: rows and columns of the student's tokens.
        image: (channels, height, width) that the student sees.
        size: side in pixels of what the teacher sees; 0 for the one size it serves, else the student's.
        resample: bring features on another grid to the student's (bilinear), instead of refusing them.
        renormalise: whether images are brought into the normalisation of the model's card; None for published weights
            of timm alone.

    Raises:
        InvalidArgumentError: no teacher, one without features, or one whose grid does not match (names what would).
        CorruptFileError: weights that cannot be read.
    """

    def __init__(
        self,
        given: str | nn.Module,
        grid: tuple[int, int],
        image: tuple[int, int, int],
        size: int = 0,
        resample: bool = False,
        renormalise: bool | None = None,
    ):
        if isinstance(given, str) and not given:
            raise InvalidArgumentError(
                "task.options.teacher='': give a trained network to mimic: a run folder, or NAME@weights.safetensors, "
                "such as timm:vit_base_patch16_224.dino@dino.safetensors."
            )
        model = _built(given) if isinstance(given, str) else given
        model = model.encoder if isinstance(model, MaskedModel) else model
        if not hasattr(model, "forward_features"):
            raise InvalidArgumentError(f"the teacher, a {type(model).__name__}, has no forward_features().")
        self.model: Any = model.eval().requires_grad_(False)
        self.grid, self.resample = grid, resample
        published = isinstance(given, str) and located(given)[0].startswith("timm:")
        self.renormalise = published if renormalise is None else renormalise
        self.size = (size, size) if size else self._own_size() or image[1:]
        self.channels = next((p.shape[1] for p in model.parameters() if p.ndim >= 4), image[0])
        if image[0] != self.channels and image[0] != 1:
            raise InvalidArgumentError(
                f"the teacher takes images of {self.channels} channels, the student sees {image[0]}; give one for them."
            )
        like = next(model.parameters(), torch.zeros(1))
        self.width = self._check(self._maps(torch.zeros(2, *image, device=like.device, dtype=like.dtype)))

    @torch.no_grad()
    def tokens(self, images_BCHW: Tensor) -> Tensor:
        """Return the features at the places of the student's grid, row by row, (B, L, D)."""
        parameter = next(self.model.parameters(), None)
        if parameter is not None and (parameter.device, parameter.dtype) != (images_BCHW.device, images_BCHW.dtype):
            self.model.to(images_BCHW.device, images_BCHW.dtype)
        maps = self._maps(images_BCHW)
        if tuple(maps.shape[2:]) != self.grid:
            maps = F.interpolate(maps, self.grid, mode="bilinear", antialias=True)
        return maps.flatten(2).transpose(1, 2)

    @torch.no_grad()
    def _maps(self, images: Tensor) -> Tensor:
        """The last features as maps (B, D, h, w)."""
        if images.shape[1] != self.channels:
            images = images.expand(-1, self.channels, -1, -1)
        elif self.channels == 3 and self.renormalise:
            images = self._normalised(images)
        if tuple(images.shape[2:]) != self.size:
            images = F.interpolate(images, self.size, mode="bicubic", antialias=True)
        if isinstance(self.model, SpikingClassifier):
            return self.model.forward_features(self.model.encoder(images)).mean(0)
        x = self.model.forward_features(images)
        last = channels_come_last(self.model)
        otherwise = "give another teacher (task.options.teacher)"
        return laid_out(x, getattr(self.model, "num_features", x.shape[-1]), self.size, last, otherwise)

    def _normalised(self, images: Tensor) -> Tensor:
        own = getattr(self.model, "pretrained_cfg", None) or {}
        mean, std = own.get("mean", IMAGENET["mean"]), own.get("std", IMAGENET["std"])
        if (tuple(mean), tuple(std)) == (IMAGENET["mean"], IMAGENET["std"]) or len(mean) != 3:
            return images
        theirs_mean, theirs_std, mean, std = (
            images.new_tensor(values).view(1, -1, 1, 1) for values in (IMAGENET["mean"], IMAGENET["std"], mean, std)
        )
        return (images * theirs_std + theirs_mean - mean) / std

    def _own_size(self) -> tuple[int, int] | None:
        """The one size that a teacher serves, where it does."""
        inner = getattr(self.model, "patch_embed", None)
        if getattr(inner, "strict_img_size", False) and getattr(inner, "img_size", None):
            return as_pair(inner.img_size)
        size = getattr(self.model, "img_size", None)
        return as_pair(size) if isinstance(size, (int, tuple)) else None

    def _check(self, maps: Tensor) -> int:
        found = tuple(maps.shape[2:])
        if found != self.grid and not self.resample:
            stride = [side // n for side, n in zip(self.size, found, strict=True)]
            sides = [step * n for step, n in zip(stride, self.grid, strict=True)]
            wanted = f"{sides[0]}" if sides[0] == sides[1] else f"{sides[0]}×{sides[1]}"
            raise InvalidArgumentError(
                f"the teacher's features lie on a grid of {found[0]}×{found[1]} for images of "
                f"{self.size[0]}×{self.size[1]}, the student's tokens on {self.grid[0]}×{self.grid[1]}. A teacher that "
                f"sees {wanted} pixels would match: create it so, or, if it takes any size, set "
                f"task.options.teacher_size={sides[0]}; task.options.resample=true resamples its features."
            )
        return maps.shape[1]


def _built(text: str) -> nn.Module:
    name, path = located(text)
    if not name:
        return build_model(path)[0]
    model = create_model(name, num_classes=0)
    report = load_weights(model, path, strict=False)
    lost = [*report.missing, *report.left]
    if lost:
        raise InvalidArgumentError(
            f"teacher {text!r}: {len(lost)} tensors of it are not in the file ({', '.join(lost[:3])}"
            f"{' …' if len(lost) > 3 else ''}), and would stay random; give the model that was trained."
        )
    return model
