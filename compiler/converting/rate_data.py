"""Calibration data: batches of a network's input, checked, and read as often as they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from compiler.graph import Graph
from compiler.graph.builder import stored_dtype
from compiler.interpreting import interpret
from snnkit.errors import InvalidArgumentError, NonFiniteError

BATCH = 64  # samples at once at most, whatever the batches: T steps of them must fit into memory


class Batches:
    """Batches (B, …) for a graph with one input, of any number of samples, in the type that the graph computes in.

    Args:
        graph: whose input they are.
        calibration: samples (N, …), or batches of them; a batch may be a pair whose first entry is that. What can be
            read only once is kept.

    Raises:
        InvalidArgumentError: while it is read: no samples, the wrong shape, no numbers.
    """

    def __init__(self, graph: Graph, calibration: Tensor | Iterable[Any]):
        self.shape, self.dtype = graph.shape(graph.inputs[0]), stored_dtype(graph)
        if not isinstance(calibration, (Tensor, Iterable)):
            kind = type(calibration).__name__
            raise InvalidArgumentError(f"calibration data are a tensor (N, …) or batches of tensors, got {kind}.")
        once = isinstance(calibration, Iterator)
        self.given: Any = list(calibration) if once else calibration

    def __iter__(self) -> Iterator[Tensor]:
        count = 0
        for number, batch in enumerate([self.given] if isinstance(self.given, Tensor) else self.given):
            x = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
            count += 1
            whole = isinstance(self.given, Tensor)
            what = "the calibration data are" if whole else f"batch {number} of the calibration data is"
            yield from torch.split(self.checked(x, what), BATCH)
        if not count:
            raise InvalidArgumentError("the calibration data hold no batches; give some tens of real samples or more.")

    def checked(self, x: Any, what: str) -> Tensor:
        """Return a batch in the graph's type.

        Raises:
            InvalidArgumentError: it does not fit, is empty, or holds NaN or infinity.
        """
        wanted = f"(B, {', '.join(map(str, self.shape))})"
        if not isinstance(x, Tensor):
            raise InvalidArgumentError(f"{what} {type(x).__name__}; the graph takes a tensor {wanted}.")
        if x.ndim != len(self.shape) + 1 or tuple(x.shape[1:]) != self.shape:
            raise InvalidArgumentError(f"{what} of shape {tuple(x.shape)}; the graph takes {wanted}.")
        if not len(x):
            raise InvalidArgumentError(f"{what} empty; give some tens of real samples or more.")
        if not bool(torch.isfinite(x).all()):
            raise InvalidArgumentError(f"{what} not finite: {int((~torch.isfinite(x)).sum())} values are NaN or ±∞.")
        return x.to(self.dtype)


def values_of(graph: Graph, signals: tuple[str, ...], batches: Iterable[Tensor]) -> Iterator[dict[str, Tensor]]:
    """Run a graph without state on every batch and give the named signals, (B, …) each.

    Raises:
        NonFiniteError: a signal is not finite (names it).
    """
    for x in batches:
        _, found = interpret(graph, x, probes=signals)
        for name in signals:
            if not bool(torch.isfinite(found[name]).all()):
                raise NonFiniteError(f"{name} is NaN or infinite on the calibration data; look at the weights before.")
        yield {name: found[name][0] for name in signals}
