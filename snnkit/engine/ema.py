"""Moving average of a network's weights: what is tested and kept where ``optim.ema`` is set.

average ← decay · average + (1 − decay) · weights        after every step; batch norm's statistics too
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Ema:
    """The average of a network's parameters and buffers, sharded as they are.

    Args:
        model: the network.
        decay: in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float):
        self._now = dict(model.state_dict(keep_vars=True))
        self.average: dict[str, Tensor] = {key: value.detach().clone() for key, value in self._now.items()}
        self._update = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights as they are now."""
        for sharded in (True, False):  # single numbers and running statistics are whole in every process
            keys = [
                key
                for key, value in self.average.items()
                if value.is_floating_point() and isinstance(value, DTensor) == sharded
            ]
            if keys:
                self._update([self.average[key] for key in keys], [self._now[key].detach() for key in keys], 0)
        for key, value in self.average.items():
            if not value.is_floating_point():  # counters are not averaged
                value.copy_(self._now[key])

    def buffers(self) -> list[Tensor]:
        """Return the average of what is no parameter."""
        return [self.average[key] for key, value in self._now.items() if not isinstance(value, nn.Parameter)]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Have the network compute with the average inside the block."""
        with torch.no_grad():
            before = {key: value.detach().clone() for key, value in self._now.items()}
            for key, value in self._now.items():
                value.copy_(self.average[key])
        try:
            yield
        finally:
            with torch.no_grad():
                for key, value in self._now.items():
                    value.copy_(before[key])
