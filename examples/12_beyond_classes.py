"""Pixels, boxes, key points, sentences and clips, each by an ordinary and a spiking network, with what an image costs.

    python examples/12_beyond_classes.py                              # a few images, to see that it runs
    python examples/12_beyond_classes.py --full --jobs 2              # the table in README.md, for some hours
    python examples/12_beyond_classes.py --full --tasks segmentation  # one task of it

An ordinary and a spiking image model learn single things on photographs (pip install scikit-image). With their weights
begins a network for each task on composed scenes; tests show other things on other parts of photographs. What is
finished in the folder of the runs is not done again, and what was interrupted goes on.
"""

import argparse
import itertools
import json
import multiprocessing
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from snnkit.engine import RunConfig, resume, train
from snnkit.engine.progress import console
from snnkit.engine.run_folder import begun
from snnkit.files import read_lines
from snnkit.recipes import get_recipe

KINDS = {"ordinary": "", "spiking": "_spiking"}
FIRST = "single_things"
TASKS = {
    "segmentation": ("segmentation_scenes", {"miou": "mean IoU", "pixel_accuracy": "pixels"}),
    "detection": ("detection_scenes", {"box_ap50": "box AP50", "box_ap": "box AP", "mask_ap": "mask AP"}),
    "pose": ("pose_scenes", {"pose_ap": "AP of key points", "pck": "PCK"}),
    "captioning": ("captioning_scenes", {"cider": "CIDEr-D", "bleu_4": "BLEU-4"}),
    "video": ("video_moving_things", {"accuracy": "clips"}),
}
"""By name: the ordinary recipe (the spiking one is called after it), and what is shown of its test, by its key."""


def prepared(recipe: str, seed: int, full: bool, start: Path | None = None) -> RunConfig:
    """Return the configuration of one run, on one thread, from the weights of another if any."""
    config = get_recipe(recipe)
    if start is not None:
        config.model.weights = str(start)
    config.seed, config.threads = seed, 1
    if not full:
        config.epochs, config.data.train_limit, config.data.test_limit, config.data.batch_size = 1, 16, 8, 8
    return config


def tested(config: RunConfig, folder: Path) -> dict[str, float]:
    """Return what the last test of a run measured, training whatever of the run is missing."""
    console.quiet = True
    if not (folder / "summary.json").exists():
        resume(folder) if begun(folder) else train(config, folder)
    return json.loads(read_lines(folder / "metrics.jsonl")[-1])["test"]


def row(name: str, kind: str, shown: dict[str, str], results: list[dict[str, float]]) -> str:
    """Return a line of the table: means over the seeds, and their sample standard deviations."""
    cells = []
    for key, words in shown.items():
        values = [one[key] for one in results]
        spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
        cells.append(f"{words} {statistics.mean(values):.3f}{spread}")
    return f"| {name} | {kind} | {', '.join(cells)} |"


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="all scenes and epochs")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--runs", type=Path, default=None)
    given = parser.parse_args()
    runs = given.runs or (Path("runs/beyond_classes") if given.full else Path(tempfile.mkdtemp()))
    with ProcessPoolExecutor(given.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        firsts = {kind: runs / f"{FIRST}-{kind}" for kind in KINDS}
        jobs = [pool.submit(tested, prepared(FIRST + KINDS[k], 0, given.full), at) for k, at in firsts.items()]
        print("| task | network | test |\n|---|---|---|", flush=True)
        for kind, job in zip(firsts, jobs, strict=True):
            print(row("single things", kind, {"accuracy": "accuracy"}, [job.result()]), flush=True)
        waiting: dict[tuple[str, str], list[Any]] = {}
        for seed in range(given.seeds):
            for task, kind in itertools.product(given.tasks, KINDS):
                start = None if task == "video" else firsts[kind]
                config = prepared(TASKS[task][0] + KINDS[kind], seed, given.full, start)
                job = pool.submit(tested, config, runs / f"{task}-{kind}-{seed}")
                waiting.setdefault((task, kind), []).append(job)
        for (task, kind), jobs in waiting.items():
            print(row(task, kind, TASKS[task][1], [job.result() for job in jobs]), flush=True)


if __name__ == "__main__":
    main()
