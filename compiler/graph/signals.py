"""Signals: the edges of a graph, each with its type (``snnkit.signals``)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from snnkit.signals import (
    BINARY,
    KINDS,
    LARGEST,
    REAL,
    SIGNED,
    SignalType,
    common_step,
    integer,
    single,
)


@dataclass(frozen=True)
class Signal:
    """An edge: its name, its shape (that of one sample: without batch and time) and its type."""

    name: str
    shape: tuple[int, ...]
    type: SignalType = REAL

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


__all__ = [
    "BINARY",
    "KINDS",
    "LARGEST",
    "REAL",
    "SIGNED",
    "Signal",
    "SignalType",
    "common_step",
    "integer",
    "single",
]
