"""AdamW with 8-bit states against torch's (foreach and fused, float32 states) and bitsandbytes' 8-bit one.

One parameter of 16.8 million numbers; a step reads a gradient and moves parameter and states. The peers get the same
parameter and gradient, each its own copy. bitsandbytes comes with the test extra; without it one row says so.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from snnkit.bench.harness import compare
from snnkit.bench.row import figure, rows
from snnkit.optim import AdamW8bit, optimizer_bytes

_COUNT = 1 << 24
_OURS, _FOREACH, _PEER = "snnkit AdamW8bit", "torch AdamW foreach", "bitsandbytes AdamW8bit"
_PEER_BAR, _FOREACH_BAR = 7.0, 1.4
_NANOSECONDS, _BYTES = 3.0, 2.04
_SETTINGS = {"lr": 1e-4, "weight_decay": 0.01}


def run(repeats: int) -> list[dict[str, Any]]:
    """Measure."""
    makers: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
        _OURS: lambda p: AdamW8bit(p, **_SETTINGS),
        _FOREACH: lambda p: torch.optim.AdamW(p, foreach=True, **_SETTINGS),
        "torch AdamW fused": lambda p: torch.optim.AdamW(p, fused=True, **_SETTINGS),
    }
    case = f"AdamW step, {_COUNT / 1e6:.1f} M parameters"
    found = []
    if find_spec("bitsandbytes"):
        import bitsandbytes

        makers[_PEER] = lambda p: bitsandbytes.optim.AdamW8bit(p, **_SETTINGS)
    else:
        found.append(figure(f"{case}: bitsandbytes is not installed", _PEER, 0, "rows", 1, at_most=False))
    optimizers = {name: make([_parameter()]) for name, make in makers.items()}
    timings = compare({name: optimizer.step for name, optimizer in optimizers.items()}, repeats)
    found += rows(case, timings, _FOREACH, {_OURS: _FOREACH_BAR})
    if _PEER in timings:
        both = {name: timings[name] for name in (_OURS, _PEER)}
        found += rows(case, both, _PEER, {_OURS: _PEER_BAR})
    taken = timings[_OURS].min_ms * 1e6 / _COUNT
    kept = optimizer_bytes(optimizers[_OURS])[0] / _COUNT
    found.append(figure(case, _OURS, round(taken, 3), "ns a parameter", _NANOSECONDS))
    found.append(figure(case, _OURS, round(kept, 4), "bytes of state a parameter", _BYTES))
    return found


def _parameter() -> nn.Parameter:
    generator = torch.Generator().manual_seed(0)
    parameter = nn.Parameter(torch.randn(_COUNT, generator=generator) * 0.02)
    parameter.grad = torch.randn(_COUNT, generator=generator) * 1e-3
    return parameter
