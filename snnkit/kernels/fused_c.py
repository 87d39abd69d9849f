"""Charge–fire–reset fused over all time steps on the CPU, in C (``csrc/charge_fire_reset.c``).

Serves IF, LIF and parametric LIF: each describes itself by a ``Dynamics``. Sequences are read where they lie, in any
dense order of memory and also where ``expand`` repeats one step; results lie in memory as the input does. Large layers
are shared among torch's threads.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from snnkit.errors import InvalidArgumentError
from snnkit.kernels import native
from snnkit.kernels.call import Call, Gradients, Result, state_dtype
from snnkit.kernels.charge_fire_reset import code8_tables, is_no_reset, surrogate_width
from snnkit.kernels.layout import dense_steps, like, share

SOURCE = Path(__file__).parent / "csrc" / "charge_fire_reset.c"

DECAYED_DIVIDE, PLAIN_DIVIDE, NO_LEAK, DECAYED_MULTIPLY, PLAIN_MULTIPLY = range(5)
_DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
_SURROGATES = {
    name: number
    for number, name in enumerate(
        ("Sigmoid", "ATan", "PiecewiseQuadratic", "PiecewiseExp", "SoftSign", "SuperSpike", "Erf", "Rect")
    )
}
_SAVES = {"exact": 0, "code8": 1, "rect": 2}
_STREAMED_BYTES = 4 << 20  # results larger than this leave the cache before anyone reads them


class _Setting(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("steps", "neurons")),
        *((n, ctypes.c_int32) for n in ("dtype", "charge", "reset", "detach", "surrogate", "save", "stream")),
        *((name, ctypes.c_double) for name in ("tau", "threshold", "v_reset", "alpha", "width")),
    )


class _Arrays(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "v0")),
        *((name, ctypes.c_int64) for name in ("x_step", "out_step", "grad_step")),
        *((name, ctypes.c_void_p) for name in ("decay", "threshold", "out", "last", "saved", "grad_out", "grad_last")),
        *((name, ctypes.c_void_p) for name in ("grad_x", "grad_v0", "grad_decay", "grad_threshold")),
        *((name, ctypes.c_void_p) for name in ("slopes", "levels")),
    )


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
    for name in ("snnkit_cfr_forward", "snnkit_cfr_backward"):
        function = getattr(library, name)
        function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
        function.restype = None
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
    if call.training and call.save != "code8" and type(surrogate).__name__ not in _SURROGATES:
        return False, f"the surrogate {type(surrogate).__name__} has no C form."
    if call.training and call.save != "exact" and call.tensors:
        return False, f"with save={call.save!r} constants must be numbers: their gradient needs the input."
    reason = native.why_not(SOURCE)
    if reason:
        return False, reason
    if x.dtype == torch.float16 and not _library().snnkit_has_float16():
        return False, "this processor does not convert float16."
    return True, ""


def forward(call: Call, d: Dynamics) -> Result:
    """Run all time steps; results lie in memory as the input does."""
    x = call.x
    dense, layout = dense_steps(x)
    spikes = torch.empty_like(layout)
    save = call.save if call.training else "exact"
    if save == "rect":
        check_rect(call, d)
    saved = _empty_saved(layout, save)
    last = torch.empty_like(layout[0], dtype=state_dtype(x)) if call.keep_state else None
    kept = [_start(call, layout), *_constants(d, layout)]
    arrays = _Arrays(
        x=dense.data_ptr(), x_step=dense.stride(0), out=spikes.data_ptr(), out_step=layout[0].numel(),
        v0=_pointer(kept[0]), decay=_pointer(kept[1]), threshold=_pointer(kept[2]),
        last=_pointer(last), saved=_pointer(saved),
    )  # fmt: skip
    _run("snnkit_cfr_forward", _setting(call, d, layout, save), arrays)
    spikes, saved = like(spikes, x), saved
    return Result(spikes, (like(last, x[0]),) if call.keep_state else None, saved)


def backward(
    call: Call, saved: Tensor | None, grad_out: Tensor, grad_state: tuple[Tensor | None, ...], d: Dynamics
) -> Gradients:
    """Run backwards: recomputing membranes from the input, or from what the forward kept."""
    if call.x is None:
        dense, grad_x = saved, _steps_like(saved, len(grad_out), grad_out.dtype)
    else:
        dense, layout = dense_steps(call.x)
        grad_x = torch.empty_like(layout)
    grads = like(grad_out, grad_x)
    dtype = state_dtype(grad_out)
    grad_last = None if grad_state[0] is None else like(grad_state[0].to(dtype), grad_x[0])
    grad_v0 = None if call.state[0] is None else torch.empty_like(grad_x[0], dtype=dtype)
    to_constants = [torch.empty_like(grad_x[0], dtype=dtype) if name in call.tensors else None for name in _names(call)]
    tables = code8_tables(call.surrogate) if call.save == "code8" else (None, None)
    start = _start(call, grad_x)
    decay, threshold = _constants(d, grad_x)
    arrays = _Arrays(
        x=dense.data_ptr(), x_step=dense.stride(0), out_step=grad_x[0].numel(), v0=_pointer(start),
        decay=_pointer(decay), threshold=_pointer(threshold), saved=_pointer(saved),
        grad_out=grads.data_ptr(), grad_step=grads.stride(0), grad_last=_pointer(grad_last),
        grad_x=grad_x.data_ptr(), grad_v0=_pointer(grad_v0),
        grad_decay=_pointer(to_constants[0]), grad_threshold=_pointer(to_constants[1]),
        slopes=_pointer(tables[0]), levels=_pointer(tables[1]),
    )  # fmt: skip
    _run("snnkit_cfr_backward", _setting(call, d, grad_x, call.save), arrays)
    by_name = dict(zip(_names(call), to_constants, strict=True))
    tensors = tuple(
        by_name[name].sum_to_size(_padded(getattr(call.p, name), grad_x[0])).reshape(getattr(call.p, name).shape)
        for name in call.tensors
    )
    target = call.x if call.x is not None else grad_x
    return Gradients(like(grad_x, target), (None if grad_v0 is None else like(grad_v0, target[0]),), tensors)


def check_rect(call: Call, d: Dynamics) -> None:
    """Raise InvalidArgumentError unless two bits per step are enough for the backward."""
    if type(call.surrogate).__name__ != "Rect" or not (d.detach_reset or is_no_reset(d.v_reset)):
        raise InvalidArgumentError(
            f"save='rect' keeps two bits a step, which is exact for the surrogate Rect with detach_reset=True; got "
            f"{call.surrogate} and detach_reset={d.detach_reset}. Take save='code8' or 'exact'."
        )


def _names(call: Call) -> tuple[str, str]:
    """Names of the constants that play the parts of decay and threshold."""
    return ("decay", "v_threshold")


def _setting(call: Call, d: Dynamics, layout: Tensor, save: str) -> _Setting:
    soft, none = d.v_reset is None, d.v_reset is not None and is_no_reset(d.v_reset)
    alpha = float(getattr(call.surrogate, "alpha", 1.0))
    nbytes = layout.numel() * layout.element_size()
    return _Setting(
        len(layout), layout[0].numel(), _DTYPES[layout.dtype], d.charge, 2 if none else 1 if soft else 0,
        d.detach_reset, _SURROGATES.get(type(call.surrogate).__name__, 0), _SAVES[save], nbytes > _STREAMED_BYTES,
        0.5 if isinstance(d.tau, Tensor) else d.tau,
        1.0 if isinstance(d.v_threshold, Tensor) else d.v_threshold,
        0.0 if soft or none else d.v_reset, alpha, surrogate_width(call.surrogate) if save == "code8" else 0.0,
    )  # fmt: skip


def _run(name: str, setting: _Setting, arrays: _Arrays) -> None:
    function = getattr(_library(), name)
    s, a = ctypes.addressof(setting), ctypes.addressof(arrays)
    share(setting.neurons, lambda n: function(s, a, n.start, n.stop))


def _pointer(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()


def _start(call: Call, layout: Tensor) -> Tensor | None:
    return None if call.state[0] is None else like(call.state[0], layout[0])


def _constants(d: Dynamics, layout: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Return decay and threshold per neuron, in the order of memory of a step, where they are tensors."""
    step = layout[0]

    def per_neuron(value: float | Tensor) -> Tensor | None:
        if not isinstance(value, Tensor):
            return None
        dtype = state_dtype(layout)
        return torch.empty_like(step, dtype=dtype).copy_(value.detach().to(dtype).expand(step.shape))

    return per_neuron(d.tau), per_neuron(d.v_threshold)


def _empty_saved(layout: Tensor, save: str) -> Tensor | None:
    rows = {"exact": 0, "code8": len(layout), "rect": -(-len(layout) // 4)}[save]
    return _steps_like(layout, rows, torch.uint8) if rows else None


def _steps_like(layout: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """An empty sequence whose steps lie in memory as those of ``layout`` do."""
    strides = (layout[0].numel(), *layout.stride()[1:])
    return torch.empty_strided((steps, *layout.shape[1:]), strides, dtype=dtype, device=layout.device)


def _padded(constant: Tensor, step: Tensor) -> tuple[int, ...]:
    """Shape of a constant with leading ones, as ``sum_to_size`` wants it."""
    return (1,) * (step.ndim - constant.ndim) + tuple(constant.shape)
