"""What the verbs share: from a word on the command line to a model, its run folder and test images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.checkpoints import build_model
from snnkit.data import DataConfig, load_images
from snnkit.engine import find_checkpoint
from snnkit.engine.progress import console
from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.files import read_json
from snnkit.models import create_model, list_models


@dataclass(frozen=True)
class Source:
    """A model in eval mode; ``folder`` is its run folder (None for a loose checkpoint or an untrained model)."""

    model: nn.Module
    config: dict[str, Any]
    folder: Path | None
    data: DataConfig

    def test_images(self, count: int) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        """Return the first ``count`` test images (B, C, H, W), their labels (B,) and the class names."""
        if count < 1:
            raise InvalidArgumentError(f"--images {count}: must be ≥ 1.")
        data = load_images(replace(self.data, test_clips=1, test_crops=1), seed=0)
        dataset: Any = data.test.dataset
        pairs = [dataset[i] for i in range(min(count, len(dataset)))]
        return torch.stack([x for x, _ in pairs]), torch.tensor([y for _, y in pairs]), data.classes

    @property
    def example(self) -> Tensor:
        """A blank image of the model's size, (1, C, H, W)."""
        size = self.model.img_size
        return torch.zeros(1, int(self.model.in_chans), int(size), int(size))  # type: ignore[arg-type]


def resolve(text: str) -> Source:
    """Return the model meant by a run folder (its last weights), a checkpoint, or a model's name (then untrained).

    Raises:
        UnknownNameError: neither a path nor a model.
        CorruptFileError: the path holds no readable weights.
    """
    path = Path(text)
    if not path.exists():
        if text in list_models():
            console.print(f"{text}: no weights given, using untrained ones.")
            return Source(create_model(text).eval(), {"name": text}, None, DataConfig())
        raise unknown_name(
            "run, checkpoint or model", text, [*list_models(), *_runs()], "Give a path or a model's name."
        )
    model, config = build_model(find_checkpoint(path))
    data, folder = DataConfig(), path if path.is_dir() else None
    if folder is not None and (folder / "config.json").exists():
        saved = read_json(folder / "config.json")["data"]
        data = DataConfig(**{key: value for key, value in saved.items() if key in DataConfig.__dataclass_fields__})
    return Source(model, config, folder, data)


def _runs() -> list[str]:
    return [str(folder) for folder in Path("runs").glob("*")] if Path("runs").is_dir() else []
