"""The tracer neuron on a GPU, in Triton: one pass over memory for all time steps."""

from __future__ import annotations

import torch
from torch import Tensor

from snnkit.kernels import triton_call
from snnkit.kernels.call import Call, Gradients, Result
from snnkit.kernels.tracer.reference import GRADED

supports = triton_call.supports


def _settings(call: Call) -> tuple[tuple[float, ...], bool]:
    p = call.p
    graded = p.max_exponent == GRADED
    largest = float(p.high - p.low) if graded else 2.0**p.max_exponent
    return (p.scale, float(p.low), float(p.high), largest), graded


def forward(call: Call) -> Result:
    """Run all time steps."""
    from snnkit.kernels.gpu import tracer as source

    numbers, graded = _settings(call)
    return triton_call.forward(call, source.forward, numbers, GRADED=graded)


def backward(call: Call, saved: Tensor | None, grad_out: Tensor, grad_state: tuple[Tensor | None, ...]) -> Gradients:
    """Run backwards, recomputing from the input where levels were within their bounds."""
    from snnkit.kernels.gpu import tracer as source

    numbers, graded = _settings(call)
    return triton_call.backward(call, grad_out, grad_state, source.backward, numbers, torch.int8, GRADED=graded)
