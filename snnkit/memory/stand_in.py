"""Neurons in a simulation: the operator's own path and choice of kernel, with kernels that only allocate.

Fused kernels read memory, which fake tensors do not have; in their place stands a kernel that asks for the same tensors
and computes nothing. The reference kernel is plain torch and runs as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.kernels import Operator
from snnkit.kernels.call import Call, Gradients, Kernel, Prepared, Result, state_dtype
from snnkit.kernels.layout import dense_steps, like
from snnkit.neurons import PointNeuron

_ROWS = {"code8": 1, "rect": 4}
"""Time steps per byte that a tier keeps."""

_FUSED = ("numba", "c", "triton")
"""Names of the kernels that read memory themselves."""


@dataclass(frozen=True)
class Allocating:
    """Allocates what a fused kernel does.

    Attributes:
        scratch: whether the backward keeps all membranes in a tensor (the Triton kernels do).
    """

    scratch: bool

    def supports(self, call: Call) -> tuple[bool, str]:
        """Whatever was chosen before."""
        return True, ""

    def forward(self, call: Call) -> Result:
        """Spikes, the last state where it is wanted, and what the tier keeps."""
        x = call.x
        assert x is not None
        _, layout = dense_steps(x)
        spikes = torch.empty_like(layout)
        saved = None
        if call.training and call.save != "exact":
            saved = _like_steps(layout, -(-len(x) // _ROWS[call.save]), torch.uint8)
        last = [torch.empty_like(layout[0], dtype=state_dtype(x)) for _ in call.rest] if call.keep_state else []
        return Result(like(spikes, x), tuple(like(v, x[0]) for v in last) if call.keep_state else None, saved)

    def backward(
        self, call: Call, saved: Tensor | None, grad_out: Tensor, grad_state: tuple[Tensor | None, ...]
    ) -> Gradients:
        """Gradients to the input, the starting state and the constants."""
        if call.x is None:
            assert saved is not None
            grad_x = _like_steps(saved, len(grad_out), grad_out.dtype)
        else:
            grad_x = torch.empty_like(dense_steps(call.x)[1])
        grads = like(grad_out, grad_x)
        charged = torch.empty_like(grad_x, dtype=state_dtype(grad_x)) if self.scratch else None
        step, dtype = grad_x[0], state_dtype(grad_x)
        state = tuple(None if v is None else torch.empty_like(step, dtype=dtype) for v in call.state)
        tensors = [torch.empty_like(step, dtype=dtype) for _ in call.tensors]
        del grads, charged
        shapes = [getattr(call.p, name) for name in call.tensors]
        return Gradients(
            grad_x if call.x is None else like(grad_x, call.x),
            state,
            tuple(torch.empty_like(shape) for shape, _ in zip(shapes, tensors, strict=True)),
        )


class StandIn:
    """An ``Operator`` whose fused kernels only allocate; everything else is the operator's."""

    def __init__(self, operator: Operator):
        self.real = operator

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def run(
        self, x: Tensor, state: Any, given: Prepared, keep_state: bool = True
    ) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """Run a sequence as ``Operator.run`` does."""
        return self.real.run_simulated(x, state, given, keep_state, self._stand_in)

    def _stand_in(self, given: Prepared, call: Call) -> Kernel:
        chosen = self.real.choose(given.kernel, call)
        fused = {name for name in _FUSED if chosen is self.real.kernels.get(name)}
        return Allocating(scratch="triton" in fused) if fused else chosen


def stand_in(model: nn.Module) -> None:
    """Give every neuron of ``model`` (a copy for simulation) such an operator."""
    for module in model.modules():
        if isinstance(module, PointNeuron):
            module.operator = StandIn(module.operator)  # type: ignore[assignment]


def _like_steps(layout: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    strides = (layout[0].numel(), *layout.stride()[1:])
    return torch.empty_strided((steps, *layout.shape[1:]), strides, dtype=dtype, device=layout.device)
