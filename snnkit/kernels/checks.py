"""What is checked before a kernel reads memory: that every tensor has the shape, type and device that its loops assume.

A kernel takes pointers and counts from ``x`` alone, so a state of another shape or dtype would be read beyond its end.
The comparisons are few and cheap: they cost a small layer about a microsecond.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from snnkit.errors import InvalidArgumentError
from snnkit.kernels.call import Call, state_dtype

_REAL = frozenset((torch.float32, torch.float64, torch.bfloat16, torch.float16))
_STRIDED = torch.strided
_ROWS = {"code8": 1, "rect": 4}
"""Time steps in a row of what a tier keeps."""


def check_operands(who: Any, x: Tensor, state: Sequence[Tensor | None] | None) -> None:
    """Raise InvalidArgumentError unless ``x`` is a sequence (T, …) of real numbers and each state fits its steps."""
    if x.dtype not in _REAL or x.layout is not _STRIDED or not x.ndim or not x.shape[0]:
        raise InvalidArgumentError(
            f"{_name(who)} takes a dense sequence (T, B, …) with T ≥ 1 of float32, float64, bfloat16 or float16, "
            f"got {_kind(x)}."
        )
    if state is not None:
        check_states(who, x, state)
        if len(state) != len(who.state_names):
            names = ", ".join(who.state_names) or "none"
            raise InvalidArgumentError(f"{who.name} takes {len(who.state_names)} states ({names}), got {len(state)}.")


def check_states(who: Any, x: Tensor, state: Sequence[Tensor | None], shapes: bool = True) -> None:
    """Raise InvalidArgumentError unless each state that is given fits a step of ``x`` (T, …).

    Without ``shapes`` these are not looked at: in a simulation they may be symbols, which must not be compared.
    """
    step = None
    for place, v in enumerate(state):
        if v is None:
            continue
        if step is None:
            step, dtype, device = x.shape[1:], state_dtype(x), x.device
        wrong = v.dtype is not dtype or v.device != device or v.layout is not _STRIDED
        if wrong or (shapes and v.shape != step):
            names = getattr(who, "state_names", ())
            raise InvalidArgumentError(
                f"{_name(who)}: the state {names[place] if place < len(names) else place} is {_kind(v)}, but this "
                f"input takes {dtype} of shape {tuple(step)} on {device}."
            )


def check_constants(who: Any, p: Any, names: Sequence[str], step: torch.Size) -> None:
    """Raise InvalidArgumentError unless every tensor constant is real and broadcasts to a step (B, …)."""
    for name in names:
        check_broadcast(who, f"the constant {name}", getattr(p, name), step)


def check_broadcast(who: Any, what: str, value: Tensor, step: torch.Size) -> None:
    """Raise InvalidArgumentError unless ``value`` is real and broadcasts to a step (B, …)."""
    sizes = zip(reversed(value.shape), reversed(step), strict=False)
    fits = value.ndim <= len(step) and all(own in (1, size) for own, size in sizes)
    if not fits or value.is_complex() or value.layout is not _STRIDED:
        raise InvalidArgumentError(
            f"{_name(who)}: {what} is {_kind(value)}, wanted real numbers that broadcast to a step {tuple(step)} of "
            "the input."
        )


def check_backward(
    who: Any, call: Call, saved: Tensor | None, grad_out: Tensor, grad_state: Sequence[Tensor | None]
) -> None:
    """Raise InvalidArgumentError unless what arrives at a backward belongs to one and the same sequence."""
    check_operands(who, grad_out, call.state)
    check_operands(who, grad_out, grad_state)
    if call.save == "exact":
        check_same(who, call.x, (grad_out.shape, grad_out.dtype, grad_out.device))
    else:
        check_saved(who, saved, grad_out, call.save)
    check_constants(who, call.p, call.tensors, grad_out.shape[1:])


def check_same(who: Any, x: Tensor | None, kind: tuple[torch.Size, torch.dtype, torch.device]) -> None:
    """Raise InvalidArgumentError unless the input that comes back for the backward is of the forward's kind."""
    if x is None or (x.shape, x.dtype, x.device) != kind or x.layout is not _STRIDED:
        shape, dtype, device = kind
        raise InvalidArgumentError(
            f"the backward of {_name(who)} got {'no input' if x is None else 'an input of ' + _kind(x)}, the forward "
            f"had {dtype} of shape {tuple(shape)} on {device}."
        )


def check_saved(who: Any, saved: Tensor | None, grad_out: Tensor, save: str) -> None:
    """Raise InvalidArgumentError unless ``saved`` is what the tier ``save`` keeps: dense bytes, row after row."""
    rows = -(-grad_out.shape[0] // _ROWS[save])
    shape = (rows, *grad_out.shape[1:])
    right = saved is not None and saved.dtype is torch.uint8 and saved.layout is _STRIDED and saved.shape == shape
    if not right or saved.device != grad_out.device or not _dense(saved):  # type: ignore[union-attr,arg-type]
        given = "nothing" if saved is None else _kind(saved) + f", strides {saved.stride()}"
        raise InvalidArgumentError(
            f"the backward of {_name(who)} with save={save!r} takes the bytes that its forward kept, dense uint8 of "
            f"shape {shape} on {grad_out.device}, got {given}."
        )


def _dense(saved: Tensor) -> bool:
    """Whether steps follow one another and each fills its memory: kernels count on from the first byte."""
    expected = 1
    for size, stride in sorted(zip(saved.shape[1:], saved.stride()[1:], strict=True), key=lambda pair: pair[1]):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return saved.shape[0] <= 1 or saved.stride(0) == expected or not saved.numel()


def _kind(x: Tensor) -> str:
    layout = "" if x.layout is _STRIDED else f" ({str(x.layout).removeprefix('torch.')})"
    return f"{x.dtype}{layout} of shape {tuple(x.shape)} on {x.device}"


def _name(who: Any) -> str:
    """The name of an operator, or what its constants are called after."""
    return getattr(who, "name", None) or type(who).__name__.removesuffix("Parameters")
