"""Training steps with huge pages and kept memory (``snnkit.allocator``) against the same with plain memory.

An allocator is chosen when a process starts: each measurement is a process of its own, the variants in turns. Besides
processor time, each process says how much memory it had at most.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from snnkit import allocator
from snnkit.bench.harness import Timing
from snnkit.bench.row import figure, rows

_STEPS, _WARM = 8, 3
_BAR_MEMORY = 1.15
# Networks that are trained as recipes do, by name: model, its arguments, batch.
_NETWORKS: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "demo": ("spiking_cnn_small", {"in_chans": 1, "img_size": 28, "timesteps": 4}, (32, 1, 28, 28)),
    "meta_spikeformer_tiny": (
        "meta_spikeformer_tiny",
        {"in_chans": 1, "img_size": 28, "timesteps": 1, "stem_stride": 2, "threshold": 0.4},
        (128, 1, 28, 28),
    ),
    "spikformer_cifar_4_256": ("spikformer_cifar_4_256", {"img_size": 32, "timesteps": 4}, (16, 3, 32, 32)),
    "timm:resnet18": ("timm:resnet18", {}, (16, 3, 128, 128)),
}
LAYERS = ("LIF", "SpikingJelly's LIF")


def run(repeats: int) -> list[dict[str, Any]]:
    """Measure; needs spikingjelly (the test extra). Variants without their allocator are left out."""
    variants = _variants()
    found: list[dict[str, Any]] = []
    for case in (*LAYERS, *_NETWORKS):
        results: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
        for _ in range(max(repeats // 3, 1)):
            for name, variables in variants.items():
                results[name].append(measure(case, variables))
        timings = {
            name: Timing(min(ms for ms, _ in taken), statistics.median(ms for ms, _ in taken))
            for name, taken in results.items()
        }
        found += rows(case, timings, "plain")
        plain = max(size for _, size in results["plain"])
        for name in list(variants)[1:]:
            share = max(size for _, size in results[name]) / plain
            found.append(figure(f"{case}: memory at most, against plain", name, round(share, 3), "", _BAR_MEMORY))
    return found


def _variants() -> dict[str, dict[str, str]]:
    """Return the environment variables of each way to get memory, plain first; the last is what ``snnkit`` takes."""
    variants = {"plain": {allocator.SWITCH: "0"}, "glibc kept, huge pages": {allocator.SWITCH: "1"}}
    return variants | {
        f"{library.name} kept, huge pages": allocator.variables_for(library, path)
        for library, path in reversed(allocator.installed())
    }


def measure(case: str, variables: dict[str, str]) -> tuple[float, float]:
    """Return the median processor time of a step in ms and the most memory in MiB, of a new process."""
    clean = {k: v for k, v in os.environ.items() if k not in (allocator.SWITCH, allocator.PRELOAD)}
    done = subprocess.run(
        [sys.executable, "-m", __name__, case], capture_output=True, text=True, check=True, env=clean | variables
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return found["ms"], found["mib"]


def gain() -> str:
    """Return in words what huge pages and kept memory bring on this machine, as ``snnkit`` takes them."""
    variants = _variants()
    best = list(variants)[-1]
    try:
        (plain, _), (ours, _) = (measure(LAYERS[0], variants[name]) for name in ("plain", best))
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        return "could not be measured"
    return f"{plain:.1f} ms plain, {ours:.1f} ms with {best}: {plain / ours:.1f} times"


def _step(case: str) -> Callable[[], Any]:
    import torch

    if case in LAYERS:
        if case == "LIF":
            from snnkit.neurons import LIF

            layer: Any = LIF()
        else:
            from spikingjelly.activation_based.functional import reset_net
            from spikingjelly.activation_based.neuron import LIFNode

            node = LIFNode(step_mode="m")

            def layer(x: Any) -> Any:
                reset_net(node)
                return node(x)

        current = torch.randn(8, 16, 64, 32, 32, requires_grad=True)
        gradient = torch.randn(current.shape)
        return lambda: torch.autograd.grad(layer(current), current, gradient)
    from snnkit.layers.memory_order import channels_innermost
    from snnkit.models import create_model
    from snnkit.tasks.classification import channels_last

    name, arguments, shape = _NETWORKS[case]
    model = channels_innermost(create_model(name, num_classes=10, **arguments).train())
    images, labels = channels_last(torch.randn(shape)), torch.randint(10, (shape[0],))
    optimizer = torch.optim.AdamW(model.parameters())

    def step() -> None:
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    """Measure one case in this process and print its figures as JSON."""
    import torch

    allocator.prepare()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    step, taken = _step(sys.argv[1]), []
    for _ in range(_WARM + _STEPS):
        started = time.process_time()
        step()
        taken.append((time.process_time() - started) * 1e3)
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"ms": round(statistics.median(taken[_WARM:]), 3), "mib": round(mib, 1)}))


if __name__ == "__main__":
    main()
