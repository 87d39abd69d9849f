"""A neuron with the batch norm before it, for inference: one pass over memory instead of two."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.neurons.base import PointNeuron, check_sequence
from snnkit.neurons.carry import active_carry


class NormedNeuron(nn.Module):
    """``neuron(x * scale + shift)``: currents (T, B, C, …) → spikes (T, B, C, …), same dtype.

    Spikes are those of the norm with its statistics written as scale and shift, bit for bit; against the batch norm
    itself, which rounds otherwise, they may differ where a membrane is a rounding away from its threshold.

    Args:
        norm: a batch norm in eval mode with running statistics; its channels are axis 2 of (T, B, C, …).
        neuron: the neuron behind it.

    Raises:
        InvalidArgumentError: a norm without running statistics.
    """

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm, neuron: PointNeuron):
        super().__init__()
        if norm.running_var is None or norm.running_mean is None:
            raise InvalidArgumentError("NormedNeuron takes a batch norm with running statistics (track_running_stats).")
        with torch.no_grad():
            scale = torch.rsqrt(norm.running_var + norm.eps)
            scale = scale if norm.weight is None else scale * norm.weight
            shift = -norm.running_mean * scale
            shift = shift if norm.bias is None else shift + norm.bias
        self.register_buffer("scale", scale.detach().clone())
        self.register_buffer("shift", shift.detach().clone())
        self.neuron = neuron

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes (T, B, C, …) for the currents ``x`` (T, B, C, …).

        Raises:
            InvalidArgumentError: ``x`` has no time axis, no time steps, or is not of floating-point type.
        """
        check_sequence(self.neuron, x)
        shape = (-1, *[1] * (x.ndim - 3))
        norm = (self.scale.view(shape), self.shift.view(shape))
        neuron, carry = self.neuron, active_carry()
        given = neuron._prepare(x.ndim - 1)
        if carry is None:
            return neuron.operator.run_normed(x, None, given, norm, False)[0]
        key, state = carry.start(neuron, x)
        spikes, last = neuron.operator.run_normed(x, state, given, norm)
        carry.leave(key, last)
        return spikes
