"""Charge–fire–reset fused over all time steps on the CPU, in C (``csrc/charge_fire_reset.c``).

Serves IF, LIF and parametric LIF: each describes itself by a ``Dynamics``. Sequences are read where they lie, in any
dense order of memory and also where ``expand`` repeats one step; results lie in memory as the input does. Large layers
are shared among torch's threads.
"""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from snnkit.errors import InvalidArgumentError, SnnkitError
from snnkit.kernels import native
from snnkit.kernels.call import Call, Gradients, Result, state_dtype
from snnkit.kernels.charge_fire_reset import code8_tables, is_no_reset, surrogate_width
from snnkit.kernels.layout import WORTH_SHARING, dense_steps, like, share, steps_like

SOURCE = Path(__file__).parent / "csrc" / "charge_fire_reset.c"

DECAYED_DIVIDE, PLAIN_DIVIDE, NO_LEAK, DECAYED_MULTIPLY, PLAIN_MULTIPLY = range(5)
_DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
SURROGATES = {
    name: number
    for number, name in enumerate(
        ("Sigmoid", "ATan", "PiecewiseQuadratic", "PiecewiseExp", "SoftSign", "SuperSpike", "Erf", "Rect")
    )
}
_SAVES = {"exact": 0, "code8": 1, "rect": 2}
_STREAMED_BYTES = 4 << 20  # results larger than this leave the cache before anyone reads them


# ``Setting`` and ``Arrays`` of the C file, field by field; packed bytes are cheaper to make than ctypes structures.
_SETTING = struct.Struct("=2q7i4x5d")
_ARRAYS = struct.Struct("=20q")


@dataclass(slots=True)
class Dynamics:
    """A charge–fire–reset neuron: ``charge`` is one of the constants above, ``tau`` its divisor (or factor 1/τ).

    ``tau`` and ``v_threshold`` may be tensors that broadcast to (B, …); then ``charge`` is one that multiplies.
    """

    charge: int
    tau: float | Tensor
    v_threshold: float | Tensor
    v_reset: float | None
    detach_reset: bool


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    library = native.load(SOURCE)
    for name, result in (("snnkit_cfr_forward", None), ("snnkit_cfr_backward", ctypes.c_int)):
        function = getattr(library, name)
        function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int64, ctypes.c_int64)
        function.restype = result
    return library


def supports(call: Call, charge_may_vary: bool = False) -> tuple[bool, str]:
    """Return whether the C kernel can run this, and why not."""
    x, surrogate = call.x, call.surrogate
    if x.device.type != "cpu":
        return False, f"C kernels run on the CPU, the input is on {x.device}."
    if x.dtype not in _DTYPES:
        return False, f"C kernels take float32, float64, bfloat16 and float16, got {x.dtype}."
    if call.tensors and not charge_may_vary:
        return False, f"this C kernel takes numbers, and {', '.join(call.tensors)} is a tensor."
    if "v_reset" in call.tensors:
        return False, "C kernels take a number for v_reset."
    if call.training and call.save != "code8" and type(surrogate).__name__ not in SURROGATES:
        return False, f"the surrogate {type(surrogate).__name__} has no C form."
    if call.training and call.save != "exact" and call.tensors:
        return False, f"with save={call.save!r} constants must be numbers: their gradient needs the input."
    reason = native.why_not(SOURCE)
    if reason:
        return False, reason
    if x.dtype == torch.float16 and not _library().snnkit_has_float16():
        return False, "this processor does not convert float16."
    return True, ""


def forward(call: Call, d: Dynamics, norm: tuple[Tensor, Tensor] | None = None) -> Result:
    """Run all time steps; results lie in memory as the input does.

    With ``norm``, scale and shift that broadcast to a step (B, …), the input is ``x * scale + shift``, in one pass and
    without a backward.
    """
    x = call.x
    dense, layout = dense_steps(x)
    spikes = torch.empty_like(layout)
    steps = x.shape[0]
    neurons = x.numel() // steps
    save = call.save if call.training else "exact"
    if save == "rect":
        check_rect(call, d)
    saved = empty_saved(layout, save)
    last = torch.empty_like(layout[0], dtype=state_dtype(x)) if call.keep_state else None
    start = None if call.state[0] is None else like(call.state[0], layout[0])
    decay, threshold = constants_per_neuron(call, d, layout)
    scale, shift = (None, None) if norm is None else (_per_neuron(value, layout) for value in norm)
    arrays = _ARRAYS.pack(
        dense.data_ptr(), _pointer(start), dense.stride(0), neurons, 0,
        _pointer(decay), _pointer(threshold), spikes.data_ptr(), _pointer(last), _pointer(saved),
        0, 0, 0, 0, 0, 0, 0, 0, _pointer(scale), _pointer(shift),
    )  # fmt: skip
    _run("snnkit_cfr_forward", neurons, _setting(call, d, steps, neurons, x, save), arrays)
    if layout is not x:
        spikes = like(spikes, x)
    return Result(spikes, (like(last, x[0]),) if call.keep_state else None, saved)


