"""Meta-SpikeFormer 15m at 224 × 224, T = 4, one image: against the same network with SpikingJelly's neurons.

Both have the same module tree, weights and stem (computed once in eval); the peer's neurons are ``LIFNode`` in
multi-step mode. Batch norms carry the statistics of data, and with ``shift`` a bias that makes layers fire more often.

| variant | what it is |
|---|---|
| snnkit | the network as it is |
| snnkit deployed | norms folded, scales in thresholds, RepConvs as 1×1, depthwise, 1×1 |
| snnkit deployed, one layer each | RepConvs merged into dense 3×3: 1.6 times as many operations |
| snnkit deployed, events | the first with event-driven layers where those are faster at these rates |
| snnkit by events | training with spikes as bits and gradients of weights summed over events |
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.bench.harness import compare
from snnkit.bench.row import figure, rows
from snnkit.bench.transformer import FromRest, from_rest, step
from snnkit.deploy import deploy, flip_rate
from snnkit.events import accelerate, train_by_events
from snnkit.memory import measure, plan
from snnkit.models import create_model
from snnkit.neurons import LIF
from snnkit.tape import record

_SHIFTS = (0.0, 0.5)
_BARS = {"snnkit deployed": 2.0, "snnkit deployed, events": 2.0}


def run(repeats: int) -> list[dict[str, Any]]:
    """Measure; needs spikingjelly (the test extra)."""
    torch.manual_seed(0)
    x = torch.randn(1, 3, 224, 224)
    found = []
    for shift in _SHIFTS:
        found += _inference(f"inference, norms shifted by {shift:g}", network(shift), x, repeats)
    return found + _training(network(0.0), x, repeats)


def network(shift: float) -> nn.Module:
    """Return the network with batch norms that hold the statistics of one batch of noise, and ``shift`` as bias."""
    torch.manual_seed(0)
    model = create_model("meta_spikeformer_15m").train()
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        nn.init.constant_(norm.bias, shift)
    with torch.no_grad():
        model(torch.randn(2, 3, 112, 112))
    for norm in norms:
        norm.momentum = 0.1
    return model.eval()


def with_spikingjelly(model: nn.Module) -> nn.Module:
    """Return a copy of ``model`` whose LIF neurons are SpikingJelly's."""
    from spikingjelly.activation_based import neuron, surrogate

    def replace(module: nn.Module) -> nn.Module:
        for name, child in module.named_children():
            if isinstance(child, LIF):
                node = neuron.LIFNode(
                    tau=child.tau,
                    decay_input=child.decay_input,
                    v_threshold=child.v_threshold,
                    v_reset=child.v_reset,
                    surrogate_function=surrogate.Sigmoid(alpha=4.0),
                    detach_reset=True,
                    step_mode="m",
                )
                setattr(module, name, node)
            else:
                replace(child)
        return module

    return replace(copy.deepcopy(model))


def _inference(case: str, model: nn.Module, x: Tensor, repeats: int) -> list[dict[str, Any]]:
    peer = from_rest(with_spikingjelly(model))

    def quiet(module: Callable[[Tensor], Tensor]) -> Callable[[], None]:
        def run_once() -> None:
            with torch.no_grad():
                module(x)

        return run_once

    deployed = deploy(model, fewest_operations=True)
    variants = {
        "spikingjelly": peer,
        "snnkit": model,
        "snnkit deployed": deployed,
        "snnkit deployed, one layer each": deploy(model),
        "snnkit deployed, events": accelerate(deployed, x),
    }
    timings = compare({name: quiet(module) for name, module in variants.items()}, repeats)
    found = rows(case, timings, "spikingjelly", _BARS)
    with torch.no_grad(), record(model) as tape:
        difference = (model(x) - peer(x)).abs().max().item()
    found.append(figure(case, "largest difference to spikingjelly's neurons", difference, "logits", 0.0))
    flips = flip_rate(model, deployed, x)
    found.append(figure(case, "mean flip rate of a layer, deployed", sum(flips.values()) / len(flips), "", 0.01))
    found[-1]["mean_rate"] = round(sum(tape.rates.values()) / len(tape.rates), 4)
    return found


def _training(model: nn.Module, x: Tensor, repeats: int) -> list[dict[str, Any]]:
    """Time and peak memory of a step; gradients of parameters are there before, for all: they are no activations."""
    peer = FromRest(with_spikingjelly(model)).train()
    ours = copy.deepcopy(model).train().to(memory_format=torch.channels_last)
    events = train_by_events(ours)
    codes, blocks = copy.deepcopy(events), copy.deepcopy(events)
    for part in codes.modules():
        if isinstance(part, LIF):
            part.save = "code8"
    blocks.set_grad_checkpointing()
    theirs = measure(peer, x, gradients=False)
    variants: dict[str, nn.Module] = {
        "spikingjelly": peer,
        "snnkit": ours,
        "snnkit by events": events,
        "snnkit by events, one byte a neuron and step": codes,
        "snnkit by events, blocks computed again": blocks,
        "snnkit planned for half the peer's memory": plan(ours, x, theirs // 2, gradients=False).apply(ours),
    }
    timings = compare({name: step(module, x) for name, module in variants.items()}, max(2, repeats // 2))
    found = rows("training", timings, "spikingjelly", {"snnkit by events": 1.5})
    for name in list(variants)[1:]:
        share = measure(variants[name], x, gradients=False) / theirs
        found.append(figure("training: peak activation memory against spikingjelly", name, share, "bytes", 0.5))
    return found
