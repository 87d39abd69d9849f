"""The interface between the engine and what is trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn


class Task(nn.Module, ABC):
    """One thing to train: forward, loss and metrics.

    ``model`` is the network whose weights are the result. Whatever else has parameters (a discriminator, a projection)
    is a submodule beside it and is trained too; what must not be trained (a teacher) is kept out of the submodules.
    The engine calls the task itself, so that wrappers for several processes see every use. ``name`` is how a run calls
    it.
    """

    name: ClassVar[str]
    model: nn.Module

    @abstractmethod
    def loss(self, batch: Any) -> Tensor:
        """Return the training loss of one batch (a scalar) and remember what metrics need of it."""

    @abstractmethod
    def evaluate(self, batch: Any) -> None:
        """Feed the metrics with one batch of the test split."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Return the metrics since the last call: at least ``loss``, and ``score`` (larger is better)."""

    def forward(self, batch: Any) -> Tensor | None:
        """Return the loss in training mode; feed the metrics in eval mode."""
        if self.training:
            return self.loss(batch)
        self.evaluate(batch)
        return None
