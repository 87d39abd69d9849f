"""Scaled cosine attention within windows, with a continuous bias of position, as in Swin Transformer V2.

    A = softmax(s · q̂ k̂ᵀ + 16 · sigmoid(f(Δ)) + mask),   s = exp(min(logit_scale, ln 100)),   q̂ = q/|q|
    f = linear – ReLU – linear of the distance Δ, log-spaced: sign(δ)·log₂(1 + |δ|)/3,   δ = 8·Δ/(pretrained window − 1)

The bias depends on weights alone: with gradients off it is kept until they change. Keys have no bias of their own.
Letters: B images, N tokens of the map, W windows, S tokens of a window, C channels, h heads, D channels of a head.
Source: Liu et al., "Swin Transformer V2", arXiv 2111.09883; published code microsoft/Swin-Transformer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from snnkit.layers.shifted_windows import Windows

_HIDDEN = 512
_MASK = -100.0  # as published; not −∞
_SCALE_LIMIT = math.log(100.0)


class CosineWindowAttention(nn.Module):
    """Attention within windows: (B, N, C) → (B, N, C), tokens in the order of ``windows``.

    Args:
        dim: C. heads: h; divides C.
        windows: of the map.
        pretrained: (height, width) of the window that distances are measured by: that of the pre-training.
        sequential: windows per image that are computed at a time, 0 for all. In training each share is computed again
            in backward, so that memory holds the scores of one share only.
    """

    def __init__(self, dim: int, heads: int, windows: Windows, pretrained: tuple[int, int], sequential: int = 0):
        super().__init__()
        self.heads, self.sequential = heads, sequential
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))
        self.cpb_mlp = nn.Sequential(nn.Linear(2, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, heads, bias=False))
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)
        self.set_windows(windows, pretrained)

    def set_windows(self, windows: Windows, pretrained: tuple[int, int]) -> None:
        """Serve other windows with the same weights."""
        unit = (windows.window, windows.shift, pretrained)
        same = hasattr(self, "windows") and unit == (self.windows.window, self.windows.shift, self.pretrained)
        self.windows, self.pretrained = windows, pretrained
        if same:  # what depends on a window alone serves a map of another size
            return
        device = self.qkv.weight.device
        self.register_buffer("offsets", windows.offsets().to(device), persistent=False)
        self.register_buffer("distances", windows.distances().to(device), persistent=False)
        self.register_buffer("hidden", windows.hidden().to(device), persistent=False)
        self._kept: tuple[list[Tensor], Tensor] | None = None

    def forward(self, x_BNC: Tensor) -> Tensor:
        """Mix the tokens of every window."""
        bias = self.position_bias()
        x = x_BNC.unflatten(1, (-1, self.windows.area))
        if self.sequential:
            share = self._share_again if torch.is_grad_enabled() and self.training else self._share
            mixed = [share(x[:, a:b], bias[kind]) for kind, a, b in self._shares()]
        else:
            q, k, v = self._project(x)
            mixed = [attend(q[:, a:b], k[:, a:b], v[:, a:b], bias[kind]) for kind, a, b in self._shares()]
        return self.proj(torch.cat(mixed, 1) if len(mixed) > 1 else mixed[0]).flatten(1, 2)

    def position_bias(self) -> Tensor:
        """Return what is added to the scores of each kind of window: (kinds, h, S, S)."""
        weights = [*self.cpb_mlp.parameters()]
        if not self._may_keep(weights):
            return self._position_bias()
        if self._kept is None or not _same(self._kept[0], weights):
            with torch.inference_mode(False), torch.no_grad():  # what is kept must serve outside of that mode too
                self._kept = [weight.detach().clone() for weight in weights], self._position_bias()
        return self._kept[1]

    def _may_keep(self, weights: list[Tensor]) -> bool:
        # On other devices comparing the weights costs as much as computing the bias anew; and tracers, compilers and
        # functional calls have weights of other types, or none to compare.
        comparable = all(type(weight) is nn.Parameter and weight.device.type == "cpu" for weight in weights)
        wanted = torch.is_grad_enabled() and any(weight.requires_grad for weight in weights)
        return comparable and not (self.training or wanted or torch.compiler.is_compiling())

    def _position_bias(self) -> Tensor:
        weight = self.cpb_mlp[0].weight
        unit = [max(window - 1, 1) for window in self.pretrained]
        far = 8 * self.offsets.to(weight.dtype) / torch.tensor(unit, dtype=weight.dtype, device=weight.device)
        table = self.cpb_mlp(far.sign() * (1 + far.abs()).log2() / 3)
        bias = (16 * table.sigmoid()).t()[:, self.distances]
        return bias + (_MASK * self.hidden.to(bias.dtype)).unsqueeze(1)

    def _shares(self) -> Iterator[tuple[int, int, int]]:
        """(kind, first window, end) of what is computed at a time."""
        start = 0
        for kind, count in enumerate(self.windows.counts()):
            step = self.sequential or max(count, 1)
            for first in range(start, start + count, step):
                yield kind, first, min(first + step, start + count)
            start += count

    def _share(self, x_BWSC: Tensor, bias_hSS: Tensor) -> Tensor:
        return attend(*self._project(x_BWSC), bias_hSS)

    def _share_again(self, x_BWSC: Tensor, bias_hSS: Tensor) -> Tensor:
        return checkpoint(self._share, x_BWSC, bias_hSS, use_reentrant=False)

    def _project(self, x_BWSC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return s·q̂, k̂ and v, each (B, W, S, h, D)."""
        qkv = F.linear(x_BWSC, self.qkv.weight, self.projection_bias())
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).unbind(3)
        return unit(q) * self.scale(), unit(k), v

    def projection_bias(self) -> Tensor:
        """Return the bias of queries, keys (none) and values: (3·C)."""
        return torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])

    def scale(self) -> Tensor:
        """Return the factor of the scores of each head: (h, 1)."""
        return self.logit_scale.squeeze(-1).clamp(max=_SCALE_LIMIT).exp()

    def extra_repr(self) -> str:
        """Show heads and windows in ``print(model)``."""
        return f"heads={self.heads}, window={self.windows.window}, shift={self.windows.shift}"


def unit(x: Tensor) -> Tensor:
    """Return vectors of length 1 along the last axis."""
    return F.normalize(x, dim=-1)


def attend(q: Tensor, k: Tensor, v: Tensor, bias_hSS: Tensor) -> Tensor:
    """Return softmax(q kᵀ + bias) v within windows: (B, W, S, h, D) → (B, W, S, C)."""
    lead = q.shape[:2]
    q, k, v = (part.flatten(0, 1).transpose(1, 2) for part in (q, k, v))
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias_hSS.unsqueeze(0), scale=1.0)
    return mixed.transpose(1, 2).flatten(2).unflatten(0, lead)


def _same(kept: list[Tensor], weights: list[Tensor]) -> bool:
    pairs = zip(kept, weights, strict=True)
    return all(a.dtype == b.dtype and a.device == b.device and torch.equal(a, b) for a, b in pairs)
