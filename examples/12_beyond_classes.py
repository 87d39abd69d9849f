"""Pixels, boxes, key points, sentences and clips, each by an ordinary and a spiking network, with what an image costs.

    python examples/12_beyond_classes.py                              # a few images, to see that it runs
    python examples/12_beyond_classes.py --full --jobs 2              # the table in README.md, for some hours
    python examples/12_beyond_classes.py --full --tasks segmentation  # one task of it, and what it begins with
    python examples/12_beyond_classes.py --table                      # what was measured, as in README.md

An ordinary and a spiking image model learn single things on photographs (pip install scikit-image). With their weights
begins a network for each task on composed scenes, but the one for segmentation, which begins with the detector's
backbone; tests show other things on other parts of photographs.

What is finished in the folder of the runs is not done again, and what was interrupted goes on. The full form writes
benchmarks/beyond_classes.json after every run.
"""

import argparse
import itertools
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from compiler.commands.energy import energy
from snnkit.bench.evidence import Job, Key, at_least_one, mean, measured, rows_of, trained
from snnkit.engine import RunConfig
from snnkit.engine.progress import console
from snnkit.files import read_json, read_lines
from snnkit.recipes import get_recipe
from snnkit.tasks.segmentation import mean_iou

KINDS = {"ordinary": "", "spiking": "_spiking"}
MODEL = "45nm"  # of energy: arithmetic in 32-bit floats


@dataclass(frozen=True)
class Task:
    """The ordinary recipe (the spiking one is called after it), the key and name of what is shown of its test, in per
    cent but for the last ``plain`` ones, and the task whose network it begins with.
    """

    recipe: str
    shown: dict[str, str]
    after: str | None = "single things"
    plain: tuple[str, ...] = ()


TASKS = {
    "single things": Task("single_things", {"accuracy": "accuracy"}, None),
    "detection": Task("detection_scenes", {"box_ap": "box AP", "box_ap50": "AP50", "mask_ap": "mask AP"}),
    "segmentation": Task(
        "segmentation_scenes",
        {
            "miou": "mean IoU",
            "pixel_accuracy": "pixels",
            "class_accuracy": "classes of things",
            "miou_of_right_classes": "mean IoU if all of these were right",
        },
        "detection",
    ),
    "pose": Task("pose_scenes", {"pose_ap": "AP of key points", "pck": "PCK"}),
    "captioning": Task("captioning_scenes", {"cider": "CIDEr-D", "bleu_4": "BLEU-4"}, plain=("cider",)),
    "video": Task("video_moving_things", {"accuracy": "clips"}, None),
}


def prepared(recipe: str, seed: int, full: bool) -> RunConfig:
    """Return the configuration of one run, on one thread."""
    config = get_recipe(recipe)
    config.seed, config.threads = seed, 1
    if not full:
        config.epochs, config.data.train_limit, config.data.test_limit, config.data.batch_size = 1, 16, 8, 8
    return config


def of_things(confusion: list[list[int]]) -> dict[str, float]:
    """Return how many pixels that are told from the photograph, class 0, have the right class of thing.

    Beside it the mean IoU if all of them had.
    """
    counts = torch.tensor(confusion, dtype=torch.float64)
    things = counts[1:, 1:]
    right = counts.clone()
    right[1:, 1:] = things.sum(1).diag()
    return {"class_accuracy": float(things.trace() / things.sum()), "miou_of_right_classes": float(mean_iou(right))}


def tested(config: RunConfig, folder: Path, images: int) -> dict[str, Any]:
    """Return what the last test of a run measured and what an image costs, training what is missing of the run."""
    console.quiet = True
    trained(config, folder)
    found = {"test": json.loads(read_lines(folder / "metrics.jsonl")[-1])["test"], "epochs": config.epochs}
    if (maps := folder / "segmentation.json").exists():
        found["test"] |= of_things(read_json(maps)["confusion"])
    energy(str(folder), model=[MODEL], images=images)
    priced = read_json(folder / "energy.json")["models"][0]
    network = priced["results"]["network"]
    kept = {key: network[key] for key in ("low", "nominal", "high", "sections") if key in network}
    return {**found, "energy": {**kept, "unit": priced["unit"], "uncounted": priced["uncounted"]}}


def plan(names: list[str], seeds: int, runs: Path, full: bool) -> Iterator[Job]:
    """Yield the runs, whole tables of one seed first; all of them begin with weights of seed 0."""
    needed = set(names)
    for name in names:
        while (name := TASKS[name].after) is not None:
            needed.add(name)
    for seed, (name, task), kind in itertools.product(range(seeds), TASKS.items(), KINDS):
        if name not in needed or (seed and name not in names):
            continue
        key = Key(name, kind, seed)
        config, start = prepared(task.recipe + KINDS[kind], seed, full), None
        if task.after is not None:
            start = Key(task.after, kind, 0)
            config.model.weights = str(runs / start.folder)
        yield Job(key, tested, (config, runs / key.folder, 20 if full else 2), start)


def told(name: str, kind: str, rows: list[dict[str, Any]]) -> str:
    """Return a line of the table: means over the seeds, and their sample standard deviations."""
    task, cells = TASKS[name], []
    for key, words in task.shown.items():
        percent = key not in task.plain
        values = [row["test"][key] * (100 if percent else 1) for row in rows]
        cells.append(f"{words} {mean(values, 1 if percent else 2)}{' %' if percent else ''}")
    costs = [row["energy"] for row in rows]
    total = f"{mean([one['nominal'] for one in costs])} {costs[0]['unit'].replace('u', 'µ')}"
    unpriced = len(costs[0]["uncounted"])
    without = f", {unpriced} operation{'s' if unpriced > 1 else ''} without a price" if unpriced else ""
    parts = [(one["name"], one["nominal"]) for one in costs[0].get("sections", ())]
    split = ", ".join(f"{part} {value / costs[0]['nominal']:.0%}" for part, value in parts)
    return f"| {name} | {kind} | {', '.join(cells)} | {total}{without} | {split or '–'} |"


def table(rows: list[dict[str, Any]]) -> str:
    """Return what was measured, as Markdown."""
    lines = ["| task | network | test | energy | of which |", "|---" * 5 + "|"]
    for name, kind in itertools.product(TASKS, KINDS):
        found = [row for row in rows if (row["table"], row["name"]) == (name, kind)]
        lines += [told(name, kind, found)] if found else []
    return "\n".join(lines)


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="all scenes and epochs")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=at_least_one, default=1)
    parser.add_argument("--jobs", type=at_least_one, default=1, help="runs at once")
    parser.add_argument("--runs", type=Path, default=None)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/beyond_classes.json"), help="of the full form")
    parser.add_argument("--table", action="store_true", help="only show the table of --output")
    given = parser.parse_args()
    if given.table:
        print(table(rows_of(given.output)))
        return
    runs = given.runs or (Path("runs/beyond_classes") if given.full else Path(tempfile.mkdtemp()))
    jobs = list(plan(given.tasks, given.seeds, runs, given.full))
    print(table(measured(jobs, given.jobs, given.output if given.full else None)))


if __name__ == "__main__":
    main()
