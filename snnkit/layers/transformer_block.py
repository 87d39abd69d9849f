"""An ordinary transformer block, norms first: x + proj(attention(LN(x))), then x + MLP(LN(x)).

Letters: B images, L tokens, C channels. Source: Dosovitskiy et al., arXiv 2010.11929.
"""

from __future__ import annotations

from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers.drop_path import DropPath
from snnkit.layers.mlp import Mlp
from snnkit.layers.self_attention import SelfAttention


class TransformerBlock(nn.Module):
    """Tokens (B, L, C) → (B, L, C).

    Args:
        dim: C.
        num_heads: h; divides C.
        mlp_ratio: hidden width of the MLP over C.
        qkv_bias: whether queries, keys and values have biases.
        eps: of the layer norms.
        drop_path: stochastic depth of either branch.

    Raises:
        InvalidArgumentError: heads that do not divide the channels.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        eps: float = 1e-6,
        drop_path: float = 0.0,
    ):
        super().__init__()
        if dim % num_heads:
            raise InvalidArgumentError(f"num_heads={num_heads}: must divide the {dim} channels of the tokens.")
        self.norm1 = nn.LayerNorm(dim, eps)
        self.attention = SelfAttention(dim, num_heads, qkv_bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BLC: Tensor) -> Tensor:
        """Mix the tokens, then change each by itself."""
        x_BLC = x_BLC + self.drop_path(self.proj(self.attention(self.norm1(x_BLC))))
        return x_BLC + self.drop_path(self.mlp(self.norm2(x_BLC)))
