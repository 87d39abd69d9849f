"""The interface between the engine and what is trained."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn


class Task(Protocol):
    """One thing to train.

    ``model`` holds everything with parameters. ``loss`` is called on training batches; ``update`` feeds metrics with a
    batch of either split; ``compute`` returns them and starts anew.
    """

    model: nn.Module

    def loss(self, batch: Any) -> Tensor:
        """Return the training loss of one batch (a scalar) and remember what metrics need of it."""
        ...

    def evaluate(self, batch: Any) -> None:
        """Feed the metrics with one batch, without gradients."""
        ...

    def compute(self) -> dict[str, float]:
        """Return the metrics since the last call: at least ``loss``, and ``score`` (larger is better)."""
        ...
