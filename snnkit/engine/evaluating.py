"""Testing a network on what its run's task is: classes of images, or what else it learned of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from snnkit.data import ImageData
from snnkit.engine.config import RunConfig
from snnkit.engine.own_classes import check_classes
from snnkit.engine.progress import bar, track
from snnkit.engine.train import evaluate
from snnkit.errors import InvalidArgumentError
from snnkit.models.backbones import OnBackbone
from snnkit.tasks import TASKS, Task, build_task
from snnkit.tasks.task import Plan


def run_of(checkpoint: str | Path) -> RunConfig | None:
    """Return the configuration of the run that a checkpoint lies in; None where it lies in none.

    Raises:
        CorruptFileError: the configuration cannot be read.
    """
    folder = Path(checkpoint).absolute().parent
    saved = folder.parent / "config.json"
    return RunConfig.load(saved) if folder.name == "checkpoints" and saved.exists() else None


def learns_more(config: RunConfig | None) -> bool:
    """Whether a run's task learns from more than labels, so that only it can say how good a network is."""
    task = None if config is None else TASKS.get(config.task.name)
    return task is not None and (task.takes != "labels" or task.in_parts)  # parts are of pairs


def task_of(config: RunConfig, model: nn.Module, data: ImageData) -> Task:
    """Return the task of a run around a network, ready to be tested."""
    task = build_task(config.task.name, model, len(data.classes), config.task.options, teach=False)
    task.begin(Plan(1, 1, config.data.batch_size, classes=data.classes, tokens=data.tokens, prompts=data.prompts))
    return task.eval()


def test(config: RunConfig | None, model: nn.Module, data: ImageData, classes: Sequence[str]) -> dict[str, float]:
    """Return what the run's task measures on the test split; without a run that of a classifier.

    ``classes`` are the names that the run wrote down; none where it did not.

    Raises:
        InvalidArgumentError: a network that the task or the data cannot use, or data of other classes.
    """
    if config is None and isinstance(model, OnBackbone):
        raise InvalidArgumentError(
            f"these weights of {getattr(model, 'model_name', type(model).__name__)} lie in no run's folder, which says "
            "what they are to be tested on; give the run."
        )
    check_classes(classes, data, getattr(model, "num_classes", 0))
    if config is None or not learns_more(config):
        return evaluate(model, data)
    task = task_of(config, model, data)
    with bar("evaluating", len(data.test)) as progress:
        for batch in track(data.test, progress):
            task(batch)
    return task.results()
