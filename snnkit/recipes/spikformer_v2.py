"""Spikformer V2: masked pre-training at one time step, fine-tuning at one, then at four; and the same in small.

No code is public. Ratio, target and decoder are an own reading (``snnkit.models.spikformer_v2``); optimizer and length
are those of E-SpikeFormer's masked pre-training, whose authors are in part the same.

    snnkit pretrain spikformer_v2_mae_imagenet
    snnkit train spikformer_v2_imagenet --set model.weights=RUN                      # T = 1
    snnkit train spikformer_v2_t4 --set model.weights=RUN_OF_THAT                    # T = 4
"""

from __future__ import annotations

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, RuntimeConfig, ScheduleConfig, TaskConfig
from snnkit.recipes.imagenet import imagenet
from snnkit.recipes.mae import SMALL_DECODER, mae_fashion_mnist, masked_adamw, small_images
from snnkit.recipes.recipe import recipe

_PAPER = "Zhou et al., Spikformer V2, arXiv 2401.02020"


@recipe(paper=_PAPER, expected="16-768: 81.10 % top-1 at T = 1 after fine-tuning (published)")
def spikformer_v2_mae_imagenet() -> RunConfig:
    """Spikformer V2 16-768 on ImageNet without labels: 75 % hidden, one time step, 200 epochs; own reading."""
    return RunConfig(
        model=ModelConfig("spikformer_v2_mae_16_768", timesteps=1),
        data=imagenet(256, crop_scale=0.2, rand_augment=""),
        task=TaskConfig("masked"),
        optim=masked_adamw(),
        schedule=ScheduleConfig("warmup_cosine", warmup_epochs=20),
        runtime=RuntimeConfig(devices=8, precision="bf16-mixed"),
        epochs=200,
    )


@recipe(paper=_PAPER, expected="16-768: 81.10 % top-1 at T = 1 (published)")
def spikformer_v2_imagenet() -> RunConfig:
    """Spikformer V2 16-768 with labels at one time step from masked weights (model.weights); settings inferred."""
    return RunConfig(
        model=ModelConfig("spikformer_v2_16_768", timesteps=1, sizes={"drop_path_rate": 0.1}),
        data=imagenet(128, erase=0.25, mixup=0.8, cutmix=1.0),
        task=TaskConfig(label_smoothing=0.1),
        optim=OptimConfig(name="lamb", lr=6e-4, lr_per=256, weight_decay=0.05, layer_decay=0.75),
        schedule=ScheduleConfig("warmup_cosine", warmup_epochs=10, min_lr=1e-6),
        runtime=RuntimeConfig(devices=8, precision="bf16-mixed"),
        epochs=150,
    )


@recipe(paper=_PAPER, expected="not measured")
def spikformer_v2_t4() -> RunConfig:
    """Four time steps from the weights of one (model.weights): 30 epochs at a small rate; settings inferred."""
    config = spikformer_v2_imagenet()
    config.model.timesteps, config.data.batch_size, config.optim.lr, config.epochs = 4, 32, 6e-5, 30
    config.schedule.warmup_epochs, config.runtime.grad_checkpointing = 2, True
    return config


_SMALL = {"embed_dim": 96, "depth": 2, "num_heads": 4, "mlp_ratio": 2.0, "stem_ratio": 2}


@recipe(
    paper=_PAPER,
    expected="linear probe 60.8 ± 3.2 %, 17.4 at random start: 71,936 images, three seeds (example 13)",
)
def spikformer_v2_mae_fashion_mnist() -> RunConfig:
    """A small Spikformer V2 without labels on Fashion-MNIST at 64 pixels: 16 patches of which 8 are seen, T = 1."""
    config = mae_fashion_mnist()
    config.model = ModelConfig(
        "spikformer_v2_mae_8_384", timesteps=1, sizes={**_SMALL, **SMALL_DECODER, "mask_ratio": 0.5}
    )
    config.data = small_images(img_size=64)
    config.data.shift_pixels = 4
    return config


@recipe(paper=_PAPER, expected="not measured")
def spikformer_v2_fashion_mnist() -> RunConfig:
    """The same network with labels; model.weights=RUN starts from its weights, model.timesteps=4 goes on from T = 1."""
    config = spikformer_v2_mae_fashion_mnist()
    config.model, config.task = ModelConfig("spikformer_v2_8_384", timesteps=1, sizes=dict(_SMALL)), TaskConfig()
    config.epochs = 5
    return config
