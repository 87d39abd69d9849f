"""MEAL V2: a trained network learns an ensemble. Source: szq0214/MEAL-V2@59e6bca."""

from __future__ import annotations

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, RuntimeConfig, ScheduleConfig, TaskConfig
from snnkit.recipes.imagenet import imagenet
from snnkit.recipes.recipe import recipe


@recipe(paper="Shen & Savvides, MEAL V2, arXiv 2009.08453", expected="ResNet-50 at 224: 80.67 % top-1 (published)")
def meal_v2_imagenet() -> RunConfig:
    """ResNet-50 from trained weights (model.weights), taught by task.options.teachers: SGD, 180 epochs, no labels."""
    return RunConfig(
        model=ModelConfig(name="timm:resnet50"),
        data=imagenet(64, rand_augment=""),
        task=TaskConfig("meal_v2"),
        optim=OptimConfig(name="sgd", lr=0.01, weight_decay=0.0, options={"momentum": 0.9, "nesterov": False}),
        schedule=ScheduleConfig("step", decay_epochs=100, decay_rate=0.1),
        runtime=RuntimeConfig(devices=8),
        epochs=180,
    )
