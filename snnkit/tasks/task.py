"""The interface between the engine and what is trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.tasks.energy_penalty import EnergyPenalty


class Tokens(Protocol):
    """How texts become numbers: 0 for padding, up to ``vocabulary`` − 1."""

    vocabulary: int

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, without padding."""

    def decode(self, tokens: list[int]) -> str:
        """Return the text that tokens stand for, without padding."""


class StepBatches(Protocol):
    """The batches of one optimizer step of one process: iterated once, and once more by ``again``."""

    size: int

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches."""

    def again(self) -> Iterator[Any]:
        """Yield them once more, read and augmented anew."""


@dataclass(frozen=True)
class Plan:
    """What a task is told of the training before it begins.

    Attributes:
        epochs, steps_per_epoch: of optimizer steps.
        batch: images of one process in one batch.
        processes: how many train together.
        shapes: (C, H, W) of each view of an image; () where the data have one view (data.views="").
        strategy, precision: of ``runtime``.
        accumulate: batches of one process in one step.
        classes: names by label.
        tokens: how the data's texts became numbers; None where there are no texts.
        prompts: tokens of texts that name each class, (K, M, L), where there are any.
        repeats: copies of a sample in an epoch (``data.repeats``).
    """

    epochs: int
    steps_per_epoch: int
    batch: int
    processes: int = 1
    shapes: tuple[tuple[int, ...], ...] = ()
    strategy: str = "auto"
    precision: str = "32-true"
    accumulate: int = 1
    classes: tuple[str, ...] = ()
    tokens: Tokens | None = None
    prompts: Tensor | None = None
    repeats: int = 1

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self.epochs * self.steps_per_epoch


class Task(nn.Module, ABC):
    """One thing to train: forward, loss and metrics.

    ``model`` is the network whose weights are the result. Whatever else has parameters (a discriminator, a projection)
    is a submodule beside it and is trained too; what must not be trained (a teacher) is kept out of the submodules.
    The engine calls the task itself, so that wrappers for several processes see every use. ``name`` is how a run calls
    it; ``measure`` what its ``score`` is: a key of ``measures``, where that of "loss" is the negative; ``labels``
    whether it asks for them; ``takes`` what beside images its batches hold (``data.targets``).
    """

    name: ClassVar[str]
    measure: ClassVar[str] = "accuracy"
    labels: ClassVar[bool] = True
    takes: ClassVar[str] = "labels"
    takes_views: ClassVar[bool] = False
    """Whether batches hold several views of each image (``data.views``)."""
    in_parts: ClassVar[bool] = False
    """Whether the batches of a step belong together, as parts of one (``parts``)."""
    model: nn.Module
    energy: EnergyPenalty | None
    """A penalty on synaptic operations, for any task."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = None

    @abstractmethod
    def loss(self, batch: Any) -> Tensor:
        """Return the training loss of one batch (a scalar) and remember what metrics need of it."""

    @abstractmethod
    def evaluate(self, batch: Any) -> None:
        """Feed the metrics with one batch of the test split."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Return the metrics since the last call: at least ``loss``, and ``score`` (larger is better)."""

    @property
    def kept(self) -> nn.Module:
        """The network that a run keeps, of the form of ``model``: what is trained, unless a task says otherwise."""
        return self.model

    def begin(self, plan: Plan) -> None:
        """Take note of the training that is to come; what cannot be in it is refused before anything is written."""

    def parts(self, batches: StepBatches, forward: Callable[[Any], Any]) -> Iterator[Any]:
        """Yield what the task is called on in a step, as often as there are batches; their gradients are added up.

        Args:
            batches: of the step.
            forward: the task as it must be called, through the wrappers for several processes and for precision.
        """
        yield from batches

    def alone(self, batch: Any) -> Any:
        """Return what can be run by itself, to look for what is not finite, of what ``parts`` gave."""
        return batch

    def late_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that ``before_step`` leaves without a gradient for a while."""
        return []

    def before_step(self) -> None:
        """Do what is to be done with gradients, complete and clipped, before the optimizer moves."""

    def after_step(self) -> None:
        """Do what follows every step of the optimizer."""

    def step_values(self) -> dict[str, float]:
        """Return what is written down of the step beside loss and learning rate."""
        return {}

    def remarks(self) -> list[str]:
        """Return what the user is to be told now, each thing once; the engine asks after every step."""
        return []

    def keep_records(self, folder: Path, epoch: int) -> None:
        """Write what is to be seen of the epoch into the run's folder; one process is asked, after every test."""

    def predict(self, image: Tensor, size: tuple[int, int]) -> dict[str, Any]:
        """Return what the network says of an image, as plain numbers and texts, or maps (H, W) of whole numbers.

        Args:
            image: as a test batch of one holds it.
            size: height and width of the picture as the user has it, in whose pixels the answer is.

        Raises:
            InvalidArgumentError: the task says nothing of an image.
        """
        raise InvalidArgumentError(f"task {self.name}: its network says nothing of a single image.")

    def draw(self, picture: Tensor, found: dict[str, Any]) -> Tensor | None:
        """Return a picture uint8 (3, H, W) with what was found drawn on it; None where there is nothing to draw."""
        return None

    def forward(self, batch: Any) -> Tensor | None:
        """Return the loss in training mode, with the energy's penalty; feed the metrics in eval mode."""
        if self.energy is not None:
            return self.energy.step(self, batch)
        if self.training:
            return self.loss(batch)
        self.evaluate(batch)
        return None

    def results(self) -> dict[str, float]:
        """Return ``compute()`` and, where energy is counted, what ``EnergyPenalty.compute`` tells of it."""
        found = self.compute()
        return found if self.energy is None else found | self.energy.compute()
