"""The C library behind events: compiled at first use (``csrc/events.c``), or the reason why it cannot be had."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path

from snnkit.kernels import native

SOURCE = Path(__file__).parent / "csrc" / "events.c"

_LONG, _POINTER = ctypes.c_int64, ctypes.c_void_p
_SIGNATURES = {
    "snnkit_pack_rows": (_LONG, (_POINTER, _POINTER, _LONG, _LONG, _LONG)),
    "snnkit_pack_images": (_LONG, (_POINTER, _POINTER, _LONG, _LONG, _LONG, _LONG)),
    "snnkit_unpack_rows": (None, (_POINTER, _POINTER, _LONG, _LONG, _LONG)),
    "snnkit_popcount": (_LONG, (_POINTER, _LONG)),
    "snnkit_lists": (None, (_POINTER, _LONG, _LONG, _LONG, _POINTER, _POINTER)),
    "snnkit_events": (
        ctypes.c_int,
        (ctypes.c_char_p, _POINTER, _POINTER, _POINTER, ctypes.c_int, _POINTER, _POINTER, _POINTER, *[_LONG] * 3),
    ),
    "snnkit_depthwise": (
        None,
        (ctypes.c_char_p, _POINTER, _POINTER, ctypes.c_int, _POINTER, _POINTER, _POINTER, *[_LONG] * 3),
    ),
    "snnkit_grouped": (
        ctypes.c_int,
        (
            ctypes.c_char_p,
            _POINTER,
            _POINTER,
            _POINTER,
            _LONG,
            _POINTER,
            ctypes.c_int,
            _POINTER,
            _POINTER,
            _POINTER,
            *[_LONG] * 2,
        ),
    ),
    "snnkit_weight_gradient": (None, (ctypes.c_char_p, *[_POINTER] * 4, ctypes.c_int, *[_LONG] * 3)),
    "snnkit_scale": (None, (_POINTER, _LONG, _LONG, _POINTER, _POINTER)),
}


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """Return the compiled library.

    Raises:
        NoNativeKernelError: there is no compiler, or it failed; the message says which.
    """
    loaded = native.load(SOURCE)
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


@lru_cache(maxsize=1)
def why_not() -> str:
    """Return "" where events can be computed on this machine, else the reason."""
    return native.why_not(SOURCE)
