"""Channels innermost in memory, which convolutions on CPUs and tensor cores prefer; values and shapes stay."""

from __future__ import annotations

import torch
from torch import nn

_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


def channels_innermost(model: nn.Module) -> nn.Module:
    """Lay the weights of 2-D and 3-D convolutions out that way, in place; returns ``model``.

    ``model.to(memory_format=…)`` takes one format and refuses a model that has both.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.ndim in _LAYOUTS:
            tensor.data = tensor.data.contiguous(memory_format=_LAYOUTS[tensor.ndim])
    return model
