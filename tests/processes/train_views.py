"""Train MoCo, SwAV and DINO a little in two processes: FOLDER, by torchrun. ``configured`` is what each trains."""

import sys
from pathlib import Path

from snnkit.engine import train
from snnkit.engine.config import ModelConfig
from snnkit.recipes import get_recipe

OPTIONS = {
    "moco": {"dim": 8, "queue": 48, "momentum": 0.9},
    "swav": {"dim": 8, "hidden": 16, "prototypes": 6, "queue": 32, "queue_from": 0, "freeze_steps": 2},
    "dino": {"out_dim": 24, "hidden": 16, "bottleneck": 8, "momentum": 0.9, "freeze_epochs": 1},
}
VIT = {"patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2, "img_size": 16, "num_classes": 0}


def configured(method):
    """A small vision transformer, three epochs of two steps of 16 images, in float64."""
    recipe = {"moco": "moco_v2", "swav": "swav", "dino": "dino"}[method]
    config = get_recipe(f"{recipe}_fashion_mnist")
    config.model = ModelConfig("timm:vit_tiny_patch16_224", sizes={**VIT, "dynamic_img_size": True})
    config.task.options = dict(OPTIONS[method])
    data = config.data
    data.source, data.img_size, data.train_limit, data.test_limit, data.batch_size = "vendored", 16, 32, 10, 16
    data.local_crops, data.local_size = (0 if method == "moco" else 1), 8
    config.optim.name, config.optim.options, config.optim.lr = "sgd", {"momentum": 0.9}, 0.02
    config.optim.lr_per, config.schedule.warmup_epochs = 0, 0.0
    config.epochs, config.threads, config.runtime.precision = 3, 1, "64-true"
    return config


def main() -> None:
    """Eight images a process; SwAV without batch norm in its head, whose statistics are of one process."""
    for method in OPTIONS:
        config = configured(method)
        if method == "swav":
            config.task.options["head_norm"] = False
        config.data.batch_size, config.runtime.devices = 8, 2
        train(config, Path(sys.argv[1]) / method)


if __name__ == "__main__":
    main()
