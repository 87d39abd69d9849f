"""The order of training samples, as a function of the seed and the epoch: it can be taken up again anywhere.

A sample is asked for by a ``Draw``, which carries the seed of its augmentation. So what a batch holds depends neither
on how many processes load it nor on what was loaded before: a run that is resumed sees what it would have seen.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler


class Draw(NamedTuple):
    """One sample of an epoch: its index in the data set, and the seed of its augmentation."""

    index: int
    seed: int


class Skipped(NamedTuple):
    """What a data set gives in place of a sample that cannot be read, where it was asked to go on."""

    reason: str


class Noted(tuple):
    """(sample, label) of which something was left out, and what: a tuple with a ``reason``."""

    reason: str

    def __new__(cls, pair: Iterable[Any], reason: str = "") -> Noted:
        """Return the pair with its reason."""
        made = super().__new__(cls, pair)
        made.reason = reason
        return made


@dataclass
class EpochOrder(Sampler[list[Draw]]):
    """Batches of an epoch for one process of several.

    Args:
        size: samples of the data set.
        batch_size: samples of a batch of this process.
        seed: of the run.
        repeats: how often a sample comes, with different augmentation, in an epoch of unchanged length (repeated
            augmentation: Hoffer et al., "Augment your batch", CVPR 2020; Berman et al., arXiv 1902.05509).
        rank, world: this process, and how many share an epoch; every one gets the same number of batches.
        epoch, start: which epoch the next iteration gives, and how many of its batches are left out at the start.
        runs: lengths of stretches of samples that are best read in one go (shards); their order is drawn, then samples
            change places within ``window``. Empty: samples change places anywhere.
        window: samples that are shuffled among each other where there are runs; 0 = all.
    """

    size: int
    batch_size: int
    seed: int = 0
    repeats: int = 1
    rank: int = 0
    world: int = 1
    epoch: int = 0
    start: int = 0
    runs: tuple[int, ...] = ()
    window: int = 0

    def __len__(self) -> int:
        """Batches of a whole epoch: incomplete ones are dropped, unless there would be none."""
        share = self.size // self.world
        return max(share // self.batch_size, 1 if self.size else 0)

    def batch(self, epoch: int, number: int) -> list[Draw]:
        """Return the samples of one batch."""
        return self._batches(epoch)[number]

    def __iter__(self) -> Iterator[list[Draw]]:
        batches = self._batches(self.epoch)
        yield from batches[self.start :]

    def _batches(self, epoch: int) -> list[list[Draw]]:
        generator = np.random.default_rng((self.seed, epoch))
        order = self._permutation(generator).repeat(self.repeats)[: self.size]
        seeds = generator.integers(2**62, size=self.size)
        mine = [Draw(int(i), int(s)) for i, s in zip(order, seeds, strict=True)][self.rank :: self.world]
        return [mine[n * self.batch_size : (n + 1) * self.batch_size] for n in range(len(self))]

    def _permutation(self, generator: np.random.Generator) -> np.ndarray:
        if not self.runs or not self.window:
            return generator.permutation(self.size)
        ends = np.cumsum(self.runs)
        order = np.concatenate([np.arange(ends[n] - self.runs[n], ends[n]) for n in generator.permutation(len(ends))])
        for first in range(0, self.size, self.window):
            generator.shuffle(order[first : first + self.window])
        return order


class Augmented(Dataset):
    """A data set asked by ``Draw``: the sample's random numbers come from its own seed.

    Args:
        dataset: asked by index; its transforms may use torch's, NumPy's and Python's generators.
    """

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, draw: Draw) -> Any:
        return self.__getitems__([draw])[0]

    def __getitems__(self, draws: Sequence[Draw]) -> list[Any]:
        """Return the samples of a batch; torch's loader asks for whole batches where it can."""
        samples = []
        # Keeping and putting back the generators costs more than seeding them: once a batch.
        with kept_generators():
            for draw in draws:
                seed_generators(draw.seed)
                samples.append(self.dataset[draw.index])
        return samples


def seed_generators(seed: int) -> None:
    """Seed the generators of torch (CPU), NumPy and Python."""
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextmanager
def kept_generators() -> Iterator[None]:
    """Put the generators of torch (CPU), NumPy and Python back as they were, at the end of the block."""
    states = generators()
    try:
        yield
    finally:
        put_back(states)


def generators() -> tuple[Any, ...]:
    """Return the states of the generators of torch (CPU), NumPy and Python."""
    return torch.get_rng_state(), np.random.get_state(), random.getstate()


def put_back(states: tuple[Any, ...]) -> None:
    """Put the generators back to what ``generators`` returned."""
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])
