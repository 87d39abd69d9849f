"""SimMIM on ImageNet with the published settings, fine-tuning of Swin V2 from it, and a small one.

Sources: microsoft/SimMIM@d3e29bc (Swin), microsoft/Swin-Transformer@f82860b, configs/simmim (Swin V2).
"""

from __future__ import annotations

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, RuntimeConfig, ScheduleConfig, TaskConfig
from snnkit.recipes.imagenet import imagenet
from snnkit.recipes.mae import mae_fashion_mnist
from snnkit.recipes.recipe import recipe

_PAPER = "Xie et al., SimMIM: A Simple Framework for Masked Image Modeling, arXiv 2111.09886"
_WINDOWS = (12, 12, 12, 6)


def _pretraining(model: ModelConfig, img_size: int, lr: float, schedule: ScheduleConfig, epochs: int) -> RunConfig:
    return RunConfig(
        model=model,
        data=imagenet(128, img_size, crop_scale=0.67, rand_augment=""),
        task=TaskConfig("masked"),
        optim=OptimConfig(name="adamw", lr=lr, lr_per=512, weight_decay=0.05, clip=5.0, accumulate=2),
        schedule=schedule,
        runtime=RuntimeConfig(devices=8, precision="bf16-mixed"),
        epochs=epochs,
    )


@recipe(paper=_PAPER, expected="V2-B: no figure of this run is in its repository")
def simmim_swinv2_imagenet() -> RunConfig:
    """SimMIM of Swin V2 base on ImageNet at 192 pixels without labels: 60 % hidden, normalised targets, 800 epochs."""
    model = ModelConfig("simmim:swinv2_base_window12_192", sizes={"drop_path_rate": 0.1})
    schedule = ScheduleConfig("step", warmup_epochs=10, warmup_lr=5e-7, decay_epochs=700, decay_rate=0.1)
    return _pretraining(model, 192, 1e-4, schedule, 800)


@recipe(paper=_PAPER, expected="Swin-B: 83.5 % top-1 at 192 pixels after fine-tuning (published)")
def simmim_swin_imagenet() -> RunConfig:
    """SimMIM of Swin base, windows of 6, on ImageNet at 192 pixels without labels: 100 epochs."""
    model = ModelConfig("simmim:timm:swin_base_patch4_window7_224", sizes={"window_size": 6})
    return _pretraining(model, 192, 2e-4, ScheduleConfig("cosine", 10, warmup_lr=1e-6, min_lr=1e-5), 100)


@recipe(paper=_PAPER, expected="not measured: the released ViT-B differs in its positions")
def simmim_vit_imagenet() -> RunConfig:
    """SimMIM of ViT-B/16 on ImageNet at 224 pixels without labels, with the settings of the Swin run."""
    model = ModelConfig("simmim:timm:vit_base_patch16_224")
    return _pretraining(model, 224, 2e-4, ScheduleConfig("cosine", 10, warmup_lr=1e-6, min_lr=1e-5), 100)


@recipe(paper=_PAPER, expected="V2-B: no figure of this run is in its repository")
def simmim_swinv2_finetune_imagenet() -> RunConfig:
    """Swin V2 base at 224 pixels with labels from the weights of simmim_swinv2_imagenet (model.weights)."""
    sizes = {"img_size": 224, "window_size": 14, "pretrained_window_size": _WINDOWS, "drop_path_rate": 0.1}
    return RunConfig(
        model=ModelConfig("swinv2_base_window12_192", sizes=sizes),
        data=imagenet(128, 224, erase=0.25, mixup=0.8, cutmix=1.0),
        task=TaskConfig(label_smoothing=0.1),
        optim=OptimConfig(
            name="adamw", lr=1.25e-3, lr_per=512, weight_decay=0.05, layer_decay=0.75, clip=5.0, accumulate=2
        ),
        schedule=ScheduleConfig("cosine", warmup_epochs=20, warmup_lr=2.5e-7, min_lr=2.5e-7),
        runtime=RuntimeConfig(devices=8, precision="bf16-mixed"),
        epochs=100,
    )


@recipe(
    paper=_PAPER,
    expected="linear probe 83.1 ± 0.1 %, 77.0 at random start: 33,984 images, three seeds (example 13)",
)
def simmim_fashion_mnist() -> RunConfig:
    """SimMIM of the small Swin V2 of swinv2_fashion_mnist at 64 pixels, cells of 16; its weights go into that."""
    config = mae_fashion_mnist()
    sizes = {"embed_dim": 32, "depths": (1, 2, 2, 1), "num_heads": (2, 4, 8, 16), "pretrained_window_size": 0}
    config.model = ModelConfig("simmim:swinv2_tiny_window8_256", sizes={**sizes, "mask_patch_size": 16})
    config.data.img_size, config.data.shift_pixels = 64, 4
    config.optim = OptimConfig(lr=1e-3, weight_decay=0.05, clip=5.0)
    return config
