"""What a capture costs, in a process of its own that prints one JSON line a network: ``python -m compiler.bench.cost``

once NAME SETTINGS     seconds, and bytes above those held before, of one capture; SETTINGS are JSON
each [timm:]NAME …     whether each is captured at its default size, in how long, and why not
equal [timm:]NAME …    whether each graph, interpreted, is the network, at its default size in float64
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import snnkit
from compiler import capture, interpret
from compiler.bench.published import built, lively
from compiler.capturing.step import over_sequences
from compiler.errors import CaptureError
from snnkit.neurons import PointNeuron

LARGEST = 150_000_000
"""Parameters up to which a network is run in float64."""


def once(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Capture a network in a process that has captured nothing yet."""
    model, x = built(name, fill=True, **settings)
    before = reset_peak()
    started = time.process_time()
    graph = capture(model, x)
    seconds = time.process_time() - started
    return {"name": name, "seconds": seconds, "bytes": peak() - before, "nodes": len(graph)}


def each(name: str) -> dict[str, Any]:
    """Try one network; a refusal is its first line."""
    model, x = built(name.removeprefix("timm:"), timm=name.startswith("timm:"))
    started = time.process_time()
    try:
        nodes, why = len(capture(model, x)), ""
    except CaptureError as error:
        nodes, why = 0, str(error).splitlines()[0]
    return {"name": name, "seconds": time.process_time() - started, "nodes": nodes, "why": why}


def equal(name: str) -> dict[str, Any]:
    """Compare one network with its graph on one sample: every output of every step, every spike."""
    plain, timm = name.removeprefix("timm:"), name.startswith("timm:")
    if sum(p.numel() for p in built(plain, timm)[0].parameters()) > LARGEST:
        return {"name": name, "why": f"not run: more than {LARGEST:,} parameters"}
    model, x = built(plain, timm, fill=True)
    torch.manual_seed(0)
    model, x = lively(model).double(), torch.rand(x.shape, dtype=torch.float64)
    try:
        graph = capture(model, x)
    except CaptureError as error:
        return {"name": name, "why": str(error).splitlines()[0]}
    wanted, spikes = _run(model, x.expand(graph.timesteps, *x.shape) if _on_sequences(model) else x)
    outputs, records = interpret(graph, x, probes=[graph.node(layer).output for layer in spikes])
    got = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    differ = [_difference(ours, theirs) for ours, theirs in zip(got, wanted, strict=True)]
    missed = sum(int((records[graph.node(k).output].reshape(v.shape) != v).sum()) for k, v in spikes.items())
    compared = sum(v.numel() for v in spikes.values())
    return {"name": name, "why": "", "difference": max(differ), "spikes_differ": missed, "spikes_compared": compared}


def _on_sequences(model: nn.Module) -> bool:
    return hasattr(model, "forward_sequence") or hasattr(model, "timesteps")


def _run(model: nn.Module, x: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Outputs, and the spikes of every neuron by its path."""
    with torch.no_grad(), snnkit.record(model) as tape:
        outputs = pytree.tree_leaves(over_sequences(model)(x))
    spikes = {name: layer.spikes for name, layer in tape.layers.items() if isinstance(layer.neuron, PointNeuron)}
    return outputs, spikes


def _difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference of the values, relative to the largest of them or to 1; infinite where one is no number."""
    value = float((ours.reshape(theirs.shape) - theirs).abs().max()) / max(1.0, float(theirs.abs().max()))
    return value if value == value else float("inf")


def in_process(*arguments: str) -> tuple[list[dict[str, Any]], str]:
    """Return what a process of its own printed, a line a network, and the last it said where it ended early."""
    command = [sys.executable, "-m", "compiler.bench.cost", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stderr.strip().splitlines() if done.returncode else []
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return lines, said[-1] if said else f"exit status {done.returncode}"


def _status(key: str) -> int:
    """Bytes that Linux states for this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def reset_peak() -> int:
    """Forget the highest memory so far and return what is held now."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> int:
    """Return the most memory held since then, in bytes."""
    return _status("VmHWM")


def main(arguments: list[str]) -> None:
    """Run one of the three."""
    torch.set_num_threads(1)
    what, *rest = arguments
    if what == "once":
        print(json.dumps(once(rest[0], json.loads(rest[1]))), flush=True)
        return
    for name in rest:
        print(json.dumps({"each": each, "equal": equal}[what](name)), flush=True)
        gc.collect()


if __name__ == "__main__":
    main(sys.argv[1:])
