"""What a checkpoint was fed when it was trained, for whoever tests it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from snnkit.data import DataConfig
from snnkit.engine.config import RunConfig
from snnkit.engine.run_folder import own_tokenizer
from snnkit.tasks import TASKS


def fed_as(checkpoint: str | Path, model: Any) -> DataConfig:
    """Return how a checkpoint in a run's folder was fed; of another one, at least the size that it says.

    Raises:
        CorruptFileError: the run's configuration cannot be read.
    """
    folder, (height, width) = Path(checkpoint).absolute().parent, getattr(model, "trained_size", (0, 0))
    own = fed_in(folder.parent) if folder.name == "checkpoints" else None
    return own or DataConfig(img_size=height if height == width else 0)


def fed_in(folder: str | Path) -> DataConfig | None:
    """Return how the run in a folder was fed; None where no run is.

    Raises:
        CorruptFileError: the run's configuration cannot be read.
    """
    saved = Path(folder) / "config.json"
    if not saved.exists():
        return None
    config = RunConfig.load(saved)
    targets = TASKS[config.task.name].takes if config.task.name in TASKS else config.data.targets
    tokenizer = own_tokenizer(Path(folder), config.data.tokenizer)
    # Whoever tests sees an image once.
    return replace(config.data, views="", local_crops=0, targets=targets, tokenizer=tokenizer)


def on_other_data(fed: DataConfig, dataset: str | None, source: str | None) -> DataConfig:
    """Return how a network is fed from another data set, or from elsewhere; another data set has its own source."""
    place = source or ("auto" if dataset is not None and dataset != fed.dataset else fed.source)
    return replace(fed, dataset=dataset or fed.dataset, source=place)
