"""ConvMAE and MR-MAE on ImageNet with the published settings, their fine-tuning, and a small one.

Source: Alpha-VL/ConvMAE@4c97b4c. Of MR-MAE no training code is public: its recipe takes ConvMAE's settings, 400 epochs
and a teacher at masked patches' complement from the paper's abstract; see ``snnkit.tasks.mr_mae``.
"""

from __future__ import annotations

from dataclasses import replace

from snnkit.engine.config import ModelConfig, RunConfig, RuntimeConfig, ScheduleConfig, TaskConfig
from snnkit.recipes.imagenet import imagenet
from snnkit.recipes.mae import SMALL_DECODER, mae_fashion_mnist, mae_finetune_imagenet, masked_adamw
from snnkit.recipes.recipe import recipe

_PAPER = "Gao et al., ConvMAE: Masked Convolution Meets Masked Autoencoders, arXiv 2205.03892"
_MIMIC = "Gao et al., Mimic before Reconstruct, arXiv 2303.05475"


@recipe(paper=_PAPER, expected="base: 85.0 % top-1 after fine-tuning (published)")
def convmae_imagenet() -> RunConfig:
    """ConvMAE base on ImageNet without labels: 75 % hidden, 1600 epochs of 3,072 images a step."""
    return RunConfig(
        model=ModelConfig(name="mae:convvit_base"),
        data=imagenet(128, crop_scale=0.2, rand_augment=""),
        task=TaskConfig("masked"),
        optim=replace(masked_adamw(), accumulate=3),
        schedule=ScheduleConfig("warmup_cosine", warmup_epochs=40),
        runtime=RuntimeConfig(devices=8, precision="bf16-mixed"),
        epochs=1600,
    )


@recipe(paper=_MIMIC, expected="ConvMAE base with CLIP's features: 85.8 % top-1 after fine-tuning (abstract)")
def mr_mae_imagenet() -> RunConfig:
    """MR-MAE of ConvMAE base: task.options.teacher is mimicked at visible patches; 400 epochs; form inferred."""
    config = convmae_imagenet()
    config.task, config.epochs = TaskConfig("mr_mae", options={"teacher": ""}), 400
    return config


@recipe(paper=_PAPER, expected="base: 85.0 % top-1 (published)")
def convmae_finetune_imagenet() -> RunConfig:
    """ConvMAE's encoder with labels from the weights of convmae_imagenet (model.weights), as MAE is fine-tuned."""
    config = mae_finetune_imagenet()
    config.model = ModelConfig("convvit_base", sizes={"drop_path_rate": 0.1})
    return config


@recipe(paper=_PAPER, expected="not measured")
def convmae_fashion_mnist() -> RunConfig:
    """A small ConvMAE on Fashion-MNIST at 64 pixels: 16 patches of 16, of which 4 are seen."""
    config = mae_fashion_mnist()
    sizes = {"embed_dim": (24, 48, 96), "depths": (1, 1, 3), "num_heads": 4}
    config.model = ModelConfig("mae:convvit_base", sizes={**sizes, **SMALL_DECODER})
    config.data.img_size, config.data.shift_pixels = 64, 4
    return config
