"""Masked image modelling: paint what was hidden. The network is a ``MaskedModel``: "mae:NAME", "simmim:NAME", or a
spiking autoencoder such as "spikformer_v2_mae_8_384", which brings mask, target and loss with it.

Beside the loss, the run's folder gets what a report shows: pretraining.json with figures of every epoch, and
reconstructions.png with eight test images in rows of four: as given, as seen, as painted.
Letters: B images, C channels, H and W pixels, N numbers of noise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.models.masked import MaskedModel, MaskedPrediction
from snnkit.tasks.firing import listening
from snnkit.tasks.noise import Noise
from snnkit.tasks.pictures import write_rows
from snnkit.tasks.pretraining import Pretraining

PICTURES = "reconstructions.png"
_SHOWN = 8
_ADVICE = "lower optim.lr, or warm up for longer (schedule.warmup_epochs); of a spiking encoder, see that neurons fire."


class Masked(Pretraining):
    """Train a masked model on images.

    Args:
        model: a ``MaskedModel``.
        num_classes: not asked.

    Raises:
        InvalidArgumentError: a model that hides and paints nothing.
    """

    name: ClassVar[str] = "masked"

    def __init__(self, model: nn.Module, num_classes: int = 0):
        super().__init__(masked_model(model, self.name), ("reconstruction",))
        self.noise = Noise()
        self._seen: tuple[Tensor, Tensor, Tensor] | None = None
        self._shown: tuple[Tensor, Tensor, Tensor] | None = None
        self._tested: dict[str, float] = {}

    def loss(self, batch: Any) -> Tensor:
        """Return the loss of a training batch, with or without labels."""
        images = self.images(batch)
        found = self.model(images, self.noise.for_training(images, self.model.cells))
        self.note(found, found.loss, reconstruction=found.loss)
        return found.loss

    def evaluate(self, batch: Any) -> None:
        """Feed loss, spread of features and firing rate with a test batch."""
        images = self.images(batch)
        found, rates = self.tested(images)
        self.metrics.update(found.loss, found.latent.mean(1), rates, reconstruction=found.loss)

    def tested(self, images: Tensor) -> tuple[MaskedPrediction, list[Tensor]]:
        """Return what the model makes of test images, and the firing rates of its layers; the first are kept."""
        noise = self.noise.for_testing(images, self.model.cells)
        with listening(self.metrics.neurons) as rates, torch.no_grad():
            found = self.model(images, noise)
            if self._seen is None:
                own = [images, *self.model.pictures(images, found)]
                self._seen = tuple(part[:_SHOWN].detach().float().cpu() for part in own)  # type: ignore[assignment]
        return found, rates

    def note(self, found: MaskedPrediction, loss: Tensor, **parts: Tensor) -> None:
        """Tell the metrics of a training batch, and look whether the features have collapsed."""
        features_BD = found.latent.detach().mean(1)
        self.metrics.update(loss, features_BD, **parts)
        self.collapse.watch(features_BD, _ADVICE)

    def compute(self) -> dict[str, float]:
        """Return loss, score (= −loss), the loss's parts, the spread of features and, of tests, the firing rate."""
        found = super().compute()
        if not self.training:
            self._tested = found
            self._shown, self._seen = self._seen, None  # of the last split alone
            self.noise.test_over()
        return found

    def keep_records(self, folder: Path, epoch: int) -> None:
        """Write the pictures of the first test images, and the figures of the test."""
        if self._shown is None:
            return
        write_rows(folder / PICTURES, self._shown)
        found = {key: value for key, value in self._tested.items() if key != "score"}
        found["mask_ratio"] = self.model.mask_ratio
        self.record(folder, epoch, **found, pictures=PICTURES, columns=["given", "seen", "painted"])
        self._shown = None


def masked_model(model: nn.Module, task: str) -> MaskedModel:
    """Return ``model``.

    Raises:
        InvalidArgumentError: it is no ``MaskedModel``; says how to name one.
    """
    if isinstance(model, MaskedModel):
        return model
    name = getattr(model, "model_name", type(model).__name__)
    raise InvalidArgumentError(
        f"task {task}: {name} hides and paints nothing. Name what does: model.name=mae:{name} or simmim:{name} for "
        "ordinary encoders, spikformer_v2_mae_… or e_spikeformer_mae_… for spiking ones."
    )
