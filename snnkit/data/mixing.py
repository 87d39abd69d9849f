"""Mixing the images of a batch: mixup and CutMix, by torchvision.

Sources: Zhang et al., "mixup", arXiv 1710.09412; Yun et al., "CutMix", arXiv 1905.04899.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from snnkit.data.config import DataConfig


class Mixing:
    """Mix (images (B, C, H, W), labels (B,)) into (images, probabilities (B, K)), or leave both as they are.

    Clips (B, C, F, H, W) and sequences (T, B, C, H, W) are mixed alike in all frames.

    Random numbers come from torch's global generator.

    Args:
        config: ``mixup``, ``cutmix``, ``mix_probability``.
        num_classes: K.
        time_first: whether batches are sequences.
    """

    def __init__(self, config: DataConfig, num_classes: int, time_first: bool = False):
        self._time_first = time_first
        self._choices: list[Any] = []
        if config.mixup:
            self._choices.append(v2.MixUp(alpha=config.mixup, num_classes=num_classes))
        if config.cutmix:
            self._choices.append(v2.CutMix(alpha=config.cutmix, num_classes=num_classes))
        self._probability = config.mix_probability

    def __call__(self, batch: Any) -> Any:
        """Return the batch, mixed or not."""
        if not self._choices or torch.rand(()) >= self._probability:
            return batch
        choice = self._choices[int(torch.randint(len(self._choices), ()))]
        images, labels = batch
        by_sample: Tensor = images.transpose(0, 1) if self._time_first else images
        # As if frames were channels: one rectangle, one share.
        mixed, soft = choice(by_sample.flatten(1, -3), labels)
        mixed = mixed.view(by_sample.shape)
        return (mixed.transpose(0, 1) if self._time_first else mixed), soft
