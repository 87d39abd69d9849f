"""What integers lack for training: a gradient through a rounding, and one through a neuron of whole numbers.

The values stay those of the chip, bit for bit; only the backward pass is of the float network that they stand for:

    rounding     d round(x) / dx = 1                                    straight through (Bengio et al., 1308.3432)
    spike        ds/dh = surrogate'(x) / (64 · scale)                   x = (h − 64·(vth + 1)) / (64 · scale)
    membrane     dh/dv = 1 − dv/4096,  dh/du = 1,  du/da = 64           decays without their rounding
    reset        dv/dh = 1 − s                                          the spike in it has no gradient

h is the membrane before the reset, in the chip's units, of which 64 · scale are one unit of the float membrane: x is
the distance to the threshold that the surrogate of the float neuron would get. Wraps and clips, which no proven network
reaches, are passed through.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compiler.targets.loihi import arithmetic
from snnkit.surrogates import Sigmoid, Surrogate

_SIGMOID: Any = Sigmoid()
_SURROGATE: ContextVar[Surrogate] = ContextVar("surrogate")


@contextmanager
def surrogate_gradient(surrogate: Surrogate) -> Iterator[None]:
    """Let integer neurons that run inside the block have the gradient of ``surrogate``."""
    token = _SURROGATE.set(surrogate)
    try:
        yield
    finally:
        _SURROGATE.reset(token)


def surrogate_now() -> Surrogate:
    """Return the surrogate of the block that is running; a sigmoid outside of one."""
    return _SURROGATE.get(_SIGMOID)


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


def rounded(x: Tensor) -> Tensor:
    """Return ``x`` rounded to whole numbers, halves to even; its gradient is that of ``x``."""
    return _Rounded.apply(x) if x.requires_grad else x.round()


@dataclass(frozen=True)
class Constants:
    """Of a population: decays of 4096, the threshold, and how many of its units one float unit of the membrane is."""

    du: int
    dv: int
    vth: int
    scale: float


def integrate_and_fire(
    drive: Tensor, u: Tensor, v: Tensor, constants: Constants, as_bias: bool, bias: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Advance integer neurons by one step, with a gradient: what ``arithmetic.step`` does with whole numbers.

    ``drive`` is the synaptic current or, ``as_bias``, what the bias register holds; ``bias`` is what it holds beside a
    current; all tensors have one floating-point type. Returns spikes, u, v in that type.
    """
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (drive, u, v, bias)):
        surrogate = surrogate_now()
        found: tuple[Tensor, Tensor, Tensor] = _Step.apply(drive, u, v, constants, as_bias, surrogate, bias)
        return found
    u, height, spikes = _heights(drive, u, v, constants, as_bias, bias)
    return spikes.to(drive.dtype), u.to(drive.dtype), height.masked_fill_(spikes, 0.0).to(drive.dtype)


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        drive: Tensor,
        u: Tensor,
        v: Tensor,
        constants: Constants,
        as_bias: bool,
        surrogate: Surrogate,
        bias: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        u, height, spikes = _heights(drive, u, v, constants, as_bias, bias)
        ctx.save_for_backward(height, spikes)
        ctx.given = constants, as_bias, surrogate
        return spikes.to(drive.dtype), u.to(drive.dtype), height.masked_fill(spikes, 0.0).to(drive.dtype)

    @staticmethod
    def backward(ctx: Any, d_spikes: Tensor, d_u: Tensor, d_v: Tensor) -> tuple[Tensor | None, ...]:
        height, spikes = ctx.saved_tensors
        c, as_bias, surrogate = ctx.given
        unit = c.scale * (1 << arithmetic.SHIFT)
        distance = (height - float((c.vth + 1) << arithmetic.SHIFT)) / unit
        d_height = d_spikes * surrogate.derivative(distance) / unit + d_v.masked_fill(spikes, 0.0)
        d_current = d_height + d_u
        d_drive = d_height if as_bias else d_current * float(1 << arithmetic.SHIFT)
        d_bias = d_height if ctx.needs_input_grad[6] else None
        return d_drive, d_current * _kept(c.du + 1), d_height * _kept(c.dv), None, None, None, d_bias


def _kept(decay: int) -> float:
    """The share of a state that is left after one step."""
    return (arithmetic.UNITY - decay) / arithmetic.UNITY


def _heights(
    drive: Tensor, u: Tensor, v: Tensor, c: Constants, as_bias: bool, bias: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the current, the membrane before the reset (float64, a new tensor each), and where it fires.

    float64 loses nothing: a state times a decay stays below 2^36. Where a current leaves the range of states, and so
    wraps, the integer text itself is run.
    """
    given, before = drive.double(), v.double()
    after = _decayed(u.double(), c.du + 1)
    if not as_bias:
        after += given * float(1 << arithmetic.SHIFT)
    if after.numel() and not _within(after):
        return _wrapped(given, u, v, c, bias)
    height = _decayed(before, c.dv) + after
    if as_bias:
        height += given
    if bias is not None:
        height += bias.double()
    height.clamp_(1 - arithmetic.LIMIT, arithmetic.LIMIT - 1)
    return after, height, height > float(c.vth << arithmetic.SHIFT)


def _within(current: Tensor) -> bool:
    low, high = torch.aminmax(current)
    return float(low) > -arithmetic.LIMIT and float(high) <= arithmetic.LIMIT


def _decayed(state: Tensor, decay: int) -> Tensor:
    return (state * _kept(decay)).trunc_()


def _wrapped(drive: Tensor, u: Tensor, v: Tensor, c: Constants, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """``_heights`` by the integer text, for synaptic currents; a bias alone stays within the range."""
    added, before = torch.zeros_like(drive).long() if bias is None else bias.long(), v.long()
    current, _, spikes = arithmetic.step(u.long(), before, drive.long(), added, c.du, c.dv, c.vth)
    height = arithmetic.clip_state(arithmetic.decay(before, c.dv) + current + added)
    return current.double(), height.double(), spikes
