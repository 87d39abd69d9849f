"""The C code behind deployed window attention (``csrc/window.c``): float32 on the CPU, compiled at first use."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError, SnnkitError
from snnkit.kernels import native
from snnkit.kernels.layout import share

SOURCE = Path(__file__).parent / "csrc" / "window.c"

_LONG, _POINTER = ctypes.c_int64, ctypes.c_void_p
_SIGNATURES = {
    "snnkit_window_attention": (ctypes.c_int, (*[_POINTER] * 5, *[_LONG] * 6)),
    "snnkit_gelu": (None, (_POINTER, _LONG)),
    "snnkit_add_norm": (ctypes.c_int, (*[_POINTER] * 4, ctypes.c_float, _POINTER, *[_LONG] * 3)),
}


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    loaded = native.load(SOURCE)
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


def why_not(keys: int, channels: int) -> str:
    """Return "" where windows of ``keys`` tokens and heads of ``channels`` can be served, else the reason."""
    if keys % 4 or keys > 1024:
        return f"windows of {keys} tokens: a multiple of 4 up to 1024 is served"
    if channels % 32 or channels > 128:
        return f"heads of {channels} channels: 32, 64, 96 and 128 are served"
    return native.why_not(SOURCE)


def attention(qkv_BN3C: Tensor, scale_h: Tensor, bias_XSS: Tensor, kind_W: Tensor) -> Tensor:
    """Return cosine attention within windows, (B, N, C).

    Args:
        qkv_BN3C: queries, keys and values of the tokens, window by window; contiguous float32.
        scale_h: factor of each head's scores.
        bias_XSS: what is added to the scores of each kind of window and head, kind by kind.
        kind_W: the kind of each window of an image, int64.
    """
    batch, tokens, triple = qkv_BN3C.shape
    heads, keys = len(scale_h), bias_XSS.shape[-1]
    windows, channels = len(kind_W), triple // 3 // heads
    fits = tokens == windows * keys and triple == 3 * heads * channels and len(bias_XSS) % heads == 0
    fits = fits and bias_XSS.shape[1:] == (keys, keys) and kind_W.dtype == torch.int64 and kind_W.is_contiguous()
    if not fits or int(kind_W.min()) < 0 or int(kind_W.max()) >= len(bias_XSS) // heads:
        raise InvalidArgumentError(
            f"window attention: {tokens} tokens of {triple} numbers do not fit {windows} windows of {keys} tokens, "
            f"{heads} heads and biases {tuple(bias_XSS.shape)}. Give images of the size it was deployed for."
        )
    _check_floats("window attention", qkv_BN3C, scale_h, bias_XSS)
    out = qkv_BN3C.new_empty(batch, tokens, triple // 3)
    pointers = [part.data_ptr() for part in (qkv_BN3C, scale_h, bias_XSS, kind_W, out)]
    each = keys * channels  # work of a task in numbers

    def run(part: slice) -> None:
        first, end = -(-part.start // each), -(-part.stop // each)
        if _library().snnkit_window_attention(*pointers, windows, keys, heads, channels, first, end):
            raise SnnkitError(f"window attention refused {keys} tokens and heads of {channels} channels.")

    share(batch * windows * heads * each, run)
    return out


def gelu_(x: Tensor) -> Tensor:
    """Exact GELU in place, of contiguous float32; within 3e-7 · |x|."""
    _check_floats("gelu_", x)
    start = x.data_ptr()
    share(x.numel(), lambda part: _library().snnkit_gelu(start + 4 * part.start, part.stop - part.start))
    return x


def add_norm(x: Tensor, y: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Return x + norm(y), of contiguous float32 whose last axis is a multiple of 32."""
    channels = x.shape[-1]
    _check_floats("add_norm", x, y, norm.weight, norm.bias)
    if x.shape != y.shape or channels % 32 or norm.weight.shape != (channels,):
        raise InvalidArgumentError(
            f"add_norm takes two tensors of one shape whose last axis is the norm's and a multiple of 32, got "
            f"{tuple(x.shape)}, {tuple(y.shape)} and a norm of {tuple(norm.weight.shape)}."
        )
    out = torch.empty_like(x)
    pointers = [part.data_ptr() for part in (x, y, norm.weight, norm.bias)]

    def run(part: slice) -> None:
        first, end = -(-part.start // channels), -(-part.stop // channels)
        _library().snnkit_add_norm(*pointers, norm.eps, out.data_ptr(), channels, first, end)

    share(x.numel(), run)
    return out


def _check_floats(name: str, *tensors: Tensor) -> None:
    """Raise InvalidArgumentError unless all are contiguous float32 on the CPU, which the C code takes for granted."""
    for x in tensors:
        if x.dtype != torch.float32 or x.device.type != "cpu" or not x.is_contiguous():
            layout = "" if x.is_contiguous() else ", not contiguous"
            raise InvalidArgumentError(
                f"{name} takes contiguous float32 on the CPU, got {x.dtype} on {x.device}{layout}."
            )
