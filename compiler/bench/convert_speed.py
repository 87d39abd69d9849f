"""Converted networks: eight steps of the spiking form against one inference of the float network, on one thread.

Random weights, with batch statistics from the same kind of images: smooth noise of all sizes. Both ways to run the
spiking form have to give the same bits; the rows tell the ratio and the events of a neuron.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor, nn

from compiler.converting import Converted, convert
from compiler.converting.running import Stepper
from snnkit.bench.row import figure

STEPS, EXPONENT = 8, 2
BAR = 3.0


@dataclass(frozen=True)
class Case:
    """A network of timm, the side and number of its images, L, and the bar, None: reported alone."""

    network: str
    side: int
    batch: int
    levels: int
    bar: float | None = BAR

    def __str__(self) -> str:
        return f"{self.network}, {self.side}², batch {self.batch}, L = {self.levels}, K = {EXPONENT}"


CASES = (
    *(Case("resnet18", side, batch, levels) for side in (224, 64) for batch in (1, 4) for levels in (16, 32)),
    Case("mobilenetv2_100", 224, 1, 16, None),
    Case("efficientnet_lite0", 224, 1, 32, None),
    Case("deit_tiny_patch16_224", 224, 1, 16, None),
    Case("vit_small_patch16_224", 224, 1, 16, None),
)


def run(repeats: int) -> list[dict[str, Any]]:
    """Measure."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [row for case in CASES for row in measured(case, repeats)]
    finally:
        torch.set_num_threads(threads)


def measured(case: Case, repeats: int) -> list[dict[str, Any]]:
    """Return the rows of one case."""
    torch.manual_seed(0)
    model = settled(case.network, case.side)
    converted = convert(model, [images(4, case.side)], case.levels, EXPONENT, start="zero")
    x = images(case.batch, case.side)
    best = least(
        {
            "float": lambda: model(x),
            "spiking": lambda: converted.run(x, until=STEPS),
            "step by step": lambda: plainly(converted, x),
        },
        repeats,
    )
    if not torch.equal(converted.run(x, until=STEPS).logits, plainly(converted, x)):
        raise AssertionError(f"{case}: several steps at once differ from step by step")
    sent = converted.run(x, until=STEPS)
    found = []
    for variant in ("spiking", "step by step"):
        value = round(best[variant] / best["float"], 3)
        bar = case.bar if case.bar is not None and variant == "spiking" else float("inf")
        row = figure(f"{case}: {STEPS} steps, {variant}", "times one float inference", value, "x", bar)
        if bar == float("inf"):
            del row["bar"], row["reached"]
        row |= {"ms": round(best[variant] * 1e3, 2), "float_ms": round(best["float"] * 1e3, 2)}
        found.append(row | {"events_per_neuron": round(sent.events_per_neuron, 3), "rest": sent.rest})
    return found


def settled(network: str, side: int) -> nn.Module:
    """Return a network of timm in eval mode whose batch norms know images of this side."""
    sizes: dict[str, Any] = {"img_size": side} if "vit" in network or "deit" in network else {}
    model = timm.create_model(network, **sizes)
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 0.3
    model.train()
    with torch.no_grad():
        for _ in range(10 if norms else 0):
            model(images(8, side))
    return model.eval()


def images(count: int, side: int) -> Tensor:
    """Return smooth noise (count, 3, side, side) of unit deviation: the coarser, the stronger."""
    x = torch.zeros(count, 3, side, side)
    for order, grain in enumerate((32, 16, 8, 4, 2, 1), start=1):
        coarse = torch.randn(count, 3, max(side // grain, 1), max(side // grain, 1))
        x = x + nn.functional.interpolate(coarse, size=side, mode="bilinear") / order
    return x / x.std()


def plainly(converted: Converted, x: Tensor) -> Tensor:
    """Return the logits (T, B, …), computed step by step and node by node."""
    stepper = Stepper(converted.snn_graph, len(x), x, plainly=True)
    return torch.stack([stepper.step((x,))[0] for _ in range(STEPS)])


@torch.no_grad()
def least(variants: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Return the least process CPU seconds of each, taken in turns after two unmeasured calls of all."""
    best: dict[str, float] = {}
    gc.collect()
    gc.disable()
    try:
        for number in range(max(repeats, 1) + 2):
            for name, call in variants.items():
                started = time.process_time()
                call()
                taken = time.process_time() - started
                if number >= 2:
                    best[name] = min(taken, best.get(name, taken))
    finally:
        gc.enable()
    return best
