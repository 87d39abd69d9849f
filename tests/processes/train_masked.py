"""Train a small masked autoencoder in two processes, with copies (DDP) and with shards (FSDP2), by torchrun.

FOLDER to write into, and for MR-MAE the file of a TEACHER.
"""

import sys
from pathlib import Path

from snnkit.engine import train
from snnkit.engine.config import ModelConfig, TaskConfig
from snnkit.recipes import get_recipe


def main() -> None:
    """Two epochs of six steps of 16 images each."""
    for strategy in ("ddp", "fsdp2"):
        config = get_recipe("mae_fashion_mnist")
        sizes = {"patch_size": 8, "embed_dim": 96, "depth": 2, "num_heads": 2}
        decoder = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
        config.model = ModelConfig("mae:timm:vit_tiny_patch16_224", sizes={**sizes, **decoder})
        config.data.source, config.data.train_limit, config.data.test_limit = "vendored", 96, 21
        config.data.batch_size, config.epochs, config.threads = 8, 2, 1
        config.optim.name, config.optim.options, config.optim.lr = "sgd", {"momentum": 0.9}, 0.05
        if len(sys.argv) > 2:
            config.task = TaskConfig("mr_mae", options={"teacher": sys.argv[2]})
        config.runtime.devices, config.runtime.strategy = 2, strategy
        train(config, Path(sys.argv[1]) / strategy)


if __name__ == "__main__":
    main()
