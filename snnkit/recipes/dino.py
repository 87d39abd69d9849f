"""DINO on ImageNet and PASS with the published settings, and a small one on Fashion-MNIST.

Source: facebookresearch/dino@7c446df, main_dino.py. timm exempts positions and the class token from weight decay, the
published code does not; positions are resampled to the small views' grid by timm.
"""

from __future__ import annotations

from typing import Any

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, RuntimeConfig, ScheduleConfig, TaskConfig
from snnkit.recipes.imagenet import imagenet
from snnkit.recipes.moco import small_views
from snnkit.recipes.recipe import recipe

_PAPER = "Caron et al., Emerging Properties in Self-Supervised Vision Transformers, arXiv 2104.14294"


@recipe(paper=_PAPER, expected="ViT-S/16: 69.3 % k-NN, 74.0 % top-1 of a linear probe (published)")
def dino_imagenet() -> RunConfig:
    """DINO of ViT-S/16 on ImageNet without labels: 2 + 8 crops, 100 epochs of 512 images a step."""
    sizes = {"num_classes": 0, "drop_path_rate": 0.1, "dynamic_img_size": True}
    crops: dict[str, Any] = {"crop_scale": 0.4, "local_scale": 0.05, "local_crops": 8, "local_size": 96}
    return RunConfig(
        model=ModelConfig("timm:vit_small_patch16_224", sizes=sizes),
        data=imagenet(64, rand_augment="", views="dino", **crops),
        task=TaskConfig("dino"),
        optim=OptimConfig("adamw", lr=5e-4, lr_per=256, weight_decay=0.04, clip=3.0, clip_each=True),
        # The published least rate, 1e-6, does not grow with the images of a step.
        schedule=ScheduleConfig("warmup_cosine", warmup_epochs=10, min_lr=5e-7, weight_decay_end=0.4),
        runtime=RuntimeConfig(devices=8, precision="bf16-mixed"),
        epochs=100,
    )


@recipe(
    paper="Asano et al., PASS: An ImageNet replacement for self-supervised pretraining, arXiv 2109.13228",
    expected="ViT-S/16: 65.0 % top-1 of a linear probe on ImageNet (published)",
)
def dino_pass() -> RunConfig:
    """DINO of ViT-S/16 on PASS: 300 epochs, teacher at 0.07 after 30, last layer of free length (inferred)."""
    config = dino_imagenet()
    config.data.dataset, config.data.source, config.epochs = "pass", "PASS_dataset", 300
    config.task.options = {"teacher_temperature": 0.07, "warmup_teacher_epochs": 30, "norm_last_layer": False}
    return config


@recipe(
    paper=_PAPER,
    expected="linear probe 82.2 ± 0.3 %, 78.6 at random start: 24,000 images, three seeds; best of nine on test images",
)
def dino_fashion_mnist() -> RunConfig:
    """DINO of a small residual network on Fashion-MNIST at 32 pixels: 2 + 2 crops, 128 outputs.

    A small vision transformer was no better than its random start after as many minutes.
    """
    options = {"out_dim": 128, "hidden": 256, "bottleneck": 64, "momentum": 0.99, "freeze_epochs": 0}
    return RunConfig(
        model=ModelConfig("timm:resnet10t", sizes={"num_classes": 0}),
        data=small_views("dino", crop_scale=0.4, local_crops=2, local_size=16, local_scale=0.2, batch_size=32),
        task=TaskConfig("dino", options=options),
        optim=OptimConfig("adamw", lr=1e-3, weight_decay=0.04, clip=3.0, clip_each=True),
        schedule=ScheduleConfig("warmup_cosine", warmup_epochs=0.1, min_lr=1e-6),
        epochs=5,
    )
