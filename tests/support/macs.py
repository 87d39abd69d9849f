"""Multiply-accumulates of the products in a network: convolutions, linear layers and both products of attention."""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import snnkit


def gmacs(name, *shape, **settings):
    """10⁹ multiply-accumulates of ``name`` on one input of ``shape``, without memory for weights."""
    with torch.device("meta"):
        model = snnkit.create_model(name, **settings).eval().requires_grad_(False)
        x = torch.zeros(1, *shape)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(x)
    return counter.get_total_flops() / 2e9
