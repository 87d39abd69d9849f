"""What encoders learn without labels: probes beside the same encoder at random start, and few labels for a spiking one.

    python examples/13_pretraining.py                    # a few images, to see that it runs
    python examples/13_pretraining.py --full --jobs 2    # the tables in README.md, three seeds, for some hours
    python examples/13_pretraining.py --table            # what was measured, as in README.md

Every method is given about as much processor time: so many images that it takes some minutes on one core. MR-MAE mimics
what MAE has learnt before it (no label anywhere) and paints as MAE does, for as many steps. Probes get 10,000 labelled
images and are tested on all 10,000 test images. Then a spiking transformer with 1 %, 10 % and all of the labels, from
what masking taught it and from scratch, for as many steps; and every method again on crops of sixteen photographs (pip
install scikit-image), learnt and labelled on their left parts, tested on their right ones.

What is finished in the folder of the runs is not done again, and what was interrupted goes on. The full form writes
benchmarks/pretraining.json after every run.
"""

import argparse
import itertools
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snnkit.bench.evidence import Job, Key, at_least_one, mean, measured, rows_of, seen, trained
from snnkit.engine import RunConfig
from snnkit.engine.feeding import fed_in
from snnkit.engine.progress import console
from snnkit.engine.run_folder import ENDED, begun
from snnkit.files import read_json, read_lines, write_json
from snnkit.probing import CollapsedError, compute, feeding, load_encoder, probe, random_start
from snnkit.recipes import get_recipe


@dataclass(frozen=True)
class Method:
    """A recipe without labels, the encoder in words, in how many epochs it sees how many images, and what differs.

    Of photographs there are 6,400 crops; ``crops`` is how many epochs of them.
    """

    recipe: str
    encoder: str
    images: int
    epochs: int = 1
    crops: int = 1
    options: dict[str, Any] = field(default_factory=dict)


METHODS = {
    "MAE": Method("mae_fashion_mnist", "vision transformer", 120_000, 2, 9),
    "SimMIM": Method("simmim_fashion_mnist", "Swin V2", 34_000, 1, 3),
    "MoCo v2": Method("moco_v2_fashion_mnist", "ten-layer ResNet", 52_000, 1, 4),
    "SwAV": Method("swav_fashion_mnist", "ten-layer ResNet", 18_000, 3, 2),
    "DINO": Method("dino_fashion_mnist", "ten-layer ResNet", 24_000, 1, 2),
    "masked": Method("spikformer_v2_mae_fashion_mnist", "Spikformer V2, spiking", 72_000, 2, 6),
    "MR-MAE": Method(
        "mae_fashion_mnist", "vision transformer", 120_000, 2, 9, {"head": "mlp", "normalise": "layer_norm"}
    ),
}
SETS = ("fashion_mnist", "photographs")
TABLES, STARTS = (*SETS, "labels"), ("from scratch", "masked first")
CROPS = 6_400
TEACHER = "MAE"  # of MR-MAE
PROBED, PROBES = 10_000, ("linear", "knn")  # labelled images, and what is fitted to their features
LABELS = {"1 %": (600, 30), "10 %": (6_000, 4), "all": (60_000, 1)}
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


def of_photographs(config: RunConfig, crops: int, full: bool) -> RunConfig:
    """Let a run see crops of photographs, so many epochs of them."""
    config.data.dataset, config.data.source = "photographs", "auto"
    if full:
        config.epochs, config.data.train_limit, config.data.test_limit = crops, 0, 0
    return config


def probed(config: RunConfig, folder: Path, full: bool) -> dict[str, Any]:
    """Return what probes make of the features of a run, and of its encoder at random start; in percent."""
    console.quiet = True
    path, before = folder / "probed.json", sum(os.times()[:4])
    whole = not begun(folder) and not (folder / ENDED).exists()
    trained(config, folder)
    if not path.exists():
        minutes = (sum(os.times()[:4]) - before) / 60 if whole else None  # of a part they would say nothing
        encoder, data = load_encoder(str(folder)), fed_in(folder)
        most = CROPS if data.dataset == "photographs" else PROBED
        data.train_limit, data.test_limit = (most, 0) if full else (200, 60)
        feed = feeding(data, encoder.channels, str(folder))
        start = random_start(encoder, feed.drawn(config.seed), config.seed)
        found: dict[str, Any] = {}
        for called, which in {"": encoder, "random ": start}.items():
            try:
                features = compute(which, feed)
            except CollapsedError:  # as the spiking encoder does that has seen a few images only
                found |= {called + method: None for method in PROBES}
                continue
            found |= {called + method: 100 * probe(features, method).mean for method in PROBES}
        found |= {"minutes": minutes, "images": seen(folder)}
        found["collapsed"] = bool(read_json(folder / "pretraining.json")["collapsed"])
        write_json(path, found)
    return read_json(path)


