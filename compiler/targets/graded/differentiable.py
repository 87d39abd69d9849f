"""Graded neurons that train: forward is ``arithmetic.graded_step``, backward the float neuron's.

With x the membrane before the reset and unit = 64 · scale membrane units for one float unit of it:

    one level        dk/dx = surrogate'((x − θ) / unit) / unit
    several levels   dk/dx = 1/θ where 0 ≤ x ≤ levels · θ, else 0       the ends not where halves are rounded up
    sum of a step    dk/dx = 1/64                                       straight through the shift
    membrane         dx/dv = 1 − dv/2^bits,  dx/da = 64,  dx/dbias = 1
    reset            hard: dv/dx = 1 where it sends nothing, else 0;  soft and none: 1; the event in it has no gradient

Several levels: the clipped rounding of I-LIF, arXiv 2407.20708, and of E-SpikeFormer, arXiv 2411.16061.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from compiler.targets.graded import arithmetic
from compiler.targets.loihi.constants import MODES, RESETS
from compiler.targets.loihi.differentiable import surrogate_now
from snnkit.surrogates import Surrogate


def graded_lif(drive: Tensor, bias: Tensor | None, v: Tensor, attributes: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Advance neurons by one step; returns (levels, v) in the type of ``drive``.

    ``drive`` is the synaptic current, or what the bias register holds where the attribute drive says "bias"; ``bias``
    is what it holds beside a current. ``attributes`` are those of ``lif_graded``.
    """
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (drive, v, bias)):
        found: tuple[Tensor, Tensor] = _Step.apply(drive, bias, v, attributes, surrogate_now())
        return found
    kept, sent = _stepped(drive, bias, v, attributes)
    return sent.to(drive.dtype), kept.to(drive.dtype)


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, drive: Tensor, bias: Tensor | None, v: Tensor, a: Mapping[str, Any], surrogate: Surrogate
    ) -> tuple[Tensor, Tensor]:
        kept, sent = _stepped(drive, bias, v, a)
        # Without a reset the same step leaves the membrane as the threshold sees it.
        height, _ = _stepped(drive, bias, v, {**a, "reset": "none"})
        ctx.save_for_backward(height, sent)
        ctx.given = a, surrogate
        return sent.to(drive.dtype), kept.to(drive.dtype)

    @staticmethod
    def backward(ctx: Any, d_sent: Tensor, d_kept: Tensor) -> tuple[Tensor | None, ...]:
        height, sent = ctx.saved_tensors
        a, surrogate = ctx.given
        stays = (sent == 0).to(d_kept.dtype) if a["reset"] == "hard" else 1.0
        d_height = d_sent * _slope(height.to(d_sent.dtype), a, surrogate) + d_kept * stays
        as_bias = a["drive"] == "bias"
        d_drive = d_height if as_bias else d_height * float(1 << arithmetic.SHIFT)
        d_bias = d_height if ctx.needs_input_grad[1] else None
        return d_drive, d_bias, d_height * (1 - a["dv"] / (1 << a["decay_bits"])), None, None


def _slope(height: Tensor, a: Mapping[str, Any], surrogate: Surrogate) -> Tensor:
    """Return dk/dx."""
    theta = float(a["vth"] << arithmetic.SHIFT)
    if a["levels"] == 0:  # it never sends anything
        return torch.zeros_like(height)
    if a["mode"] == "threshold":
        unit = a["scale"] * (1 << arithmetic.SHIFT)
        slope: Tensor = surrogate.derivative((height - theta) / unit) / unit
        return slope
    if MODES[a["mode"]] == 3:
        return torch.full_like(height, 1 / (1 << arithmetic.SHIFT))
    most = a["levels"] * theta
    within = (height > 0) & (height < most) if a["mode"] == "half_up" else (height >= 0) & (height <= most)
    slope = within.to(height.dtype) / theta
    return slope


def _stepped(drive: Tensor, bias: Tensor | None, v: Tensor, a: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    none = torch.zeros_like(drive).long()
    current = none if a["drive"] == "bias" else drive.long()
    added = bias.long() if bias is not None else drive.long() if a["drive"] == "bias" else none
    constants = (a["dv"], a["vth"], a["levels"], MODES[a["mode"]], RESETS[a["reset"]], a["limit"], a["decay_bits"])
    kept, sent = arithmetic.graded_step(v.long(), current, added, *constants)
    return kept, sent
