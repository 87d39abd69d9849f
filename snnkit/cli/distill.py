"""``snnkit distill``: a recipe's network learns from teachers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

# What each method is called among the tasks, and the options it stands for.
_METHODS = {
    "hard": ("distillation", {}),
    "soft": ("distillation", {"soft": True}),
    "meal_v2": ("meal_v2", {}),
    "features": ("feature_distillation", {}),
}


def distill(
    recipe: str,
    *,
    teacher: list[str],
    method: Literal["hard", "soft", "meal_v2", "features"] = "soft",
    cache: Path | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set")] = None,
    runs: Path = Path("runs"),
) -> None:
    """Train a recipe's network on what teachers predict; the run's folder is as that of ``snnkit train``.

    Parameters
    ----------
    recipe
        Name of a recipe: the student, its data and its schedule.
    teacher
        Folder of a run, a .safetensors file, or NAME@weights.safetensors; may be repeated for an ensemble.
    method
        hard or soft labels beside the true ones, meal_v2 (the ensemble's probabilities and a discriminator, no labels),
        or features (the maps of one teacher, stride by stride).
    cache
        Folder in which the teachers' outputs are kept for the next student of the same seed.
    set_
        One setting, such as task.options.alpha=0.7; may be repeated.
    runs
        Folder in which the run's folder is made.
    """
    from snnkit.cli.train import apply_settings
    from snnkit.engine import train as run_training
    from snnkit.engine.progress import say
    from snnkit.errors import InvalidArgumentError
    from snnkit.recipes import get_recipe
    from snnkit.report import write_report

    configuration = get_recipe(recipe)
    name, options = _METHODS[method]
    configuration.task.name = name
    configuration.task.options = {**options, "teachers": tuple(teacher)}
    if name == "meal_v2":
        configuration.task.label_smoothing = 0.0  # it uses no labels
    if cache is not None:
        if method == "features":
            raise InvalidArgumentError("--cache: maps are too large to keep; leave it out with --method features.")
        configuration.task.options["cache"] = str(cache)
    apply_settings(configuration, set_ or [])
    run = run_training(configuration, runs=runs)
    page = write_report(run.folder)
    say(f"{run.told()}; {page}")
