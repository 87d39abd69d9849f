"""Counting: what it costs beside plain inference, and beside SpikingJelly's counters and NeuroBench's hooks.

All on the same network, in one process, in turns: the network as it is, our counts of the graph that was captured from
it before, SpikingJelly's counters at dispatch (multiply-accumulates and accumulates; synaptic operations alone), and
NeuroBench's synaptic operations by hooks on modules. Ours counts all operations, states, reads and writes, with
intervals; theirs count what their names say. NeuroBench is found in ``.venv-neurobench`` (``make peers``).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compiler import capture, count
from compiler.bench.published import lively
from compiler.graph import Graph
from compiler.passes import simplify
from snnkit.bench.harness import Timing, compare
from snnkit.bench.row import figure
from snnkit.models import create_model

STEPS = 4
NETWORKS: tuple[tuple[str, dict[str, Any], tuple[int, ...], tuple[int, ...]], ...] = (
    ("spiking_cnn_small", {"img_size": 28, "in_chans": 1}, (1, 28, 28), (1, 16)),
    ("sew_resnet18", {"img_size": 64}, (3, 64, 64), (1, 4)),
    ("spikformer_cifar_4_256", {"img_size": 32}, (3, 32, 32), (1, 8)),
    ("meta_spikeformer_tiny", {"img_size": 64, "in_chans": 3}, (3, 64, 64), (1, 8)),
    ("meta_spikeformer_15m", {"img_size": 224}, (3, 224, 224), (1,)),
)
"""Name, settings, shape of a frame, and the batches."""
BAR = 2.0
OURS, PLAIN, NEUROBENCH = "snnkit", "inference", "NeuroBench, synaptic operations"


def run(repeats: int) -> list[dict[str, Any]]:
    """Measure."""
    found = []
    for name, settings, shape, batches in NETWORKS:
        torch.manual_seed(0)
        model = lively(create_model(name, timesteps=STEPS, **settings))
        started = time.process_time()
        graph = simplify(capture(model, torch.rand(1, *shape)))
        seconds = time.process_time() - started
        found.append({"case": name, "variant": "captured once, before", "value": round(seconds, 2), "unit": "s"})
        for batch in batches:
            x = torch.rand(STEPS, batch, *shape)
            found += _rows(f"{name}, T = {STEPS}, batch {batch}", compare(_variants(model, graph, x), repeats))
    return found


def _variants(model: nn.Module, graph: Graph, x: Tensor) -> dict[str, Callable[[], Any]]:
    """Plain inference, ours, and the peers."""
    plain_and_ours: dict[str, Callable[[], Any]] = {
        PLAIN: lambda: _infer(model, x),
        OURS: lambda: count(graph, [x]),
    }
    return {**plain_and_ours, **_spikingjelly(model, x), **_neurobench(model, x)}


def _rows(case: str, timings: dict[str, Timing]) -> list[dict[str, Any]]:
    """Medians, their ratios to inference, and how many times faster than each peer ours is."""
    ours, plain = timings[OURS].median_ms, timings[PLAIN].median_ms
    row = figure(case, OURS, round(ours / plain, 3), "times an inference", BAR)
    rows = [
        row | _times(timings[OURS]),
        {"case": case, "variant": PLAIN, "value": 1.0, "unit": "", **_times(timings[PLAIN])},
    ]
    for name, timing in timings.items():
        if name not in (OURS, PLAIN):
            peer = figure(case, name, round(timing.median_ms / ours, 3), "times ours", 1.0, at_most=False)
            rows.append(peer | _times(timing) | {"times_an_inference": round(timing.median_ms / plain, 3)})
    return rows


def _times(timing: Timing) -> dict[str, float]:
    return {"min_ms": round(timing.min_ms, 3), "median_ms": round(timing.median_ms, 3)}


@torch.no_grad()
def _infer(model: nn.Module, x: Tensor) -> Any:
    call: Callable[[Tensor], Any] = getattr(model, "forward_sequence", model)
    return call(x)


def _spikingjelly(model: nn.Module, x: Tensor) -> dict[str, Callable[[], Any]]:
    """Their counters under their dispatch mode: the two that make an energy, and the least."""
    counters: Any = import_module("spikingjelly.activation_based.op_counter")

    def counted(*kinds: str) -> Callable[[], Any]:
        def run_once() -> None:
            with counters.DispatchCounterMode([getattr(counters, kind)() for kind in kinds]):
                _infer(model, x)

        return run_once

    return {
        "SpikingJelly, MAC and AC": counted("MACCounter", "ACCounter"),
        "SpikingJelly, synaptic operations": counted("SynOpCounter"),
    }


def _neurobench(model: nn.Module, x: Tensor) -> dict[str, Callable[[], Any]]:
    """Their metric as their benchmark runs it: hooks keep what layers read, and the metric runs the layers on it."""
    folder = Path(os.environ.get("SNNKIT_NEUROBENCH", ".venv-neurobench"))
    if not (folder / "neurobench").is_dir():
        return {}
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    wrapper: Any = import_module("neurobench.models").TorchModel
    metric: Any = import_module("neurobench.metrics.workload").SynapticOperations()
    watched = wrapper(model)
    data = (x.transpose(0, 1), torch.zeros(x.shape[1]))

    def run_once() -> Any:
        metric.reset()
        watched.register_hooks()
        try:
            made = _infer(model, x)
            with torch.no_grad():
                return metric(watched, made, data)
        finally:
            watched.cleanup_hooks()

    return {NEUROBENCH: run_once}
