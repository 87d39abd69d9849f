"""What a checkpoint was fed when it was trained, for whoever tests it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from snnkit.data import DataConfig
from snnkit.engine.config import RunConfig


def fed_as(checkpoint: str | Path, model: Any) -> DataConfig:
    """Return how a checkpoint in a run's folder was fed; of another one, at least the size that it says.

    Raises:
        CorruptFileError: the run's configuration cannot be read.
    """
    folder, (height, width) = Path(checkpoint).absolute().parent, getattr(model, "trained_size", (0, 0))
    saved = folder.parent / "config.json"
    if folder.name == "checkpoints" and saved.exists():
        data = RunConfig.load(saved).data
        return replace(data, views="", local_crops=0)  # whoever tests sees an image once
    return DataConfig(img_size=height if height == width else 0)
