"""Registering a dynamics once with ``torch.library``: forward, backward, fake implementation and kernel choice.

An ``Operator`` turns a frozen dataclass of constants and a set of kernels into ``torch.ops.snnkit.<name>``:

    snnkit::<name>(Tensor x, Tensor v, <constants…>, str surrogate, float[] surrogate_parameters, str kernel)
        -> (Tensor spikes, Tensor v_last)

with ``x`` (T, B, …) and ``v`` (B, …). The constants appear in the schema under their own names, so a captured graph
can be read without knowing the Python class.
"""

from __future__ import annotations

from dataclasses import astuple, fields
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from snnkit import surrogates
from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.surrogates import Surrogate

_SCHEMA_TYPES = {"float": "float", "bool": "bool", "int": "int", "float | None": "float?"}
_SURROGATE_AND_KERNEL = "str surrogate, float[] surrogate_parameters, str kernel"


class Kernel(Protocol):
    """One implementation of a dynamics: a module (or object) with these three functions."""

    def supports(self, x: Tensor, p: Any, surrogate: Surrogate) -> tuple[bool, str]:
        """Say whether it can run on ``x`` with these constants, and why not."""
        ...

    def forward(self, x: Tensor, v: Tensor, p: Any) -> tuple[Tensor, Tensor]:
        """Return (spikes, last membrane)."""
        ...

    def backward(
        self, x: Tensor, v: Tensor, grad_spikes: Tensor, grad_v: Tensor, p: Any, surrogate: Surrogate
    ) -> tuple[Tensor, Tensor]:
        """Return gradients to (x, v)."""
        ...


class Operator:
    """A dynamics as an operator; ``kernels`` stand slowest first, ``kernel="auto"`` takes the last that can run."""

    def __init__(self, name: str, parameters: type, kernels: dict[str, Any]):
        self.name = name
        self.parameters = parameters
        self.kernels: dict[str, Kernel] = kernels
        self._define()

    @cached_property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the constants, in schema order."""
        return tuple(field.name for field in fields(self.parameters))

    def __call__(
        self, x: Tensor, v: Tensor, p: Any, surrogate: Surrogate, kernel: str = "auto"
    ) -> tuple[Tensor, Tensor]:
        """Run a sequence: ``x`` (T, B, …), ``v`` (B, …) → (spikes (T, B, …), last membrane (B, …))."""
        return self._forward(
            x, v, *astuple(p), surrogates.name_of(surrogate), surrogates.parameters_of(surrogate), kernel
        )

    def check_kernel(self, kernel: str) -> None:
        """Raise UnknownNameError unless ``kernel`` is "auto" or one of this operator's kernels."""
        if kernel != "auto" and kernel not in self.kernels:
            raise unknown_name(f"kernel for {self.name}", kernel, ["auto", *self.kernels])

    def choose(self, kernel: str, x: Tensor, p: Any, surrogate: Surrogate) -> Kernel:
        """Return the kernel to run; an explicitly named one that cannot run is an error with its reason."""
        self.check_kernel(kernel)
        names = list(reversed(self.kernels)) if kernel == "auto" else [kernel]
        reason = ""
        for name in names:
            ok, reason = self.kernels[name].supports(x, p, surrogate)
            if ok:
                return self.kernels[name]
        raise InvalidArgumentError(f"kernel={kernel!r} cannot run {self.name} here: {reason}")

    def _define(self) -> None:
        constants = ", ".join(f"{_SCHEMA_TYPES[str(field.type)]} {field.name}" for field in fields(self.parameters))
        inputs = f"{constants}, {_SURROGATE_AND_KERNEL}"
        self._forward = torch.library.custom_op(
            f"snnkit::{self.name}",
            self._run_forward,
            mutates_args=(),
            schema=f"(Tensor x, Tensor v, {inputs}) -> (Tensor, Tensor)",
        )
        self._backward = torch.library.custom_op(
            f"snnkit::{self.name}_backward",
            self._run_backward,
            mutates_args=(),
            schema=f"(Tensor x, Tensor v, Tensor grad_spikes, Tensor grad_v, {inputs}) -> (Tensor, Tensor)",
        )
        self._forward.register_fake(lambda x, v, *_: (torch.empty_like(x), torch.empty_like(v)))
        self._backward.register_fake(lambda x, v, *_: (torch.empty_like(x), torch.empty_like(v)))
        self._forward.register_autograd(self._autograd_backward, setup_context=self._setup_context)

    def _unpack(self, constants: tuple[Any, ...]) -> tuple[Any, Surrogate, str]:
        *values, surrogate, surrogate_parameters, kernel = constants
        return self.parameters(*values), surrogates.build(surrogate, surrogate_parameters), kernel

    def _run_forward(self, x: Tensor, v: Tensor, *constants: Any) -> tuple[Tensor, Tensor]:
        p, surrogate, kernel = self._unpack(constants)
        return self.choose(kernel, x, p, surrogate).forward(x, v, p)

    def _run_backward(
        self, x: Tensor, v: Tensor, grad_spikes: Tensor, grad_v: Tensor, *constants: Any
    ) -> tuple[Tensor, Tensor]:
        p, surrogate, kernel = self._unpack(constants)
        return self.choose(kernel, x, p, surrogate).backward(x, v, grad_spikes, grad_v, p, surrogate)

    def _setup_context(self, ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, v, *constants = inputs
        ctx.save_for_backward(x, v)
        ctx.constants = constants

    def _autograd_backward(self, ctx: Any, grad_spikes: Tensor, grad_v: Tensor) -> tuple[Any, ...]:
        x, v = ctx.saved_tensors
        grad_x, grad_v0 = self._backward(x, v, grad_spikes, grad_v, *ctx.constants)
        return (grad_x, grad_v0, *(None for _ in ctx.constants))
