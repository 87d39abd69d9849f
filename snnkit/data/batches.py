"""Training batches that can be taken up anywhere: epoch e from batch k on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from snnkit.data.order import Augmented, Draw, EpochOrder, Noted, Skipped
from snnkit.data.pass_metadata import Credit
from snnkit.errors import CorruptFileError, InvalidArgumentError, SnnkitError

_ADVICE = ", or set data.on_corrupt=skip"


class Batches:
    """The training split of a data set, batch by batch; iterating gives one epoch after another.

    Args:
        dataset: samples by index.
        order: which samples a batch holds.
        collate: from a list of samples to a batch; torch's own if not given.
        workers: processes that load; 0 loads in this one.

    ``skipped`` holds the reason for each sample that could not be read, for which another of its batch stands in (one
    of any batch, where all of its own are such), or not read whole. Where no sample at all can be read, it raises.
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
            _StoodIn(_Told(dataset)),
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
            for made in self._loader:
                yield _delivered(made, self.skipped)
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

    def credits(self, epoch: int, number: int) -> list[Credit]:
        """Return whom to name for the images of a batch, in its order; [] where the data set does not say."""
        known = getattr(self.dataset, "credits", None)
        return [known[draw.index] for draw in self.order.batch(epoch, number)] if known else []


class OrderedBatches:
    """The test split of a data set, batch by batch, in its order; iterating gives all of it.

    Args:
        dataset: samples by index.
        batch_size: samples of a batch.
        collate: from a list of samples to a batch.
        workers: processes that load; 0 loads in this one.
        views: views of a sample, each of which becomes a sample of the batch.

    ``skipped`` holds the reason for each sample that could not be read, which is left out, or not read whole. A batch
    of which nothing could be read is left out too; where that is all of them, it raises.
    """

    def __init__(
        self, dataset: Dataset, batch_size: int, collate: Callable[[list[Any]], Any], workers: int = 0, views: int = 1
    ):
        self.dataset, self.batch_size, self.workers, self.collate = dataset, batch_size, workers, collate
        self.skipped: list[str] = []
        self._loader = DataLoader(
            _Told(dataset),
            batch_size,
            collate_fn=_Readable(collate, views),
            num_workers=workers,
            generator=torch.Generator(),  # of its own: see ``Batches``
        )

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        empty = True
        for made in self._loader:
            batch = _delivered(made, self.skipped)
            if batch is not None:
                empty = False
                yield batch
        if empty and self.skipped:
            raise _nothing(f"none of {len(self.dataset):,} samples", self.skipped)  # type: ignore[arg-type]


class _StoodIn(Augmented):
    """Samples of a batch by ``Draw``; where none of them can be read, another of the data set comes first.

    Which one follows from the first draw's seed: a run that is resumed meets the same, and every process makes all of
    its steps. Where nothing can be read, nothing comes.
    """

    def __getitems__(self, draws: Sequence[Draw]) -> list[Any]:
        """Return the samples of a batch."""
        samples = super().__getitems__(draws)
        if all(isinstance(sample, Skipped) for sample in samples):
            found = self._another(draws[0].seed)
            if isinstance(found, SnnkitError):
                return [found]
            if found is not None:
                samples[0] = Noted(found, samples[0].reason)
        return samples

    def _another(self, seed: int) -> Any:
        """Return a sample that can be read, or the error of one that stops; None where there is neither."""
        for index in np.random.default_rng(seed).permutation(len(self)).tolist():
            (found,) = super().__getitems__([Draw(index, seed)])
            if not isinstance(found, Skipped):
                return found
        return None


class _Told(Dataset):
    """A data set that gives the user's error in place of a sample; see ``_delivered``."""

    def __init__(self, dataset: Dataset):
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        try:
            return self._dataset[index]
        except SnnkitError as error:
            return error


def _delivered(made: tuple[Any, list[str]], skipped: list[str]) -> Any:
    """Take note of what was skipped and return the batch, or raise the error that stands in its place.

    An error that is raised in a loading process would come with the traceback of that process in its message.
    """
    batch, reasons = made
    if isinstance(batch, SnnkitError):
        raise batch
    skipped += [reason for reason in dict.fromkeys(reasons) if reason not in skipped]
    return batch


def _nothing(what: str, reasons: list[str]) -> CorruptFileError:
    return CorruptFileError(f"{what} could be read, first: {reasons[0].rstrip('.')}. Mend them, or give other data.")


def _sorted(samples: list[Any]) -> tuple[SnnkitError | None, list[Any], list[str]]:
    """Return the first error if there is one, what could be read, and why the rest could not."""
    failed = next((sample for sample in samples if isinstance(sample, SnnkitError)), None)
    good = [sample for sample in samples if not isinstance(sample, (Skipped, SnnkitError))]
    # They say what to do where reading stops, which is what was done.
    reasons = [sample.reason.replace(_ADVICE, "") for sample in samples if isinstance(sample, (Skipped, Noted))]
    return failed, [tuple(sample) if isinstance(sample, Noted) else sample for sample in good], reasons


def _made(collate: Callable[[list[Any]], Any], samples: list[Any], reasons: list[str]) -> Any:
    """Return (batch, reasons), or (error, []) where none can be made of the samples."""
    try:
        return collate(samples), reasons
    except RuntimeError:
        shapes = list(dict.fromkeys(tuple(sample[0].shape) for sample in samples))
        if len(shapes) == 1:
            raise
        return InvalidArgumentError(
            f"the images of a batch differ in size: {shapes[0]} and {shapes[1]}; set data.img_size."
        ), []


class _Readable:
    """Make a batch of those samples that could be read, each view of them a sample of its own; None of none."""

    def __init__(self, collate: Callable[[list[Any]], Any], views: int):
        self._collate, self._views = collate, views

    def __call__(self, samples: list[Any]) -> tuple[Any, list[str]]:
        failed, good, reasons = _sorted(samples)
        if failed is not None:
            return failed, []
        if not good:
            return None, reasons
        seen = good if self._views == 1 else [(view, label) for sample, label in good for view in sample]
        batch, reasons = _made(self._collate, seen, reasons)
        if self._views > 1 and not isinstance(batch, SnnkitError):
            batch = batch[0], torch.tensor([label for _, label in good])
        return batch, reasons


class Whole:
    """Make a batch of what could be read, filled up to its size, and say what could not: (batch, reasons).

    Args:
        collate: from a list of samples to a batch; torch's own if not given.

    An error takes the batch's place where nothing could be read, or a sample is one; see ``_delivered``.
    """

    def __init__(self, collate: Callable[[list[Any]], Any] | None = None):
        self._collate = collate or default_collate

    def __call__(self, samples: list[Any]) -> tuple[Any, list[str]]:
        """Return the batch and the reasons."""
        failed, good, reasons = _sorted(samples)
        if failed is not None:
            return failed, []
        if not good:
            return _nothing("no training sample", reasons), []
        return _made(self._collate, [good[n % len(good)] for n in range(len(samples))], reasons)
