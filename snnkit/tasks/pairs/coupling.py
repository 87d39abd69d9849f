"""Layers by which one sample of a batch changes another's result, so that parts of a batch are not the batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from snnkit.errors import InvalidArgumentError, unknown_name

BATCH_NORMS = ("refuse", "frozen", "each")
"""What is done where a tower has batch norms and a batch comes in parts."""


def batch_norms(model: nn.Module) -> dict[str, _BatchNorm]:
    """Return the norms that take statistics of a batch while training, by name; frozen ones are none of them."""
    return {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}


def check_norms(model: nn.Module, choice: str, parts: int) -> None:
    """Refuse batch norms whose batch would be another one than the loss's.

    Raises:
        UnknownNameError: no such choice.
        InvalidArgumentError: there are such norms and ``choice`` is "refuse".
    """
    if choice not in BATCH_NORMS:
        raise unknown_name("value of task.options.batch_norm", choice, BATCH_NORMS)
    found = [name for name, norm in batch_norms(model).items() if norm.training]
    if found and choice == "refuse" and parts > 1:
        names = ", ".join(found[:3]) + (" …" if len(found) > 3 else "")
        raise InvalidArgumentError(
            f"the towers have {len(found)} batch norms ({names}), and a batch comes in {parts} parts: each part would "
            "have its own statistics, so the step is not exactly that of the whole batch. Set "
            "task.options.batch_norm=frozen (statistics as they were stored: exact), =each (of each part: not exact), "
            "or optim.accumulate=1 in one process."
        )


@contextmanager
def norms_frozen(model: nn.Module) -> Iterator[None]:
    """Have batch norms use their stored statistics inside the block, whatever mode the model is in."""
    training = [norm for norm in batch_norms(model).values() if norm.training]
    for norm in training:
        norm.eval()
    try:
        yield
    finally:
        for norm in training:
            norm.train()


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Put running statistics back after the block, so that a forward that is done again counts once."""
    norms = list(batch_norms(model).values())
    kept = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, buffer in norm.named_buffers():
                buffer.copy_(buffers[name])
