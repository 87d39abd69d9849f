"""Spikingformer: as Spikformer, with every neuron moved in front of its weights, so that shortcuts carry currents."""

from spikingjelly.clock_driven.neuron import MultiStepLIFNode
from timm.models.registry import register_model
from torch import nn


def _lif(v_threshold=1.0):
    return MultiStepLIFNode(tau=2.0, v_threshold=v_threshold, detach_reset=True, backend="cupy")


def _once(conv, bn, x):
    return bn(conv(x.flatten(0, 1))).unflatten(0, x.shape[:2]).contiguous()


class MLP(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.mlp1_lif = _lif()
        self.mlp1_conv = nn.Conv2d(dim, hidden, kernel_size=1, stride=1)
        self.mlp1_bn = nn.BatchNorm2d(hidden)
        self.mlp2_lif = _lif()
        self.mlp2_conv = nn.Conv2d(hidden, dim, kernel_size=1, stride=1)
        self.mlp2_bn = nn.BatchNorm2d(dim)

    def forward(self, x):
        x = _once(self.mlp1_conv, self.mlp1_bn, self.mlp1_lif(x))
        return _once(self.mlp2_conv, self.mlp2_bn, self.mlp2_lif(x))


class SpikingSelfAttention(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads, self.scale = num_heads, 0.125
        self.proj_lif = _lif()
        for name in "qkv":
            setattr(self, f"{name}_conv", nn.Conv1d(dim, dim, kernel_size=1, stride=1, bias=False))
            setattr(self, f"{name}_bn", nn.BatchNorm1d(dim))
            setattr(self, f"{name}_lif", _lif())
        self.attn_lif = _lif(0.5)
        self.proj_conv = nn.Conv1d(dim, dim, kernel_size=1, stride=1)
        self.proj_bn = nn.BatchNorm1d(dim)

    def _heads(self, name, x):
        T, B, C, N = x.shape
        y = getattr(self, f"{name}_lif")(_once(getattr(self, f"{name}_conv"), getattr(self, f"{name}_bn"), x))
        y = y.transpose(-1, -2).reshape(T, B, N, self.num_heads, C // self.num_heads)
        return y.permute(0, 1, 3, 2, 4).contiguous()

    def forward(self, x):
        T, B, C, H, W = x.shape
        x = self.proj_lif(x).flatten(3)
        q, k, v = (self._heads(name, x) for name in "qkv")
        y = (q @ (k.transpose(-2, -1) @ v)) * self.scale
        y = self.attn_lif(y.transpose(3, 4).reshape(T, B, C, H * W).contiguous())
        return _once(self.proj_conv, self.proj_bn, y).reshape(T, B, C, H, W)


class SpikingTransformer(nn.Module):
    def __init__(self, dim, num_heads, mlp_ratio):
        super().__init__()
        self.attn = SpikingSelfAttention(dim, num_heads)
        self.mlp = MLP(dim, int(dim * mlp_ratio))

    def forward(self, x):
        x = x + self.attn(x)
        return x + self.mlp(x)


class SpikingTokenizer(nn.Module):
    def __init__(self, in_channels, dim):
        super().__init__()
        before = in_channels
        for index, width in enumerate((dim // 8, dim // 4, dim // 2, dim)):
            if index:
                setattr(self, f"proj{index}_lif", _lif())
            setattr(self, f"proj{index}_conv", nn.Conv2d(before, width, 3, stride=1, padding=1, bias=False))
            setattr(self, f"proj{index}_bn", nn.BatchNorm2d(width))
            before = width
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)

    def forward(self, x):
        T, B = x.shape[:2]
        for index in range(4):
            if index:
                x = self.maxpool(getattr(self, f"proj{index}_lif")(x).flatten(0, 1)).unflatten(0, (T, B))
            x = _once(getattr(self, f"proj{index}_conv"), getattr(self, f"proj{index}_bn"), x)
        return x


class SpikingVit(nn.Module):
    def __init__(self, in_channels=3, num_classes=10, embed_dims=64, num_heads=4, mlp_ratios=2, depths=2, T=4):
        super().__init__()
        self.T = T
        self.patch_embed = SpikingTokenizer(in_channels, embed_dims)
        self.block = nn.ModuleList([SpikingTransformer(embed_dims, num_heads, mlp_ratios) for _ in range(depths)])
        self.lif = _lif()
        self.head = nn.Linear(embed_dims, num_classes)

    def forward(self, x):
        x = (x.unsqueeze(0)).repeat(self.T, 1, 1, 1, 1)
        x = self.patch_embed(x)
        for blk in self.block:
            x = blk(x)
        x = self.lif(x).flatten(3).mean(3)
        return self.head(x.mean(0))


@register_model
def spikingformer_published(**kwargs):
    return SpikingVit(**kwargs)