def backward(
    call: Call, saved: Tensor | None, grad_out: Tensor, grad_state: tuple[Tensor | None, ...], d: Dynamics
) -> Gradients:
    """Run backwards: recomputing membranes from the input, or from what the forward kept."""
    if call.x is None:
        dense, grad_x = saved, steps_like(saved, len(grad_out), grad_out.dtype)
    else:
        dense, layout = dense_steps(call.x)
        grad_x = torch.empty_like(layout)
    grads = like(grad_out, grad_x)
    steps = grad_out.shape[0]
    neurons = grad_out.numel() // steps
    dtype = state_dtype(grad_out)
    grad_last = None if grad_state[0] is None else like(grad_state[0].to(dtype), grad_x[0])
    start = None if call.state[0] is None else like(call.state[0], grad_x[0])
    grad_v0 = None if start is None else torch.empty_like(grad_x[0], dtype=dtype)
    by_name = {name: torch.empty_like(grad_x[0], dtype=dtype) for name in call.tensors}
    by_table = call.save == "code8" and type(call.surrogate).__name__ not in SURROGATES
    slopes, levels = code8_tables(call.surrogate)[:2] if by_table else (None, None)
    decay, threshold = constants_per_neuron(call, d, grad_x)
    arrays = _ARRAYS.pack(
        dense.data_ptr(), _pointer(start), dense.stride(0), neurons, grads.stride(0),
        _pointer(decay), _pointer(threshold), 0, 0, _pointer(saved),
        grads.data_ptr(), _pointer(grad_last), grad_x.data_ptr(), _pointer(grad_v0),
        _pointer(by_name.get("decay")), _pointer(by_name.get("v_threshold")), _pointer(slopes), _pointer(levels),
        0, 0,
    )  # fmt: skip
    _run("snnkit_cfr_backward", neurons, _setting(call, d, steps, neurons, grad_out, call.save), arrays)
    target = call.x if call.x is not None else grad_x
    grad_x = grad_x if grad_x.stride() == target.stride() else like(grad_x, target)
    to_start = None if grad_v0 is None else like(grad_v0, target[0])
    return Gradients(grad_x, (to_start,), reduce_to_constants(call, by_name, grad_x[0]))


def reduce_to_constants(call: Call, by_name: dict[str, Tensor], step: Tensor) -> tuple[Tensor, ...]:
    """Sum gradients per neuron (B, …) to each tensor constant in its own shape."""
    return tuple(
        by_name[name].sum_to_size(_padded(getattr(call.p, name), step)).reshape(getattr(call.p, name).shape)
        for name in call.tensors
    )


def check_rect(call: Call, d: Dynamics) -> None:
    """Raise InvalidArgumentError unless two bits per step are enough for the backward."""
    if type(call.surrogate).__name__ != "Rect" or not (d.detach_reset or is_no_reset(d.v_reset)):
        raise InvalidArgumentError(
            f"save='rect' keeps two bits a step, which is exact for the surrogate Rect with detach_reset=True; got "
            f"{call.surrogate} and detach_reset={d.detach_reset}. Take save='code8' or 'exact'."
        )


def _setting(call: Call, d: Dynamics, steps: int, neurons: int, like_x: Tensor, save: str) -> bytes:
    key = ("c", steps, neurons, like_x.dtype, save)
    packed = call.memo.get(key)
    if packed is not None:
        return packed
    soft, none = d.v_reset is None, d.v_reset is not None and is_no_reset(d.v_reset)
    packed = _SETTING.pack(
        steps, neurons, _DTYPES[like_x.dtype], d.charge, 2 if none else 1 if soft else 0,
        d.detach_reset, SURROGATES.get(type(call.surrogate).__name__, 0), _SAVES[save],
        steps * neurons * like_x.element_size() > _STREAMED_BYTES,
        0.5 if isinstance(d.tau, Tensor) else d.tau,
        1.0 if isinstance(d.v_threshold, Tensor) else d.v_threshold,
        0.0 if soft or none else d.v_reset, float(getattr(call.surrogate, "alpha", 1.0)),
        surrogate_width(call.surrogate) if save == "code8" else 0.0,
    )  # fmt: skip
    if not call.tensors:
        call.memo[key] = packed
    return packed


def _run(name: str, neurons: int, setting: bytes, arrays: bytes) -> None:
    function = getattr(_library(), name)
    if neurons < WORTH_SHARING or torch.get_num_threads() == 1:
        failed = function(setting, arrays, 0, neurons)
    else:
        each: list[int | None] = []
        share(neurons, lambda n: each.append(function(setting, arrays, n.start, n.stop)))
        failed = any(each)
    if failed:
        raise SnnkitError("there is no memory for the membranes of so many time steps; run shorter sequences.")


def _pointer(x: Tensor | None) -> int:
    return 0 if x is None else x.data_ptr()


def constants_per_neuron(call: Call, d: Dynamics, layout: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Return decay and threshold per neuron, in the order of memory of a step, where they are tensors."""
    if not call.tensors:
        return None, None
    return _per_neuron(d.tau, layout), _per_neuron(d.v_threshold, layout)


def _per_neuron(value: float | Tensor, layout: Tensor) -> Tensor | None:
    """A tensor constant as (B, …) in the order of memory of a step of ``layout``; None for numbers."""
    if not isinstance(value, Tensor):
        return None
    step, dtype = layout[0], state_dtype(layout)
    return torch.empty_like(step, dtype=dtype).copy_(value.detach().to(dtype).expand(step.shape))


def empty_saved(layout: Tensor, save: str) -> Tensor | None:
    """Return room for what the tier ``save`` keeps for the backward: bytes, or None."""
    rows = {"exact": 0, "code8": len(layout), "rect": -(-len(layout) // 4)}[save]
    return steps_like(layout, rows, torch.uint8) if rows else None


def _padded(constant: Tensor, step: Tensor) -> tuple[int, ...]:
    """Shape of a constant with leading ones, as ``sum_to_size`` wants it."""
    return (1,) * (step.ndim - constant.ndim) + tuple(constant.shape)
