"""SwAV on ImageNet and PASS with the published settings, and a small one on Fashion-MNIST.

Source: facebookresearch/swav@06b1b7c, scripts/swav_800ep_pretrain.sh and swav_200ep_bs256_pretrain.sh. The published
LARC without clipping, around SGD, is timm's LARS where everything decays. The published script has a queue of every
process; ``task.options.queue`` is that of all.
"""

from __future__ import annotations

from typing import Any

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, RuntimeConfig, ScheduleConfig, TaskConfig
from snnkit.recipes.imagenet import imagenet
from snnkit.recipes.moco import small_views
from snnkit.recipes.recipe import recipe

_PAPER = "Caron et al., Unsupervised Learning of Visual Features by Contrasting Cluster Assignments, arXiv 2006.09882"
_CROPS: dict[str, Any] = {"crop_scale": 0.14, "local_scale": 0.05, "local_crops": 6, "local_size": 96}


def _larc(lr: float, weight_decay: float = 1e-6) -> OptimConfig:
    options = {"momentum": 0.9, "trust_coeff": 0.001}
    return OptimConfig("lars", lr=lr, weight_decay=weight_decay, decay_all=True, options=options)


@recipe(paper=_PAPER, expected="ResNet-50: 75.3 % top-1 of a linear probe (published)")
def swav_imagenet() -> RunConfig:
    """SwAV of ResNet-50 on ImageNet without labels: 2 + 6 crops, 3,000 prototypes, 800 epochs of 4,096 images."""
    return RunConfig(
        model=ModelConfig("timm:resnet50", sizes={"num_classes": 0}),
        data=imagenet(64, rand_augment="", views="swav", **_CROPS),
        task=TaskConfig("swav"),
        optim=_larc(4.8),
        schedule=ScheduleConfig("warmup_cosine", warmup_epochs=10, warmup_lr=0.3, min_lr=0.0048),
        runtime=RuntimeConfig(devices=8, nodes=8, precision="bf16-mixed"),
        epochs=800,
    )


@recipe(paper=_PAPER, expected="ResNet-50: 72.7 % top-1 of a linear probe (published, 200 epochs)")
def swav_small_batch_imagenet() -> RunConfig:
    """SwAV of ResNet-50 on ImageNet on one machine: 256 images a step, a queue of 3,840 from epoch 15, 200 epochs."""
    config = swav_imagenet()
    config.task.options = {"queue": 3840, "queue_from": 15, "freeze_steps": 5005}
    config.data.batch_size, config.runtime.nodes = 32, 1
    config.optim, config.epochs = _larc(0.6), 200
    config.schedule = ScheduleConfig("warmup_cosine", min_lr=0.0006)
    return config


@recipe(
    paper="Asano et al., PASS: An ImageNet replacement for self-supervised pretraining, arXiv 2109.13228",
    expected="ResNet-50: 60.8 % top-1 of a linear probe on ImageNet (published)",
)
def swav_pass() -> RunConfig:
    """SwAV of ResNet-50 on PASS (images without people, each with its creator): 200 epochs, ImageNet's settings."""
    config = swav_imagenet()
    config.data.dataset, config.data.source, config.epochs = "pass", "PASS_dataset", 200
    return config


@recipe(
    paper=_PAPER,
    expected="linear probe 80.4 ± 0.1 %, 78.6 at random start: 17,856 images, three seeds (example 13)",
)
def swav_fashion_mnist() -> RunConfig:
    """SwAV of a small residual network on Fashion-MNIST at 32 pixels: 2 + 4 crops, 100 prototypes, a queue of 512."""
    options = {"dim": 64, "hidden": 256, "prototypes": 100, "freeze_steps": 60, "queue": 512, "queue_from": 1}
    return RunConfig(
        model=ModelConfig("timm:resnet10t", sizes={"num_classes": 0}),
        data=small_views("swav", crop_scale=0.3, local_crops=4, local_size=16),
        task=TaskConfig("swav", options=options),
        optim=OptimConfig(lr=1e-3, weight_decay=1e-6),
        schedule=ScheduleConfig("warmup_cosine", warmup_epochs=0.5),
        epochs=5,
    )
