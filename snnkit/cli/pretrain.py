"""``snnkit pretrain``: run a recipe that needs no labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def pretrain(
    recipe: str = "mae_fashion_mnist",
    *,
    config: Path | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set")] = None,
    runs: Path = Path("runs"),
    resume: str | None = None,
) -> None:
    """Train without labels what a recipe describes; it is ``snnkit train`` for recipes of pre-training.

    What comes out is fine-tuned by ``snnkit train RECIPE --set model.weights=RUN``.

    Parameters
    ----------
    recipe
        Name of a recipe whose task needs no labels.
    config
        TOML file whose tables override the recipe.
    set_
        One setting, such as model.sizes.mask_ratio=0.6; may be repeated, and wins over the file.
    runs
        Folder in which the run's folder is made.
    resume
        Go on with a run that stopped: its folder, or "auto" for the newest of this recipe.
    """
    from difflib import get_close_matches

    from snnkit.cli.train import configured, run_and_report
    from snnkit.errors import InvalidArgumentError
    from snnkit.recipes import RECIPES
    from snnkit.tasks import TASKS

    folder, configuration = configured(recipe, config, set_ or [], runs, resume)
    task = configuration.task.name
    if task in TASKS and TASKS[task].labels:
        fit = sorted(name for name, entry in RECIPES.items() if not TASKS[entry.build().task.name].labels)
        raise InvalidArgumentError(
            f"recipe {configuration.recipe!r} learns from labels ({task}): run it by `snnkit train`. Of {len(fit)} "
            f"without labels the nearest are {', '.join(get_close_matches(configuration.recipe, fit, 4, 0.0))}."
        )
    run_and_report(folder, configuration, runs)
