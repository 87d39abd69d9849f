"""Train two towers a little in two processes: FOLDER, by torchrun. ``configured`` is what is trained."""

import sys
from pathlib import Path

import torch
from torch import distributed

from snnkit.data import DataConfig
from snnkit.engine import train
from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, ScheduleConfig, TaskConfig
from snnkit.errors import InvalidArgumentError
from snnkit.tasks.pairs.losses import pull

VIT = {"patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2, "img_size": 16, "drop_rate": 0.0}
TEXT = {"text_width": 16, "text_depth": 1, "text_heads": 2, "dim": 8}

# By name: loss, exchange, parts of a process, strategy, precision.
CASES = {
    "clip": ("clip", {}, 1, "auto", "64-true"),
    "clip_parts": ("clip", {}, 2, "auto", "64-true"),
    "clip_whole_matrix": ("clip", {"local_loss": False, "gather_gradient": False}, 2, "auto", "64-true"),
    "siglip_parts": ("siglip", {}, 2, "auto", "64-true"),
    "clip_single": ("clip", {}, 2, "auto", "32-true"),
    "clip_sharded": ("clip", {}, 2, "fsdp2", "32-true"),
    "siglip_sharded": ("siglip", {}, 1, "fsdp2", "32-true"),
}


def configured(case, processes):
    """Three steps of 16 pairs, whatever the number of processes and parts."""
    loss, exchange, parts, strategy, precision = CASES[case]
    sizes = {**VIT, **TEXT} | ({"bias": -2.0} if loss == "siglip" else {})
    config = RunConfig(
        model=ModelConfig("basic:timm:vit_tiny_patch16_224", sizes=sizes),
        data=DataConfig("captioned_fashion_mnist", "vendored", img_size=16, train_limit=48, test_limit=10),
        task=TaskConfig("pairs", options={"loss": loss, **exchange}),
        optim=OptimConfig("sgd", lr=0.1, options={"momentum": 0.9}),
        schedule=ScheduleConfig("constant"),
        epochs=1,
        threads=1,
    )
    config.data.batch_size = 16 // (processes * (parts if processes > 1 else 1))
    config.optim.accumulate = parts if processes > 1 else 1
    config.runtime.precision = precision
    if processes > 1:
        config.runtime.devices, config.runtime.strategy = processes, strategy
    return config


def unequal(folder: Path) -> None:
    """Compare batches of three and of four pairs, and write down what each process is told."""
    rank = distributed.get_rank()
    features = torch.eye(4)[: 3 + rank]
    try:
        pull(features, features, torch.tensor(1.0))
    except InvalidArgumentError as error:
        (folder / f"unequal-{rank}.txt").write_text(str(error), encoding="utf-8")


def main() -> None:
    """Every case."""
    for case in CASES:
        train(configured(case, 2), Path(sys.argv[1]) / case)
    unequal(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
