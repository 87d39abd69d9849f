"""MembraneNormLIF (MPBN): LIF whose charged membrane is normalised over the batch before it fires.

    h[t] = batch norm of the charge of v[t-1] by x[t]       charge as in LIF
    s[t] = 1 where h[t] ≥ v_threshold, else 0
    v[t] = s·v_reset + (1 − s)·h   (hard reset)   or   h − v_threshold·s   (soft reset, v_reset = None)

Every step is normalised by its own statistics; the running ones are moved at every step.

| symbol | unit | default |
|---|---|---|
| τ ``tau`` | time steps, > 1 | 2 |
| ``v_threshold``, ``v_reset`` | that of the normalised membrane | 1, 0 |

Source: Guo et al., ICCV 2023, arXiv 2308.08359; SpikingJelly 2.0 ``MPBNLIFNode``, whose keys ``vbn.*`` are these.
``detach_reset=True`` differs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnkit.checks import whole
from snnkit.kernels import charge_fire_reset as cfr
from snnkit.kernels.lif.reference import LIFParameters, charge
from snnkit.neurons.base import Neuron, check_channels, check_sequence, constant, threshold_and_reset
from snnkit.neurons.carry import active_carry
from snnkit.surrogates import Sigmoid, Surrogate, name_of


class _ChannelNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over all axes but the channels', whatever their number."""

    def _check_input_dim(self, x: Tensor) -> None:
        pass


class MembraneNormLIF(Neuron):
    """LIF with a normalised membrane: currents (T, B, C, …) → spikes (T, B, C, …) of the same dtype.

    Args:
        num_features: channels C.
        tau: membrane time constant in time steps, > 1.
        v_threshold: firing threshold, > 0.
        v_reset: membrane after a spike, below the threshold; None subtracts the threshold, NO_RESET does nothing.
        decay_input: whether the input is divided by ``tau`` too.
        surrogate: derivative for the backward pass.
        detach_reset: keep the reset out of the backward pass.

    Raises:
        InvalidArgumentError: a constant outside its range.
    """

    def __init__(
        self,
        num_features: int,
        tau: float = 2.0,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        decay_input: bool = False,
        surrogate: Surrogate = Sigmoid(4.0),  # noqa: B008 (frozen)
        detach_reset: bool = True,
    ):
        super().__init__()
        name_of(surrogate)
        self.vbn = _ChannelNorm(whole(self, "num_features", num_features))
        constant(self, "tau", tau, 1.0)
        threshold_and_reset(self, v_threshold, v_reset)
        self.decay_input, self.surrogate, self.detach_reset = bool(decay_input), surrogate, bool(detach_reset)

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes (T, B, C, …) for the current ``x`` (T, B, C, …), same dtype.

        Raises:
            InvalidArgumentError: ``x`` is no sequence, or has other channels than the norm.
        """
        check_sequence(self, x)
        check_channels(self, "num_features", self.vbn.num_features, x)
        p = LIFParameters(self.tau, self.decay_input, self.v_threshold, self.v_reset, self.detach_reset)
        carry = active_carry()
        key, state = (None, None) if carry is None else carry.start(self, x)
        (v,) = self.rest(x) if state is None else state
        spikes = []
        for x_t in x:
            h = self.vbn(charge(x_t, v, p))
            s, v = cfr.fire_and_reset(h, self.v_threshold, self.v_reset, self.surrogate, self.detach_reset)
            spikes.append(s)
        if carry is not None:
            carry.leave(key, (v,))
        return torch.stack(spikes)

    def rest(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the membrane at rest, (B, C, …), for a sequence (T, B, C, …)."""
        return (torch.full_like(x[0], cfr.resting(self.v_reset)),)

    def extra_repr(self) -> str:
        """Show the constants in ``print(model)``."""
        return f"tau={self.tau}, v_threshold={self.v_threshold}, v_reset={self.v_reset}"
