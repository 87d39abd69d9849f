"""This project's spiking families, small, with neurons that fire."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

import snnkit
from compiler.capturing import capture
from compiler.graph import Graph
from compiler.passes import simplify
from snnkit.models import families

STEPS = 4
TINY = {family.name: dict(family.tiny) for family in families() if family.kind == "snn"}
BatchNorm = nn.modules.batchnorm._BatchNorm


@torch.no_grad()
def firing(model: nn.Module, x: Tensor) -> nn.Module:
    """Give batch norms the statistics of data and biases near the thresholds."""
    norms = [part for part in model.modules() if isinstance(part, BatchNorm)]
    for norm in norms:
        nn.init.uniform_(norm.bias, 0.5, 1.2)
        norm.momentum = 1.0
    model.train()(x)
    return model.eval()


@cache
def network(name: str) -> tuple[Graph, Tensor]:
    """The simplified graph of a family's smallest build, and a sequence (T, B, …) for it."""
    settings = dict(TINY[name])
    side = settings["img_size"]
    shape = settings.pop("input_shape", (settings["in_chans"], side, side))
    torch.manual_seed(0)
    x = torch.rand(STEPS, 3, *shape, generator=torch.Generator().manual_seed(1))
    model = firing(snnkit.create_model(**settings), x)
    return simplify(capture(model, x[0])), x
