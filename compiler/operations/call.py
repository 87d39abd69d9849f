"""What an operation sees of one exported call when it is captured; ``compiler.capture`` provides it.

Letters: *exported* shapes hold the batch somewhere, *sample* shapes do not. A layout says where it lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from snnkit.kernels import Operator


class Where(Protocol):
    """Where the batch lies in an exported tensor."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Exported shape."""
        ...

    @property
    def axis(self) -> int:
        """Exported axis of the batch."""
        ...

    @property
    def sample(self) -> tuple[int, ...]:
        """Shape of one sample."""
        ...


class Call(Protocol):
    """One call of an ATen overload: its arguments by the names of the schema, and ways to answer."""

    def __getitem__(self, name: str) -> Any:
        """Return a plain argument (a number, a list …), its default where it was not given."""
        ...

    def has(self, name: str) -> bool:
        """Whether an optional argument was given (is not None)."""
        ...

    def is_constant(self, name: str) -> bool:
        """Whether an argument is a number or a tensor that depends on weights alone."""
        ...

    def tensor(self, name: str) -> Tensor:
        """Return a stored tensor; CaptureError where it is computed from the input."""
        ...

    def stored(self, **arguments: str) -> dict[str, Tensor]:
        """Return parameters from arguments that may be None: ``stored(weight="weight", bias="bias")``."""
        ...

    def operand(self, name: str) -> str:
        """Return an argument as a signal that broadcasts against the result; constants become nodes."""
        ...

    def beside(self, name: str, dim: int) -> str:
        """Return an argument that lacks the axis ``dim`` of ``self`` as a signal that broadcasts without it."""
        ...

    def factor(self, name: str) -> Tensor:
        """Return a constant argument as a tensor that broadcasts against a sample of the result."""
        ...

    def number(self, value: float) -> Tensor:
        """Return a number as a stored tensor () of the result's type."""
        ...

    def signal(self, name: str) -> str:
        """Return an argument that depends on the input as a signal."""
        ...

    def signals(self, name: str) -> list[str]:
        """Return a list argument as signals; constants become nodes, laid out like the first signal."""
        ...

    def layout(self, name: str) -> Where:
        """Return where the batch lies in an argument."""
        ...

    def axis(self, name: str, dim: int) -> int | None:
        """Return an exported axis of an argument as a negative axis of its sample.

        None for a leading axis of size 1 that samples do not have (time). CaptureError for the batch itself.
        """
        ...

    def apart(self, name: str, last: int) -> str:
        """Return an argument as a signal whose batch lies in front of the last so many exported axes.

        CaptureError where it lies among them: what works on these axes would mix samples.
        """
        ...

    def axes(self, name: str, dims: Sequence[int] | None) -> tuple[int, ...]:
        """Return exported axes as negative axes of the sample; leading axes of size 1 are left out.

        CaptureError where that would mix samples, or time steps of a network with state.
        """
        ...

    def emit(
        self,
        op: str,
        inputs: Sequence[str],
        attributes: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> str:
        """Add a node in the call's scope and return its signal."""
        ...

    def give(self, signal: str) -> None:
        """Make ``signal`` the result of the call; it is brought to the shape that was exported."""
        ...

    def give_many(self, signals: Sequence[str]) -> None:
        """Make ``signals`` the results of a call that returns several tensors."""
        ...

    def give_filled(self, number: float) -> None:
        """Make a tensor of one number, of the result's shape, the result of the call."""
        ...

    def reshape(self, signal: str, shape: Sequence[int]) -> str:
        """Return a signal in another shape."""
        ...

    def shape_of(self, signal: str) -> tuple[int, ...]:
        """Return the sample shape of a signal."""
        ...

    @property
    def out(self) -> Where:
        """Where the batch lies in the (first) result."""
        ...

    @property
    def out_dtype(self) -> torch.dtype:
        """Return the type of the exported result."""
        ...

    def dtype(self, name: str) -> torch.dtype:
        """Return the type of an exported argument."""
        ...

    def matmul(self, left: str, right: str) -> str:
        """Add the product of two arguments as ``torch.matmul`` defines it and return its signal."""
        ...

    def einsum(self) -> str:
        """Add the call's einsum, its equation without the batch's letter, and return its signal."""
        ...

    def permuted(self, order: Sequence[int]) -> str:
        """Add ``self`` with its exported axes in this order and return its signal."""
        ...

    def joined(self) -> str:
        """Add the argument ``tensors`` one after the other along ``dim`` and return its signal."""
        ...

    def stacked(self) -> str:
        """Add the argument ``tensors`` along a new axis ``dim`` and return its signal."""
        ...

    def repeated(self, counts: Sequence[int]) -> str:
        """Add ``self`` with its exported axes repeated so often and return its signal."""
        ...

    def interleaved(self, repeats: int, dim: int | None) -> str:
        """Add ``self`` with every value along ``dim`` repeated and return its signal."""
        ...

    def indexed(self) -> str:
        """Add ``self`` at the argument ``indices`` (one per axis, or None) and return its signal."""
        ...

    def neuron(self, operator: Operator) -> None:
        """Add a neuron: its input, states and constants are the call's arguments, its outputs the call's results."""
        ...

    def refuse(self, why: str) -> Exception:
        """Return the CaptureError that names this call's module and says why it has no place in a graph."""
        ...
