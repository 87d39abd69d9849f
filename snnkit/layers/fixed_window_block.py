"""A block of Swin Transformer V2 for inference: its position bias, scales and biases are fixed.

On a CPU in float32 what lies between the matrix products runs in C, one pass over memory each; elsewhere, and for
compilers and tracers, the same is computed by torch.
"""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor, nn

from snnkit.layers import window_kernels
from snnkit.layers.cosine_attention import CosineWindowAttention, attend, unit
from snnkit.layers.mlp import Mlp


class FixedWindowBlock(nn.Module):
    """Attention within windows, then an MLP, each normed and added: (B, N, C) → (B, N, C).

    Args:
        attention: whose weights and windows are taken.
        norm1, mlp, norm2: the other layers of the block.
    """

    def __init__(self, attention: CosineWindowAttention, norm1: nn.LayerNorm, mlp: Mlp, norm2: nn.LayerNorm):
        super().__init__()
        self.heads, self.windows = attention.heads, attention.windows
        self.qkv = nn.Linear(attention.qkv.in_features, attention.qkv.out_features, device="meta")
        self.qkv.weight = attention.qkv.weight
        with torch.no_grad():
            self.qkv.bias = nn.Parameter(attention.projection_bias())
            self.register_buffer("scale", attention.scale().flatten().contiguous())
            # Three axes, (kinds · h, S, S): "channels last" would lay four out anew.
            self.register_buffer("bias", attention.position_bias().detach().flatten(0, 1).clone())
        counts = self.windows.counts()
        kind = [kind for kind, count in enumerate(counts) for _ in range(count)]
        self.register_buffer("kind", torch.tensor(kind, device=self.bias.device))
        self.proj, self.norm1, self.mlp, self.norm2 = attention.proj, norm1, mlp, norm2

    def forward(self, x_BNC: Tensor) -> Tensor:
        """Mix the tokens of each window, then the channels of each token."""
        if self._in_c(x_BNC):
            qkv = self.qkv(x_BNC).contiguous()
            mixed = self.proj(window_kernels.attention(qkv, self.scale, self.bias, self.kind))
            x = window_kernels.add_norm(x_BNC.contiguous(), mixed, self.norm1)
            return window_kernels.add_norm(x, self.mlp.fc2(window_kernels.gelu_(self.mlp.fc1(x))), self.norm2)
        qkv = self.qkv(x_BNC).unflatten(1, (-1, self.windows.area)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.unbind(3)
        q, k = unit(q) * self.scale.unsqueeze(-1), unit(k)
        ends = list(accumulate(self.windows.counts()))
        parts = zip([0, *ends[:-1]], ends, self.bias.unflatten(0, (-1, self.heads)), strict=True)
        mixed = torch.cat([attend(q[:, a:b], k[:, a:b], v[:, a:b], bias) for a, b, bias in parts if b > a], 1)
        x = x_BNC + self.norm1(self.proj(mixed).flatten(1, 2))
        return x + self.norm2(self.mlp(x))

    def _in_c(self, x: Tensor) -> bool:
        plain = type(x) is Tensor and x.device.type == "cpu" and x.dtype == self.qkv.weight.dtype == torch.float32
        if not plain or torch.compiler.is_compiling() or (torch.is_grad_enabled() and self._wants_gradients(x)):
            return False
        return not window_kernels.why_not(self.windows.area, x.shape[-1] // self.heads)

    def _wants_gradients(self, x: Tensor) -> bool:
        return x.requires_grad or any(part.requires_grad for part in self.parameters())

    def extra_repr(self) -> str:
        """Show heads and windows in ``print(model)``."""
        return f"heads={self.heads}, window={self.windows.window}, shift={self.windows.shift}"
