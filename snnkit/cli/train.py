"""``snnkit train``: run a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def train(
    recipe: str = "fashion_mnist",
    *,
    config: Path | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set")] = None,
    runs: Path = Path("runs"),
) -> None:
    """Train what a recipe describes; the run becomes a folder with configuration, metrics and checkpoints.

    Parameters
    ----------
    recipe
        Name of a recipe.
    config
        TOML file whose tables override the recipe.
    set_
        One setting, such as optim.lr=1e-3; may be repeated, and wins over the file.
    runs
        Folder in which the run's folder is made.
    """
    from snnkit.engine import new_run_folder, override
    from snnkit.engine import train as run_training
    from snnkit.engine.config import apply_toml
    from snnkit.engine.progress import console
    from snnkit.errors import InvalidArgumentError
    from snnkit.models import create_model
    from snnkit.recipes import get_recipe
    from snnkit.report import write_report

    configuration = get_recipe(recipe)
    if config is not None:
        apply_toml(configuration, config)
    for setting in set_ or []:
        key, sign, value = setting.partition("=")
        if not sign:
            raise InvalidArgumentError(f"--set {setting}: give key=value, such as optim.lr=1e-3.")
        override(configuration, key, value)
    create_model(configuration.model.name, timesteps=configuration.model.timesteps, **configuration.model.sizes)
    run = run_training(configuration, new_run_folder(configuration.recipe, runs))
    page = write_report(run.folder)
    console.print(f"test accuracy {run.final_score:.1%}; weights {run.checkpoint}; {page}")
