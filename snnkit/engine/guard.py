"""What stops a training: a signal, or a number that is none."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from snnkit.errors import DiskError, SnnkitError


class DivergedError(SnnkitError):
    """The loss stopped being a number."""


class StoppedError(SnnkitError):
    """A signal asked the training to stop; its state is saved."""


class EndedError(SnnkitError):
    """A process that the training needs has ended: one that loads, or another that trains."""


# How the libraries beneath say that the other side of a connection is gone.
_GONE = ("connection closed by peer", "connection reset", "broken pipe", "gloo", "nccl", "remote process exited")
# What all processes raise alike: the first one tells of it.
_ALIKE = (DivergedError, StoppedError, DiskError)


@contextmanager
def told_in_a_line(rank: int, world: int, folder: Path) -> Iterator[None]:
    """Have the death of another process end in one line, and what failed in this process alone be told by it.

    Raises:
        EndedError: a loading process, or another training process, has ended.
    """
    again = f"Go on with: snnkit train --resume {folder}"
    try:
        yield
    except SnnkitError as error:
        error.here_only = rank > 0 and not isinstance(error, _ALIKE)  # type: ignore[attr-defined]
        raise
    except RuntimeError as error:
        text = str(error)
        if "DataLoader worker" in text:
            raise EndedError(
                "a process that loads data was killed or ran out of memory (or of /dev/shm); fewer of them may fit "
                f"(data.workers). {again}"
            ) from error
        if world > 1 and any(mark in text.lower() for mark in _GONE):
            raise EndedError(
                f"another of the {world} processes of this training ended; what it said, if anything, stands above. "
                f"{again}"
            ) from error
        raise


class Stop:
    """Whether SIGTERM came; the loop looks after each step, so that a state is whole when it is saved."""

    def __init__(self) -> None:
        self.asked = False

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        self.asked = True

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Listen inside the block; only the main thread may have handlers: elsewhere nothing is heard."""
        try:
            before = signal.signal(signal.SIGTERM, self._ask)
        except ValueError:
            yield self
            return
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, before)


def first_non_finite(task: nn.Module, batch: Any) -> str:
    """Return the first thing in ``task`` that is NaN or infinite on this batch: a parameter, a layer, or the loss."""
    for name, parameter in task.named_parameters():
        if not _finite(parameter.detach()):
            return f"parameter {name}"
    if not all(_finite(leaf) for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.is_floating_point()):
        return "the input itself"
    found: list[str] = []

    def look(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, out: Any) -> None:
            if not found and not all(_finite(leaf) for leaf in tree_leaves(out) if isinstance(leaf, Tensor)):
                found.append(f"the output of {name}")

        return hook

    modules = [(name, module) for name, module in task.named_modules() if not list(module.children())]
    handles = [module.register_forward_hook(look(name)) for name, module in modules]
    try:
        with torch.no_grad():
            task(batch)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else "the loss alone"


def _finite(value: Tensor) -> bool:
    value = value.to_local() if hasattr(value, "to_local") else value
    return bool(torch.isfinite(value).all()) if value.is_floating_point() else True
