"""Small spiking networks that several tests compile."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnkit.encoders import Direct
from snnkit.layers import ConvBN, over_time
from snnkit.neurons import LIF, Neuron
from snnkit.readouts import Mean


class Residual(nn.Module):
    """Conv stem, then a depthwise block with a shortcut over two neuron layers, average pooling and a linear head."""

    def __init__(self, width: int = 6, size: int = 12, neuron=LIF, timesteps: int = 4, **constants):
        super().__init__()
        self.in_chans, self.img_size = 1, size
        self.encoder, self.readout = Direct(timesteps), Mean()
        self.stem, self.stem_lif = ConvBN(1, width, 3, stride=2), neuron(**constants)
        self.first, self.first_lif = ConvBN(width, width, 3, groups=width), neuron(**constants)
        self.second, self.second_lif = ConvBN(width, width, 1), neuron(**constants)
        self.third, self.third_lif = ConvBN(width, 2 * width, 3, stride=2), neuron(**constants)
        self.pool = nn.AvgPool2d(3)
        self.head = nn.Linear(2 * width * (size // 12) ** 2, 5)

    def forward_sequence(self, x: Tensor) -> Tensor:
        """Logits of every step."""
        stem = self.stem_lif(self.stem(x))
        block = self.second_lif(self.second(self.first_lif(self.first(stem))) + stem)
        top = self.third_lif(self.third(block))
        return over_time(lambda y: self.head(self.pool(y).flatten(1)), top)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.readout(self.forward_sequence(x if x.ndim == 5 else self.encoder(x)))


class InARow(nn.Module):
    """Layers, run step by step, and neurons in a row, on sequences."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x) if isinstance(layer, Neuron) else over_time(layer, x)
        return x


class Chain(nn.Module):
    """Layers on sequences of vectors (T, B, F)."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class SpikesIn(nn.Module):
    """Takes spikes (T, B, 20): linear, neuron, linear with a shortcut, neuron, linear."""

    def __init__(self, neuron=LIF):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(20, 16), nn.Linear(16, 16), nn.Linear(16, 4)
        self.lif1, self.lif2, self.lif3 = neuron(), neuron(), neuron()
        self.deep = nn.Linear(20, 16, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Real outputs of every step, (T, B, 4)."""
        one = self.lif1(self.a(x))
        two = self.lif2(self.b(one) + one)
        three = self.lif3(self.deep(x) + two)  # the input reaches depth 3 directly: two relays
        return self.c(three)


def lively(model: nn.Module, seed: int = 0, gain: float = 2.5) -> nn.Module:
    """Give a model weights and statistics with which its layers fire, in eval mode and float64."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(0.3 * torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(0.02 + 0.05 * torch.rand(module.num_features, generator=generator))
            module.bias.data.copy_(0.6 + 0.5 * torch.randn(module.num_features, generator=generator))
        elif isinstance(module, nn.Linear):
            module.weight.data.mul_(gain)
            if module.bias is not None:
                module.bias.data.add_(0.4)
    return model


def constant_linear(inputs: int, outputs: int, weight: float, bias: float | None = None) -> nn.Linear:
    """A layer all of whose weights are alike, in float64."""
    layer = nn.Linear(inputs, outputs, bias=bias is not None).double()
    layer.weight.data.fill_(weight)
    if bias is not None:
        layer.bias.data.fill_(bias)
    return layer
