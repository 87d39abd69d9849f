"""Noise that decides what is hidden: a function of the run's seed and of how many batches were drawn, not of devices.

Every process draws the noise of the whole batch and keeps that of its own images, which are dealt out in turn; so two
processes hide in each image what one process with the big batch would. Numbers come from NumPy's generator, the same on
any device. In tests the noise of an image is the same after every epoch.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, distributed, nn


class Noise(nn.Module):
    """Uniform noise for images; its buffers are saved and restored with the task."""

    seed: Tensor
    drawn: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Drawn while the seed is the run's in all processes.
        self.register_buffer("seed", torch.randint(2**31, (1,)))
        self.register_buffer("drawn", torch.zeros(1, dtype=torch.int64))
        self._tested: np.random.Generator | None = None

    @torch.compiler.disable
    def for_training(self, images: Tensor, numbers: int) -> Tensor:
        """Return noise (B, numbers), float32, on the images' device."""
        generator = np.random.default_rng((int(self.seed), 1, int(self.drawn)))
        self.drawn += 1
        return self._draw(generator, images, numbers)

    @torch.compiler.disable
    def for_testing(self, images: Tensor, numbers: int) -> Tensor:
        """Return noise as for training, that of the next images of the test."""
        if self._tested is None:
            self._tested = np.random.default_rng((int(self.seed), 2))
        return self._draw(self._tested, images, numbers)

    def test_over(self) -> None:
        """Begin anew with the next test."""
        self._tested = None

    @staticmethod
    def _draw(generator: np.random.Generator, images: Tensor, numbers: int) -> Tensor:
        rank, world = 0, 1
        if distributed.is_available() and distributed.is_initialized():
            rank, world = distributed.get_rank(), distributed.get_world_size()
        values = generator.random((len(images) * world, numbers), np.float32)[rank::world]
        return torch.from_numpy(np.ascontiguousarray(values)).to(images.device)
