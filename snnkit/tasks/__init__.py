"""Tasks: what is trained. A task owns forward, loss and metrics; the engine never asks which it is.

To add one: a file, and its line in ``TASKS``. Its arguments after ``model`` and ``num_classes`` are ``task.options``.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from snnkit.errors import unknown_name
from snnkit.tasks.classification import Classification
from snnkit.tasks.distillation import Distillation
from snnkit.tasks.feature_distillation import FeatureDistillation
from snnkit.tasks.meal_v2 import MealV2
from snnkit.tasks.task import Task

TASKS: dict[str, type[Task]] = {
    "classification": Classification,
    "distillation": Distillation,
    "feature_distillation": FeatureDistillation,
    "meal_v2": MealV2,
}


def build_task(name: str, model: nn.Module, num_classes: int, options: Mapping[str, Any]) -> Task:
    """Return the task called ``name`` for ``model``.

    Raises:
        UnknownNameError: no such task, or no such option (names the nearest match).
    """
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    allowed = set(inspect.signature(TASKS[name]).parameters) - {"model", "num_classes"}
    for key in options:
        if key not in allowed:
            raise unknown_name(f"option of task {name}", key, allowed)
    return TASKS[name](model, num_classes, **options)


__all__ = ["TASKS", "Classification", "Distillation", "FeatureDistillation", "MealV2", "Task", "build_task"]
