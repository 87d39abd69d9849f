"""Memory of training a spiking transformer, with and without a plan, against SpikingJelly: peak, kept, and its cost.

The network is that of ``transformer``: imported Spikformer, T = 4, batch norms and gradients as in training.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnkit.bench.harness import compare
from snnkit.bench.row import figure, rows
from snnkit.bench.transformer import BATCH, FromRest, network, saved_bytes, step
from snnkit.importers import from_spikingjelly
from snnkit.memory import Choice, Planned, measure, plan, simulate


def run(repeats: int) -> list[dict[str, Any]]:
    """Measure; needs spikingjelly (the test extra)."""
    found = []
    for patch, batch in BATCH.items():
        torch.manual_seed(0)
        net = network(patch).train()
        x = torch.randn(batch, 3, 64, 64)
        ours = from_spikingjelly(net).train().to(memory_format=torch.channels_last)
        found += _compared(f"Spikformer, patch {patch}", net, ours, x, repeats)
    return found


def _compared(case: str, net: nn.Module, ours: nn.Module, x: Tensor, repeats: int) -> list[dict[str, Any]]:
    """Peak and kept memory with and without a plan for half of the peer's peak, and what the plan costs in time.

    Parameters' gradients are there before, for both: they are the same and no activations.
    """
    peer = FromRest(net)
    _peak(peer, x), _peak(ours, x)
    theirs, kept = _peak(peer, x), saved_bytes(peer, x)
    half = plan(ours, x, theirs // 2, gradients=False)
    least = Planned(ours, Choice(bits=True, norms=True, layers=True))
    variants = {"snnkit": ours, f"snnkit planned ({half.choice})": half.apply(ours), f"snnkit ({least.choice})": least}
    timings = compare({"spikingjelly": step(peer, x), **{name: step(m, x) for name, m in variants.items()}}, repeats)
    found = rows(f"{case}, planned, against spikingjelly", timings, "spikingjelly")
    found += rows(f"{case}, planned, against snnkit", {n: timings[n] for n in variants}, "snnkit")
    error = abs(half.peak / _peak(half.apply(ours), x) - 1)
    found.append(figure(f"{case}: error of the predicted peak", "snnkit planned", error, "", 0.1))
    for name, module in variants.items():
        share = _peak(module, x) / theirs
        found.append(figure(f"{case}: peak activation memory against spikingjelly", name, share, "bytes", 0.5))
        share = _kept(module, x) / kept
        found.append(figure(f"{case}: memory kept against spikingjelly", name, share, "bytes", 0.5))
    return found


def _peak(module: nn.Module, x: Tensor) -> int:
    return measure(module, x, gradients=False)


def _kept(module: nn.Module, x: Tensor) -> int:
    """Bytes alive between forward and backward, parameters excepted: those of a simulation, where hooks hide them."""
    choice = module.choice if isinstance(module, Planned) else Choice()
    ours = module.model if isinstance(module, Planned) else module
    return simulate(ours, x, prepare=lambda twin: Planned(twin, choice), gradients=False).kept
