"""Networks as what the harness asks for: images in, logits out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from snnkit.data import ImageData
from snnkit.engine.own_classes import check_classes
from snnkit.errors import InvalidArgumentError
from snnkit.layers.memory_order import channels_innermost
from snnkit.models.masked import MaskedModel
from snnkit.models.two_towers import TwoTowers
from snnkit.robustness.harness import Predict
from snnkit.tasks.classification import channels_last
from snnkit.tasks.pairs.finding import class_weights


def classifier(model: nn.Module, data: ImageData, names: Sequence[str] = ()) -> Predict:
    """Return a network as a classifier of the classes of ``data``; two towers classify by the data's prompts.

    ``names`` are those of the network's classes, where they are known.

    Raises:
        InvalidArgumentError: it tells no classes apart, or not these.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device).eval()
    if isinstance(model, TwoTowers):
        if data.prompts is None:
            raise InvalidArgumentError(
                f"these weights are of two towers, and {data.origin} has no texts that name its classes: give data "
                "with captions, such as --dataset captioned_folder."
            )
        with torch.no_grad():
            weights = class_weights(model, data.prompts.to(device)).float()
        return lambda images: model.encode_images(images.to(device)).float() @ weights.t()
    classes = 0 if isinstance(model, MaskedModel) else getattr(model, "num_classes", len(data.classes))
    if classes == 0:
        raise InvalidArgumentError(
            "these weights tell no classes apart: fine-tune them first: snnkit train RECIPE --set model.weights=RUN."
        )
    check_classes(names, data, classes)
    ready = channels_innermost(model)

    def predict(images: Tensor) -> Tensor:
        return ready(channels_last(images.to(device)))

    return predict
