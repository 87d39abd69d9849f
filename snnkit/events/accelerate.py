"""Event-driven layers in place of dense ones, in a copy of a network for inference."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.deploy import PointwiseConv1d, PointwiseConv2d
from snnkit.errors import InvalidArgumentError
from snnkit.events.base import DENSE, WEIGHTS, EventLayer
from snnkit.events.layers import EventConv, EventLinear
from snnkit.layers import sequence

# Exactly these: a subclass may compute something else with its weights.
STAND_INS: dict[type[nn.Module], type[EventLayer]] = {
    nn.Linear: EventLinear,
    nn.Conv1d: EventConv,
    nn.Conv2d: EventConv,
    PointwiseConv1d: EventConv,
    PointwiseConv2d: EventConv,
    sequence.Linear: EventLinear,
    sequence.Conv1d: EventConv,
    sequence.Conv2d: EventConv,
}


def accelerate(model: nn.Module, example: Tensor | None = None, weights: str = "float32") -> nn.Module:
    """Return a copy of ``model`` in eval mode whose linear layers and convolutions may compute by events.

    Each layer times both ways on its own input when it first sees a firing rate, and takes the faster one from then on.
    Layers that events cannot serve (other padding than zeros, foreign subclasses) stay as they are, with the
    reason in ``report``. Fold batch norms first: ``accelerate(deploy(model), example)``.

    Args:
        model: any network on the CPU.
        example: an input of the size to come; the copy runs on it once, so that the choices are made now.
        weights: "float32" (differs from ``model`` by rounding), or "int8" (quantised per output: judge the network by
            its task metric).

    Raises:
        InvalidArgumentError: ``weights`` is neither of the two.
    """
    if weights not in WEIGHTS:
        raise InvalidArgumentError(f"weights={weights!r}: allowed are {' and '.join(map(repr, WEIGHTS))}.")
    made = copy.deepcopy(model).eval()
    for parameter in made.parameters():
        parameter.requires_grad_(False)
    made = _replace(made, weights, {})
    if example is not None:
        with torch.no_grad():
            made(example)
    return made


def report(model: nn.Module) -> list[dict[str, Any]]:
    """Return a row per linear layer and convolution of an accelerated network: ``EventLayer.report`` and ``layer``.

    Layers that stayed dense have a row too, which says why.
    """
    rows = []
    for name, module in model.named_modules():
        if isinstance(module, EventLayer):
            rows.append({"layer": name, **module.report()})
        elif isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            row = {"kind": type(module).__name__, "weights": "float32", "rate": float("nan"), "chosen": DENSE}
            rows.append({"layer": name, **row, "reason": _why_dense(module), "times_ms": {}})
    return rows


def _replace(module: nn.Module, weights: str, done: dict[nn.Module, nn.Module]) -> nn.Module:
    """Return the stand-in of ``module``, or itself with its children replaced; shared layers stay shared."""
    if module in done:
        return done[module]
    done[module] = module
    stand_in = STAND_INS.get(type(module))
    if stand_in and not stand_in.unsupported(module) and not _has_hooks(module):
        done[module] = stand_in(module, weights).eval()
        return done[module]
    for name, child in module.named_children():
        replaced = _replace(child, weights, done)
        if replaced is not child:
            setattr(module, name, replaced)
    return module


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _why_dense(module: nn.Module) -> str:
    stand_in = STAND_INS.get(type(module))
    if stand_in is None:
        return f"{type(module).__name__} has no event-driven stand-in"
    return (
        stand_in.unsupported(module) or "it has forward hooks" * _has_hooks(module) or "the network is not accelerated"
    )
