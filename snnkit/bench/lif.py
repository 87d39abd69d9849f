"""Multi-step LIF, forward and backward, against SpikingJelly, snnTorch and torch.compile of the plain loop.

Input [T, 16, 64, 32, 32] float32, ATan(2), hard reset, tau 2, detached reset; T = 4, 8, 16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.bench.harness import compare
from snnkit.bench.row import figure, rows
from snnkit.neurons import LIF
from snnkit.surrogates import SURROGATES, ATan, spike

SHAPE = (16, 64, 32, 32)
_AGAINST_COMPILE = {4: 1.8, 8: 3.0, 16: 5.0}


def run(repeats: int) -> list[dict[str, Any]]:
    """Measure; needs spikingjelly and snntorch (the test extra)."""
    found = []
    for timesteps in (4, 8, 16):
        found += _train(timesteps, repeats) + _infer(timesteps, repeats)
    return found + _normed(repeats) + _equality() + _overhead(repeats)


def _variants() -> dict[str, Callable[[Tensor], Tensor]]:
    """Our kernels and save tiers; a kernel that cannot run here is left out."""
    made: dict[str, Callable[[Tensor], Tensor]] = {"snnkit": LIF(surrogate=ATan())}
    for name in LIF.operator.kernels:
        if name in ("numba", "c"):
            made[f"snnkit {name}"] = LIF(surrogate=ATan(), kernel=name)
    made["snnkit code8"] = LIF(surrogate=ATan(), save="code8")
    if "rect" in SURROGATES:
        made["snnkit rect"] = LIF(surrogate=SURROGATES["rect"](), save="rect")
    return made


def _spikingjelly() -> Callable[[Tensor], Tensor]:
    from spikingjelly.activation_based import neuron, surrogate

    node = neuron.LIFNode(surrogate_function=surrogate.ATan(), detach_reset=True, step_mode="m")

    def run_from_rest(x: Tensor) -> Tensor:
        node.reset()
        return node(x)

    return run_from_rest


def _snntorch() -> Callable[[Tensor], Tensor]:
    import snntorch

    node = snntorch.Leaky(beta=0.5, reset_mechanism="zero", spike_grad=snntorch.surrogate.atan(2.0))

    def loop(x: Tensor) -> Tensor:
        membrane, spikes = node.init_leaky(), []
        for x_t in x:
            s, membrane = node(x_t, membrane)
            spikes.append(s)
        return torch.stack(spikes)

    return loop


def plain_loop(x: Tensor) -> Tensor:
    """The equations as one would write them, for torch.compile: the best peer on a CPU."""
    surrogate, v, spikes = ATan(), torch.zeros_like(x[0]), []
    for x_t in x:
        h = v + (x_t - v) / 2.0
        s = spike(h - 1.0, surrogate)
        v = (1.0 - s.detach()) * h
        spikes.append(s)
    return torch.stack(spikes)


def _train(timesteps: int, repeats: int) -> list[dict[str, Any]]:
    x = torch.randn(timesteps, *SHAPE).mul_(1.5).requires_grad_()
    upstream = torch.randn(timesteps, *SHAPE)

    def step(module: Callable[[Tensor], Tensor]) -> Callable[[], None]:
        def run_once() -> None:
            x.grad = None
            module(x).backward(upstream)

        return run_once

    variants = {"spikingjelly": _spikingjelly(), "snntorch": _snntorch(), "torch.compile": torch.compile(plain_loop)}
    timings = compare({name: step(module) for name, module in (variants | _variants()).items()}, repeats)
    case = f"LIF train T={timesteps}"
    bars = {"snnkit": 10.0, "snnkit numba": 5.0, "snnkit code8": 13.0}
    compiled = {name: timing for name, timing in timings.items() if name in ("torch.compile", "snnkit")}
    return rows(case, timings, "spikingjelly", bars) + rows(
        f"{case} against torch.compile", compiled, "torch.compile", {"snnkit": _AGAINST_COMPILE[timesteps]}
    )


def _infer(timesteps: int, repeats: int) -> list[dict[str, Any]]:
    x = torch.randn(timesteps, *SHAPE).mul_(1.5)

    def step(module: Callable[[Tensor], Tensor]) -> Callable[[], None]:
        def run_once() -> None:
            with torch.no_grad():
                module(x)

        return run_once

    variants = {"spikingjelly": _spikingjelly(), "snntorch": _snntorch(), "torch.compile": torch.compile(plain_loop)}
    ours = {name: module for name, module in _variants().items() if name in ("snnkit", "snnkit numba", "snnkit c")}
    timings = compare({name: step(module) for name, module in (variants | ours).items()}, repeats)
    return rows(f"LIF inference T={timesteps}", timings, "spikingjelly", {"snnkit": 14.0} if timesteps == 4 else None)


def _normed(repeats: int) -> list[dict[str, Any]]:
    """A batch norm in eval mode and the neuron behind it, at T = 4."""
    from spikingjelly.activation_based import layer

    from snnkit.deploy import deploy
    from snnkit.layers.sequence import BatchNorm2d

    x = torch.randn(4, *SHAPE).mul_(1.5)
    ours = nn.Sequential(BatchNorm2d(SHAPE[1]), LIF(surrogate=ATan())).eval()
    norm, neuron = layer.BatchNorm2d(SHAPE[1], step_mode="m").eval(), _spikingjelly()

    def quiet(run: Callable[[Tensor], Tensor]) -> Callable[[], None]:
        def run_once() -> None:
            with torch.no_grad():
                run(x)

        return run_once

    variants = {"spikingjelly": lambda y: neuron(norm(y)), "snnkit": ours, "snnkit deployed": deploy(ours)}
    timings = compare({name: quiet(run) for name, run in variants.items()}, repeats)
    return rows("batch norm + LIF inference T=4", timings, "spikingjelly")


def _equality() -> list[dict[str, Any]]:
    """Spikes and gradients against SpikingJelly, and what autograd keeps beyond the input."""
    x = torch.randn(8, *SHAPE).mul_(1.5)
    upstream = torch.randn_like(x)

    def gradient(module: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        leaf = x.clone().requires_grad_()
        out = module(leaf)
        out.backward(upstream)
        return out.detach(), leaf.grad

    spikes, grad = gradient(_spikingjelly())
    ours, our_grad = gradient(LIF(surrogate=ATan()))
    found = [
        figure("LIF equality", "spikes that differ", (spikes != ours).sum().item(), "spikes", 0),
        figure("LIF equality", "largest gradient error", (grad - our_grad).abs().max().item(), "absolute", 1e-6),
    ]
    for save, bar in (("exact", 0.0), ("code8", 1.0), ("rect", 0.25)):
        surrogate = SURROGATES["rect"]() if save == "rect" else ATan()
        kept = _saved_bytes(LIF(surrogate=surrogate, save=save), x) / x.numel()
        found.append(figure("LIF saved beyond the input", save, kept, "bytes per neuron-step", bar))
    return found


def _saved_bytes(module: Callable[[Tensor], Tensor], x: Tensor) -> int:
    leaf, kept = x.clone().requires_grad_(), {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() != leaf.untyped_storage().data_ptr():
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        module(leaf)
    return sum(kept.values())


def _overhead(repeats: int) -> list[dict[str, Any]]:
    """A call on so few neurons that only the way to the kernel costs anything."""
    neuron, peer = LIF(surrogate=ATan()), _spikingjelly()
    x = torch.randn(4, 1, 64)
    leaf, upstream = torch.randn(4, 1, 64, requires_grad=True), torch.ones(4, 1, 64)

    def infer(module: Callable[[Tensor], Tensor]) -> Callable[[], None]:
        def run_once() -> None:
            with torch.no_grad():
                module(x)

        return run_once

    found = []
    for case, make, bar in (
        ("inference", infer, 0.020),
        ("training", lambda m: lambda: m(leaf).backward(upstream), 0.075),
    ):
        timings = compare({"spikingjelly": make(peer), "snnkit": make(neuron)}, 3 * repeats, inner=200)
        found += rows(f"LIF call overhead {case} [4, 1, 64]", timings, "spikingjelly")
        found.append(figure(f"LIF call overhead {case} [4, 1, 64]", "snnkit", timings["snnkit"].min_ms, "ms", bar))
    return found
