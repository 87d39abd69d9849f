"""Spike-driven Transformer (V1): membrane shortcuts, SDSA-1; returns (logits, hook) and takes images or (B, T, …)."""

from spikingjelly.clock_driven.neuron import MultiStepLIFNode
from timm.models.layers import DropPath
from timm.models.registry import register_model
from torch import nn


def _lif(v_threshold=1.0):
    return MultiStepLIFNode(tau=2.0, v_threshold=v_threshold, detach_reset=True, backend="cupy")


class MSMLPConv(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1_conv = nn.Conv2d(dim, hidden, kernel_size=1, stride=1)
        self.fc1_bn = nn.BatchNorm2d(hidden)
        self.fc1_lif = _lif()
        self.fc2_conv = nn.Conv2d(hidden, dim, kernel_size=1, stride=1)
        self.fc2_bn = nn.BatchNorm2d(dim)
        self.fc2_lif = _lif()

    def forward(self, x, hook=None):
        T, B, C, H, W = x.shape
        y = self.fc1_lif(x)
        y = self.fc1_bn(self.fc1_conv(y.flatten(0, 1))).reshape(T, B, -1, H, W).contiguous()
        y = self.fc2_lif(y)
        y = self.fc2_bn(self.fc2_conv(y.flatten(0, 1))).reshape(T, B, C, H, W).contiguous()
        return x + y, hook


class MSSSAConv(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.shortcut_lif = _lif()
        for name in "qkv":
            setattr(self, f"{name}_conv", nn.Conv2d(dim, dim, kernel_size=1, stride=1, bias=False))
            setattr(self, f"{name}_bn", nn.BatchNorm2d(dim))
            setattr(self, f"{name}_lif", _lif())
        self.attn_lif = _lif(0.5)  # stays unused
        self.talking_heads = nn.Conv1d(num_heads, num_heads, kernel_size=1, stride=1, bias=False)  # unused as well
        self.talking_heads_lif = _lif(0.5)
        self.proj_conv = nn.Conv2d(dim, dim, kernel_size=1, stride=1)
        self.proj_bn = nn.BatchNorm2d(dim)

    def _heads(self, name, x):
        T, B, C, H, W = x.shape
        y = getattr(self, f"{name}_bn")(getattr(self, f"{name}_conv")(x.flatten(0, 1)))
        y = getattr(self, f"{name}_lif")(y.reshape(T, B, C, H, W).contiguous())
        y = y.flatten(3).transpose(-1, -2)
        return y.reshape(T, B, H * W, self.num_heads, C // self.num_heads).permute(0, 1, 3, 2, 4).contiguous()

    def forward(self, x, hook=None):
        T, B, C, H, W = x.shape
        identity = x
        x = self.shortcut_lif(x)
        q, k, v = (self._heads(name, x) for name in "qkv")
        kv = k.mul(v).sum(dim=-2, keepdim=True)
        kv = self.talking_heads_lif(kv)
        y = q.mul(kv).transpose(3, 4).reshape(T, B, C, H, W).contiguous()
        y = self.proj_bn(self.proj_conv(y.flatten(0, 1))).reshape(T, B, C, H, W).contiguous()
        return identity + y, hook


class MSBlockConv(nn.Module):
    def __init__(self, dim, num_heads, mlp_ratio):
        super().__init__()
        self.attn = MSSSAConv(dim, num_heads)
        self.drop_path = DropPath(0.1)  # made and never used
        self.mlp = MSMLPConv(dim, int(dim * mlp_ratio))

    def forward(self, x, hook=None):
        x, hook = self.attn(x, hook=hook)
        return self.mlp(x, hook=hook)


class MSSPS(nn.Module):
    def __init__(self, in_channels, dim, pooling_stat="1111"):
        super().__init__()
        self.pooling_stat = pooling_stat
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
        self.rpe_lif = _lif()  # unused

    def forward(self, x, hook=None):
        T, B, _, _, _ = x.shape
        for index, end in enumerate(("", "1", "2", "3")):
            x = getattr(self, f"proj_bn{end}")(getattr(self, f"proj_conv{end}")(x.flatten(0, 1)))
            if index < 3:
                x = getattr(self, f"proj_lif{end}")(x.unflatten(0, (T, B)).contiguous()).flatten(0, 1)
            if self.pooling_stat[index] == "1":
                x = getattr(self, f"maxpool{end}")(x)
            x = x.unflatten(0, (T, B))
        identity = x
        x = self.proj_lif3(x.contiguous())
        x = self.rpe_bn(self.rpe_conv(x.flatten(0, 1))).unflatten(0, (T, B))
        return identity + x, hook


class SpikeDrivenTransformer(nn.Module):
    def __init__(
        self, in_channels=3, num_classes=10, embed_dims=64, num_heads=4, mlp_ratios=2, depths=2, T=4, TET=False
    ):
        super().__init__()
        self.T, self.TET = T, TET
        self.patch_embed = MSSPS(in_channels, embed_dims)
        self.block = nn.ModuleList([MSBlockConv(embed_dims, num_heads, mlp_ratios) for _ in range(depths)])
        self.head_lif = _lif()
        self.head = nn.Linear(embed_dims, num_classes)

    def forward_features(self, x, hook=None):
        x, hook = self.patch_embed(x, hook=hook)
        for blk in self.block:
            x, hook = blk(x, hook=hook)
        return x.flatten(3).mean(3), hook

    def forward(self, x, hook=None):
        images = len(x.shape) < 5
        x = (x.unsqueeze(0)).repeat(self.T, 1, 1, 1, 1) if images else x.transpose(0, 1).contiguous()
        x, hook = self.forward_features(x, hook=hook)
        x = self.head(self.head_lif(x))
        return (x if self.TET else x.mean(0)), hook


@register_model
def sdt_published(**kwargs):
    return SpikeDrivenTransformer(**kwargs)
