"""The loop that trains any task, and the folder a run leaves behind."""

from snnkit.engine.config import (
    CheckpointConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    RuntimeConfig,
    ScheduleConfig,
    TaskConfig,
    override,
)
from snnkit.engine.guard import DivergedError, EndedError, StoppedError
from snnkit.engine.lock import LockedError
from snnkit.engine.run_folder import Run, find_checkpoint, latest_run, new_run_folder
from snnkit.engine.train import evaluate, resume, train, train_task

__all__ = [
    "CheckpointConfig",
    "DivergedError",
    "EndedError",
    "LockedError",
    "ModelConfig",
    "OptimConfig",
    "Run",
    "RunConfig",
    "RuntimeConfig",
    "ScheduleConfig",
    "StoppedError",
    "TaskConfig",
    "evaluate",
    "find_checkpoint",
    "latest_run",
    "new_run_folder",
    "override",
    "resume",
    "train",
    "train_task",
]
