"""Where sequences lie in memory, and sharing their neurons among threads: what the fused CPU kernels have in common."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch
from torch import Tensor

WORTH_SHARING = 1 << 15


def dense_steps(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``x``, or a copy, with every step dense in memory, and a tensor in whose layout its outputs are made.

    Steps may lie anywhere: an image that is repeated by ``expand`` is read T times from one place.
    """
    if x.is_neg():  # a view that is to be negated when read: kernels read memory
        x = x.resolve_neg()
    if x.is_contiguous():
        return x, x
    layout = torch.empty_like(x)  # allocated but never touched: costs an address range
    steps_apart = len(x) == 1 or layout.stride(0) == x[0].numel()
    if steps_apart and x.stride()[1:] == layout.stride()[1:]:
        return x, layout
    dense = x.contiguous()
    return dense, dense


def like(x: Tensor, layout: Tensor) -> Tensor:
    """Return ``x`` in the memory layout that ``empty_like`` gives for ``layout``."""
    if x.is_neg():
        x = x.resolve_neg()
    if x.stride() == layout.stride() and layout.is_contiguous():
        return x
    target = torch.empty_like(layout, dtype=x.dtype)
    return x if x.stride() == target.stride() else target.copy_(x)


def steps_like(layout: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """Return an empty sequence of ``steps`` whose steps lie in memory as those of ``layout`` do."""
    strides = (layout[0].numel(), *layout.stride()[1:])
    return torch.empty_strided((steps, *layout.shape[1:]), strides, dtype=dtype, device=layout.device)


def share(neurons: int, run: Callable[[slice], None]) -> None:
    """Call ``run`` on slices that cover all neurons: one, or where it pays one per torch thread at the same time.

    The shares run on Python threads, which wait without spinning: a second OpenMP pool beside torch's would fight it
    for the cores.
    """
    workers = torch.get_num_threads()
    if workers == 1 or neurons < WORTH_SHARING:
        run(slice(0, neurons))
        return
    size = -(-neurons // workers) + 63 & ~63
    starts = range(0, neurons, size)
    list(_pool(workers, os.getpid()).map(run, [slice(a, min(neurons, a + size)) for a in starts]))


@lru_cache(maxsize=1)
def _pool(workers: int, process: int) -> ThreadPoolExecutor:
    """Threads of this process; a forked child gets its own."""
    return ThreadPoolExecutor(workers, thread_name_prefix="snnkit")
