"""Memory of the C library, kept for the next training step instead of being given back to the system after each."""

from __future__ import annotations

import ctypes
import sys

# mallopt's parameters, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Ask glibc to reuse large freed blocks, and return whether it agreed; other C libraries are left alone.

    By default glibc returns every large block to the kernel, which zeroes fresh pages for the next step's activations:
    a fifth of the time of a small network. The process keeps its peak memory until it ends.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
