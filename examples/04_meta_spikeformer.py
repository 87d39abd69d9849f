"""A small Meta-SpikeFormer against the demo's convolutional network at equal training time, on Fashion-MNIST.

    python examples/04_meta_spikeformer.py                        # a few images, to see that it runs
    python examples/04_meta_spikeformer.py --full --epochs 5      # all 60,000, both networks in turn

The transformer trains with the published recipe's shape: LAMB, cosine, label smoothing, RandAugment. The convolutional
network then gets as many whole epochs as fill at least the same time, under its own recipe.
"""

import argparse
import math
import time
from pathlib import Path

from snnkit.engine import Run, RunConfig, train
from snnkit.recipes import get_recipe
from snnkit.report import write_report


def prepared(name: str, arguments: argparse.Namespace) -> RunConfig:
    """Return a recipe for the images and threads asked for."""
    config = get_recipe(name)
    config.threads, config.data.source = arguments.threads, "full" if arguments.full else "vendored"
    if not arguments.full:
        config.data.train_limit, config.data.test_limit, config.data.batch_size = 256, 100, 32
    return config


def timed(config: RunConfig, folder: Path) -> tuple[Run, float]:
    """Train and return the run with the seconds it took."""
    started = time.perf_counter()
    run = train(config, folder)
    return run, time.perf_counter() - started


def main() -> None:
    """Train both, and say which came out ahead."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true", help="all images instead of a few")
    parser.add_argument("--epochs", type=int, default=1, help="of the transformer")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")

    config = prepared("meta_spikeformer_fashion_mnist", arguments)
    config.epochs = arguments.epochs
    transformer, seconds = timed(config, arguments.runs / f"{stamp}-meta_spikeformer_tiny")

    config = prepared("fashion_mnist", arguments)
    config.epochs, full = 1, config.data.train_limit
    config.data.train_limit = min(full or 60_000, 4_096)  # how long an epoch takes, on a part of one
    _, part = timed(config, arguments.runs / f"{stamp}-timing")
    per_epoch = part * (full or 60_000) / config.data.train_limit
    config.data.train_limit, config.epochs = full, max(math.ceil(seconds / per_epoch), 1)
    convolutional, other = timed(config, arguments.runs / f"{stamp}-spiking_cnn_small")

    for run, took in ((transformer, seconds), (convolutional, other)):
        page = write_report(run.folder)
        print(f"{run.config.model.name:22} {run.final_score:.2%}, {run.config.epochs} epochs, {took:,.0f} s; {page}")
    print(f"difference {100 * (transformer.final_score - convolutional.final_score):+.2f} points")


if __name__ == "__main__":
    main()
