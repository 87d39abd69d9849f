"""Networks that the tests of memory plans train: small, and of every kind."""

import torch
from torch import nn

import snnkit
from snnkit.layers import ConvBN, over_time
from snnkit.models.e_spikeformer import FAMILY as E_SPIKEFORMER
from snnkit.neurons import LIF, ParametricLIF
from snnkit.surrogates import Rect


class Residual(nn.Module):
    """A block of two convolutions with a membrane shortcut."""

    def __init__(self, width):
        super().__init__()
        self.lif1, self.conv1 = LIF(), ConvBN(width, width, 3)
        self.lif2, self.conv2 = LIF(), ConvBN(width, width, 3)

    def forward(self, x):
        return x + self.conv2(self.lif2(self.conv1(self.lif1(x))))


class Transformer(nn.Module):
    """Attention of spikes on tokens (T, B, C, N), residuals that add spikes, dropout: (T, B, C, N) → (T, B, K)."""

    def __init__(self, width=16, depth=2, heads=2, dropout=0.1):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(depth))
        self.head = nn.Linear(width, 5)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(-1))


class Block(nn.Module):
    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads = heads
        self.enter = LIF()
        self.q, self.k, self.v = (nn.Sequential(Tokens(width, width), LIF()) for _ in range(3))
        self.mixed = LIF(v_threshold=0.5)
        self.out = nn.Sequential(Tokens(width, width), LIF())
        self.dropout = nn.Dropout(dropout)
        self.up, self.lif = Tokens(width, 2 * width), ParametricLIF()
        self.down = nn.Sequential(Tokens(2 * width, width), LIF())

    def forward(self, x):
        s = self.enter(x)
        q, k, v = (f(s).unflatten(2, (self.heads, -1)).transpose(-1, -2) for f in (self.q, self.k, self.v))
        mixed = (q @ k.transpose(-1, -2)) @ v * 0.25
        s = s + self.out(self.mixed(mixed.transpose(-1, -2).flatten(2, 3)))
        return s + self.dropout(self.down(self.lif(self.up(s))))


class Tokens(nn.Module):
    """A linear layer over tokens with its norm: (T, B, C, N) → (T, B, C', N)."""

    def __init__(self, width, out):
        super().__init__()
        self.conv, self.bn = nn.Conv1d(width, out, 1, bias=False), nn.BatchNorm1d(out)

    def forward(self, x):
        return over_time(lambda y: self.bn(self.conv(y)), x)


class PerStep(nn.Module):
    """No norm and no chance: what can be cut in time. (T, B, 3, H, W) → (T, B, 6)."""

    def __init__(self, surrogate=None):
        super().__init__()
        neuron = {} if surrogate is None else {"surrogate": surrogate}
        self.conv, self.lif = nn.Conv2d(3, 8, 3, padding=1), LIF(**neuron)
        self.stages = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.MaxPool2d(2), nn.GroupNorm(2, 8))
        self.lif2 = LIF(v_reset=None, **neuron)
        self.head = nn.Linear(8, 6)

    def forward(self, x):
        x = self.lif(over_time(self.conv, x) * 2)
        x = self.lif2(over_time(self.stages, x))
        return self.head(x.flatten(3).mean(-1))


def ordinary():
    """An ordinary convolutional network."""
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout2d(0.2)),
        nn.Sequential(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.GELU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
    )


def residuals(width=6):
    """Blocks in a row over a sequence (T, B, 6, H, W)."""
    return nn.Sequential(*(Residual(width) for _ in range(3)))


def cnn(timesteps=4, **sizes):
    """The registered network, on images."""
    return snnkit.create_model("spiking_cnn_small", timesteps=timesteps, **sizes)


def make(name, timesteps=4, batch=4):
    """Return (model in training, input) by name."""
    torch.manual_seed(0)
    T, B = timesteps, batch
    made = {
        "cnn": lambda: (cnn(T), torch.randn(B, 1, 28, 28)),
        "cnn on a sequence": lambda: (cnn(T), torch.randn(T, B, 1, 28, 28)),
        "rect": lambda: (PerStep(Rect(1.0)), torch.randn(T, B, 3, 10, 10)),
        "per step": lambda: (PerStep(), torch.randn(T, B, 3, 10, 10)),
        "transformer": lambda: (Transformer(), 2 * torch.randn(T, B, 16, 24)),
        "residuals": lambda: (residuals(), 2 * torch.randn(T, B, 6, 10, 10)),
        "ordinary": lambda: (ordinary(), torch.randn(B, 3, 16, 16)),
        "e_spikeformer": lambda: family(E_SPIKEFORMER, B),
        "spikingjelly": lambda: (spikformer(T), torch.randn(B, 3, 32, 32)),
    }[name]
    model, x = made()
    return model.train(), x


def family(card, batch):
    """The small build of a registered family, on images."""
    model = snnkit.create_model(**card.tiny)
    return model, torch.randn(batch, *model.pretrained_cfg["input_size"])


def spikformer(timesteps):
    """SpikingJelly's Spikformer, small, imported."""
    from spikingjelly.activation_based.model.spikformer import Spikformer

    net = Spikformer(
        T=timesteps, img_size_h=32, img_size_w=32, patch_size=16, num_classes=10, embed_dims=32, num_heads=2, depths=2
    )
    for part in net.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(part.weight, 1.0, 2.5)
    return snnkit.importers.from_spikingjelly(net)
