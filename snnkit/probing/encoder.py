"""The encoder that is probed, and what counts as its features.

    ordinary            f = forward_head(forward_features(x), pre_logits=True)       what its classifier would read
    spiking             f = mean over time and place of forward_features(x)          (T, B, C, H, W) → (B, C)
    spiking, at_head    f = mean over time of forward_head(…, pre_logits=True)       what its classifier would read

By default the neuron in front of a spiking classifier is left out: it was not trained where there were no labels.
Letters: B images, T steps, C channels, H and W pixels, F features.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from snnkit.archives import first_line
from snnkit.checkpoints import build_model, load_weights
from snnkit.checksum import checksum
from snnkit.engine import find_checkpoint
from snnkit.errors import CorruptFileError, InvalidArgumentError
from snnkit.models import create_model
from snnkit.models.classifier import SpikingClassifier

MEAN, READ = "mean over time and place of the last feature map", "what the classifier reads"
OVER_TIME = "what the classifier reads, mean over time"


@dataclass(frozen=True)
class Encoder:
    """A network that is probed.

    Attributes:
        model: with ``forward_features``, in eval mode.
        called: what results are listed under.
        checkpoint: file it came from; None if it has no trained weights.
        made: what ``create_model`` was given, to make it anew: name and arguments.
        at_head: whether the features of a spiking network are what its classifier reads.
        note: what a reader must know of how its weights were loaded.
    """

    model: nn.Module
    called: str
    checkpoint: Path | None
    made: dict[str, Any]
    at_head: bool = False
    note: str = ""

    @property
    def pooling(self) -> str:
        """In words, what its features are."""
        if not isinstance(self.model, SpikingClassifier):
            return READ
        return OVER_TIME if self.at_head else MEAN

    @property
    def channels(self) -> int:
        """Channels of the images it reads; 0 if nothing tells."""
        found = getattr(self.model, "in_chans", 0)
        convolution = next((m for m in self.model.modules() if isinstance(m, nn.Conv2d)), None)
        return int(found or (convolution.in_channels if convolution is not None else 0))

    def key(self) -> str:
        """Return a checksum of weights, buffers and kind."""
        return checksum(dict(self.model.state_dict()), f"{type(self.model).__name__} {self.pooling} {self.made}")

    def features(self, images: Tensor) -> Tensor:
        """Return the features (B, F) of images (B, C, H, W), clips, or sequences (T, B, C, H, W).

        Raises:
            InvalidArgumentError: images that it cannot read.
        """
        model: Any = self.model
        try:
            if isinstance(model, SpikingClassifier):
                maps = model.forward_stages(model.forward_currents(images))[-1]
                read = model.forward_head(maps, pre_logits=True).mean(0) if self.at_head else maps.mean((0, 3, 4))
                return torch.as_tensor(read)
            found: Tensor = model.forward_head(model.forward_features(images), pre_logits=True)
        except (RuntimeError, AssertionError) as error:
            raise InvalidArgumentError(
                f"{self.called} cannot read images {tuple(images.shape[1:])} ({first_line(error)}); give the size it "
                "was made for (--img-size)."
            ) from None
        if found.ndim != 2:
            raise InvalidArgumentError(
                f"{self.called} gives features {tuple(found.shape)} for a batch; one row an image is probed."
            )
        return found


def encoder_of(model: nn.Module, called: str) -> nn.Module:
    """Return the part of a network that is probed: itself, or what a pre-training trained inside of it.

    Raises:
        InvalidArgumentError: it has none.
    """
    for candidate in (model, getattr(model, "encoder", None)):
        if isinstance(candidate, nn.Module) and hasattr(candidate, "forward_features"):
            if getattr(candidate, "features_only", False):
                break
            return candidate
    raise InvalidArgumentError(
        f"{called} is a {type(model).__name__} without forward_features: probe a classifier, or the encoder of a "
        "pre-training."
    )


def load_encoder(target: str, in_chans: int | None = None, at_head: bool = False) -> Encoder:
    """Return the encoder that a text means.

    Args:
        target: folder of a run, a checkpoint, ``NAME@weights``, or a name: snnkit's or ``timm:NAME``, at random start.
        in_chans: channels of the images, for a name.
        at_head: whether the features of a spiking network are what its classifier reads.

    Raises:
        CorruptFileError, UnknownNameError, InvalidArgumentError: no such file or name, or no encoder in it.
    """
    name, at, weights = target.partition("@")
    if Path(target).exists():
        path = find_checkpoint(target)
        model, made = build_model(path)
        return Encoder(encoder_of(model, target).eval(), target, path, made, at_head)
    if target.endswith(".safetensors") and not at:
        raise CorruptFileError(f"{target} does not exist; give a run folder, a checkpoint, NAME@weights, or timm:NAME.")
    if "/" in target.removeprefix("timm:") and not at:
        raise CorruptFileError(
            f"{target}: no such folder; give a run folder, a checkpoint, NAME@weights, or timm:NAME."
        )
    made = {"name": name, "num_classes": 0, **({"in_chans": in_chans} if in_chans else {})}
    torch.manual_seed(0)
    model = create_model(**made)
    note = ""
    if at:
        report = load_weights(model, weights, strict=False)  # a classifier's head has no place in an encoder
        if random := report.missing + report.left:
            raise InvalidArgumentError(
                f"{weights} does not fill {name}: {len(random)} tensors would stay random ({', '.join(random[:3])}); "
                "give the name that it was trained as, or a checkpoint that says it."
            )
        note = f"{weights}: {report}"
    return Encoder(encoder_of(model, target).eval(), target, Path(weights) if at else None, made, at_head, note)


def random_start(encoder: Encoder, batches: Iterable[Tensor], seed: int) -> Encoder:
    """Return the same network before any training, for comparison.

    Its batch norms see some batches first, as they would have in training: with the statistics that norms are made
    with, many spiking networks are silent, and too easy to beat.

    Args:
        encoder: the trained one.
        batches: of images (B, C, H, W) or sequences, as ``Feeding.drawn`` gives them.
        seed: of the random weights.
    """
    torch.manual_seed(seed)
    made = {key: value for key, value in encoder.made.items() if key != "trained_size"}
    model = encoder_of(create_model(**made), encoder.called)
    device = next(encoder.model.parameters()).device
    model.to(device)
    update_bn(batches, model, device)
    return Encoder(model.eval(), f"{encoder.called}, random start", None, {**made, "seed": seed}, encoder.at_head)
