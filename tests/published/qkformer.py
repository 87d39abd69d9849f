"""QKFormer: Q-K token attention; in the last stage the projection's neuron runs on (T·B, C, N), as published."""

from spikingjelly.clock_driven.neuron import MultiStepLIFNode
from timm.models.registry import register_model
from torch import nn


def _lif(v_threshold=1.0):
    return MultiStepLIFNode(tau=2.0, v_threshold=v_threshold, detach_reset=True, backend="cupy")


def _qkv(module, names, dim):
    for name in names:
        setattr(module, f"{name}_conv", nn.Conv1d(dim, dim, kernel_size=1, stride=1, bias=False))
        setattr(module, f"{name}_bn", nn.BatchNorm1d(dim))
        setattr(module, f"{name}_lif", _lif())


def _sent(module, name, x):
    y = getattr(module, f"{name}_bn")(getattr(module, f"{name}_conv")(x.flatten(0, 1)))
    return getattr(module, f"{name}_lif")(y.unflatten(0, x.shape[:2]).contiguous())


class TokenQKAttention(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        _qkv(self, "qk", dim)
        self.attn_lif = _lif(0.5)
        self.proj_conv = nn.Conv1d(dim, dim, kernel_size=1, stride=1)
        self.proj_bn = nn.BatchNorm1d(dim)
        self.proj_lif = _lif()

    def forward(self, x):
        T, B, C, H, W = x.shape
        x = x.flatten(3)
        q = _sent(self, "q", x).unflatten(2, (self.num_heads, -1))
        k = _sent(self, "k", x).unflatten(2, (self.num_heads, -1))
        mask = self.attn_lif(q.sum(dim=3, keepdim=True))
        y = mask.mul(k).flatten(2, 3)
        y = self.proj_bn(self.proj_conv(y.flatten(0, 1))).reshape(T, B, C, H, W)
        return self.proj_lif(y)


class SpikingSelfAttention(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads, self.scale = num_heads, 0.125
        _qkv(self, "qkv", dim)
        self.attn_lif = _lif(0.5)
        self.proj_conv = nn.Conv1d(dim, dim, kernel_size=1, stride=1)
        self.proj_bn = nn.BatchNorm1d(dim)
        self.proj_lif = _lif()
        self.qkv_mp = nn.MaxPool1d(4)  # unused

    def forward(self, x):
        T, B, C, H, W = x.shape
        N = H * W
        x = x.flatten(3)
        q, k, v = (
            _sent(self, name, x)
            .transpose(-1, -2)
            .reshape(T, B, N, self.num_heads, C // self.num_heads)
            .permute(0, 1, 3, 2, 4)
            .contiguous()
            for name in "qkv"
        )
        y = (q @ (k.transpose(-2, -1) @ v)) * self.scale
        y = self.attn_lif(y.transpose(3, 4).reshape(T, B, C, N).contiguous())
        y = self.proj_lif(self.proj_bn(self.proj_conv(y.flatten(0, 1))))  # before the reshape: time and batch in one
        return y.reshape(T, B, C, W, H)


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
        return _sent(self, "fc2", _sent(self, "fc1", x))


class SpikingBlock(nn.Module):
    def __init__(self, attention, dim, num_heads, mlp_ratio):
        super().__init__()
        setattr(self, "tssa" if attention is TokenQKAttention else "attn", attention(dim, num_heads))
        self.mlp = MLP(dim, int(dim * mlp_ratio))

    def forward(self, x):
        x = x + (self.tssa(x) if hasattr(self, "tssa") else self.attn(x))
        return x + self.mlp(x)


class PatchInit(nn.Module):
    def __init__(self, in_channels, dim):
        super().__init__()
        self.proj_conv = nn.Conv2d(in_channels, dim // 2, kernel_size=3, stride=1, padding=1, bias=False)
        self.proj_bn = nn.BatchNorm2d(dim // 2)
        self.proj_maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.proj_lif = _lif()
        self.proj1_conv = nn.Conv2d(dim // 2, dim, kernel_size=3, stride=1, padding=1, bias=False)
        self.proj1_bn = nn.BatchNorm2d(dim)
        self.proj1_maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.proj1_lif = _lif()
        self.proj2_conv = nn.Conv2d(dim, dim, kernel_size=3, stride=1, padding=1, bias=False)
        self.proj2_bn = nn.BatchNorm2d(dim)
        self.proj2_lif = _lif()
        self.proj_res_conv = nn.Conv2d(dim // 2, dim, kernel_size=1, stride=2, bias=False)
        self.proj_res_bn = nn.BatchNorm2d(dim)
        self.proj_res_lif = _lif()

    def forward(self, x):
        T, B = x.shape[:2]
        x = self.proj_maxpool(self.proj_bn(self.proj_conv(x.flatten(0, 1))))
        x = self.proj_lif(x.unflatten(0, (T, B)).contiguous()).flatten(0, 1)
        y = self.proj1_maxpool(self.proj1_bn(self.proj1_conv(x)))
        y = self.proj1_lif(y.unflatten(0, (T, B)).contiguous()).flatten(0, 1)
        y = self.proj2_lif(self.proj2_bn(self.proj2_conv(y)).unflatten(0, (T, B)).contiguous())
        short = self.proj_res_bn(self.proj_res_conv(x)).unflatten(0, (T, B)).contiguous()
        return y + self.proj_res_lif(short)


class PatchEmbeddingStage(nn.Module):
    def __init__(self, before, dim):
        super().__init__()
        self.proj3_conv = nn.Conv2d(before, dim, kernel_size=3, stride=1, padding=1, bias=False)
        self.proj3_bn = nn.BatchNorm2d(dim)
        self.proj3_maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.proj3_lif = _lif()
        self.proj4_conv = nn.Conv2d(dim, dim, kernel_size=3, stride=1, padding=1, bias=False)
        self.proj4_bn = nn.BatchNorm2d(dim)
        self.proj4_lif = _lif()
        self.proj_res_conv = nn.Conv2d(before, dim, kernel_size=1, stride=2, bias=False)
        self.proj_res_bn = nn.BatchNorm2d(dim)
        self.proj_res_lif = _lif()

    def forward(self, x):
        T, B = x.shape[:2]
        x = x.flatten(0, 1)
        y = self.proj3_maxpool(self.proj3_bn(self.proj3_conv(x)))
        y = self.proj3_lif(y.unflatten(0, (T, B)).contiguous()).flatten(0, 1)
        y = self.proj4_lif(self.proj4_bn(self.proj4_conv(y)).unflatten(0, (T, B)).contiguous())
        short = self.proj_res_bn(self.proj_res_conv(x)).unflatten(0, (T, B)).contiguous()
        return y + self.proj_res_lif(short)


class HierarchicalSpikingTransformer(nn.Module):
    def __init__(self, T=4, in_channels=3, num_classes=10, embed_dims=64, num_heads=4, mlp_ratios=2, depths=4):
        super().__init__()
        self.T = T
        one, two, three = embed_dims // 4, embed_dims // 2, embed_dims
        token, full = TokenQKAttention, SpikingSelfAttention
        self.patch_embed1 = PatchInit(in_channels, one)
        self.stage1 = nn.ModuleList([SpikingBlock(token, one, num_heads, mlp_ratios)])
        self.patch_embed2 = PatchEmbeddingStage(one, two)
        self.stage2 = nn.ModuleList([SpikingBlock(token, two, num_heads, mlp_ratios) for _ in range(2)])
        self.patch_embed3 = PatchEmbeddingStage(two, three)
        self.stage3 = nn.ModuleList([SpikingBlock(full, three, num_heads, mlp_ratios) for _ in range(depths - 3)])
        self.head = nn.Linear(three, num_classes)

    def forward_features(self, x):
        for embed, stage in (
            (self.patch_embed1, self.stage1),
            (self.patch_embed2, self.stage2),
            (self.patch_embed3, self.stage3),
        ):
            x = embed(x)
            for blk in stage:
                x = blk(x)
        return x.flatten(3).mean(3)

    def forward(self, x):
        x = (x.unsqueeze(0)).repeat(self.T, 1, 1, 1, 1)
        return self.head(self.forward_features(x).mean(0))


@register_model
def qkformer_published(**kwargs):
    return HierarchicalSpikingTransformer(**kwargs)
