"""Meta-SpikeFormer (Spike-driven Transformer V2): RepConv attention; T is an attribute, 1 unless it is set."""

import torch
import torch.nn.functional as F
from spikingjelly.clock_driven.neuron import MultiStepLIFNode
from timm.models.layers import trunc_normal_
from torch import nn


def _lif(v_threshold=1.0):
    return MultiStepLIFNode(tau=2.0, v_threshold=v_threshold, detach_reset=True, backend="cupy")


def _once(layers, x):
    """Layers without memory on (T, B, …)."""
    return layers(x.flatten(0, 1)).unflatten(0, x.shape[:2]).contiguous()


class BNAndPadLayer(nn.Module):
    def __init__(self, pad_pixels, num_features):
        super().__init__()
        self.bn = nn.BatchNorm2d(num_features)
        self.pad_pixels = pad_pixels

    def forward(self, x):
        output = self.bn(x)
        if self.pad_pixels > 0:
            values = self.bn.bias.detach() - self.bn.running_mean * self.bn.weight.detach() / torch.sqrt(
                self.bn.running_var + self.bn.eps
            )
            output = F.pad(output, [self.pad_pixels] * 4)
            values = values.view(1, -1, 1, 1)
            p = self.pad_pixels
            output[:, :, 0:p, :] = values
            output[:, :, -p:, :] = values
            output[:, :, :, 0:p] = values
            output[:, :, :, -p:] = values
        return output


class RepConv(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 1, 1, 0, bias=False),
            BNAndPadLayer(1, channels),
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, 1, 0, groups=channels, bias=False),
                nn.Conv2d(channels, channels, 1, 1, 0, bias=False),
                nn.BatchNorm2d(channels),
            ),
        )

    def forward(self, x):
        return self.body(x)


