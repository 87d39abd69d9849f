"""Delta encoding: spikes where a sequence changes.

    d[t] = x[t] − x[t−1],   s[t] = 1 where d[t] ≥ θ,   −1 where d[t] ≤ −θ and off-spikes are sent,   else 0

x[−1] is 0, or x[0] (then nothing is sent at t = 0); inside a stream it is the last sample of the chunk before.

| symbol | unit | default |
|---|---|---|
| x | any | |
| θ ``threshold`` | that of x, > 0 | 0.1 |

A sample is compared with the one before, not with the last value that was sent: a slow drift stays silent. Source:
snnTorch ``spikegen.delta``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnkit.checks import finite
from snnkit.neurons.base import check_sequence
from snnkit.neurons.carry import active_carry


class Delta(nn.Module):
    """On- and off-spikes of changes: a sequence (T, B, …) → (T, B, …) in {−1, 0, 1}, or {0, 1}. No gradient.

    The one encoder that takes a sequence, so it has no ``timesteps`` of its own.

    Args:
        threshold: θ, the smallest change that is sent, > 0.
        off_spikes: send −1 for falls; otherwise they are ignored.
        from_zero: compare the first sample with 0; otherwise with itself.

    Raises:
        InvalidArgumentError: ``threshold`` is not a positive number.
    """

    static = False

    def __init__(self, threshold: float = 0.1, off_spikes: bool = True, from_zero: bool = True):
        super().__init__()
        self.threshold = finite(self, "threshold", threshold, 0.0)
        self.off_spikes, self.from_zero = bool(off_spikes), bool(from_zero)

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, …) → spikes (T, B, …) of the same dtype.

        Raises:
            InvalidArgumentError: not a floating-point sequence with T ≥ 1, or not the kind the stream holds.
        """
        check_sequence(self, x)
        x = x.detach()
        carry = active_carry()
        key, state = (None, None) if carry is None else carry.start(self, x)
        first = x[0] if state is None else state[0].to(x.dtype)
        before = torch.zeros_like(first) if state is None and self.from_zero else first
        change = x - torch.cat([before.unsqueeze(0), x[:-1]])
        if carry is not None:
            carry.leave(key, (x[-1].to(torch.float32 if x.dtype.itemsize < 4 else x.dtype),))
        spikes = (change >= self.threshold).to(x.dtype)
        return spikes - (change <= -self.threshold).to(x.dtype) if self.off_spikes else spikes

    def extra_repr(self) -> str:
        """Show the arguments in ``print(model)``."""
        return f"threshold={self.threshold:g}, off_spikes={self.off_spikes}, from_zero={self.from_zero}"
