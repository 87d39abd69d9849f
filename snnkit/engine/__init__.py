"""The loop that trains any task, and the folder a run leaves behind."""

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, override
from snnkit.engine.run_folder import Run, find_checkpoint, new_run_folder
from snnkit.engine.train import evaluate, train

__all__ = [
    "ModelConfig",
    "OptimConfig",
    "Run",
    "RunConfig",
    "evaluate",
    "find_checkpoint",
    "new_run_folder",
    "override",
    "train",
]
