"""Attention as a residual branch of membranes: a neuron before every layer with weights.

    σ = s(x);   q, k, v = s(P_q σ), s(P_k σ), s(P_v σ);   y = P(attend(q, k, v))

P are projections with their norms, s neurons; ``attend`` ends in a neuron of its own
(``layers.spike_driven_attention``). Source: Yao et al., Spike-driven Transformer V2 and V3, arXiv 2404.03663,
2411.16061.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class MembraneAttention(nn.Module):
    """Membranes (T, B, C, H, W) in, currents (T, B, C, H, W) out.

    Args:
        dim: C.
        attend: spikes q, k, v → spikes.
        neuron: makes one neuron.
        project: makes a projection from in and out channels, with its norm.
        value_dim: channels of v; None for C.
    """

    def __init__(
        self,
        dim: int,
        attend: nn.Module,
        neuron: Callable[[], nn.Module],
        project: Callable[[int, int], nn.Module],
        value_dim: int | None = None,
    ):
        super().__init__()
        value_dim = value_dim or dim
        self.neuron = neuron()
        self.q, self.q_neuron = project(dim, dim), neuron()
        self.k, self.k_neuron = project(dim, dim), neuron()
        self.v, self.v_neuron = project(dim, value_dim), neuron()
        self.attend = attend
        self.proj = project(value_dim, dim)

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        """Mix the places of each map."""
        spikes = self.neuron(x_TBCHW)
        q, k, v = self.q_neuron(self.q(spikes)), self.k_neuron(self.k(spikes)), self.v_neuron(self.v(spikes))
        return self.proj(self.attend(q, k, v))
