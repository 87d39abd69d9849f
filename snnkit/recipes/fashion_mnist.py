"""Fashion-MNIST, all of it where it is installed, else the subset that comes with snnkit: the demo's network, and two
ordinary ones to teach it (examples/05_distillation.py)."""

from __future__ import annotations

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig
from snnkit.recipes.demo import demo
from snnkit.recipes.recipe import recipe


@recipe(paper="own design", expected="90.9 % after 5 epochs (all ten were not measured)")
def fashion_mnist() -> RunConfig:
    """60,000 images where Debian's package dataset-fashion-mnist is installed, or those of a folder (data.source)."""
    config = demo()
    config.data.source, config.data.batch_size = "auto", 64
    config.data.mixup, config.epochs, config.threads = 0.0, 10, 0
    return config


@recipe(paper="He et al., Deep Residual Learning, arXiv 1512.03385", expected="93.2 % after 5 epochs")
def resnet_fashion_mnist() -> RunConfig:
    """A narrow ten-layer ResNet of timm on images twice as wide, 1.2 million parameters."""
    channels = (32, 64, 128, 256)
    return _ordinary(ModelConfig("timm:resnet10t", sizes={"stem_type": "", "stem_width": 32, "channels": channels}), 56)


@recipe(paper="Liu et al., Swin Transformer V2, arXiv 2111.09883", expected="not measured")
def swinv2_fashion_mnist() -> RunConfig:
    """A small Swin Transformer V2 on images of 64 pixels, 1.5 million parameters."""
    sizes = {"embed_dim": 32, "depths": (1, 2, 2, 1), "num_heads": (2, 4, 8, 16), "pretrained_window_size": 0}
    config = _ordinary(ModelConfig("swinv2_tiny_window8_256", sizes={**sizes, "drop_path_rate": 0.05}), 64)
    config.optim.lr, config.optim.clip = 1e-3, 5.0
    return config


def _ordinary(model: ModelConfig, img_size: int) -> RunConfig:
    config = fashion_mnist()
    config.model, config.data.img_size = model, img_size
    config.optim, config.epochs = OptimConfig(lr=2e-3, weight_decay=0.05), 5
    config.task.label_smoothing = 0.0  # smoothed labels make worse teachers (arXiv 1906.02629)
    return config
