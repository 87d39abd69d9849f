"""The blocks of UniFormer, for maps (B, C, H, W) and for clips (B, C, T, H, W): local ones mix by convolution, global
ones by attention.

    position:  x + DWConv3(x)
    local:     x + Conv1(DWConv5(Conv1(BN(x))));        x + Conv1(GELU(Conv1(BN(x))))
    global:    x + Linear(attention(LN(x)));            x + Linear(GELU(Linear(LN(x))))

The layer norms of blocks have eps 1e-6, those of patch embeddings 1e-5. Source: Li et al., arXiv 2201.09450.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from snnkit.layers.channel_norm import ChannelLayerNorm
from snnkit.layers.drop_path import DropPath
from snnkit.layers.layer_scale import LayerScale
from snnkit.layers.residual_depthwise import BATCH_NORMS, CONVOLUTIONS, ResidualDepthwise
from snnkit.layers.self_attention import SelfAttention

EPS = 1e-6


def row(**layers: nn.Module | None) -> nn.Sequential:
    """Return these layers in a row under their names; None leaves one out."""
    return nn.Sequential(OrderedDict((name, layer) for name, layer in layers.items() if layer is not None))


class LocalBlock(nn.Module):
    """Position, convolutional mixing and a pointwise MLP: (B, C, …) → (B, C, …).

    Args:
        dim: C.
        mlp_ratio: hidden width of the MLP / C.
        drop_path: probability of dropping a branch.
        layer_scale: whether branches end in a trained factor per channel.
        dims: 2 for maps, 3 for clips.
    """

    def __init__(self, dim: int, mlp_ratio: float, drop_path: float = 0.0, layer_scale: bool = False, dims: int = 2):
        super().__init__()
        conv, norm, hidden = CONVOLUTIONS[dims], BATCH_NORMS[dims], int(dim * mlp_ratio)
        self.position = ResidualDepthwise(dim, 3, dims)
        self.mix = row(
            norm=norm(dim),
            pointwise=conv(dim, dim, 1),
            depthwise=conv(dim, dim, 5, padding=2, groups=dim),
            project=conv(dim, dim, 1),
            scale=LayerScale(dim, channel_axis=1) if layer_scale else None,
        )
        self.mlp = row(
            norm=norm(dim),
            fc1=conv(dim, hidden, 1),
            act=nn.GELU(),
            fc2=conv(hidden, dim, 1),
            scale=LayerScale(dim, channel_axis=1) if layer_scale else None,
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block."""
        x = self.position(x)
        x = x + self.drop_path(self.mix(x))
        return x + self.drop_path(self.mlp(x))


class GlobalBlock(nn.Module):
    """Position, attention over all positions or within windows, and an MLP: (B, C, …) → (B, C, …).

    Args:
        dim: C.
        heads: attention heads.
        mlp_ratio: hidden width of the MLP / C.
        drop_path: probability of dropping a branch.
        layer_scale: whether branches end in a trained factor per channel.
        dims: 2 for maps, 3 for clips.
        window: side of the windows on maps; None for attention over everything.
        divided: on clips, attend over time at every place first, then over the places of every frame.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        mlp_ratio: float,
        drop_path: float = 0.0,
        layer_scale: bool = False,
        dims: int = 2,
        window: int | None = None,
        divided: bool = False,
    ):
        super().__init__()
        self.position = ResidualDepthwise(dim, 3, dims)
        self.time = _attention_branch(dim, SelfAttention(dim, heads), False) if divided else None
        self.mix = _attention_branch(
            dim, SelfAttention(dim, heads, None if window is None else (window, window)), layer_scale
        )
        self.mlp = token_mlp(dim, mlp_ratio, layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block."""
        y = self.position(x).movedim(1, -1).contiguous()
        y = y + (self.drop_path(self.mix(y)) if self.time is None else self._divided(y))
        y = y + self.drop_path(self.mlp(y))
        return y.movedim(-1, 1)

    def _divided(self, y_BTHWC: Tensor) -> Tensor:
        """The branch over time feeds the branch over space and is not added to the stream itself."""
        batch, steps, height, width, channels = y_BTHWC.shape
        over_time = y_BTHWC.permute(0, 2, 3, 1, 4).reshape(-1, steps, channels)
        over_time = over_time + self.drop_path(self.time(over_time))
        frames = over_time.reshape(batch, height, width, steps, channels).permute(0, 3, 1, 2, 4)
        mixed = self.drop_path(self.mix(frames.reshape(-1, height, width, channels)))
        return mixed.reshape(y_BTHWC.shape)


def _attention_branch(dim: int, attention: nn.Module, layer_scale: bool) -> nn.Sequential:
    scale = LayerScale(dim) if layer_scale else None
    return row(norm=nn.LayerNorm(dim, EPS), attention=attention, project=nn.Linear(dim, dim), scale=scale)


def token_mlp(dim: int, mlp_ratio: float, layer_scale: bool = False) -> nn.Sequential:
    """Return LN, Linear, GELU, Linear (, layer scale) on (…, C)."""
    hidden = int(dim * mlp_ratio)
    return row(
        norm=nn.LayerNorm(dim, EPS),
        fc1=nn.Linear(dim, hidden),
        act=nn.GELU(),
        fc2=nn.Linear(hidden, dim),
        scale=LayerScale(dim) if layer_scale else None,
    )


def patch_embed(in_dim: int, dim: int, kernel: tuple[int, ...], stride: tuple[int, ...]) -> nn.Sequential:
    """Return a convolution that cuts patches, and a layer norm. A kernel longer than its stride is padded by one."""
    padding = tuple(int(k > s) for k, s in zip(kernel, stride, strict=True))
    proj = CONVOLUTIONS[len(kernel)](in_dim, dim, kernel, stride, padding)
    return row(proj=proj, norm=ChannelLayerNorm(dim))


def conv_stem(in_dim: int, dim: int, halvings: int) -> nn.Sequential:
    """Return overlapping 3×3 convolutions of stride 2 with batch norms: two with a GELU between, or one."""
    if halvings == 1:
        return row(conv1=nn.Conv2d(in_dim, dim, 3, 2, 1), norm1=nn.BatchNorm2d(dim))
    return row(
        conv1=nn.Conv2d(in_dim, dim // 2, 3, 2, 1),
        norm1=nn.BatchNorm2d(dim // 2),
        act=nn.GELU(),
        conv2=nn.Conv2d(dim // 2, dim, 3, 2, 1),
        norm2=nn.BatchNorm2d(dim),
    )


@torch.no_grad()
def init_uniformer(model: nn.Module) -> None:
    """Start linear layers at a truncated normal of 0.02, and attention over time at the identity of its branch."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, GlobalBlock) and module.time is not None:
            nn.init.zeros_(module.time.attention.qkv.weight)
            nn.init.ones_(module.time.project.weight)
