"""BASIC: image and text towers in three stages, with batches that no memory bounds; small ones on Fashion-MNIST.

    image   the image tower learns to classify
    text    the text tower learns beside it, the image tower as it is
    both    both learn; batch norms of the image tower keep their statistics, so that steps are exact

The order, AdaFactorW and the batch of 65,536 are the paper's. What it sets beyond its abstract was not checked.

Source: Pham et al., "Combined Scaling for Zero-shot Transfer Learning", arXiv 2111.10050.
"""

from __future__ import annotations

from typing import Any

from snnkit.data import DataConfig
from snnkit.engine.config import (
    CheckpointConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    RuntimeConfig,
    ScheduleConfig,
    TaskConfig,
)
from snnkit.recipes.recipe import recipe

_PAPER = "Pham et al., Combined Scaling for Zero-shot Transfer Learning, arXiv 2111.10050"


@recipe(paper=_PAPER, expected="BASIC-S is not among the results of the abstract; not measured")
def basic_s_shards() -> RunConfig:
    """Three stages of CoAtNet-0 and a text transformer on shards of pairs: batches of 65,536 on 8 devices."""
    text = {"text_width": 512, "text_depth": 6, "text_heads": 8, "dim": 512, "vocabulary": 32_001}
    return RunConfig(
        model=ModelConfig("basic:timm:coatnet_0_rw_224", sizes=text),
        data=DataConfig("pair_shards", "pairs", batch_size=64, img_size=224, workers=8, shift_pixels=0, crop_scale=0.5),
        task=TaskConfig("pairs", options={"batch_norm": "frozen", "reread": True}),
        optim=OptimConfig("adafactorw", lr=5e-4, weight_decay=0.0025, clip=1.0, accumulate=128),
        schedule=ScheduleConfig("warmup_cosine", warmup_epochs=0.2),
        runtime=RuntimeConfig(devices=8, precision="bf16-mixed"),
        checkpoint=CheckpointConfig(every_steps=500),
        epochs=5,
        stages=[
            {
                "stage": "image",
                "model.name": "timm:coatnet_0_rw_224",
                "data.dataset": "image_folder",
                "data.source": "imagenet",
                "data.rand_augment": "rand-m9-mstd0.5-inc1",
                "optim.accumulate": 1,
                "epochs": 90,
                **_without_pairs(label_smoothing=0.1),
            },
            {"stage": "text", "task.options.freeze": "image"},
            {"stage": "both", "optim.lr": 1e-4, "epochs": 1},
        ],
    )


def _without_pairs(**options: Any) -> dict[str, Any]:
    """What a stage of classification sets."""
    return {"task.name": "classification", **{f"task.{key}": value for key, value in options.items()}}


def captioned(source: str = "auto", **changes: Any) -> DataConfig:
    """Return Fashion-MNIST with captions, mirrored at random."""
    return DataConfig(
        "captioned_fashion_mnist", source, batch_size=64, img_size=28, shift_pixels=0, context=80, **changes
    )


def _small(tower: ModelConfig) -> RunConfig:
    """Both towers at once from random weights: the image tower has no batch norm."""
    text = {"text_width": 64, "text_depth": 1, "text_heads": 4, "dim": 64}
    return RunConfig(
        model=ModelConfig(f"basic:{tower.name}", tower.timesteps, {**tower.sizes, **text}),
        data=captioned(),
        task=TaskConfig("pairs"),
        optim=OptimConfig("adafactorw", lr=2e-3, weight_decay=0.01, clip=1.0, accumulate=4),
        schedule=ScheduleConfig("warmup_cosine", warmup_epochs=0.2),
        epochs=3,
    )


@recipe(paper=_PAPER, expected="zero-shot 80.6 % after four epochs")
def pairs_fashion_mnist() -> RunConfig:
    """A small ConvNeXt and a text transformer on Fashion-MNIST with captions, in batches of 256."""
    return _small(
        ModelConfig("timm:convnext_atto", sizes={"dims": (16, 32, 64, 96), "depths": (1, 1, 1, 1), "output_stride": 16})
    )


@recipe(paper=_PAPER, expected="zero-shot 89.2 % after four epochs a stage")
def basic_fashion_mnist() -> RunConfig:
    """BASIC's three stages of a small network on Fashion-MNIST with captions, in batches of 256."""
    return _staged(
        ModelConfig("timm:resnet10t", sizes={"stem_type": "", "stem_width": 16, "channels": (16, 32, 64, 96)})
    )


@recipe(paper=_PAPER, expected="zero-shot 88.0 % after four epochs a stage")
def basic_spiking_fashion_mnist() -> RunConfig:
    """The same with the demo's spiking network as image tower, four time steps."""
    return _staged(ModelConfig("spiking_cnn_small", timesteps=4))


def _staged(tower: ModelConfig) -> RunConfig:
    config = _small(tower)
    config.task.options["batch_norm"] = "frozen"
    sizes = {f"model.sizes.{key}": value for key, value in tower.sizes.items()}
    config.stages = [
        {
            "stage": "image",
            "model.name": tower.name,
            **sizes,
            "data.dataset": "fashion_mnist",
            "optim.accumulate": 1,
            **_without_pairs(),
        },
        {"stage": "text", "task.options.freeze": "image"},
        {"stage": "both", "optim.lr": 5e-4},
    ]
    return config
