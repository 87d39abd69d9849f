"""The graph: what capturing costs and covers, and what interpreting and counting cost beside the network itself."""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import Tensor, nn

from compiler import capture, count, interpret
from compiler.bench.cost import in_process
from compiler.bench.published import listed, lively
from snnkit.bench.row import figure
from snnkit.models import create_model

_CAPTURED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("swinv2_base_window16_256", {}),
    ("meta_spikeformer_55m", {"timesteps": 1}),
    ("meta_spikeformer_55m", {"timesteps": 4}),
)
_MEAN_OVER_TIME = ("meta_spikeformer_seg_15m", "meta_spikeformer_seg_55m")
"""Networks whose middle is a mean over time, which has no place in one step: their default T is refused."""
_SPIKING = {"spikformer_cifar_4_256": (3, 32, 32), "meta_spikeformer_15m": (3, 224, 224), "ms_resnet18": (3, 128, 128)}
_STEPS, _BATCH = 4, 8
_BATCH_OF = {"meta_spikeformer_15m": 1, "ms_resnet18": 2}


def run(repeats: int) -> list[dict[str, Any]]:
    """Measure."""
    found = [row for name, settings in _CAPTURED for row in _cost(name, settings)]
    found += _interpreted(repeats)
    found += _counted(repeats)
    return found + _covered()


def _cost(name: str, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Seconds and bytes of one capture in a new process."""
    (made,), _ = in_process("once", name, json.dumps(settings))
    case = " ".join([f"{name}, capture", *(f"{key}={value}" for key, value in settings.items())])
    return [
        figure(case, "time", round(made["seconds"], 2), "s", 30.0),
        figure(case, "memory above the model's", round(made["bytes"] / 1e9, 3), "GB", 2.0),
    ]


def _interpreted(repeats: int) -> list[dict[str, Any]]:
    """Interpreting against calling the model, on the same batch, in turns."""
    cases: list[tuple[str, nn.Module, Tensor, Tensor]] = []
    for name, shape in _SPIKING.items():
        batch = _BATCH_OF.get(name, _BATCH)
        sizes: dict[str, Any] = {"img_size": shape[-1], "timesteps": _STEPS}
        x = torch.rand(_STEPS, batch, *shape)
        cases.append((f"{name}, T = {_STEPS}, batch {batch}", lively(create_model(name, **sizes)), x, x[0, :1]))
    for name, model, side, batch in (
        ("swinv2_tiny_window8_256", create_model("swinv2_tiny_window8_256"), 256, 1),
        ("uniformer_small", create_model("uniformer_small"), 224, 1),
        ("timm resnet50", timm.create_model("resnet50"), 224, 4),
        ("timm vit_small_patch16_224", timm.create_model("vit_small_patch16_224"), 224, 2),
    ):
        x = torch.rand(batch, 3, side, side)
        cases.append((f"{name}, batch {batch}", model, x, x[:1]))
    return [_ratio(case, model, x, example, repeats) for case, model, x, example in cases]


def _ratio(case: str, model: nn.Module, x: Tensor, example: Tensor, repeats: int) -> dict[str, Any]:
    """The median over rounds of interpreting's share of the model's time."""
    graph = capture(model.eval(), example)
    value = median_ratio(lambda: interpret(graph, x), _quiet(model, x), repeats)
    return figure(f"{case}: interpreted", "times the model", round(value, 3), "x", 1.3)


def _counted(repeats: int) -> list[dict[str, Any]]:
    """Counting a batch against inferring it."""
    found = []
    for name, shape in list(_SPIKING.items())[:2]:
        batch = _BATCH_OF.get(name, _BATCH)
        model = lively(create_model(name, img_size=shape[-1], timesteps=_STEPS))
        x = torch.rand(_STEPS, batch, *shape)
        graph = capture(model, x[0, :1])
        value = median_ratio(lambda graph=graph, x=x: count(graph, [x]), _quiet(model, x), repeats)  # type: ignore[misc]
        case = f"{name}, T = {_STEPS}, batch {batch}: counted"
        found.append(figure(case, "times an inference", round(value, 3), "x", 2.0))
    return found


def median_ratio(ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int) -> float:
    """Time both in turns, in process CPU time, and return the median over rounds of ours/theirs."""
    ratios = []
    for run_once in (theirs, ours, theirs, ours):  # warming up
        run_once()
    gc.collect()
    gc.disable()
    try:
        for _ in range(repeats):
            taken = []
            for run_once in (theirs, ours):
                started = time.process_time()
                run_once()
                taken.append(time.process_time() - started)
            ratios.append(taken[1] / taken[0])
    finally:
        gc.enable()
    return statistics.median(ratios)


def _covered() -> list[dict[str, Any]]:
    """How many networks of each family are captured at their default size."""
    found = []
    for family, names in listed().items():
        prefix = "timm:" if family.startswith("timm ") else ""
        made, end = in_process("each", *(prefix + name for name in names))
        captured = [one for one in made if not one["why"]]
        row = figure(f"{family}, default size", "captured", len(captured), f"of {len(names)}", len(names), False)
        missing = {one["name"].removeprefix(prefix): one["why"] for one in made if one["why"]}
        missing |= dict.fromkeys(names[len(made) :], f"the process ended: {end}")
        slowest = max((one["seconds"] for one in captured), default=0.0)
        found.append(row | {"slowest_s": round(slowest, 2)} | ({"missing": missing} if missing else {}))
    count_of = sum(len(in_process("once", name, json.dumps({"timesteps": 1}))[0]) for name in _MEAN_OVER_TIME)
    case = "segmentation networks, one time step"
    return [*found, figure(case, "captured", count_of, f"of {len(_MEAN_OVER_TIME)}", len(_MEAN_OVER_TIME), False)]


def _quiet(model: nn.Module, x: Tensor) -> Callable[[], None]:
    call: Callable[[Tensor], Any] = getattr(model, "forward_sequence", model)

    def run_once() -> None:
        with torch.no_grad():
            call(x)

    return run_once
