"""Train recipes a little in two processes, with copies (DDP) and shards (FSDP2): FOLDER RECIPE … through torchrun."""

import sys
from pathlib import Path

from snnkit.engine import train
from snnkit.recipes import get_recipe


def main() -> None:
    """Two epochs of two steps of each, on the vendored images."""
    for name in sys.argv[2:]:
        for strategy in ("ddp", "fsdp2"):
            config = get_recipe(name)
            config.data.source, config.data.train_limit, config.data.test_limit = "vendored", 32, 20
            config.data.batch_size, config.epochs, config.threads = 8, 2, 1
            config.optim.lr, config.schedule.warmup_lr, config.schedule.min_lr = 1e-4, 0.0, 0.0
            if config.schedule.name == "cosine":
                config.schedule.warmup_epochs = 0.0
            config.runtime.devices, config.runtime.strategy = 2, strategy
            train(config, Path(sys.argv[1]) / f"{name}-{strategy}")


if __name__ == "__main__":
    main()
