"""Tasks: what is trained. A task owns forward, loss and metrics; the engine never asks which it is."""

from snnkit.tasks.classification import Classification
from snnkit.tasks.task import Task

__all__ = ["Classification", "Task"]
