"""E-SpikeFormer (Spike-driven Transformer V3) on ImageNet: the base model, and the large one's three trainings.

Source: BICLab/Spike-Driven-Transformer-V3@00fcd1f; of the large model README and Classification/Model_Large. Its script
takes a mask ratio that never reaches the model: half of the patches are hidden, as here. The released classifier of 12
blocks of 768 channels begins with 196 channels and its autoencoder with 192: fine-tuning e_spikeformer_mae_12_768 needs
model.sizes.embed_dim=192,384,768.
"""

from __future__ import annotations

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, RuntimeConfig, ScheduleConfig, TaskConfig
from snnkit.recipes.imagenet import imagenet
from snnkit.recipes.mae import masked_adamw
from snnkit.recipes.recipe import recipe


@recipe(paper="Yao et al., E-SpikeFormer, arXiv 2411.16061", expected="19M: 79.8 % top-1 (published)")
def e_spikeformer_imagenet() -> RunConfig:
    """E-SpikeFormer's base model on ImageNet: integers while training, LAMB, cosine, 200 epochs, 8 × 256 images."""
    return RunConfig(
        model=ModelConfig(name="e_spikeformer_l"),
        data=imagenet(256, erase=0.25),
        task=TaskConfig(label_smoothing=0.1),
        optim=OptimConfig(name="lamb", lr=6e-4, lr_per=256, weight_decay=0.05),
        schedule=ScheduleConfig("cosine", warmup_epochs=5, min_lr=1e-6),
        runtime=RuntimeConfig(devices=8, precision="bf16-mixed"),
        epochs=200,
    )


_LARGE = "Yao et al., E-SpikeFormer, arXiv 2411.16061"


@recipe(paper=_LARGE, expected="12-512: 84.0 % top-1 after fine-tuning and distillation (published)")
def e_spikeformer_mae_imagenet() -> RunConfig:
    """E-SpikeFormer 12-512 on ImageNet without labels: half of the patches hidden, 200 epochs of 8 × 256 images."""
    optim = masked_adamw()
    optim.options["eps"] = 1e-4
    return RunConfig(
        model=ModelConfig(name="e_spikeformer_mae_12_512"),
        data=imagenet(256, crop_scale=0.2, rand_augment=""),
        task=TaskConfig("masked"),
        optim=optim,
        schedule=ScheduleConfig("warmup_cosine", warmup_epochs=20),
        runtime=RuntimeConfig(devices=8, precision="bf16-mixed"),
        epochs=200,
    )


@recipe(paper=_LARGE, expected="12-512: 84.0 % top-1 after distillation (published)")
def e_spikeformer_finetune_imagenet() -> RunConfig:
    """E-SpikeFormer 12-512 with labels from the weights of e_spikeformer_mae_imagenet (model.weights): 150 epochs."""
    return RunConfig(
        model=ModelConfig(name="e_spikeformer_12_512", sizes={"drop_path_rate": 0.1}),
        data=imagenet(128, erase=0.25, mixup=0.8, cutmix=1.0),
        task=TaskConfig(label_smoothing=0.1),
        optim=OptimConfig(name="lamb", lr=6e-4, lr_per=256, weight_decay=0.05, layer_decay=0.75),
        schedule=ScheduleConfig("warmup_cosine", warmup_epochs=10, min_lr=1e-6),
        runtime=RuntimeConfig(devices=8, precision="bf16-mixed"),
        epochs=150,
    )


@recipe(paper=_LARGE, expected="12-512: 84.0 % top-1 (published)")
def e_spikeformer_distill_imagenet() -> RunConfig:
    """E-SpikeFormer 12-512 from its fine-tuned weights (model.weights), taught by task.options.teachers: 100 epochs."""
    config = e_spikeformer_finetune_imagenet()
    config.model.sizes["distilled"], config.model.strict = True, False
    config.task = TaskConfig("distillation", label_smoothing=0.1)
    config.data.batch_size, config.data.mixup, config.optim.lr = 196, 0.5, 1e-3
    config.schedule.warmup_epochs, config.epochs = 5, 100
    return config