class SepConv(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.lif1 = _lif()
        self.pwconv1 = nn.Conv2d(dim, 2 * dim, kernel_size=1, stride=1, bias=False)
        self.bn1 = nn.BatchNorm2d(2 * dim)
        self.lif2 = _lif()
        self.dwconv = nn.Conv2d(2 * dim, 2 * dim, kernel_size=7, padding=3, groups=2 * dim, bias=False)
        self.pwconv2 = nn.Conv2d(2 * dim, dim, kernel_size=1, stride=1, bias=False)
        self.bn2 = nn.BatchNorm2d(dim)

    def forward(self, x):
        x = self.lif1(x)
        x = _once(nn.Sequential(self.pwconv1, self.bn1), x)
        x = self.lif2(x)
        return _once(nn.Sequential(self.dwconv, self.pwconv2, self.bn2), x)


class MSConvBlock(nn.Module):
    def __init__(self, dim, mlp_ratio=4.0):
        super().__init__()
        self.Conv = SepConv(dim)
        self.lif1 = _lif()
        self.conv1 = nn.Conv2d(dim, int(dim * mlp_ratio), kernel_size=3, padding=1, groups=1, bias=False)
        self.bn1 = nn.BatchNorm2d(int(dim * mlp_ratio))
        self.lif2 = _lif()
        self.conv2 = nn.Conv2d(int(dim * mlp_ratio), dim, kernel_size=3, padding=1, groups=1, bias=False)
        self.bn2 = nn.BatchNorm2d(dim)

    def forward(self, x):
        x = self.Conv(x) + x
        y = _once(nn.Sequential(self.conv1, self.bn1), self.lif1(x))
        y = _once(nn.Sequential(self.conv2, self.bn2), self.lif2(y))
        return x + y


class MSMLP(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1_conv = nn.Conv1d(dim, hidden, kernel_size=1, stride=1)
        self.fc1_bn = nn.BatchNorm1d(hidden)
        self.fc1_lif = _lif()
        self.fc2_conv = nn.Conv1d(hidden, dim, kernel_size=1, stride=1)
        self.fc2_bn = nn.BatchNorm1d(dim)
        self.fc2_lif = _lif()

    def forward(self, x):
        T, B, C, H, W = x.shape
        y = self.fc1_lif(x.flatten(3))
        y = _once(nn.Sequential(self.fc1_conv, self.fc1_bn), y)
        y = _once(nn.Sequential(self.fc2_conv, self.fc2_bn), self.fc2_lif(y))
        return y.reshape(T, B, C, H, W).contiguous()


class MSAttentionRepConv(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads, self.scale = num_heads, 0.125
        self.head_lif = _lif()
        for name in "qkv":
            setattr(self, f"{name}_conv", nn.Sequential(RepConv(dim), nn.BatchNorm2d(dim)))
            setattr(self, f"{name}_lif", _lif())
        self.attn_lif = _lif(0.5)
        self.proj_conv = nn.Sequential(RepConv(dim), nn.BatchNorm2d(dim))

    def _heads(self, name, x):
        T, B, C, H, W = x.shape
        y = getattr(self, f"{name}_lif")(_once(getattr(self, f"{name}_conv"), x)).flatten(3)
        y = y.transpose(-1, -2).reshape(T, B, H * W, self.num_heads, C // self.num_heads)
        return y.permute(0, 1, 3, 2, 4).contiguous()

    def forward(self, x):
        T, B, C, H, W = x.shape
        x = self.head_lif(x)
        q, k, v = (self._heads(name, x) for name in "qkv")
        y = (q @ (k.transpose(-2, -1) @ v)) * self.scale
        y = y.transpose(3, 4).reshape(T, B, C, H * W).contiguous()
        y = self.attn_lif(y).reshape(T, B, C, H, W)
        return _once(self.proj_conv, y)


class MSBlock(nn.Module):
    def __init__(self, dim, num_heads, mlp_ratio):
        super().__init__()
        self.attn = MSAttentionRepConv(dim, num_heads)
        self.mlp = MSMLP(dim, int(dim * mlp_ratio))

    def forward(self, x):
        x = x + self.attn(x)
        return x + self.mlp(x)


class MSDownSampling(nn.Module):
    def __init__(self, before, dim, kernel_size, stride, padding, first_layer):
        super().__init__()
        self.encode_conv = nn.Conv2d(before, dim, kernel_size=kernel_size, stride=stride, padding=padding)
        self.encode_bn = nn.BatchNorm2d(dim)
        if not first_layer:
            self.encode_lif = _lif()

    def forward(self, x):
        if hasattr(self, "encode_lif"):
            x = self.encode_lif(x)
        return _once(nn.Sequential(self.encode_conv, self.encode_bn), x)


class SpikingMetaFormer(nn.Module):
    def __init__(
        self, in_channels=3, num_classes=10, embed_dim=(8, 16, 16, 32), num_heads=4, mlp_ratios=2, depths=(1, 1)
    ):
        super().__init__()
        a, b, c, d = embed_dim
        self.T = 1
        self.downsample1_1 = MSDownSampling(in_channels, a // 2, 7, 2, 3, first_layer=True)
        self.ConvBlock1_1 = nn.ModuleList([MSConvBlock(a // 2, mlp_ratios)])
        self.downsample1_2 = MSDownSampling(a // 2, a, 3, 2, 1, first_layer=False)
        self.ConvBlock1_2 = nn.ModuleList([MSConvBlock(a, mlp_ratios)])
        self.downsample2 = MSDownSampling(a, b, 3, 2, 1, first_layer=False)
        self.ConvBlock2_1 = nn.ModuleList([MSConvBlock(b, mlp_ratios)])
        self.ConvBlock2_2 = nn.ModuleList([MSConvBlock(b, mlp_ratios)])
        self.downsample3 = MSDownSampling(b, c, 3, 2, 1, first_layer=False)
        self.block3 = nn.ModuleList([MSBlock(c, num_heads, mlp_ratios) for _ in range(depths[0])])
        self.downsample4 = MSDownSampling(c, d, 3, 1, 1, first_layer=False)
        self.block4 = nn.ModuleList([MSBlock(d, num_heads, mlp_ratios) for _ in range(depths[1])])
        self.lif = _lif()
        self.head = nn.Linear(d, num_classes)
        self.apply(self._init_weights)

    def _init_weights(self, m):
        if isinstance(m, nn.Linear):
            trunc_normal_(m.weight, std=0.02)
            nn.init.constant_(m.bias, 0)

    def forward_features(self, x):
        x = self.downsample1_1(x)
        for blk in self.ConvBlock1_1:
            x = blk(x)
        x = self.downsample1_2(x)
        for blk in self.ConvBlock1_2:
            x = blk(x)
        x = self.downsample2(x)
        for blk in [*self.ConvBlock2_1, *self.ConvBlock2_2]:
            x = blk(x)
        x = self.downsample3(x)
        for blk in self.block3:
            x = blk(x)
        x = self.downsample4(x)
        for blk in self.block4:
            x = blk(x)
        return x

    def forward(self, x):
        x = (x.unsqueeze(0)).repeat(self.T, 1, 1, 1, 1)
        x = self.forward_features(x).flatten(3).mean(3)
        return self.head(self.lif(x)).mean(0)


def metaspikformer_published(T=4, **kwargs):
    model = SpikingMetaFormer(**kwargs)
    model.T = T
    return model
