"""A training in stages: each a run of its own in a folder of the whole, beginning with the weights of the one before.

    RunConfig(…, stages=[{"stage": "image", "task.name": "classification", …}, {"stage": "text", …}, …])

A stage's configuration is that of the run with the keys of its table set, as ``--set`` takes them; ``model.name`` lets
go of the sizes of the model before, ``task.name`` of the options of the task. Whatever was set for the run holds in
every stage that does not set it, but for ``model.weights``, which is where the first begins. A run that stopped goes on
where it stopped: stages that ended are left as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from snnkit.engine.config import RunConfig, override, settings
from snnkit.engine.progress import say
from snnkit.engine.run_folder import ENDED, Run, begun, own_tokenizer
from snnkit.errors import InvalidArgumentError


def stage_configs(config: RunConfig) -> list[tuple[str, RunConfig]]:
    """Return name and configuration of every stage.

    Raises:
        InvalidArgumentError: a stage without a name, or two of one name.
        UnknownNameError: a stage sets what there is not (names the nearest).
    """
    found: dict[str, RunConfig] = {}
    for number, table in enumerate(config.stages, 1):
        name = table.get("stage")
        if not isinstance(name, str) or not name.isidentifier() or name in found:
            raise InvalidArgumentError(f"stages: number {number} needs a name of its own ('stage'), got {name!r}.")
        own = RunConfig.from_dict({**config.to_dict(), "stages": []})
        if "model.name" in table:
            own.model.name, own.model.sizes = str(table["model.name"]), {}
        if "task.name" in table:
            own.task.name, own.task.options = str(table["task.name"]), {}
        if found and "model.weights" not in table:
            own.model.weights = ""  # what the stage before it learned
        for key in set(table) - {"stage", "model.name", "task.name"}:
            override(own, key, table[key])
        own.check()
        found[name] = own
    return list(found.items())


def run_stages(
    config: RunConfig,
    folder: Path,
    begin: Callable[[RunConfig, Path], Run],
    go_on: Callable[[Path, RunConfig], Run],
    ended: Callable[[Path], Run],
) -> Run:
    """Run the stages that have not ended, from their own last states or the weights before; return the last run.

    Args:
        config: with stages.
        folder: of the whole run.
        begin: trains from the start in a folder.
        go_on: takes up the last state in one.
        ended: returns the run that ended in one.

    Raises:
        As ``begin`` and ``go_on``; stages that ended are kept.
    """
    stages, before, run = stage_configs(config), "", None
    for number, (name, own) in enumerate(stages, 1):
        part = folder / f"{number}-{name}"
        if before and not own.model.weights:
            own.model.weights = before
        if before:
            own.data.tokenizer = own_tokenizer(Path(before), own.data.tokenizer)
        before = str(part)
        if (part / ENDED).exists():
            run = ended(part)
            if other := _other(own, run.config):
                say(f"stage {name} ended before {', '.join(other)} was set so; it stays as it is.")
            continue
        say(f"stage {number} of {len(stages)}: {name}")
        run = go_on(part, own) if begun(part) else begin(own, part)
    assert run is not None
    return run


def _other(now: RunConfig, then: RunConfig) -> list[str]:
    """Return what is set otherwise now than it was, but for what changes no number of a stage that ended."""
    one, two = dict(settings(now)), dict(settings(then))
    apart = ("model.weights", "runtime.", "checkpoint.", "stages", "data.tokenizer")
    return [key for key in one if one[key] != two.get(key) and not key.startswith(apart)]