def classified(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Return the accuracy of a classifier after its last epoch, on the test images, in percent."""
    console.quiet = True
    last = json.loads(read_lines(trained(config, folder) / "metrics.jsonl")[-1])
    return {"accuracy": 100 * last["test"]["accuracy"], "images": seen(folder)}


def of_methods(table: str, name: str, seed: int, runs: Path, full: bool) -> Job:
    """Return the run of a method on one of the sets."""
    method, key = METHODS[name], Key(table, name, seed)
    config = prepared(method.recipe, method.images, method.epochs, seed, full)
    if table == "photographs":
        config = of_photographs(config, method.crops, full)
    teacher = Key(table, TEACHER, seed) if name == "MR-MAE" else None
    if teacher is not None:
        config.task.name = "mr_mae"
        config.task.options = {"teacher": str(runs / teacher.folder), **method.options}
    return Job(key, probed, (config, runs / key.folder, full), teacher)


def of_labels(share: str, start: str, seed: int, runs: Path, full: bool) -> Job:
    """Return the run of a spiking classifier with a share of the labels."""
    images, epochs = LABELS[share]
    config = prepared("spikformer_v2_fashion_mnist", images * epochs, epochs, seed, full)
    config.data.test_limit = 0 if full else config.data.test_limit
    key, masked = Key("labels", f"{share} {start}", seed), Key(SETS[0], "masked", seed)
    if start != STARTS[0]:
        config.model.weights = str(runs / masked.folder)
    return Job(key, classified, (config, runs / key.folder), None if start == STARTS[0] else masked)


def plan(names: list[str], tables: list[str], seeds: int, runs: Path, full: bool) -> Iterator[Job]:
    """Yield the runs in the order in which they are worth most: whole tables of one seed first."""
    names = [name for name in METHODS if name in names or (name == TEACHER and "MR-MAE" in names)]
    for table, seed in itertools.product(tables, range(seeds)):
        if table != "labels":
            yield from (of_methods(table, name, seed, runs, full) for name in names)
            continue
        if SETS[0] not in tables or "masked" not in names:
            yield of_methods(SETS[0], "masked", seed, runs, full)
        for share, start in itertools.product(LABELS, STARTS):
            yield of_labels(share, start, seed, runs, full)


def of_probes(table: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table of probes: in brackets the encoder at random start."""
    for name, method in METHODS.items():
        found = [row for row in rows if (row["table"], row["name"]) == (table, name)]
        if found:
            values = {
                key: mean([row[key] for row in found]) for key in found[0] if key not in (*Key._fields, "collapsed")
            }
            cells = [f"{values[key]} ({values['random ' + key]})" for key in PROBES]
            # Of a run that was interrupted nobody knows them.
            minutes = mean([row["minutes"] for row in found if row["minutes"] is not None]).partition(" ")[0]
            lost = sum(row.get("collapsed", False) for row in found)
            about = f"{method.encoder}; collapsed in {lost} of {len(found)}" if lost else method.encoder
            yield f"| {name} | {about} | {found[0]['images']:,} | {minutes} | {' | '.join(cells)} |"


def of_shares(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the table of few labels."""
    for share in LABELS:
        found = [[row for row in rows if row["name"] == f"{share} {start}"] for start in STARTS]
        if all(found):
            cells = [mean([row["accuracy"] for row in of]) for of in found]
            yield f"| {share} | {found[0][0]['images']:,} | {' | '.join(cells)} |"


def tables(rows: list[dict[str, Any]]) -> str:
    """Return the tables of what was measured, as Markdown."""
    probes, shares = {table: list(of_probes(table, rows)) for table in SETS}, list(of_shares(rows))
    lines: list[str] = []
    for table, found in probes.items():
        if found:
            title = f"| {table} | encoder | images | core minutes | linear probe | 20 neighbours |"
            lines += [title, "|---" * 6 + "|", *found, ""]
    if shares:
        lines += [f"| labels | images seen | {' | '.join(STARTS)} |", "|---" * 4 + "|", *shares]
    return "\n".join(lines).rstrip()


def main() -> None:
    """Train what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="all of Fashion-MNIST and the photographs, three seeds")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--tables", nargs="*", choices=TABLES, default=None, help="by default all, or fashion_mnist")
    parser.add_argument("--seeds", type=at_least_one, default=0)
    parser.add_argument("--jobs", type=at_least_one, default=1, help="runs at once")
    parser.add_argument("--runs", type=Path, default=None)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/pretraining.json"), help="of the full form")
    parser.add_argument("--table", action="store_true", help="only show the tables of --output")
    given = parser.parse_args()
    if given.table:
        print(tables(rows_of(given.output)))
        return
    runs = given.runs or (Path("runs/pretraining") if given.full else Path(tempfile.mkdtemp()))
    wanted = given.tables or list(TABLES if given.full else TABLES[:1])
    jobs = list(plan(given.methods, wanted, given.seeds or (3 if given.full else 1), runs, given.full))
    print(tables(measured(jobs, given.jobs, given.output if given.full else None)))


if __name__ == "__main__":
    main()
