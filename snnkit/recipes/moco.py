"""MoCo v2 on ImageNet and PASS with the published settings, and small ones on Fashion-MNIST.

Source: facebookresearch/moco@132aea9, main_moco.py --mlp --moco-t 0.2 --aug-plus --cos. The published rate changes once
an epoch, this one every step.
"""

from __future__ import annotations

from snnkit.data import DataConfig
from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, RuntimeConfig, ScheduleConfig, TaskConfig
from snnkit.recipes.imagenet import imagenet
from snnkit.recipes.recipe import recipe

_PAPER = "Chen et al., Improved Baselines with Momentum Contrastive Learning, arXiv 2003.04297"


@recipe(paper=_PAPER, expected="ResNet-50: 67.5 % top-1 of a linear probe (published)")
def moco_v2_imagenet() -> RunConfig:
    """MoCo v2 of ResNet-50 on ImageNet without labels: a queue of 65,536, 200 epochs of 256 images a step."""
    return RunConfig(
        model=ModelConfig("timm:resnet50", sizes={"num_classes": 0}),
        data=imagenet(32, crop_scale=0.2, rand_augment="", views="moco_v2"),
        task=TaskConfig("moco"),
        optim=OptimConfig("sgd", lr=0.03, weight_decay=1e-4, decay_all=True, options={"momentum": 0.9}),
        schedule=ScheduleConfig("warmup_cosine"),
        runtime=RuntimeConfig(devices=8),
        epochs=200,
    )


@recipe(
    paper="Asano et al., PASS: An ImageNet replacement for self-supervised pretraining, arXiv 2109.13228",
    expected="ResNet-50: 59.5 % top-1 of a linear probe on ImageNet (published)",
)
def moco_v2_pass() -> RunConfig:
    """MoCo v2 of ResNet-50 on PASS (images without people, each with its creator): 200 epochs."""
    config = moco_v2_imagenet()
    config.data.dataset, config.data.source = "pass", "PASS_dataset"
    return config


def small_views(views: str, img_size: int = 32, **changes: object) -> DataConfig:
    """Return views of Fashion-MNIST: all of it where it is installed."""
    config = DataConfig("fashion_mnist", "auto", img_size=img_size, shift_pixels=0, views=views, crop_scale=0.2)
    for key, value in changes.items():
        if not hasattr(config, key):
            raise AttributeError(f"DataConfig has no field {key!r}")
        setattr(config, key, value)
    return config


@recipe(
    paper=_PAPER,
    expected="linear probe 83.3 ± 0.2 %, 78.6 at random start: 51,968 images, three seeds (example 13)",
)
def moco_v2_fashion_mnist() -> RunConfig:
    """MoCo v2 of a small residual network on Fashion-MNIST at 32 pixels: a queue of 1,024."""
    return RunConfig(
        model=ModelConfig("timm:resnet10t", sizes={"num_classes": 0}),
        data=small_views("moco_v2"),
        task=TaskConfig("moco", options={"dim": 64, "queue": 1024, "momentum": 0.99}),
        optim=OptimConfig("sgd", lr=0.03, weight_decay=1e-4, decay_all=True, options={"momentum": 0.9}),
        schedule=ScheduleConfig("warmup_cosine"),
        epochs=5,
    )


@recipe(paper=_PAPER, expected="not measured")
def moco_v2_spikformer_fashion_mnist() -> RunConfig:
    """MoCo v2 of a small Spikformer V2 on Fashion-MNIST at 64 pixels, two time steps."""
    config = moco_v2_fashion_mnist()
    config.data.img_size = 64
    sizes = {"embed_dim": 96, "depth": 2, "num_heads": 4, "mlp_ratio": 2.0, "stem_ratio": 2, "num_classes": 0}
    config.model = ModelConfig("spikformer_v2_8_384", timesteps=2, sizes=sizes)
    config.optim = OptimConfig(lr=1e-3, weight_decay=0.01)
    return config
