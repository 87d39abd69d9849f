"""Attention between spikes: the four spike-driven operators (SDSA-1 to -4) and plain spiking self-attention (SSA).

q, k, v are spikes; ⊙ multiplies element by element, Σ sums over the tokens, LIF is the neuron given to the operator:

| name | output | multiplications between spikes |
|---|---|---|
| ``sdsa1`` | q ⊙ LIF(Σ k ⊙ v) | masks only: linear in tokens and channels |
| ``sdsa2`` | k ⊙ LIF(Σ q) | masks only; there is no v |
| ``sdsa3`` | LIF(s · q (kᵀ v)) per head | additions: linear in tokens |
| ``sdsa4`` | LIF(s · q (kᵀ v)) per head, s learned | as sdsa3; s goes into the threshold |
| ``ssa`` | LIF(s · (q kᵀ) v) per head | additions: quadratic in tokens |

Between spikes every product is a count, exact in floating point, so ``ssa`` and ``sdsa3`` are equal to the last bit
and differ in cost. All published networks use s = 1/8 and a threshold of 0.5, whatever the width of a head.

Maps (T, B, C, H, W) in and out; tokens are the pixels. Letters: T steps, B images, N = T·B·heads, D and E channels of a
head, L tokens. Source: Yao et al., Spike-driven Transformer V2, arXiv 2404.03663 (SDSA-2 and SDSA-4 have no published
code: unconfirmed); Zhou et al., Spikformer, arXiv 2209.15425. To add one: a class and its line in ``ATTENTIONS``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.neurons import LIF

SCALE = 0.125


def split_heads(x_TBCHW: Tensor, num_heads: int) -> Tensor:
    """Return (T·B·heads, C / heads, H·W); no copy where the map is contiguous."""
    timesteps, batch, channels, height, width = x_TBCHW.shape
    return x_TBCHW.reshape(timesteps * batch * num_heads, channels // num_heads, height * width)


def linear_attention(q_TBCHW: Tensor, k_TBCHW: Tensor, v_TBCHW: Tensor, num_heads: int) -> Tensor:
    """Return q (kᵀ v) per head, (T, B, Cᵥ, H, W); v may have other channels than q and k."""
    q_NDL, k_NDL, v_NEL = (split_heads(x, num_heads) for x in (q_TBCHW, k_TBCHW, v_TBCHW))
    y_NEL = torch.bmm(torch.bmm(v_NEL, k_NDL.transpose(1, 2)), q_NDL)
    return y_NEL.reshape(v_TBCHW.shape)


def quadratic_attention(q_TBCHW: Tensor, k_TBCHW: Tensor, v_TBCHW: Tensor, num_heads: int) -> Tensor:
    """Return (q kᵀ) v per head, (T, B, Cᵥ, H, W)."""
    q_NDL, k_NDL, v_NEL = (split_heads(x, num_heads) for x in (q_TBCHW, k_TBCHW, v_TBCHW))
    y_NEL = torch.bmm(v_NEL, torch.bmm(k_NDL.transpose(1, 2), q_NDL))
    return y_NEL.reshape(v_TBCHW.shape)


def attention_neuron() -> LIF:
    """Return the neuron of the published operators: LIF with a threshold of 0.5."""
    return LIF(v_threshold=0.5)


class ScaledAttention(nn.Module):
    """LIF(s · q (kᵀ v)) per head: SDSA-3, SDSA-4 (``learned``) and SSA (``product=quadratic_attention``).

    Args:
        num_heads: heads.
        lif: neuron of the output.
        scale: s, or where it begins.
        product: of q, k, v and the number of heads.
        learned: whether s is a parameter.
    """

    uses_value: ClassVar[bool] = True

    def __init__(
        self,
        num_heads: int,
        lif: nn.Module,
        scale: float = SCALE,
        product: Callable[[Tensor, Tensor, Tensor, int], Tensor] = linear_attention,
        learned: bool = False,
    ):
        super().__init__()
        if not isinstance(num_heads, int) or num_heads < 1:
            raise InvalidArgumentError(f"num_heads={num_heads!r}: must be a whole number ≥ 1.")
        if not (math.isfinite(scale) and scale > 0):
            raise InvalidArgumentError(f"scale={scale!r}: must be a finite number > 0.")
        self.num_heads, self.product, self.lif = num_heads, product, lif
        self.scale = nn.Parameter(torch.tensor(float(scale))) if learned else float(scale)

    def forward(self, q_TBCHW: Tensor, k_TBCHW: Tensor, v_TBCHW: Tensor) -> Tensor:
        """Return spikes (T, B, C, H, W)."""
        y_TBCHW = self.product(q_TBCHW, k_TBCHW, v_TBCHW, self.num_heads)
        unscaled = isinstance(self.scale, float) and self.scale == 1.0  # a pass over memory saved
        return self.lif(y_TBCHW if unscaled else y_TBCHW * self.scale)

    @torch.no_grad()
    def merged(self) -> ScaledAttention:
        """Return an equal operator for inference whose scale is in the neuron's threshold.

        From rest a LIF is linear in its current up to the spike, so s · x against θ is x against θ / s. Neurons that
        do not reset to 0, or of other kinds, keep the scale.
        """
        lif, scale = copy.deepcopy(self.lif), torch.as_tensor(self.scale).item()
        if type(lif) is LIF and lif.v_reset == 0 and isinstance(lif.v_threshold, float):
            lif.v_threshold, scale = lif.v_threshold / scale, 1.0
        return ScaledAttention(self.num_heads, lif, scale, self.product).train(self.training)

    def extra_repr(self) -> str:
        """Show heads, scale and product in ``print(model)``."""
        return f"num_heads={self.num_heads}, scale={float(self.scale):g}, product={self.product.__name__}"


class SDSA1(nn.Module):
    """q ⊙ LIF(Σ k ⊙ v): channels whose keys and values agree often enough pass the queries; no heads, no scale."""

    uses_value: ClassVar[bool] = True

    def __init__(self, num_heads: int, lif: nn.Module, scale: float = SCALE):
        super().__init__()
        self.lif = lif

    def forward(self, q_TBCHW: Tensor, k_TBCHW: Tensor, v_TBCHW: Tensor) -> Tensor:
        """Return spikes (T, B, C, H, W)."""
        return q_TBCHW * self.lif((k_TBCHW * v_TBCHW).sum((3, 4), keepdim=True))


class SDSA2(nn.Module):
    """k ⊙ LIF(Σ q): channels that were queried often enough pass the keys; no heads, no scale, no v."""

    uses_value: ClassVar[bool] = False

    def __init__(self, num_heads: int, lif: nn.Module, scale: float = SCALE):
        super().__init__()
        self.lif = lif

    def forward(self, q_TBCHW: Tensor, k_TBCHW: Tensor) -> Tensor:
        """Return spikes (T, B, C, H, W)."""
        return k_TBCHW * self.lif(q_TBCHW.sum((3, 4), keepdim=True))


ATTENTIONS: dict[str, Callable[[int, nn.Module, float], nn.Module]] = {
    "sdsa1": SDSA1,
    "sdsa2": SDSA2,
    "sdsa3": ScaledAttention,
    "sdsa4": partial(ScaledAttention, learned=True),
    "ssa": partial(ScaledAttention, product=quadratic_attention),
}


def spike_attention(name: str, num_heads: int, lif: nn.Module | None = None, scale: float = SCALE) -> nn.Module:
    """Return the operator called ``name``; called with q, k and, where its ``uses_value`` says so, v.

    Args:
        name: a key of ``ATTENTIONS``.
        num_heads: heads; SDSA-1 and SDSA-2 work per channel and have none.
        lif: the operator's neuron; None for LIF with a threshold of 0.5.
        scale: s, where the operator has one.

    Raises:
        UnknownNameError: no such operator (names the nearest match).
        InvalidArgumentError: no heads, or a scale that is not a finite number > 0.
    """
    if name not in ATTENTIONS:
        raise unknown_name("attention", name, ATTENTIONS)
    return ATTENTIONS[name](num_heads, attention_neuron() if lif is None else lif, scale)
