"""``MemoryModule``: a module that keeps named state until ``reset``; and the interfaces of the step modes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError

BACKENDS = ("torch", "cupy", "triton", "lava")


def check_backend_library(backend: str) -> None:
    """Accept the name of a backend; the fastest kernel for the tensor's device runs in any case."""
    if backend not in BACKENDS:
        raise InvalidArgumentError(f"backend={backend!r}: must be one of {', '.join(BACKENDS)}.")


check_backend = check_backend_library


def check_step_mode(step_mode: str) -> str:
    """Return ``step_mode`` if it is "s" or "m"."""
    if step_mode not in ("s", "m"):
        raise InvalidArgumentError(f"step_mode={step_mode!r}: must be 's' (one step) or 'm' (a sequence).")
    return step_mode


class StepModule:
    """Has a ``step_mode``: "s" (one step) or "m" (a sequence)."""

    def supported_step_mode(self) -> tuple[str, ...]:
        """Return the modes that it can be set to."""
        return ("s", "m")

    @property
    def step_mode(self) -> str:
        """The mode."""
        return self.__dict__.get("_step_mode", self.supported_step_mode()[0])

    @step_mode.setter
    def step_mode(self, value: str) -> None:
        check_step_mode(value)
        if value not in self.supported_step_mode():
            raise InvalidArgumentError(
                f"{type(self).__name__}.step_mode={value!r}: it has {', '.join(self.supported_step_mode())} only."
            )
        self.__dict__["_step_mode"] = value


class SingleModule(StepModule):
    """Takes single steps only."""

    def supported_step_mode(self) -> tuple[str, ...]:
        """Return "s"."""
        return ("s",)


class MultiStepModule(StepModule):
    """Takes sequences only."""

    def supported_step_mode(self) -> tuple[str, ...]:
        """Return "m"."""
        return ("m",)


class MemoryModule(nn.Module, StepModule):
    """State registered by name, with the value it returns to; subclasses define ``single_step_forward``."""

    def __init__(self) -> None:
        super().__init__()
        self._memories: dict[str, Any] = {}
        self._memories_rv: dict[str, Any] = {}
        self._backend = "torch"
        self.step_mode = "s"

    @property
    def supported_backends(self) -> tuple[str, ...]:
        """Every name is accepted."""
        return BACKENDS

    @property
    def backend(self) -> str:
        """The name that was given; it has no effect."""
        return self._backend

    @backend.setter
    def backend(self, value: str) -> None:
        check_backend_library(value)
        self._backend = value

    def single_step_forward(self, x: Tensor, *arguments: Any, **named: Any) -> Any:
        """(B, …) → (B, …)."""
        raise NotImplementedError(f"{type(self).__name__} does not define single_step_forward.")

    def multi_step_forward(self, x_seq: Tensor, *arguments: Any, **named: Any) -> Any:
        """(T, B, …) → (T, B, …): one single step after the other."""
        return torch.stack([self.single_step_forward(x, *arguments, **named) for x in x_seq])

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """Run in the present mode."""
        run = self.single_step_forward if self.step_mode == "s" else self.multi_step_forward
        return run(*arguments, **named)

    def register_memory(self, name: str, value: Any) -> None:
        """Declare a state variable and the value it has after ``reset``."""
        if hasattr(self, name):
            raise InvalidArgumentError(f"{type(self).__name__}: {name} is an attribute already.")
        self._memories[name] = value
        self.set_reset_value(name, value)

    def set_reset_value(self, name: str, value: Any) -> None:
        """Let a state variable return to another value."""
        self._memories_rv[name] = copy.deepcopy(value)

    def reset(self) -> None:
        """Set every state variable back."""
        for name, value in self._memories_rv.items():
            self._memories[name] = copy.deepcopy(value)

    def detach(self) -> None:
        """Cut the backward graph at the present state."""
        for name, value in self._memories.items():
            if isinstance(value, Tensor):
                self._memories[name] = value.detach()

    def memories(self) -> Iterator[Any]:
        """The state variables' values."""
        yield from self._memories.values()

    def named_memories(self) -> Iterator[tuple[str, Any]]:
        """The state variables."""
        yield from self._memories.items()

    def __getattr__(self, name: str) -> Any:
        memories = self.__dict__.get("_memories", {})
        return memories[name] if name in memories else super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("_memories", {}):
            self._memories[name] = value
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in self._memories:
            del self._memories[name], self._memories_rv[name]
        else:
            super().__delattr__(name)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or pickle takes: state without the graph it came from, which cannot be copied."""
        state = dict(self.__dict__)
        state["_memories"] = {n: v.detach() if isinstance(v, Tensor) else v for n, v in self._memories.items()}
        return state

    def _apply(self, fn: Callable[[Tensor], Tensor], *arguments: Any, **named: Any) -> MemoryModule:
        for values in (self._memories, self._memories_rv):
            values.update({name: fn(value) for name, value in values.items() if isinstance(value, Tensor)})
        return super()._apply(fn, *arguments, **named)
