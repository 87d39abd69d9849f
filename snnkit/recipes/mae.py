"""Masked autoencoders: on ImageNet and PASS with the published settings, their fine-tuning, and a small one.

Source: facebookresearch/mae@efb2a80, main_pretrain.py, main_finetune.py, PRETRAIN.md, FINETUNE.md. No masked run on
PASS is published: its recipe has the settings of ImageNet.
"""

from __future__ import annotations

from dataclasses import replace

from snnkit.data import DataConfig
from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, RuntimeConfig, ScheduleConfig, TaskConfig
from snnkit.recipes.imagenet import imagenet
from snnkit.recipes.recipe import recipe

_PAPER = "He et al., Masked Autoencoders Are Scalable Vision Learners, arXiv 2111.06377"
BETAS = (0.9, 0.95)


def masked_adamw(lr: float = 1.5e-4) -> OptimConfig:
    """Return the optimizer of MAE and of what descends from it; the rate is that of 256 images."""
    return OptimConfig(name="adamw", lr=lr, lr_per=256, weight_decay=0.05, options={"betas": BETAS})


@recipe(paper=_PAPER, expected="ViT-B: 83.6 % top-1 after 1600 epochs and fine-tuning (published)")
def mae_imagenet() -> RunConfig:
    """MAE of ViT-B/16 on ImageNet without labels: 75 % hidden, 800 epochs of 4,096 images a step."""
    return RunConfig(
        model=ModelConfig(name="mae:timm:vit_base_patch16_224"),
        data=imagenet(128, crop_scale=0.2, rand_augment=""),
        task=TaskConfig("masked"),
        optim=replace(masked_adamw(), accumulate=4),
        schedule=ScheduleConfig("warmup_cosine", warmup_epochs=40),
        runtime=RuntimeConfig(devices=8, precision="bf16-mixed"),
        epochs=800,
    )


@recipe(paper=_PAPER, expected="not measured: no masked run on PASS is published")
def mae_pass() -> RunConfig:
    """MAE of ViT-B/16 on PASS (images without people, each with its creator) with ImageNet's settings."""
    config = mae_imagenet()
    config.data.dataset, config.data.source = "pass", "PASS_dataset"
    return config


@recipe(paper=_PAPER, expected="ViT-B: 83.6 % top-1 (published)")
def mae_finetune_imagenet() -> RunConfig:
    """ViT-B/16 with labels from the weights of mae_imagenet (model.weights): layer decay 0.65, 100 epochs."""
    return RunConfig(
        model=ModelConfig(name="timm:vit_base_patch16_224", sizes={"global_pool": "avg", "drop_path_rate": 0.1}),
        data=imagenet(128, erase=0.25, mixup=0.8, cutmix=1.0),
        task=TaskConfig(label_smoothing=0.1),
        optim=OptimConfig(name="adamw", lr=5e-4, lr_per=256, weight_decay=0.05, layer_decay=0.65),
        schedule=ScheduleConfig("warmup_cosine", warmup_epochs=5, min_lr=1e-6 / 4),  # scaled as the rate is, by 4
        runtime=RuntimeConfig(devices=8, precision="bf16-mixed"),
        epochs=100,
    )


SMALL = {"patch_size": 4, "embed_dim": 96, "depth": 4, "num_heads": 4}
SMALL_DECODER = {"decoder_dim": 64, "decoder_depth": 1, "decoder_heads": 4}


def small_images(batch_size: int = 64, img_size: int = 32) -> DataConfig:
    """Return Fashion-MNIST enlarged to ``img_size`` pixels: all of it where it is installed."""
    return DataConfig("fashion_mnist", "auto", batch_size=batch_size, img_size=img_size, shift_pixels=2)


@recipe(
    paper=_PAPER,
    expected="linear probe 81.6 ± 0.7 %, 78.9 at random start: 119,936 images, three seeds (example 13)",
)
def mae_fashion_mnist() -> RunConfig:
    """MAE of a vision transformer of 0.5 million parameters on Fashion-MNIST at 32 pixels, patches of 4."""
    return RunConfig(
        model=ModelConfig("mae:timm:vit_tiny_patch16_224", sizes={**SMALL, **SMALL_DECODER}),
        data=small_images(),
        task=TaskConfig("masked"),
        optim=OptimConfig(name="adamw", lr=1e-3, weight_decay=0.05, options={"betas": BETAS}),
        schedule=ScheduleConfig("cosine", warmup_epochs=0.5),
        epochs=10,
    )


@recipe(paper=_PAPER, expected="not measured")
def vit_fashion_mnist() -> RunConfig:
    """The vision transformer of mae_fashion_mnist with labels; model.weights=RUN starts from its weights."""
    return RunConfig(
        model=ModelConfig("timm:vit_tiny_patch16_224", sizes={**SMALL, "img_size": 32, "global_pool": "avg"}),
        data=small_images(),
        optim=OptimConfig(name="adamw", lr=1e-3, weight_decay=0.05, layer_decay=0.75),
        schedule=ScheduleConfig("cosine", warmup_epochs=0.5),
        epochs=5,
    )
