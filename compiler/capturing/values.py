"""What an exported value stands for: a signal, stored numbers, several of either, or nothing that is known."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from compiler.capturing.axes import Layout


@dataclass
class Value:
    """An exported value.

    ``tensor`` holds what depends on weights alone; else ``signal`` names the signal and ``layout`` says where the batch
    lies. ``parts`` are the results of a call that has several. A value without any of them is unknown: it comes from
    something that was refused, or is a result that nobody may use.
    """

    dtype: torch.dtype | None = None
    tensor: Tensor | None = None
    signal: str = ""
    layout: Layout | None = None
    parts: list[Value] = field(default_factory=list)

    @property
    def known(self) -> bool:
        """Whether it may be read."""
        return self.tensor is not None or bool(self.signal) or bool(self.parts)
