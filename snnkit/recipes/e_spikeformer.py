"""E-SpikeFormer (Spike-driven Transformer V3) on ImageNet. Source: BICLab/Spike-Driven-Transformer-V3@00fcd1f."""

from __future__ import annotations

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, RuntimeConfig, ScheduleConfig, TaskConfig
from snnkit.recipes.imagenet import imagenet
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
