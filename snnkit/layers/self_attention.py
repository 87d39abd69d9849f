"""Multi-head self-attention over all positions, and within windows, of tensors with their channels last.

Letters: B images, S positions (any number of axes), C channels, h heads, D channels of a head.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """softmax(q kᵀ / √D + bias) v over all positions at once, or within windows: (B, *S, C) → (B, *S, C).

    The output projection is the layer behind it, so that what follows can be folded into that.

    Args:
        dim: C.
        heads: h; divides C.
        window: (height, width) of windows that do not overlap, for maps (B, H, W, C); None for attention over
            everything. Maps that it does not divide are padded with zeros at bottom and right, and these positions are
            attended to.
        position: from the (height, width) that is attended over to a bias (h, S, S), for maps; None for no bias.
        qkv_bias: whether queries, keys and values have biases.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        window: tuple[int, int] | None = None,
        position: nn.Module | None = None,
        qkv_bias: bool = True,
    ):
        super().__init__()
        self.heads, self.window = heads, window
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.position = position

    def forward(self, x: Tensor) -> Tensor:
        """Mix the positions."""
        if self.window is None:
            return self._attend(x)
        height, width = x.shape[1:3]
        below, right = -height % self.window[0], -width % self.window[1]
        padded = F.pad(x, (0, 0, 0, right, 0, below)) if below or right else x
        mixed = self._attend(to_windows(padded, self.window))
        return from_windows(mixed, *padded.shape[1:3])[:, :height, :width]

    def _attend(self, x: Tensor) -> Tensor:
        q, k, v = split_heads(self.qkv(x.flatten(1, -2)), self.heads)
        bias = None if self.position is None else self.position(*x.shape[1:3]).unsqueeze(0)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).reshape(x.shape)

    def extra_repr(self) -> str:
        """Show heads and window in ``print(model)``."""
        return f"heads={self.heads}, window={self.window}"


def split_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys, values (B, h, S, D) of (B, S, 3·C), ordered q, k, v and by head within each."""
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    return q, k, v


def to_windows(x_BHWC: Tensor, window: tuple[int, int]) -> Tensor:
    """Cut maps (B, H, W, C), whose sides the window divides, into (B·windows, Wh, Ww, C)."""
    batch, height, width, channels = x_BHWC.shape
    rows, columns = height // window[0], width // window[1]
    cut = x_BHWC.reshape(batch, rows, window[0], columns, window[1], channels).transpose(2, 3)
    return cut.reshape(batch * rows * columns, *window, channels)


def from_windows(cut: Tensor, height: int, width: int) -> Tensor:
    """Put windows (B·windows, Wh, Ww, C) together again: (B, H, W, C)."""
    _, window_h, window_w, channels = cut.shape
    rows, columns = height // window_h, width // window_w
    back = cut.reshape(-1, rows, columns, window_h, window_w, channels).transpose(2, 3)
    return back.reshape(-1, height, width, channels)
