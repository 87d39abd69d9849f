"""Spikformer (ImageNet form) as its repository writes such networks: T = 4 stands in ``forward``."""

from spikingjelly.clock_driven.neuron import MultiStepLIFNode
from timm.models.layers import trunc_normal_
from timm.models.registry import register_model
from torch import nn


def _lif(v_threshold=1.0):
    return MultiStepLIFNode(tau=2.0, v_threshold=v_threshold, detach_reset=True, backend="cupy")


class MLP(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1_conv = nn.Conv2d(dim, hidden, kernel_size=1, stride=1)
        self.fc1_bn = nn.BatchNorm2d(hidden)
        self.fc1_lif = _lif()
        self.fc2_conv = nn.Conv2d(hidden, dim, kernel_size=1, stride=1)
        self.fc2_bn = nn.BatchNorm2d(dim)
        self.fc2_lif = _lif()

    def forward(self, x):
        T, B, C, H, W = x.shape
        y = self.fc1_bn(self.fc1_conv(x.flatten(0, 1)))
        y = self.fc1_lif(y.reshape(T, B, -1, H, W).contiguous())
        y = self.fc2_bn(self.fc2_conv(y.flatten(0, 1)))
        return self.fc2_lif(y.reshape(T, B, C, H, W).contiguous())


class SSA(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads, self.scale = num_heads, 0.125
        for name in "qkv":
            setattr(self, f"{name}_conv", nn.Conv1d(dim, dim, kernel_size=1, stride=1, bias=False))
            setattr(self, f"{name}_bn", nn.BatchNorm1d(dim))
            setattr(self, f"{name}_lif", _lif())
        self.attn_lif = _lif(0.5)
        self.proj_conv = nn.Conv1d(dim, dim, kernel_size=1, stride=1)
        self.proj_bn = nn.BatchNorm1d(dim)
        self.proj_lif = _lif()

    def _heads(self, name, x):
        T, B, C, N = x.shape
        y = getattr(self, f"{name}_bn")(getattr(self, f"{name}_conv")(x.flatten(0, 1)))
        y = getattr(self, f"{name}_lif")(y.reshape(T, B, C, N).contiguous())
        y = y.transpose(-1, -2).reshape(T, B, N, self.num_heads, C // self.num_heads)
        return y.permute(0, 1, 3, 2, 4).contiguous()

    def forward(self, x):
        T, B, C, H, W = x.shape
        x = x.flatten(3)
        q, k, v = (self._heads(name, x) for name in "qkv")
        y = (q @ (k.transpose(-2, -1) @ v)) * self.scale
        y = y.transpose(3, 4).reshape(T, B, C, H * W).contiguous()
        y = self.attn_lif(y)
        y = self.proj_bn(self.proj_conv(y.flatten(0, 1))).reshape(T, B, C, H, W)
        return self.proj_lif(y)


class Block(nn.Module):
    def __init__(self, dim, num_heads, mlp_ratio):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)  # in every checkpoint, used by nothing
        self.attn = SSA(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, int(dim * mlp_ratio))

    def forward(self, x):
        x = x + self.attn(x)
        return x + self.mlp(x)


class SPS(nn.Module):
    def __init__(self, in_channels, dim):
        super().__init__()
        before = in_channels
        for index, width in enumerate((dim // 8, dim // 4, dim // 2, dim)):
            end = str(index or "")
            setattr(self, f"proj_conv{end}", nn.Conv2d(before, width, kernel_size=3, stride=1, padding=1, bias=False))
            setattr(self, f"proj_bn{end}", nn.BatchNorm2d(width))
            setattr(self, f"proj_lif{end}", _lif())
            setattr(self, f"maxpool{end}", nn.MaxPool2d(kernel_size=3, stride=2, padding=1))
            before = width
        self.rpe_conv = nn.Conv2d(dim, dim, kernel_size=3, stride=1, padding=1, bias=False)
        self.rpe_bn = nn.BatchNorm2d(dim)
        self.rpe_lif = _lif()

    def forward(self, x):
        T, B = x.shape[:2]
        x = x.flatten(0, 1)
        for end in ("", "1", "2", "3"):
            x = getattr(self, f"proj_bn{end}")(getattr(self, f"proj_conv{end}")(x))
            x = getattr(self, f"proj_lif{end}")(x.unflatten(0, (T, B)).contiguous()).flatten(0, 1)
            x = getattr(self, f"maxpool{end}")(x)
        y = self.rpe_bn(self.rpe_conv(x)).unflatten(0, (T, B)).contiguous()
        return self.rpe_lif(y) + x.unflatten(0, (T, B))


class Spikformer(nn.Module):
    def __init__(self, in_channels=3, num_classes=10, embed_dims=64, num_heads=4, mlp_ratios=2, depths=2):
        super().__init__()
        self.patch_embed = SPS(in_channels, embed_dims)
        self.block = nn.ModuleList([Block(embed_dims, num_heads, mlp_ratios) for _ in range(depths)])
        self.head = nn.Linear(embed_dims, num_classes) if num_classes > 0 else nn.Identity()
        self.apply(self._init_weights)

    def _init_weights(self, m):
        if isinstance(m, nn.Linear):
            trunc_normal_(m.weight, std=0.02)
            nn.init.constant_(m.bias, 0)

    def forward_features(self, x):
        x = self.patch_embed(x)
        for blk in self.block:
            x = blk(x)
        return x.flatten(3).mean(3)

    def forward(self, x):
        x = (x.unsqueeze(0)).repeat(4, 1, 1, 1, 1)
        return self.head(self.forward_features(x).mean(0))


@register_model
def spikformer_published(pretrained=False, **kwargs):
    return Spikformer(**kwargs)
