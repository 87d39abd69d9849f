"""Training batches that can be taken up anywhere: epoch e from batch k on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from snnkit.data.order import Augmented, EpochOrder, Skipped
from snnkit.errors import CorruptFileError


class Batches:
    """The training split of a data set, batch by batch; iterating gives one epoch after another.

    Args:
        dataset: samples by index.
        order: which samples a batch holds.
        collate: from a list of samples to a batch; torch's own if not given.
        workers: processes that load; 0 loads in this one.

    ``skipped`` holds the reason for each sample that could not be read; another of its batch stands in for it.
    """

    def __init__(
        self,
        dataset: Dataset,
        order: EpochOrder,
        collate: Callable[[list[Any]], Any] | None = None,
        workers: int = 0,
    ):
        self.dataset = dataset
        self.order = order
        self.skipped: list[str] = []
        self._loader = DataLoader(
            Augmented(dataset),
            batch_sampler=order,
            collate_fn=Whole(collate),
            num_workers=workers,
            # Workers are started anew for each epoch: they would keep the order's epoch of when they began.
            persistent_workers=False,
            # The loader draws a number when it starts: not from the generator that dropout draws from.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches of the next epoch."""
        yield from self.epoch(self.order.epoch)

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """Yield the batches of epoch ``number``, without the first ``start``."""
        self.order.epoch, self.order.start = number, start
        try:
            for batch, skipped in self._loader:
                for reason in skipped:
                    if reason not in self.skipped:
                        self.skipped.append(reason)
                yield batch
        finally:
            self.order.epoch, self.order.start = number + 1, 0

    def share(self, rank: int, world: int) -> None:
        """Keep the part of process ``rank`` of ``world``."""
        self.order.rank, self.order.world = rank, world

    def name(self, epoch: int, number: int) -> str:
        """Say which samples a batch holds."""
        names = getattr(self.dataset, "names", None)
        indices = [draw.index for draw in self.order.batch(epoch, number)]
        shown = [str(names[i]) if names else str(i) for i in indices[:8]]
        return f"samples {', '.join(shown)}" + (f" … ({len(indices)} in all)" if len(indices) > 8 else "")


class Whole:
    """Make a batch of what could be read, filled up to its size, and say what could not: (batch, reasons).

    Args:
        collate: from a list of samples to a batch; torch's own if not given.

    Raises:
        CorruptFileError: nothing of a batch could be read.
    """

    def __init__(self, collate: Callable[[list[Any]], Any] | None = None):
        self._collate = collate or default_collate

    def __call__(self, samples: list[Any]) -> tuple[Any, list[str]]:
        """Return the batch and the reasons."""
        good = [sample for sample in samples if not isinstance(sample, Skipped)]
        reasons = [sample.reason for sample in samples if isinstance(sample, Skipped)]
        if not good:
            raise CorruptFileError(f"nothing of a batch of {len(samples)} could be read, first: {reasons[0]}")
        filled = [good[n % len(good)] for n in range(len(samples))]
        return self._collate(filled), reasons
