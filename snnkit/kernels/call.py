"""One run of a dynamics, as every kernel receives it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from snnkit.surrogates import Surrogate

SAVES = ("exact", "code8", "rect")
"""What the forward keeps for the backward: the input itself, one byte or two bits per neuron and time step."""


@dataclass(slots=True)
class Call:
    """Everything a kernel needs to run a sequence.

    Attributes:
        x: input (T, B, …); float16 and bfloat16 are storage only, the dynamics runs in float32. None in the backward of
            another tier than ``exact``, which did not keep it.
        state: one tensor (B, …) per state variable, or None where it starts at rest.
        rest: the value of each state variable at rest.
        p: the dynamics' frozen dataclass of constants; a float among them may be a tensor that broadcasts to (B, …).
        tensors: names of the constants that are tensors.
        surrogate: derivative of the spike for the backward pass.
        save: one of ``SAVES``.
        keep_state: whether the last state is wanted.
        training: whether a backward will follow, so that ``save`` matters.
        memo: where a kernel may keep what depends on constants and shape only; shared by all calls of one neuron.
    """

    x: Tensor | None
    state: tuple[Tensor | None, ...]
    rest: tuple[float | Tensor, ...]
    p: Any
    tensors: tuple[str, ...]
    surrogate: Surrogate
    save: str = "exact"
    keep_state: bool = True
    training: bool = False
    memo: dict[Any, Any] = field(default_factory=dict)

    def start(self) -> tuple[Tensor, ...]:
        """Return the starting state as tensors (B, …), in the dtype of the arithmetic."""
        assert self.x is not None
        like, dtype = self.x[0], state_dtype(self.x)
        return tuple(
            given if given is not None else (torch.zeros_like(like, dtype=dtype) + rest)
            for given, rest in zip(self.state, self.rest, strict=True)
        )


@dataclass(slots=True)
class Prepared:
    """What is the same in every call of a neuron: its constants, and what follows from them."""

    p: Any
    rest: tuple[float | Tensor, ...]
    tensors: tuple[str, ...]
    surrogate: Surrogate
    save: str
    kernel: str
    memo: dict[Any, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Result:
    """What a forward returns: ``out`` (T, B, …), the last state if it was wanted, and what the backward will need.

    ``saved`` is None in the ``exact`` tier, whose backward recomputes from ``x``; uint8 (T, B, …) in ``code8``; uint8
    (⌈T/4⌉, B, …) in ``rect``. Both lie in memory as ``x`` does.
    """

    out: Tensor
    state: tuple[Tensor, ...] | None
    saved: Tensor | None = None


@dataclass(slots=True)
class Gradients:
    """Gradients to ``x`` (T, B, …), to each starting state (B, …), and to each tensor constant in its own shape."""

    x: Tensor
    state: tuple[Tensor | None, ...]
    tensors: tuple[Tensor, ...] = ()


class Kernel(Protocol):
    """One implementation of a dynamics: a module (or object) with these three functions."""

    def supports(self, call: Call) -> tuple[bool, str]:
        """Say whether it can run this call, and why not."""
        ...

    def forward(self, call: Call) -> Result:
        """Run all time steps."""
        ...

    def backward(
        self, call: Call, saved: Tensor | None, grad_out: Tensor, grad_state: tuple[Tensor | None, ...]
    ) -> Gradients:
        """Run backwards; ``grad_out`` is (T, B, …), gradients to the last state are None where it was not used."""
        ...


def state_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of the arithmetic and of states for inputs like ``x``: float32 for the half formats."""
    return torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
