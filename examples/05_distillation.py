"""A small spiking network with and without an ordinary teacher on Fashion-MNIST, over several seeds.

    python examples/05_distillation.py                      # a few images, to see that it runs
    python examples/05_distillation.py --full --jobs 2      # all 60,000: the table in README.md

Teachers are trained first, each once; then every student for every seed. What is finished in the folder of the runs is
not done again, and what was interrupted goes on.
"""

import argparse
import multiprocessing
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from snnkit.engine import RunConfig, resume, train
from snnkit.engine.progress import console
from snnkit.files import read_json
from snnkit.recipes import get_recipe

TEACHERS = {"ResNet": "resnet_fashion_mnist", "Swin V2": "swinv2_fashion_mnist"}
WEIGHTS = ((0.5, 2.0), (0.9, 4.0))  # α, τ: the teacher's share of the loss, and the temperature


def prepared(recipe: str, arguments: argparse.Namespace) -> RunConfig:
    """Return a recipe for the images asked for, on one thread."""
    config = get_recipe(recipe)
    config.threads, config.data.source = 1, "full" if arguments.full else "vendored"
    if not arguments.full:
        config.epochs, config.data.train_limit, config.data.test_limit, config.data.batch_size = 1, 128, 100, 32
    return config


def student(seed: int, arguments: argparse.Namespace) -> RunConfig:
    """Return the configuration of the student without a teacher."""
    config = prepared("fashion_mnist", arguments)
    config.model.timesteps, config.seed = 2, seed
    config.epochs = arguments.epochs if arguments.full else 1
    return config


def taught(config: RunConfig, teacher: Path, alpha: float, tau: float) -> RunConfig:
    """Return the same with a share of the loss given to the teacher's softened predictions."""
    config.task.name = "distillation"
    config.task.options = {"teachers": (str(teacher),), "soft": True, "alpha": alpha, "tau": tau}
    return config


def accuracy(config: RunConfig, folder: Path) -> float:
    """Return the test accuracy after the last epoch, training whatever of the run is missing."""
    console.quiet = True
    if not (folder / "summary.json").exists():
        begun = any((folder / "checkpoints").glob("step-*"))
        (resume(folder) if begun else train(config, folder))
    return read_json(folder / "summary.json")["final"]["accuracy"]


def finish(jobs: dict[Path, RunConfig], processes: int) -> dict[Path, float]:
    """Run all, several at a time, and return the accuracy of each folder."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting = {folder: pool.submit(accuracy, config, folder) for folder, config in jobs.items()}
        found = {}
        for folder, result in waiting.items():
            found[folder] = result.result()
            print(f"{folder.name:20} {found[folder]:.2%}", flush=True)
    return found


def table(scores: dict[str, list[float]], teachers: dict[str, float]) -> str:
    """Return Markdown: mean and standard deviation over the seeds, and by how much a teacher helps, seed by seed."""
    lines = [f"{name}: {value:.2%}" for name, value in teachers.items()]
    lines += [
        "",
        "| teacher | student, mean ± deviation | each seed | gain, seed by seed |",
        "|---|---|---|---|",
    ]
    for name, values in scores.items():
        gains = [value - plain for value, plain in zip(values, scores["none"], strict=True)]
        cells = [name, spread(values), ", ".join(f"{value:.2%}" for value in values)]
        cells.append(spread(gains, "+") if name != "none" else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: list[float], sign: str = "") -> str:
    """Return mean ± sample standard deviation in percent."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{100 * statistics.mean(values):{sign}.2f} ± {100 * deviation:.2f} %"


def compare(runs: Path, arguments: argparse.Namespace) -> None:
    """Train what is missing in the folder ``runs``, and print the table."""
    folders = {name: runs / TEACHERS[name] for name in arguments.teachers}
    jobs = {folder: prepared(TEACHERS[name], arguments) for name, folder in folders.items()}
    found = finish(jobs, arguments.jobs)
    teachers = {name: found[folder] for name, folder in folders.items()}

    students: dict[Path, tuple[str, RunConfig]] = {}
    for seed in range(arguments.seeds):
        students[runs / f"untaught-{seed}"] = ("none", student(seed, arguments))
        for name, folder in folders.items():
            for alpha, tau in WEIGHTS:
                config = taught(student(seed, arguments), folder, alpha, tau)
                run = runs / f"taught-by-{folder.name}-{alpha:g}-{tau:g}-{seed}"
                students[run] = (f"{name}, α {alpha:g}, τ {tau:g}", config)
    found = finish({folder: config for folder, (_, config) in students.items()}, arguments.jobs)
    scores: dict[str, list[float]] = {}
    for folder, (name, _) in students.items():
        scores.setdefault(name, []).append(found[folder])
    print(table(scores, teachers))


def main() -> None:
    """Read the arguments and compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true", help="all images instead of a few")
    parser.add_argument("--epochs", type=int, default=6, help="of a student")
    parser.add_argument("--teachers", nargs="+", choices=TEACHERS, default=["ResNet"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each")
    parser.add_argument(
        "--runs", type=Path, default=None, help="default: runs/distillation; for a few images, none kept"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        compare(arguments.runs or (Path("runs") / "distillation" if arguments.full else Path(scratch)), arguments)


if __name__ == "__main__":
    main()
