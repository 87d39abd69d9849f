"""How many bytes an optimizer keeps beside the parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from snnkit.optim.blockwise import BlockwiseOptimizer


def optimizer_bytes(optimizer: torch.optim.Optimizer) -> tuple[int, int]:
    """Return the bytes of all state tensors, over all shards, and the bytes they would take in float32.

    For an optimizer with 8-bit states the second figure counts four bytes a number of each moment; for any other, of
    each floating state.
    """
    kept = full = 0
    for state in optimizer.state.values():
        for key, value in state.items():
            if not isinstance(value, Tensor):
                continue
            kept += value.numel() * value.element_size()
            if not (isinstance(optimizer, BlockwiseOptimizer) and optimizer.is_scale(key)):
                full += value.numel() * (4 if value.is_floating_point() or value.dtype == torch.uint8 else 0)
    return kept, full
