"""What a data set is made of: a source that reads samples by index, and what is done with each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import Tensor
from torch.utils.data import Dataset

from snnkit.data.order import Noted, Skipped
from snnkit.data.tokens import BytePairs, Bytes
from snnkit.errors import CorruptFileError


@dataclass(frozen=True)
class Splits:
    """A data set as its module gives it.

    Attributes:
        train, test: (transformed sample, label) by index. A sample is an image (C, H, W), a clip (C, F, H, W), or,
            with ``time_first``, a sequence (T, C, H, W).
        classes: names by label.
        origin: where it came from, for the record.
        frames: F or T; 0 for images.
        time_first: whether batches are sequences (T, B, C, H, W).
        views: views of each test sample, in front of its other dimensions where there are several.
        runs: lengths of the stretches of training samples that are best read in one go (shards); empty if none are.
        notes: what the user is told when it is loaded, such as images that were left out.
        tokens: how texts became numbers, where samples are pairs (image, tokens, label).
        prompts: tokens of texts that name each class, (K, M, L), where there are classes beside texts.
        targets: what is beside a sample in place of a label ("maps", "objects" …; ``data.dense``).
        collate: from a list of samples to a batch; torch's own if not given.
        test_batch: samples of a test batch; 0 for as many as are trained on, or a hundred small ones.
    """

    train: Dataset
    test: Dataset
    classes: tuple[str, ...]
    origin: str
    frames: int = 0
    time_first: bool = False
    views: int = 1
    runs: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    tokens: Bytes | BytePairs | None = None
    prompts: Tensor | None = None
    targets: str = "labels"
    collate: Callable[[list[Any]], Any] | None = None
    test_batch: int = 0


class Partly(NamedTuple):
    """What a source gives where it left something of a sample out, and what that was."""

    sample: Tensor
    reason: str


class Names(Sequence[str]):
    """Names of so many samples, made when asked for.

    Args:
        count: how many.
        name: from a number to a name.
    """

    def __init__(self, count: int, name: Callable[[int], str]):
        self._count, self._name = count, name

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        return self._name(index)


class Source(Protocol):
    """Samples by index, as they are stored."""

    names: Sequence[str]
    labels: Sequence[int]

    def read(self, index: int) -> Tensor | Partly:
        """Return a sample, or what is left of it.

        Raises:
            CorruptFileError: it cannot be read; names it.
        """


class Samples(Dataset):
    """(transformed sample, label) by index, ``Noted`` where something was left out; ``names`` say where each lies.

    ``credits`` say who is to be named for each, where the source knows.

    Args:
        source: reads them.
        transform: of what it reads.
        skip: return ``Skipped`` for a sample that cannot be read, instead of raising.
    """

    def __init__(self, source: Source, transform: Callable[[Tensor], Tensor], skip: bool):
        self.source, self.transform, self.skip = source, transform, skip
        self.names, self.labels = source.names, source.labels
        if hasattr(source, "credits"):
            self.credits = source.credits

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Any:
        try:
            sample = self.source.read(index)
        except CorruptFileError as error:
            if self.skip:
                return Skipped(str(error))
            raise
        label = int(self.labels[index])
        if isinstance(sample, Partly):
            return Noted((self.transform(sample.sample), label), sample.reason)
        return self.transform(sample), label
