"""``snnkit train``: run a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from snnkit.engine import RunConfig


def train(
    recipe: str = "fashion_mnist",
    *,
    config: Path | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set")] = None,
    runs: Path = Path("runs"),
    resume: str | None = None,
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
    resume
        Go on with a run that stopped: its folder, or "auto" for the newest of this recipe, if there is one. The run's
        own configuration is used; --config and --set change it.
    """
    folder, configuration = configured(recipe, config, set_ or [], runs, resume)
    run_and_report(folder, configuration, runs)


def configured(
    recipe: str, config: Path | None, settings: list[str], runs: Path, resume: str | None
) -> tuple[Path | None, RunConfig]:
    """Return the folder of the run to go on with, if there is one, and the configuration with what was set."""
    from snnkit.engine import RunConfig, latest_run
    from snnkit.engine.config import apply_toml
    from snnkit.recipes import get_recipe

    folder = latest_run(runs, recipe) if resume == "auto" else Path(resume) if resume else None
    configuration = get_recipe(recipe) if folder is None else RunConfig.load(folder / "config.json")
    if config is not None:
        apply_toml(configuration, config)
    apply_settings(configuration, settings)
    return folder, configuration


def run_and_report(folder: Path | None, configuration: RunConfig, runs: Path) -> None:
    """Train, or go on in ``folder``, write the report and say how it ended."""
    from snnkit.engine import resume as resume_training
    from snnkit.engine import train as run_training
    from snnkit.engine.progress import say
    from snnkit.report import write_report

    run = resume_training(folder, configuration) if folder else run_training(configuration, runs=runs)
    page = write_report(run.folder)
    say(f"{run.told()}; {page}")


def apply_settings(configuration: RunConfig, settings: list[str]) -> None:
    """Override a configuration by ``key=value`` texts.

    Raises:
        InvalidArgumentError: a text without "=", or a value of the wrong kind.
        UnknownNameError: no such key (names the nearest).
    """
    from snnkit.engine import override
    from snnkit.errors import InvalidArgumentError

    # What follows from another model may be set beside it, in any order.
    for setting in sorted(settings, key=lambda text: text.partition("=")[0] != "model.name"):
        key, sign, value = setting.partition("=")
        if not sign:
            raise InvalidArgumentError(f"--set {setting}: give key=value, such as optim.lr=1e-3.")
        override(configuration, key, value)
