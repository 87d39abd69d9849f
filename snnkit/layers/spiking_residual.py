"""Residual blocks of convolutional spiking networks: where the shortcut joins.

| class | formula | what leaves |
|---|---|---|
| ``SpikeBlock`` (SEW) | g(s(BN(W·…s(BN(W·x)))), shortcut of x) | g = add: spike counts; and, iand: spikes |
| ``MembraneBlock`` (MS) | BN(W·s(…BN(W·s(x)))) + shortcut of x | currents: every weight meets spikes only |

s is the neuron. Two 3×3 convolutions, or as a bottleneck 1×1, 3×3, 1×1 with four times the channels behind it.

Source: Fang et al., "Deep Residual Learning in Spiking Neural Networks", arXiv 2102.04159 (SEW); Hu et al., "Advancing
Spiking Neural Networks towards Deep Residual Learning", arXiv 2112.08954 (MS).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from snnkit.layers.conv_bn import ConvBN
from snnkit.layers.drop_path import DropPath, rates
from snnkit.layers.sequence import over_time

BOTTLENECK = 4


def spike_add(shortcut: Tensor, branch: Tensor) -> Tensor:
    """Both: the number of spikes."""
    return branch + shortcut


def spike_and(shortcut: Tensor, branch: Tensor) -> Tensor:
    """A spike where both fire."""
    return branch * shortcut


def spike_iand(shortcut: Tensor, branch: Tensor) -> Tensor:
    """A spike where the shortcut fires and the branch does not."""
    return shortcut * (1.0 - branch)


CONNECT: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"add": spike_add, "and": spike_and, "iand": spike_iand}


def _convolutions(in_channels: int, width: int, stride: int, bottleneck: bool) -> nn.ModuleList:
    if bottleneck:
        sizes = [(in_channels, width, 1, 1), (width, width, 3, stride), (width, BOTTLENECK * width, 1, 1)]
    else:
        sizes = [(in_channels, width, 3, stride), (width, width, 3, 1)]
    return nn.ModuleList(ConvBN(*size) for size in sizes)


def _shortcut(in_channels: int, width: int, stride: int, bottleneck: bool) -> ConvBN | None:
    """A 1×1 convolution where shapes change, else None."""
    out_channels = BOTTLENECK * width if bottleneck else width
    return ConvBN(in_channels, out_channels, 1, stride) if stride != 1 or in_channels != out_channels else None


class PooledShortcut(nn.Module):
    """Means of 2×2 currents, then a 1×1 convolution and a norm: (T, B, C, H, W) → (T, B, C', ⌈H/2⌉, ⌈W/2⌉)."""

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.layer = ConvBN(in_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the currents that the branch is added to."""
        odd = bool(x.shape[-1] % 2 or x.shape[-2] % 2)  # the last row and column are means of what is there
        return self.layer(over_time(lambda y: avg_pool2d(y, 2, ceil_mode=odd), x))


class SpikeBlock(nn.Module):
    """SEW block: spikes (T, B, C, H, W) → spikes or spike counts (T, B, C', H/stride, W/stride).

    Args:
        in_channels: C.
        width: channels of the 3×3 convolution.
        stride: of that convolution.
        bottleneck: 1×1, 3×3, 1×1 instead of two 3×3; C' is then 4·width.
        drop_path: probability that training leaves the branch out for a sample.
        neuron: makes one neuron.
        connect: g(shortcut, branch).
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        bottleneck: bool,
        drop_path: float,
        neuron: Callable[[], nn.Module],
        connect: Callable[[Tensor, Tensor], Tensor] = spike_add,
    ):
        super().__init__()
        self.convs = _convolutions(in_channels, width, stride, bottleneck)
        self.neurons = nn.ModuleList(neuron() for _ in self.convs)
        self.shortcut = _shortcut(in_channels, width, stride, bottleneck)
        self.shortcut_neuron = neuron() if self.shortcut is not None else None
        self.drop_path = DropPath(drop_path, batch_axis=1)
        self.connect = connect

    def forward(self, x: Tensor) -> Tensor:
        """Return g(shortcut, branch)."""
        y = x
        for conv, neuron in zip(self.convs, self.neurons, strict=True):
            y = neuron(conv(y))
        if self.shortcut is not None:
            x = self.shortcut_neuron(self.shortcut(x))
        return self.connect(x, self.drop_path(y))


class MembraneBlock(nn.Module):
    """MS block: currents (T, B, C, H, W) → currents (T, B, C', H/stride, W/stride); arguments as for ``SpikeBlock``.

    ``pooled`` halves the shortcut by means in place of a stride.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        bottleneck: bool,
        drop_path: float,
        neuron: Callable[[], nn.Module],
        pooled: bool = False,
    ):
        super().__init__()
        self.convs = _convolutions(in_channels, width, stride, bottleneck)
        self.neurons = nn.ModuleList(neuron() for _ in self.convs)
        self.shortcut: nn.Module | None = _shortcut(in_channels, width, stride, bottleneck)
        if pooled and stride == 2:
            self.shortcut = PooledShortcut(in_channels, self.convs[-1].conv.out_channels)
        self.drop_path = DropPath(drop_path, batch_axis=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return branch + shortcut."""
        y = x
        for conv, neuron in zip(self.convs, self.neurons, strict=True):
            y = conv(neuron(y))
        return self.drop_path(y) + (x if self.shortcut is None else self.shortcut(x))


def residual_stages(
    block: Callable[..., nn.Module],
    in_channels: int,
    widths: Sequence[int],
    depths: Sequence[int],
    strides: Sequence[int],
    bottleneck: bool,
    drop_path_rate: float,
) -> nn.ModuleList:
    """Return one ``nn.Sequential`` of blocks per stage; a stage's first block has its stride.

    ``block`` takes (in_channels, width, stride, bottleneck, drop_path); stochastic depth grows with depth.
    """
    drops = iter(rates(drop_path_rate, sum(depths)))
    stages = nn.ModuleList()
    for width, depth, stride in zip(widths, depths, strides, strict=True):
        stage = nn.Sequential()
        for i in range(depth):
            stage.append(block(in_channels, width, 1 if i else stride, bottleneck, next(drops)))
            in_channels = BOTTLENECK * width if bottleneck else width
        stages.append(stage)
    return stages
