"""A training in stages: each a run of its own in a folder of the whole, beginning with the weights of the one before.

    RunConfig(…, stages=[{"stage": "image", "task.name": "classification", …}, {"stage": "text", …}, …])

A stage's configuration is that of the run with the keys of its table set, as ``--set`` takes them; ``model.name`` lets
go of the sizes of the model before. Whatever was set for the run holds in every stage that does not set it. A run that
stopped goes on where it stopped: stages that ended are left as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from snnkit.engine.config import RunConfig, override
from snnkit.engine.progress import say
from snnkit.engine.run_folder import begun
from snnkit.errors import InvalidArgumentError
from snnkit.files import read_json

ENDED = "summary.json"
"""What a run writes last."""


def stage_configs(config: RunConfig) -> list[tuple[str, RunConfig]]:
    """Return name and configuration of every stage.

    Raises:
        InvalidArgumentError: a stage without a name, or two of one name.
        UnknownNameError: a stage sets what there is not (names the nearest).
    """
    found: list[tuple[str, RunConfig]] = []
    for number, table in enumerate(config.stages, 1):
        name = table.get("stage")
        if not isinstance(name, str) or not name.isidentifier() or name in [other for other, _ in found]:
            raise InvalidArgumentError(f"stages: number {number} needs a name of its own ('stage'), got {name!r}.")
        own = RunConfig.from_dict({**config.to_dict(), "stages": []})
        for key in sorted(set(table) - {"stage"}, key=lambda key: key != "model.name"):
            if key == "model.name":
                own.model.name, own.model.sizes = str(table[key]), {}
            else:
                override(own, key, table[key])
        own.check()
        found.append((name, own))
    return found


def folder_of(folder: Path, number: int, name: str) -> Path:
    """Return where a stage of a run lies; numbers count from 1."""
    return folder / f"{number}-{name}"


def is_staged(folder: Path) -> bool:
    """Whether a folder is that of a run in stages."""
    path = folder / "config.json"
    return path.exists() and bool(read_json(path).get("stages"))


def run_stages(config: RunConfig, folder: Path, command: str | None, fabric: Fabric | None = None) -> Any:
    """Run the stages that have not ended, each from its own last state or from the weights before; return the last run.

    Args:
        config: with stages.
        folder: of the whole run.
        command: how it was started.
        fabric: not asked; stages make their own.
    """
    from snnkit.engine.train import finished, resume, train

    del fabric
    stages, before, run = stage_configs(config), "", None
    for number, (name, own) in enumerate(stages, 1):
        own.recipe = config.recipe
        part = folder_of(folder, number, name)
        if before and not own.model.weights:
            own.model.weights = before
        before = str(part)
        if (part / ENDED).exists():
            run = finished(part)
            continue
        say(f"stage {number} of {len(stages)}: {name}")
        run = resume(part, own) if begun(part) else train(own, part, command)
    return run
