"""Small snnTorch networks that NeuroBench and ours measure; the same weights and frames for the same name."""

from __future__ import annotations

import snntorch as snn
import torch
from torch import Tensor, nn

STEPS, BATCH = 5, 4


def leaky(**more: object) -> nn.Module:
    """A neuron that keeps its state, as snnTorch's sequential networks do."""
    return snn.Leaky(beta=0.8, threshold=0.5, init_hidden=True, reset_mechanism="subtract", **more)


def linear() -> nn.Module:
    """12 → 9 → 6 → 4."""
    return nn.Sequential(
        nn.Linear(12, 9), leaky(), nn.Linear(9, 6, bias=False), leaky(), nn.Linear(6, 4), leaky(output=True)
    )


def convolutions() -> nn.Module:
    """Stride, padding and groups on 8×8, then a linear layer."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, stride=2),
        leaky(),
        nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False),
        leaky(),
        nn.Flatten(),
        nn.Linear(96, 5),
        leaky(output=True),
    )


SHAPES = {"linear": (12,), "convolutions": (2, 8, 8)}
INPUTS = ("spikes", "real")


def network(name: str, zeros: float = 0.0) -> nn.Module:
    """Return a network in eval mode, with a share of its weights zero."""
    torch.manual_seed(0)
    net = {"linear": linear, "convolutions": convolutions}[name]()
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, (nn.Linear, nn.Conv2d)):
                layer.weight.mul_(2.0)
                layer.weight[torch.rand(layer.weight.shape) < zeros] = 0.0
    return net.eval()


def frames(name: str, kind: str) -> Tensor:
    """Return (T, B, …): spikes, or real numbers half of which are zero."""
    generator = torch.Generator().manual_seed(1)
    spikes = (torch.rand(STEPS, BATCH, *SHAPES[name], generator=generator) < 0.4).float()
    return spikes if kind == "spikes" else spikes * torch.rand(spikes.shape, generator=generator)
