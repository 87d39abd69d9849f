"""A spiking transformer end to end: SpikingJelly's Spikformer, imported, against the original and torch.compile of it.

4.1 M parameters, T = 4, 64 × 64 images, patches of 16 and of 4; batch norms carry random statistics, so that layers
fire between 1 and 30 %. ``snnkit`` is the imported network as it is, in training with channels-last weights; ``snnkit
deployed`` has its norms folded and its layers channels-last; ``snnkit events`` is that with event-driven layers, in
float32 or with int8 weights (whose flips are those of quantisation: their bound here is our own, not a published one).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.bench.harness import compare
from snnkit.bench.row import figure, rows
from snnkit.deploy import deploy, flip_rate
from snnkit.events import accelerate
from snnkit.importers import from_spikingjelly
from snnkit.tape import record

BATCH = {16: 4, 4: 1}
_BARS = {"snnkit deployed": 2.0, "snnkit events float32": 2.0, "snnkit events int8": 4.5}


def run(repeats: int) -> list[dict[str, Any]]:
    """Measure; needs spikingjelly (the test extra)."""
    found = []
    for patch, batch in BATCH.items():
        torch.manual_seed(0)
        net = network(patch)
        x = torch.randn(batch, 3, 64, 64)
        ours = from_spikingjelly(net)
        found += _inference(f"Spikformer inference, patch {patch}", net, ours, x, repeats)
        found += _training(f"Spikformer training, patch {patch}", net, ours, x, repeats)
    return found


def network(patch: int) -> nn.Module:
    """Return SpikingJelly's Spikformer for patches of that size."""
    from spikingjelly.activation_based.model.spikformer import Spikformer

    net = Spikformer(T=4, img_size_h=64, img_size_w=64, patch_size=patch, num_classes=10, embed_dims=256, num_heads=8)
    for part in net.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.1, 0.3)
            nn.init.uniform_(part.weight, 1.0, 2.5)
    return net.eval()


def from_rest(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the peer's network as a function that begins at rest."""
    from spikingjelly.activation_based import functional

    def run_once(x: Tensor) -> Tensor:
        functional.reset_net(net)
        return net(x)

    return run_once


def _compiled(net: nn.Module) -> Callable[[Tensor], Tensor]:
    from spikingjelly.activation_based import functional

    compiled = torch.compile(net)

    def run_once(x: Tensor) -> Tensor:
        functional.reset_net(net)
        return compiled(x)

    return run_once


def _inference(case: str, net: nn.Module, ours: nn.Module, x: Tensor, repeats: int) -> list[dict[str, Any]]:
    net.eval(), ours.eval()
    deployed = deploy(ours, example=x)

    def quiet(module: Callable[[Tensor], Tensor]) -> Callable[[], None]:
        def run_once() -> None:
            with torch.no_grad():
                module(x)

        return run_once

    variants = {
        "spikingjelly": from_rest(net),
        "torch.compile": _compiled(net),
        "snnkit": ours,
        "snnkit deployed": deployed,
        "snnkit events float32": accelerate(deployed, x),
        "snnkit events int8": accelerate(deployed, x, weights="int8"),
    }
    timings = compare({name: quiet(module) for name, module in variants.items()}, repeats)
    found = rows(case, timings, "spikingjelly", _BARS)
    against = {name: timings[name] for name in ("torch.compile", "snnkit deployed", "snnkit events float32")}
    bars = {"snnkit deployed": 1.05, "snnkit events float32": 1.05}
    found += rows(f"{case} against torch.compile", against, "torch.compile", bars)
    with torch.no_grad(), record(ours) as tape:
        difference = (ours(x) - from_rest(net)(x)).abs().max().item()
    found.append(figure(case, "largest difference of the imported network", difference, "logits", 0.0))
    for name, bar in (("snnkit deployed", 1e-3), ("snnkit events float32", 1e-3), ("snnkit events int8", 0.1)):
        flips = max(flip_rate(ours, variants[name], x).values())
        found.append(figure(case, f"highest flip rate of a layer, {name}", flips, "", bar))
    found[-1]["mean_rate"] = round(sum(tape.rates.values()) / len(tape.rates), 4)
    return found


def _training(case: str, net: nn.Module, ours: nn.Module, x: Tensor, repeats: int) -> list[dict[str, Any]]:
    net.train(), ours.train()

    fast = ours.to(memory_format=torch.channels_last)
    timings = compare({"spikingjelly": step(FromRest(net), x), "snnkit": step(fast, x)}, repeats)
    found = rows(case, timings, "spikingjelly", {"snnkit": 1.55})
    kept = {name: saved_bytes(run, x) for name, run in (("spikingjelly", from_rest(net)), ("snnkit", fast))}
    share = kept["snnkit"] / kept["spikingjelly"]
    found.append(figure(f"{case}: activations kept for the backward", "snnkit / spikingjelly", share, "bytes", 0.5))
    return found


class FromRest(nn.Module):
    """The peer's network, reset before every call."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every step."""
        return from_rest(self.net)(x)


def step(module: nn.Module, x: Tensor) -> Callable[[], None]:
    """Return one training step as a function."""

    def run_once() -> None:
        module.zero_grad()
        module(x).square().mean().backward()

    return run_once


def saved_bytes(module: Callable[[Tensor], Tensor], x: Tensor) -> int:
    """Bytes of all storages that autograd keeps, parameters excepted by being the same for both."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if not isinstance(tensor, nn.Parameter):
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = module(x)
    total = sum(kept.values())
    del out
    return total
