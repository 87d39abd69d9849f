"""Batch norms made for spiking networks: (T, B, C, …) → (T, B, C, …).

| class | statistics | scale |
|---|---|---|
| ``ThresholdDependentBatchNorm{1,2,3}d`` (tdBN) | over time and batch | starts at α·threshold |
| ``TemporalEffectiveBatchNorm{1,2,3}d`` (TEBN) | over time and batch | times a trained number per step |
| ``BatchNormThroughTime{1,2,3}d`` (BNTT) | of each step by itself | of each step by itself, without bias |

A norm of the membrane is part of its neuron: ``neurons.MembraneNormLIF``.

Source: tdBN: Zheng et al., AAAI 2021, arXiv 2011.05280; TEBN: Duan et al., NeurIPS 2022; BNTT: Kim and Panda 2021,
arXiv 2010.01729. Arguments and state_dict keys are those of SpikingJelly 2.0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnkit.checks import finite, whole
from snnkit.errors import InvalidArgumentError
from snnkit.layers.sequence import over_time
from snnkit.neurons.carry import active_carry


class _ThresholdDependent:
    """tdBN: ``torch.nn``'s batch norm over time and batch, whose weight starts at ``alpha * v_threshold``.

    Args:
        alpha: 1, or 1/√2 where two such branches are added; > 0.
        v_threshold: threshold of the neuron behind it, > 0.
        num_features: channels C; further arguments are those of ``torch.nn.BatchNorm2d`` (affine must stay on).

    Raises:
        InvalidArgumentError: a number outside its range, or affine=False.
    """

    def __init__(self, alpha: float, v_threshold: float, num_features: int, *args: Any, **kwargs: Any):
        super().__init__(num_features, *args, **kwargs)
        if self.weight is None:
            raise InvalidArgumentError(f"{type(self).__name__} needs affine=True: its weight carries the threshold.")
        start = finite(self, "alpha", alpha, 0.0) * finite(self, "v_threshold", v_threshold, 0.0)
        nn.init.constant_(self.weight, start)

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, C, …) → (T, B, C, …)."""
        return over_time(super().forward, x)  # type: ignore[misc]


class _TemporalEffective:
    """TEBN: ``torch.nn``'s batch norm over time and batch, then times ``scale[t]``.

    Args:
        timesteps: number of steps T it has a scale for; a sequence may be shorter.
        num_features: channels C; further arguments are those of ``torch.nn.BatchNorm2d``.
    """

    def __init__(self, timesteps: int, num_features: int, *args: Any, **kwargs: Any):
        super().__init__(num_features, *args, **kwargs)
        self.scale = nn.Parameter(torch.ones(whole(self, "timesteps", timesteps)))

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, C, …) → (T, B, C, …)."""
        first = _first_step(self, x, len(self.scale))
        scale = self.scale[first : first + len(x)].reshape(-1, *[1] * (x.ndim - 1))
        return over_time(super().forward, x) * scale  # type: ignore[misc]


class _ThroughTime(nn.Module):
    """BNTT: one batch norm, without bias, per time step.

    Args:
        timesteps: number of steps T it has norms for; a sequence may be shorter.
        num_features: channels C; further arguments are those of ``torch.nn.BatchNorm2d``.
    """

    norm: type[nn.modules.batchnorm._BatchNorm]

    def __init__(self, timesteps: int, num_features: int, *args: Any, **kwargs: Any):
        super().__init__()
        norms = [self.norm(num_features, *args, **kwargs) for _ in range(whole(self, "timesteps", timesteps))]
        for norm in norms:
            norm.bias = None
        self.bn_list = nn.ModuleList(norms)

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, C, …) → (T, B, C, …)."""
        first = _first_step(self, x, len(self.bn_list))
        return torch.stack([self.bn_list[first + t](x_t) for t, x_t in enumerate(x)])


class ThresholdDependentBatchNorm1d(_ThresholdDependent, nn.BatchNorm1d):
    """tdBN of (T, B, C) or (T, B, C, L); see ``_ThresholdDependent``."""


class ThresholdDependentBatchNorm2d(_ThresholdDependent, nn.BatchNorm2d):
    """tdBN of (T, B, C, H, W); see ``_ThresholdDependent``."""


class ThresholdDependentBatchNorm3d(_ThresholdDependent, nn.BatchNorm3d):
    """tdBN of (T, B, C, D, H, W); see ``_ThresholdDependent``."""


class TemporalEffectiveBatchNorm1d(_TemporalEffective, nn.BatchNorm1d):
    """TEBN of (T, B, C) or (T, B, C, L); see ``_TemporalEffective``."""


class TemporalEffectiveBatchNorm2d(_TemporalEffective, nn.BatchNorm2d):
    """TEBN of (T, B, C, H, W); see ``_TemporalEffective``."""


class TemporalEffectiveBatchNorm3d(_TemporalEffective, nn.BatchNorm3d):
    """TEBN of (T, B, C, D, H, W); see ``_TemporalEffective``."""


class BatchNormThroughTime1d(_ThroughTime):
    """BNTT of (T, B, C) or (T, B, C, L); see ``_ThroughTime``."""

    norm = nn.BatchNorm1d


class BatchNormThroughTime2d(_ThroughTime):
    """BNTT of (T, B, C, H, W); see ``_ThroughTime``."""

    norm = nn.BatchNorm2d


class BatchNormThroughTime3d(_ThroughTime):
    """BNTT of (T, B, C, D, H, W); see ``_ThroughTime``."""

    norm = nn.BatchNorm3d


def _first_step(module: nn.Module, x: Tensor, timesteps: int) -> int:
    """Return the number of ``x``'s first step: 0, or within a stream how many steps came before."""
    carry = active_carry()
    key, state = (None, None) if carry is None else carry.start(module, x)
    first = 0 if state is None else int(state[1])
    if first + len(x) > timesteps:
        raise InvalidArgumentError(
            f"{type(module).__name__} has parameters for {timesteps} steps, and this sequence has {first + len(x)}: "
            f"make it with timesteps={first + len(x)}."
        )
    if carry is not None:
        shape = x.new_zeros(()).expand(x.shape[1:])  # what a stream checks the next input's shape by
        carry.leave(key, (shape, torch.tensor(first + len(x))))
    return first
