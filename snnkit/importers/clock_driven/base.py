"""``MemoryModule``: a module that keeps named state until ``reset``."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError


class MemoryModule(nn.Module):
    """State registered by name, with the value it returns to; ``step_mode`` "s" (one step) or "m" (a sequence)."""

    def __init__(self) -> None:
        super().__init__()
        self._rest: dict[str, Any] = {}
        self.step_mode = "s"

    def register_memory(self, name: str, value: Any) -> None:
        """Declare a state variable and the value it has after ``reset``."""
        self._rest[name] = value
        setattr(self, name, copy.deepcopy(value))

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or pickle takes: state without the graph it came from, which cannot be copied."""
        return {name: value.detach() if isinstance(value, Tensor) else value for name, value in self.__dict__.items()}

    def reset(self) -> None:
        """Set every state variable back."""
        for name, value in self._rest.items():
            setattr(self, name, copy.deepcopy(value))


def check_step_mode(step_mode: str) -> str:
    """Return ``step_mode`` if it is "s" or "m"."""
    if step_mode not in ("s", "m"):
        raise InvalidArgumentError(f"step_mode={step_mode!r}: must be 's' (one step) or 'm' (a sequence).")
    return step_mode
