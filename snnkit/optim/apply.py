"""One step of one tensor, by the fastest implementation that takes it: C on the CPU, Triton on a GPU, else torch.

The fallback is plain torch and not numba: it is the text of the rules itself, so it runs wherever torch does (a GPU
without Triton, a machine without a compiler) and is what the kernels are tested against.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path

import torch

from snnkit.errors import InvalidArgumentError
from snnkit.kernels import native
from snnkit.kernels.layout import share
from snnkit.optim import on_gpu
from snnkit.optim.quantisation import blocks_of, codebook, dequantise, quantise
from snnkit.optim.rules import COMPILED_ORDER
from snnkit.optim.step import Step

SOURCE = Path(__file__).parent / "csrc" / "blockwise.c"


def apply(step: Step) -> None:
    """Move parameters and states in place."""
    if not step.p.numel():
        return
    _check(step)
    if _c_takes(step):
        _by_c(step)
    elif step.p.device.type == "cuda" and on_gpu.supports(step):
        on_gpu.apply(step)
    else:
        by_torch(step)


def _check(step: Step) -> None:
    """Raise InvalidArgumentError unless gradient and states belong to the parameter: kernels count by it alone."""
    p, coded = step.p, step.absmax is not None
    kind = torch.uint8 if coded else None
    fits = step.g.shape == p.shape and step.g.dtype == p.dtype and step.g.is_contiguous() and p.is_contiguous()
    for state in step.states:
        fits = fits and state.numel() == p.numel() and state.is_contiguous() and state.device == p.device
        fits = fits and (state.dtype == kind if kind else state.dtype in (torch.float32, torch.float64))
    for absmax in step.absmax or ():
        fits = fits and absmax.numel() >= blocks_of(p.numel(), step.block_size) and absmax.dtype == torch.float32
        fits = fits and absmax.device == p.device and absmax.is_contiguous()
    if not fits:
        states = ", ".join(f"{state.dtype} {tuple(state.shape)}" for state in step.states)
        raise InvalidArgumentError(
            f"the optimizer's states ({states}) do not belong to a parameter of shape {tuple(p.shape)} in blocks of "
            f"{step.block_size}. Load the states of the same model and settings, or start them anew."
        )


def by_torch(step: Step) -> None:
    """Move parameters and states by the reference."""
    moments = step.rule.moments
    if step.absmax is None:
        new = step.rule.apply(step.p, step.g, step.states, step.numbers, step.out)
        for state, value in zip(step.states, new, strict=True):
            state.copy_(value)
        return
    old = [
        dequantise(codes, absmax, moment.signed, step.block_size).to(step.p.dtype)
        for codes, absmax, moment in zip(step.states, step.absmax, moments, strict=True)
    ]
    new = step.rule.apply(step.p, step.g, old, step.numbers, step.out)
    for codes, absmax, moment, value in zip(step.states, step.absmax, moments, new, strict=True):
        found = quantise(value, moment.signed, step.block_size, step.guard and moment.guarded)
        codes.copy_(found[0])
        absmax[: len(found[1])] = found[1]


def _c_takes(step: Step) -> bool:
    compiled = step.rule.number is not None and step.p.dtype == torch.float32
    return compiled and step.p.device.type == "cpu" and not native.why_not(SOURCE)


class _Book(ctypes.Structure):
    _fields_ = (
        *(("map", ctypes.c_void_p), ("bucket", ctypes.c_void_p)),
        *((name, ctypes.c_int32) for name in ("lowest", "span", "zero")),
    )


class _Job(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("p", "g", "out")),
        *(("state", ctypes.c_void_p * 2), ("absmax", ctypes.c_void_p * 2), ("book", _Book * 2)),
        *(("guard", ctypes.c_int32 * 2), ("count", ctypes.c_int64), ("block", ctypes.c_int64)),
        *((name, ctypes.c_int32) for name in ("rule", "full")),
        *((name, ctypes.c_float) for name in COMPILED_ORDER),
    )


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    loaded = native.load(SOURCE)
    loaded.snnkit_blockwise.restype = None
    loaded.snnkit_blockwise.argtypes = (ctypes.POINTER(_Job), ctypes.c_int64, ctypes.c_int64)
    return loaded


@lru_cache(maxsize=2)
def _book(signed: bool) -> _Book:
    book = codebook(signed)
    return _Book(book.values.data_ptr(), book.buckets.data_ptr(), book.lowest, book.span, book.zero)


def _by_c(step: Step) -> None:
    count, block = step.p.numel(), step.block_size
    job = _Job(p=step.p.data_ptr(), g=step.g.data_ptr(), count=count, block=block, rule=step.rule.number)
    job.full = step.absmax is None
    if step.out is not None:
        job.out = step.out.data_ptr()
    for name in COMPILED_ORDER:
        setattr(job, name, getattr(step.numbers, name))
    for i, moment in enumerate(step.rule.moments):
        job.state[i] = step.states[i].data_ptr()
        job.guard[i] = step.guard and moment.guarded
        if step.absmax is not None:
            job.absmax[i], job.book[i] = step.absmax[i].data_ptr(), _book(moment.signed)
    function = _library().snnkit_blockwise

    def run(part: slice) -> None:
        # Both ends are rounded up, so that shares that do not end with a block still meet.
        function(ctypes.byref(job), blocks_of(part.start, block), blocks_of(part.stop, block))

    share(count, run)
