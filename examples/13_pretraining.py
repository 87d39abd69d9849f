"""What encoders learn without labels: probes beside the same encoder at random start, and few labels for a spiking one.

    python examples/13_pretraining.py                    # a few images, to see that it runs
    python examples/13_pretraining.py --full --jobs 2    # the tables in README.md, three seeds, for some hours

Every method is given about as much processor time: so many images that it takes some minutes on one core. MR-MAE mimics
what DINO has learnt (no label anywhere) and paints as MAE does, for as many steps. Probes get 10,000 labelled images
and are tested on all 10,000 test images. Then a spiking transformer with 1 %, 10 % and all of the labels, from what
masking taught it and from scratch, for as many steps. What is finished in the folder of the runs is not done again, and
what was interrupted goes on.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import statistics
import tempfile
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snnkit.engine import RunConfig, resume, train
from snnkit.engine.feeding import fed_in
from snnkit.engine.progress import console
from snnkit.engine.run_folder import begun
from snnkit.files import read_json, read_lines, write_json
from snnkit.probing import CollapsedError, compute, feeding, load_encoder, probe, random_start
from snnkit.recipes import get_recipe


@dataclass(frozen=True)
class Method:
    """A recipe without labels, the encoder in words, how many images it sees in how many epochs, and what differs."""

    recipe: str
    encoder: str
    images: int
    epochs: int = 1
    options: dict[str, Any] = field(default_factory=dict)


METHODS = {
    "MAE": Method("mae_fashion_mnist", "vision transformer", 120_000, 2),
    "SimMIM": Method("simmim_fashion_mnist", "Swin V2", 34_000),
    "MoCo v2": Method("moco_v2_fashion_mnist", "ten-layer ResNet", 52_000),
    "SwAV": Method("swav_fashion_mnist", "ten-layer ResNet", 18_000, 3),
    "DINO": Method("dino_fashion_mnist", "vision transformer", 18_000, 3),
    "masked": Method("spikformer_v2_mae_fashion_mnist", "Spikformer V2, spiking", 72_000, 2),
    "MR-MAE": Method("mae_fashion_mnist", "vision transformer", 120_000, 2, {"head": "mlp", "normalise": "layer_norm"}),
}
TEACHER = "DINO"  # of MR-MAE
PROBED, PROBES = 10_000, ("linear", "knn")  # labelled images, and what is fitted to their features
LABELS = {"1 %": (600, 50), "10 %": (6_000, 8), "all": (60_000, 1)}
"""Labelled images of the spiking classifier, and its epochs."""
FEW = {"source": "vendored", "train_limit": 320, "test_limit": 60, "batch_size": 16}


def prepared(recipe: str, images: int, epochs: int, seed: int, full: bool) -> RunConfig:
    """Return the configuration of one run, on one thread, that sees so many images in all."""
    config = get_recipe(recipe)
    config.seed, config.threads, config.epochs = seed, 1, epochs
    config.data.source, config.data.train_limit, config.data.test_limit = "full", images // epochs, 500
    config.schedule.warmup_epochs = min(config.schedule.warmup_epochs, 0.1 * epochs)
    if not full:
        config.epochs, config.schedule.warmup_epochs = 1, 0.1
        for key, value in FEW.items():
            setattr(config.data, key, value)
    return config


def trained(config: RunConfig, folder: Path) -> Path:
    """Train whatever of a run is missing, and return its folder."""
    console.quiet = True
    if not (folder / "summary.json").exists():
        resume(folder) if begun(folder) else train(config, folder)
    return folder


def probed(config: RunConfig, folder: Path, full: bool) -> dict[str, float | None]:
    """Return what probes make of the features of a run, and of its encoder at random start; in percent."""
    path, before = folder / "probed.json", sum(os.times()[:4])
    whole = not begun(folder) and not (folder / "summary.json").exists()
    trained(config, folder)
    if not path.exists():
        minutes = (sum(os.times()[:4]) - before) / 60 if whole else None  # of a part they would say nothing
        encoder, data = load_encoder(str(folder)), fed_in(folder)
        data.train_limit, data.test_limit = (PROBED, 0) if full else (200, 60)
        feed = feeding(data, encoder.channels, str(folder))
        start = random_start(encoder, (images for images, _ in feed.images(feed.train)), config.seed)
        found: dict[str, float | None] = {}
        for called, which in {"": encoder, "random ": start}.items():
            try:
                features = compute(which, feed)
            except CollapsedError:  # as the spiking encoder does that has seen a few images only
                found |= {called + method: None for method in PROBES}
                continue
            found |= {called + method: 100 * probe(features, method).mean for method in PROBES}
        found |= {"minutes": minutes, "images": config.epochs * config.data.train_limit}
        write_json(path, found)
    return read_json(path)


def classified(config: RunConfig, folder: Path) -> float:
    """Return the accuracy of a classifier on all test images, in percent."""
    return 100 * measured(trained(config, folder))[-1]["test"]["accuracy"]


def measured(folder: Path) -> list[dict[str, Any]]:
    """Return what a run measured, epoch by epoch."""
    return [json.loads(line) for line in read_lines(folder / "metrics.jsonl")]


def told(values: list[float | None]) -> str:
    """Return a mean and, of several, the sample standard deviation."""
    if None in values:
        return "collapsed"
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


class Table:
    """Runs that are under way, and the lines about them as they end."""

    def __init__(self, runs: Path, seeds: int, full: bool, pool: ProcessPoolExecutor):
        self.runs, self.seeds, self.full, self.pool = runs, seeds, full, pool

    def folder(self, name: str, seed: int) -> Path:
        """Return where a run lies."""
        return self.runs / f"{name.lower().replace(' ', '-')}-seed-{seed}"

    def begin(self, name: str, seed: int) -> "Future[dict[str, float | None]]":
        """Let a method be trained and probed."""
        method = METHODS[name]
        config = prepared(method.recipe, method.images, method.epochs, seed, self.full)
        if name == "MR-MAE":
            config.task.name = "mr_mae"
            config.task.options = {"teacher": str(self.folder(TEACHER, seed)), **method.options}
        return self.pool.submit(probed, config, self.folder(name, seed), self.full)

    def methods(self, names: list[str]) -> None:
        """Print what probes find of each method, and of its encoder at random start."""
        first = [name for name in METHODS if name in {*names, *([TEACHER] if "MR-MAE" in names else [])} - {"MR-MAE"}]
        jobs = {(name, seed): self.begin(name, seed) for seed in range(self.seeds) for name in first}
        print(
            "| method | encoder | images | core minutes | linear probe | 20 neighbours |\n|---|---|---|---|---|---|",
            flush=True,
        )
        for name in [*first, *(["MR-MAE"] if "MR-MAE" in names else [])]:
            if name == "MR-MAE":  # whose teachers are there now
                jobs |= {(name, seed): self.begin(name, seed) for seed in range(self.seeds)}
            found = [jobs[name, seed].result() for seed in range(self.seeds)]
            linear, near = (
                f"{told([one[key] for one in found])} (at random start {told([one['random ' + key] for one in found])})"
                for key in PROBES
            )
            minutes = [one["minutes"] for one in found if one["minutes"] is not None]
            shown = f"{statistics.mean(minutes):.1f}" if minutes else "–"
            method = METHODS[name]
            print(f"| {name} | {method.encoder} | {found[0]['images']:,} | {shown} | {linear} | {near} |", flush=True)

    def labels(self) -> None:
        """Print the accuracy of the spiking classifier with few and all labels, with and without pre-training."""
        starts = ("from scratch", "masked first")
        jobs: dict[tuple[str, str], list[Future[float]]] = {}
        for seed, (share, (images, epochs)), start in itertools.product(range(self.seeds), LABELS.items(), starts):
            config = prepared("spikformer_v2_fashion_mnist", images * epochs, epochs, seed, self.full)
            config.data.test_limit = 0 if self.full else config.data.test_limit
            if start != "from scratch":
                config.model.weights = str(self.folder("masked", seed))
            folder = self.folder(f"labels-{images}-{start}", seed)
            jobs.setdefault((share, start), []).append(self.pool.submit(classified, config, folder))
        print(f"| labels | images seen | {' | '.join(starts)} |\n|---|---|---|---|", flush=True)
        for share, (images, epochs) in LABELS.items():
            seen = images * epochs if self.full else FEW["train_limit"]
            cells = [told([job.result() for job in jobs[share, start]]) for start in starts]
            print(f"| {share} | {seen:,} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Train what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="all of Fashion-MNIST, three seeds")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--runs", type=Path, default=None)
    given = parser.parse_args()
    runs = given.runs or (Path("runs/pretraining") if given.full else Path(tempfile.mkdtemp()))
    with ProcessPoolExecutor(given.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        table = Table(runs, given.seeds or (3 if given.full else 1), given.full, pool)
        table.methods(given.methods)
        if "masked" in given.methods:
            table.labels()


if __name__ == "__main__":
    main()
