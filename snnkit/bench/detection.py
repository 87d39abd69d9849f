"""A training step of spiking Mask R-CNN on Meta-SpikeFormer 15m, against the same network with SpikingJelly's neurons.

The published network: neck, proposals, box head and mask head spiking too, 34.9 M parameters, one image of 128 × 128
pixels with six things, 512 regions of it. Both have the same module tree, weights, RoIAlign and losses; the peer's
neurons are ``LIFNode`` in multi-step mode, and what is compared with is the faster and the smaller of it with and
without channels-last weights. Batch norms carry the statistics of noise.

| variant | what it is |
|---|---|
| snnkit | the network as it is, channels-last |
| snnkit by events | spikes as bits, gradients of weights summed over events where that is faster |
| snnkit by events, blocks computed again | that, and the backbone's blocks again in the backward |
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.bench.harness import compare
from snnkit.bench.meta_spikeformer import with_spikingjelly
from snnkit.bench.row import figure, rows
from snnkit.events import train_by_events
from snnkit.memory import measure
from snnkit.models import create_model

NAME, SIDE, CLASSES, THINGS = "mask_rcnn:meta_spikeformer_15m", 128, 80, 6
STEPS = (4, 1)
"""Time steps; the published network of this size has one."""


def run(repeats: int) -> list[dict[str, Any]]:
    """Measure; needs spikingjelly (the test extra)."""
    found = []
    for steps in STEPS:
        found += _training(f"training step, T = {steps}", steps, max(2, repeats // 2))
    return found


class Step(nn.Module):
    """A detector whose output are the losses of one image, summed, with the same regions in every call."""

    def __init__(self, detector: nn.Module):
        super().__init__()
        self.detector, self._targets = detector, things()

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the loss."""
        torch.manual_seed(0)
        return sum(self.detector(images_BCHW, self._targets).values())  # type: ignore[return-value]


def network(steps: int) -> nn.Module:
    """Return the detector in training, whose backbone's batch norms hold the statistics of noise."""
    torch.manual_seed(0)
    model = create_model(NAME, num_classes=CLASSES, timesteps=steps).train()
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model(torch.randn(2, 3, SIDE, SIDE), [*things(), *things()])
    for norm in norms:
        norm.momentum = 0.1
    return model


def things() -> list[dict[str, Tensor]]:
    """Return the targets of an image: boxes of several sizes whose masks fill them."""
    drawn = torch.Generator().manual_seed(0)
    corner = torch.rand(THINGS, 2, generator=drawn) * SIDE / 2
    boxes = torch.cat([corner, corner + 16 + torch.rand(THINGS, 2, generator=drawn) * (SIDE / 2 - 16)], 1).round()
    masks = torch.zeros(THINGS, SIDE, SIDE, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
        mask[top:bottom, left:right] = 1
    return [{"boxes": boxes, "labels": torch.arange(THINGS), "masks": masks}]


def _training(case: str, steps: int, repeats: int) -> list[dict[str, Any]]:
    x = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    plain = network(steps)
    peer = _from_rest(with_spikingjelly(plain))
    fast_peer = _from_rest(with_spikingjelly(plain)).to(memory_format=torch.channels_last)
    ours = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    events = train_by_events(ours)
    again: Any = copy.deepcopy(events)
    again.backbone.encoder.set_grad_checkpointing()
    variants = {
        "spikingjelly": Step(peer),
        "spikingjelly, channels last": Step(fast_peer),
        "snnkit": Step(ours),
        "snnkit by events": Step(events),
        "snnkit by events, blocks computed again": Step(again),
    }
    with torch.no_grad():
        difference = float(Step(plain)(x)) - float(variants["spikingjelly"](x))
    timings = compare({name: _step(variant, x) for name, variant in variants.items()}, repeats)
    best = min(("spikingjelly", "spikingjelly, channels last"), key=lambda name: timings[name].min_ms)
    found = rows(case, timings, best, {"snnkit by events": 1.5})
    found.append(figure(case, "difference of the loss, before channels-last", abs(difference), "", 1e-4))
    theirs = min(measure(variants[name], x, gradients=False) for name in list(variants)[:2])
    for name in list(variants)[2:]:
        share = measure(variants[name], x, gradients=False) / theirs
        found.append(figure(f"{case}: peak activation memory against spikingjelly", name, share, "bytes", 0.6))
    return found


def _from_rest(peer: nn.Module) -> nn.Module:
    """Have every neuron of the peer begin at rest whenever it is called: one stands before the maps of all levels."""
    from spikingjelly.activation_based.base import MemoryModule

    for part in peer.modules():
        if isinstance(part, MemoryModule):
            part.register_forward_pre_hook(lambda neuron, _: neuron.reset())
    return peer


def _step(module: nn.Module, x: Tensor) -> Callable[[], None]:
    def run_once() -> None:
        module.zero_grad()
        module(x).backward()

    return run_once
