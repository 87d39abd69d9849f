"""Functions on networks with state, under their old names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.importers.clock_driven.base import MemoryModule, check_backend_library, check_step_mode


def reset_net(net: nn.Module) -> None:
    """Set the state of every module back."""
    for module in net.modules():
        reset = getattr(module, "reset", None)
        if callable(reset):
            reset()


def detach_net(net: nn.Module) -> None:
    """Cut the backward graph at the present state."""
    for module in net.modules():
        if isinstance(module, MemoryModule):
            module.detach()


def set_step_mode(net: nn.Module, step_mode: str) -> None:
    """Set ``step_mode`` of every module that has one."""
    check_step_mode(step_mode)
    for module in net.modules():
        if hasattr(module, "step_mode"):
            module.step_mode = step_mode


def set_backend(net: nn.Module, backend: str, instance: object = None) -> None:
    """Accept the call: kernels choose themselves here."""
    check_backend_library(backend)
    for module in net.modules():
        if isinstance(module, MemoryModule):
            module.backend = backend


def set_monitor(net: nn.Module, monitor_state: bool = True) -> None:
    """Refuse: nodes do not record by themselves.

    Raises:
        InvalidArgumentError: always.
    """
    raise InvalidArgumentError(
        "functional.set_monitor: nodes here do not record by themselves. Use snnkit.record(net), the monitor module of "
        "an installed SpikingJelly, or store_v_seq=True for membranes."
    )


def temporal_efficient_training_cross_entropy(x_seq: Tensor, target: Tensor) -> Tensor:
    """Return the cross entropy of every time step, averaged: logits (T, B, C, …), classes (B, …) (arXiv 2202.11946)."""
    return nn.functional.cross_entropy(x_seq.flatten(0, 1), target.expand(len(x_seq), *target.shape).flatten(0, 1))


def _row(module: nn.Module | Sequence[nn.Module] | Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return nn.Sequential(*module) if isinstance(module, (list, tuple)) else module  # type: ignore[return-value]


def multi_step_forward(x_seq: Tensor, single_step_module: nn.Module | Sequence[nn.Module]) -> Tensor:
    """Call a single-step module once per step: (T, B, …) → (T, B, …)."""
    run = _row(single_step_module)
    return torch.stack([run(x_t) for x_t in x_seq])


def seq_to_ann_forward(x_seq: Tensor, stateless_module: nn.Module | Sequence[nn.Module]) -> Tensor:
    """Call a module without state once with time folded into the batch: (T, B, …) → (T, B, …)."""
    y = _row(stateless_module)(x_seq.flatten(0, 1))
    return y.unflatten(0, x_seq.shape[:2])
