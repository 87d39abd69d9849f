"""torch's own layers on sequences: (T, B, …) in and out, the same arguments and state_dict keys as ``torch.nn``.

Layers without memory see time folded into the batch. ``Dropout`` draws one mask for all time steps of a sequence, so
that a silenced neuron stays silent. To add one: a line in ``SEQUENCE_LAYERS``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def over_time(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply ``layer`` ((N, …) → (N, …)) to a sequence (T, B, …) with N = T·B; returns (T, B, …)."""
    timesteps, batch = x.shape[:2]
    y = layer(x.flatten(0, 1))
    return y.unflatten(0, (timesteps, batch))


class _Folded:
    """Mixin: run the torch layer's own forward with time folded into the batch."""

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, …) → (T, B, …)."""
        return over_time(super().forward, x)  # type: ignore[misc]


def _folded(layer: type[nn.Module]) -> type[nn.Module]:
    """Make the class of ``layer`` on sequences; the module's globals hold it under the same name, so it pickles."""
    doc = f"``torch.nn.{layer.__name__}`` on a sequence: time is folded into the batch."
    made = type(layer.__name__, (_Folded, layer), {"__doc__": doc, "__module__": __name__})
    globals()[layer.__name__] = made
    return made


SEQUENCE_LAYERS: tuple[type[nn.Module], ...] = tuple(
    _folded(layer)
    for layer in (
        nn.Conv1d,
        nn.Conv2d,
        nn.Conv3d,
        nn.ConvTranspose1d,
        nn.ConvTranspose2d,
        nn.ConvTranspose3d,
        nn.Linear,
        nn.BatchNorm1d,
        nn.BatchNorm2d,
        nn.BatchNorm3d,
        nn.GroupNorm,
        nn.MaxPool1d,
        nn.MaxPool2d,
        nn.MaxPool3d,
        nn.AvgPool1d,
        nn.AvgPool2d,
        nn.AvgPool3d,
        nn.AdaptiveAvgPool1d,
        nn.AdaptiveAvgPool2d,
        nn.AdaptiveAvgPool3d,
        nn.Upsample,
        nn.Flatten,
    )
)


class Folded(nn.Sequential):
    """Ordinary layers in a row, on a sequence: time is folded into the batch once around all of them."""

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, …) → (T, B, …)."""
        return over_time(super().forward, x)


class Dropout(nn.Dropout):
    """``torch.nn.Dropout`` with one mask for all time steps: (T, B, …) → (T, B, …).

    Source of the convention: Lee et al., "Enabling Spike-Based Backpropagation", Front. Neurosci. 2020.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Scale by a mask (B, …) that is constant over time."""
        if not self.training or self.p == 0.0:
            return x
        return x * nn.functional.dropout(torch.ones_like(x[0]), self.p)


class Dropout2d(nn.Dropout2d):
    """``torch.nn.Dropout2d`` with one mask of whole channels for all time steps: (T, B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Scale by a mask (B, C, 1, 1) that is constant over time."""
        if not self.training or self.p == 0.0:
            return x
        return x * nn.functional.dropout2d(torch.ones_like(x[0, :, :, :1, :1]), self.p)
