"""Comparing variants fairly: one process, interleaved A B A B, one thread, process CPU time, minimum and median.

Seconds differ from machine to machine and from minute to minute; the ratio of two variants that were measured in turns
is the result. Before each timed call of a variant the others have run, so caches and clocks treat all alike.
"""

from __future__ import annotations

import gc
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from snnkit import allocator


@dataclass(frozen=True)
class Timing:
    """Time of one variant in milliseconds, process CPU time as a rule: minimum and median over the repetitions."""

    min_ms: float
    median_ms: float

    def ratio_to(self, other: Timing) -> float:
        """How many times faster this variant is than ``other``, by minimum."""
        return other.min_ms / self.min_ms


def compare(
    variants: dict[str, Callable[[], Any]],
    repeats: int = 7,
    inner: int = 1,
    setup: Callable[[], Any] | None = None,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, Timing]:
    """Time all variants in turns.

    Args:
        variants: name → function without arguments; each is called twice first, unmeasured (compiling, warming up).
        repeats: rounds; in each round every variant runs once.
        inner: calls per measurement, for variants faster than about a millisecond; times are per call.
        setup: called before every measurement, unmeasured.
        clock: in seconds; another than process CPU time where other processes take part.
    """
    for run in variants.values():
        for _ in range(2):
            if setup:
                setup()
            run()
    taken: dict[str, list[float]] = {name: [] for name in variants}
    gc.collect()
    gc.disable()
    try:
        for _ in range(repeats):
            for name, run in variants.items():
                if setup:
                    setup()
                started = clock()
                for _ in range(inner):
                    run()
                taken[name].append((clock() - started) / inner * 1e3)
    finally:
        gc.enable()
    return {name: Timing(min(times), statistics.median(times)) for name, times in taken.items()}


def machine() -> dict[str, Any]:
    """Describe what the figures were taken on: versions, processor and its flags, threads, allocator, load."""
    versions = {}
    for name in ("torch", "numpy", "numba", "spikingjelly", "snntorch", "triton", "bitsandbytes"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    info = _cpuinfo()
    try:
        load = [round(value, 2) for value in os.getloadavg()]
    except OSError:
        load = []
    return {
        "python": platform.python_version(),
        "versions": versions,
        "cpu": info.get("model name", platform.processor()),
        "flags": sorted(f for f in info.get("flags", "").split() if f.startswith(("avx", "fma", "amx", "sse4", "bmi"))),
        "torch_threads": torch.get_num_threads(),
        "memory": allocator.describe(),
        "load": load,
    }


def _cpuinfo() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}
