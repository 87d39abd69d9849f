"""MR-MAE: paint hidden patches, and mimic a teacher's features at visible ones: no token is asked for both.

    L = L_reconstruction(hidden patches) + w · mean over visible patches and features of (h(z) − t)²

z: the encoder's output at visible patches; h: a linear head; t: the features of a frozen teacher, which sees the whole
image, at the same places. **This form is inferred**: no training code of the paper is public, and its abstract tells
what is compared at which tokens, not head, normalisation or distance; these are options here.
Source: Gao et al., "Mimic before Reconstruct: Enhancing Masked Autoencoders with Feature Mimicking", arXiv 2303.05475.
Letters: B images, K visible patches, D width of latents, F width of the teacher's features, L patches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.models.masked import MaskedAutoencoder, MaskedPrediction
from snnkit.tasks.feature_teacher import FeatureTeacher
from snnkit.tasks.masked import Masked
from snnkit.tasks.pretraining import PretrainingMetrics


def _cosine(own_BKF: Tensor, taught_BKF: Tensor) -> Tensor:
    return (1 - F.cosine_similarity(own_BKF, taught_BKF, dim=2)).mean()


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": F.mse_loss,
    "cosine": _cosine,
    "smooth_l1": F.smooth_l1_loss,
}
"""Of what is mimicked; each a mean."""

NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda t: t,
    "layer_norm": lambda t: F.layer_norm(t, t.shape[-1:]),
    "unit": lambda t: F.normalize(t, dim=-1),
}
"""Of the teacher's features, place by place."""

HEADS: dict[str, Callable[[int, int], nn.Module]] = {
    "linear": lambda width, out: nn.Linear(width, out),
    "mlp": lambda width, out: nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, out)),
    "none": lambda width, out: nn.Identity(),
}


class MRMAE(Masked):
    """Train a masked autoencoder on images and on a teacher's features.

    Args:
        model: a ``MaskedAutoencoder``: "mae:NAME", or a spiking one.
        num_classes: not asked.
        teacher: what is mimicked; see ``FeatureTeacher``.
        head: from latents to features: "linear", "mlp", "none" (equal widths only). Stays behind after training.
        normalise: of the teacher's features: "none", "layer_norm", "unit".
        distance: "mse", "cosine", "smooth_l1".
        weight: w.
        teacher_size: side in pixels of what the teacher sees; 0 for its own, or the student's.
        resample: resample the teacher's features where its grid is another.

    Raises:
        UnknownNameError: no such head, norm or distance.
        InvalidArgumentError: no autoencoder, a teacher that does not match, or a weight that is no number above 0.
    """

    name: ClassVar[str] = "mr_mae"

    def __init__(
        self,
        model: nn.Module,
        num_classes: int = 0,
        teacher: str | nn.Module = "",
        head: str = "linear",
        normalise: str = "none",
        distance: str = "mse",
        weight: float = 1.0,
        teacher_size: int = 0,
        resample: bool = False,
    ):
        super().__init__(model, num_classes)
        if not isinstance(model, MaskedAutoencoder):
            raise InvalidArgumentError(
                f"task mr_mae: {getattr(model, 'model_name', type(model).__name__)} encodes hidden places too; take "
                "mae:NAME, or a spiking autoencoder."
            )
        for key, value, known in (
            ("head", head, HEADS),
            ("normalise", normalise, NORMS),
            ("distance", distance, DISTANCES),
        ):
            if value not in known:
                raise unknown_name(f"value of task.options.{key}", value, known)
        if not weight > 0:
            raise InvalidArgumentError(f"task.options.weight={weight}: must be above 0; task masked mimics nothing.")
        # Not a submodule: nothing trains, saves or shards it.
        shape = (model.in_chans, *model.img_size)
        self._teacher = (FeatureTeacher(teacher, model.grid, shape, teacher_size, resample),)
        width, taught = model.decoder.embed.in_features, self.teacher.width
        if head == "none" and width != taught:
            raise InvalidArgumentError(
                f"task.options.head=none: the encoder's output has {width} channels, the teacher's {taught}; give "
                "head=linear."
            )
        self.head = HEADS[head](width, taught)
        for layer in self.head.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.weight = float(weight)
        self._norm, self._distance = NORMS[normalise], DISTANCES[distance]
        self.metrics = PretrainingMetrics(model, ("reconstruction", "mimic"))

    @property
    def teacher(self) -> FeatureTeacher:
        """The teacher."""
        return self._teacher[0]

    def mimic(self, found: MaskedPrediction, images_BCHW: Tensor) -> Tensor:
        """Return the distance from the teacher's features at the visible patches, a scalar."""
        taught_BLF = self._norm(self.teacher.tokens(images_BCHW))
        places = found.visible.unsqueeze(2).expand(-1, -1, taught_BLF.shape[2])
        return self._distance(self.head(found.latent), taught_BLF.gather(1, places))

    def loss(self, batch: Any) -> Tensor:
        """Return the loss of a training batch, with or without labels."""
        images = self.images(batch)
        found = self.model(images, self.noise.for_training(images, self.model.cells))
        mimic = self.mimic(found, images)
        loss = found.loss + self.weight * mimic
        self.note(found, loss, reconstruction=found.loss, mimic=mimic)
        return loss

    def evaluate(self, batch: Any) -> None:
        """Feed loss, its two parts, spread of features and firing rate with a test batch."""
        images = self.images(batch)
        found, rates = self.tested(images)
        with torch.no_grad():
            mimic = self.mimic(found, images)
        loss = found.loss + self.weight * mimic
        self.metrics.update(loss, found.latent.mean(1), rates, reconstruction=found.loss, mimic=mimic)
