"""numba's ``njit``, with what it compiles kept in the private folder of compiled kernels, or nowhere.

numba would keep it beside the source, or where neither that nor the user's cache folder can be written, refuse to
compile at all; and it unpickles what it finds, which must therefore be the user's own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from numba import njit
from numba.core import config

from snnkit.kernels.cache import NoCacheError, cache_folder, private_folder

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[_Function], _Function]:
    """Return the decorator ``numba.njit(**options)`` with a cache, where there is a safe place for one."""

    def decorate(function: _Function) -> _Function:
        given: str = config.CACHE_DIR  # type: ignore[attr-defined]
        folder = given or _folder()
        if not folder:
            return njit(**options)(function)  # type: ignore[no-any-return]
        config.CACHE_DIR = folder  # type: ignore[attr-defined]
        try:
            return njit(cache=True, **options)(function)  # type: ignore[no-any-return]
        except RuntimeError:  # the place cannot be written after all
            return njit(**options)(function)  # type: ignore[no-any-return]
        finally:
            config.CACHE_DIR = given  # type: ignore[attr-defined]

    return decorate


@cache
def _folder() -> str:
    """The private folder, or "" where there is none, or where it is root's."""
    if os.name != "posix":
        return ""
    try:
        folder = cache_folder()
        with private_folder(folder), private_folder(folder / "numba"):
            return str(folder / "numba") if os.access(folder / "numba", os.W_OK) else ""
    except NoCacheError:
        return ""
