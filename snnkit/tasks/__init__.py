"""Tasks: what is trained. A task owns forward, loss and metrics; the engine never asks which it is.

To add one: a file, imported below, and its class in the first list. Its arguments after ``model`` and ``num_classes``
are ``task.options``. What every task can have beside them is a penalty on energy (``energy_penalty``), and tasks beyond
classes a teacher (``teaching``).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.models.masked import MaskedModel
from snnkit.tasks.captioning import Captioning
from snnkit.tasks.classification import Classification
from snnkit.tasks.contrastive.dino import DINO
from snnkit.tasks.contrastive.moco import MoCo
from snnkit.tasks.contrastive.swav import SwAV
from snnkit.tasks.detection import Detection
from snnkit.tasks.distillation import Distillation
from snnkit.tasks.energy_penalty import EnergyPenalty
from snnkit.tasks.feature_distillation import FeatureDistillation
from snnkit.tasks.masked import Masked
from snnkit.tasks.meal_v2 import MealV2
from snnkit.tasks.mr_mae import MRMAE
from snnkit.tasks.pairs.pairs import Pairs
from snnkit.tasks.pose import Pose
from snnkit.tasks.segmentation import Segmentation
from snnkit.tasks.task import Task
from snnkit.tasks.teaching import Taught

__all__ = [
    "DINO",
    "MRMAE",
    "Captioning",
    "Classification",
    "Detection",
    "Distillation",
    "FeatureDistillation",
    "Masked",
    "MealV2",
    "MoCo",
    "Pairs",
    "Pose",
    "Segmentation",
    "SwAV",
]

TASKS: dict[str, type[Task]] = {task.name: task for task in (globals()[name] for name in __all__)}


def build_task(name: str, model: nn.Module, num_classes: int, options: Mapping[str, Any], teach: bool = True) -> Task:
    """Return the task called ``name`` for ``model``; for a test alone ``teach=False`` leaves its teacher out.

    Raises:
        UnknownNameError: no such task, or no such option (names the nearest match).
        InvalidArgumentError: an option of another type than the task takes, or outside its range.
    """
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    if TASKS[name].labels and isinstance(model, MaskedModel):
        raise InvalidArgumentError(
            f"task {name}: {getattr(model, 'model_name', type(model).__name__)} paints hidden patches and tells no "
            "classes apart; train it by task.name=masked, or give its encoder's name and model.weights=RUN."
        )
    kind: Any = TASKS[name]
    of_teacher = dict(inspect.signature(Taught.learn_from).parameters) if issubclass(kind, Taught) else {}
    of_teacher.pop("self", None)
    parameters = {**inspect.signature(kind).parameters, **of_teacher}
    allowed = set(parameters) - {"model", "num_classes"}
    for key, value in options.items():
        if key not in allowed:
            raise unknown_name(f"option of task {name}", key, allowed)
        if not isinstance(value, nn.Module):
            _check_type(key, value, type(parameters[key].default))
    smoothing = options.get("label_smoothing", 0.0)
    if not 0 <= smoothing <= 1:
        raise InvalidArgumentError(f"task.options.label_smoothing={smoothing}: must be between 0 and 1.")
    task: Task = kind(model, num_classes, **{key: value for key, value in options.items() if key not in of_teacher})
    taught = {key: value for key, value in options.items() if key in of_teacher}
    if taught and teach and isinstance(task, Taught):
        task.learn_from(**taught)
    return task


def _check_type(key: str, value: Any, kind: type) -> None:
    """Compare with the type of the option's default; those that take several kinds of values check themselves."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    fits, wanted = {
        bool: (isinstance(value, bool), "true or false"),
        int: (number and isinstance(value, int), "a whole number"),
        float: (number and math.isfinite(value), "a number"),
        str: (isinstance(value, str), "text"),
    }.get(kind, (True, ""))
    if not fits:
        raise InvalidArgumentError(f"task.options.{key}={value!r}: must be {wanted}.")


__all__ += ["TASKS", "EnergyPenalty", "Task", "Taught", "build_task"]
