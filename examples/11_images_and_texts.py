"""Zero-shot accuracy against the contrastive batch, and a spiking image tower beside an ordinary one.

    python examples/11_images_and_texts.py                    # a few images, to see that it runs
    python examples/11_images_and_texts.py --full --jobs 2    # all of Fashion-MNIST, three seeds, for hours
    python examples/11_images_and_texts.py --table            # what was measured, as in README.md

Two towers learn from Fashion-MNIST with captions, in batches of 64 to 4,096 at equal images seen; parts of a batch are
compared together, so that memory is that of 64. Then BASIC's three stages with an ordinary and with a spiking image
tower, and crops of sixteen photographs (pip install scikit-image): learnt on their left parts, told by texts on their
right ones.

What is finished in the folder of the runs is not done again, and what was interrupted goes on. The full form writes
benchmarks/images_and_texts.json after every run.
"""

import argparse
import itertools
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import compiler
import hw
from snnkit.bench.evidence import Job, Key, at_least_one, mean, measured, rows_of, trained
from snnkit.data import load_images
from snnkit.engine import RunConfig
from snnkit.engine.progress import console
from snnkit.files import read_json, write_json
from snnkit.recipes import get_recipe
from snnkit.tasks.pairs import predicted
from snnkit.tasks.pairs.records import keep_memory
from snnkit.zeroshot import classify, load_towers, retrieve

BATCHES, PART = (64, 256, 1024, 4096), 64
TOWERS = {"ordinary": "basic_fashion_mnist", "spiking": "basic_spiking_fashion_mnist"}
TABLES = ("batch", "tower", "photographs")
MODEL = "45nm"  # hw.energy: arithmetic in 32-bit floats


def prepared(recipe: str, batch: int, seed: int, full: bool) -> RunConfig:
    """Return the configuration of one run; the rate grows with the root of the batch."""
    config = get_recipe(recipe)
    config.seed, config.data.batch_size, config.optim.accumulate = seed, min(PART, batch), max(batch // PART, 1)
    config.data.source, config.epochs = ("full", 4) if full else ("vendored", 1)
    config.data.train_limit, config.data.test_limit = (0, 0) if full else (128, 60)
    config.optim.lr *= (batch / 256) ** 0.5
    if not full:
        config.data.batch_size, config.optim.accumulate, config.threads = 32, max(min(batch // 64, 4), 1), 1
    return config


def of_photographs(batch: int, seed: int, full: bool) -> RunConfig:
    """Return the configuration of a run on crops of photographs, 64 pixels wide."""
    config = prepared("pairs_fashion_mnist", batch, seed, full)
    config.data.dataset, config.data.source, config.epochs = "captioned_photographs", "auto", 20 if full else 1
    return config


def remembered(folder: Path, most: int) -> None:
    """Measure, for the report of a run, what steps of each batch up to ``most`` take in memory."""
    towers = load_towers(folder).towers.train()
    shape, tokens = (PART, 1, 28, 28), load_towers(folder).data.context
    planned = predicted.over_batches(towers, shape, tokens, most // PART // 4, kept=False)
    found = {batch: predicted.measured(towers, shape, tokens, batch // PART) for batch in planned}
    keep_memory(folder, planned, found)


def result(config: RunConfig, folder: Path, priced: int) -> dict[str, Any]:
    """Return accuracy and recall of a run, and what its image tower costs, training it where that was not done."""
    path, console.quiet = folder / "result.json", True
    trained(config, folder)
    if not path.exists():
        towers = load_towers(folder)
        # Single upright things, none turned and no pairs: what the labels are of.
        found = {"accuracy": classify(towers)["accuracy"], "recall": retrieve(towers, most=1000)[0]["image_recall_1"]}
        if priced:
            images = next(iter(load_images(towers.data, 0).test))[0][:priced]
            counts = compiler.count(towers.towers.encoder, [images])
            found["energy"] = hw.energy.estimate(counts, MODEL).total.nominal
            found["unit"] = hw.energy.estimate(counts, MODEL).total.unit
        write_json(path, found)
    return read_json(path)


def told(name: str, rows: list[dict[str, Any]]) -> str:
    """Return a line of a table: means over the seeds, and their standard deviations."""
    cells = [mean([100 * row[key] for row in rows]) for key in ("accuracy", "recall")]
    if "energy" in rows[0]:
        cells.append(f"{mean([row['energy'] for row in rows], 2)} {rows[0]['unit'].replace('u', 'µ')}")
    return f"| {name} | " + " | ".join(cells) + " |"


def tables(rows: list[dict[str, Any]]) -> str:
    """Return what was measured, as Markdown."""
    lines = []
    for table in TABLES:
        names = dict.fromkeys(row["name"] for row in rows if row["table"] == table)
        if names:
            energy = table == "tower"
            lines += ["", f"| {table} | zero-shot accuracy, % | recall@1, % |" + " energy |" * energy]
            lines += ["|---" * (3 + energy) + "|"]
        for name in sorted(names, key=lambda name: (len(name), name)):
            lines.append(told(name, [row for row in rows if (row["table"], row["name"]) == (table, name)]))
    return "\n".join(lines).strip()


def plan(wanted: list[str], seeds: int, runs: Path, full: bool) -> Iterator[Job]:
    """Yield the runs in the order in which they are worth most: whole tables of one seed first."""
    for table, seed in itertools.product(wanted, range(seeds)):
        if table == "tower":
            configs = {name: prepared(recipe, 256, seed, full) for name, recipe in TOWERS.items()}
        elif table == "photographs":
            configs = {f"{batch:,}": of_photographs(batch, seed, full) for batch in BATCHES[::2]}
        else:
            configs = {
                f"{batch:,}": prepared("pairs_fashion_mnist", batch, seed, full)
                for batch in (BATCHES if full else BATCHES[:2])
            }
        for name, config in configs.items():
            key, priced = Key(table, name, seed), (200 if full else 10) if table == "tower" else 0
            yield Job(key, result, (config, runs / key.folder, priced))


def main() -> None:
    """Train what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--tables", nargs="*", choices=TABLES, default=None, help="by default all, or batch and tower")
    parser.add_argument("--seeds", type=at_least_one, default=0)
    parser.add_argument("--jobs", type=at_least_one, default=1, help="runs at once")
    parser.add_argument("--runs", type=Path, default=None)
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/images_and_texts.json"), help="of the full form"
    )
    parser.add_argument("--table", action="store_true", help="only show the tables of --output")
    given = parser.parse_args()
    if given.table:
        print(tables(rows_of(given.output)))
        return
    runs = given.runs or (Path("runs/images_and_texts") if given.full else Path(tempfile.mkdtemp()))
    wanted = given.tables or list(TABLES[: 3 if given.full and find_spec("skimage") else 2])
    jobs = list(plan(wanted, given.seeds or (3 if given.full else 1), runs, given.full))
    print(tables(measured(jobs, given.jobs, given.output if given.full else None)))
    if given.full and "batch" in wanted:
        remembered(runs / Key("batch", f"{BATCHES[-1]:,}", 0).folder, 4 * BATCHES[-1])


if __name__ == "__main__":
    main()
