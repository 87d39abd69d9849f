"""What torch's allocator gives out and gets back on the CPU while something runs: one number of bytes each time.

Read from torch's legacy profiler, which costs a millisecond and records nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Any

import torch
from torch.autograd import ProfilerConfig, ProfilerState


def allocations(run: Callable[[], Any]) -> list[int]:
    """Return the bytes of every allocation (above 0) and release (below 0) on the CPU, in their order."""
    config = ProfilerConfig(
        ProfilerState.CPU, False, True, False, False, False, torch._C._profiler._ExperimentalConfig()
    )
    torch.autograd._enable_profiler_legacy(config)
    try:
        kept = run()
    finally:
        threads = torch.autograd._disable_profiler_legacy()
    del kept
    records = [record for thread in threads for record in thread]
    if len(threads) > 1:
        first = records[0]  # a list is empty while it is sorted
        records.sort(key=lambda record: first.cpu_elapsed_us(record))
    return [record.cpu_memory_usage() for record in records if record.kind() == "memory_alloc"]


def highest(changes: Iterable[int]) -> int:
    """Return the most bytes alive at any time, above those at the start."""
    return max(accumulate(changes), default=0)
