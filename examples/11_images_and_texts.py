"""Zero-shot accuracy against the contrastive batch, and a spiking image tower beside an ordinary one.

    python examples/11_images_and_texts.py            # a few images, to see that it runs
    python examples/11_images_and_texts.py --full     # all of Fashion-MNIST, three seeds, for hours

Two towers learn from Fashion-MNIST with captions, in batches of 64 to 4,096 at equal images seen; parts of a batch are
compared together, so that memory is that of 64. Then BASIC's three stages with an ordinary and with a spiking image
tower, and crops of sixteen photographs (pip install scikit-image): learnt on their left parts, told by texts on their
right ones. What is finished in the folder of the runs is not done again.
"""

import argparse
import json
import statistics
import tempfile
from importlib.util import find_spec
from pathlib import Path

import compiler
import hw
from snnkit.data import load_images
from snnkit.engine import RunConfig, resume, train
from snnkit.engine.progress import console
from snnkit.engine.run_folder import begun
from snnkit.files import read_json, write_json
from snnkit.recipes import get_recipe
from snnkit.tasks.pairs.predicted import measured, over_batches
from snnkit.tasks.pairs.records import keep_memory
from snnkit.zeroshot import classify, load_towers, retrieve

BATCHES, PART = (64, 256, 1024, 4096), 64
TOWERS = {"ordinary": "basic_fashion_mnist", "spiking": "basic_spiking_fashion_mnist"}
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
    predicted = over_batches(towers, shape, tokens, most // PART // 4, kept=False)
    keep_memory(folder, predicted, {batch: measured(towers, shape, tokens, batch // PART) for batch in predicted})


def result(config: RunConfig, folder: Path, priced: int = 0) -> dict[str, float]:
    """Return accuracy and recall of a run, and what its image tower costs, training it where that was not done."""
    path = folder / "result.json"
    if not path.exists():
        if any(folder.glob("*/summary.json")) or begun(folder):
            resume(folder)
        else:
            train(config, folder)
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


def told(name: str, results: list[dict[str, float]]) -> str:
    """Return a line of the table: means over the seeds, and their standard deviations."""
    cells = []
    for key in ("accuracy", "recall"):
        values = [100 * one[key] for one in results]
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        cells.append(f"{statistics.mean(values):5.1f}{spread}")
    if "energy" in results[0]:
        cells.append(f"{statistics.mean([one['energy'] for one in results]):.3g} {results[0]['unit']}")
    return f"| {name:>11} | " + " | ".join(cells) + " |"


def main() -> None:
    """Train everything and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=None)
    given = parser.parse_args()
    seeds = given.seeds or (3 if given.full else 1)
    runs = given.runs or (Path("runs/images_and_texts") if given.full else Path(tempfile.mkdtemp()))
    tables: dict[str, dict[str, list[dict[str, float]]]] = {"batch": {}, "tower": {}, "photographs": {}}
    for seed in range(seeds):
        for batch in BATCHES if given.full else BATCHES[:2]:
            config = prepared("pairs_fashion_mnist", batch, seed, given.full)
            found = result(config, runs / f"batch-{batch}-seed-{seed}")
            tables["batch"].setdefault(f"{batch:,}", []).append(found)
        for name, recipe in TOWERS.items():
            config = prepared(recipe, 256, seed, given.full)
            found = result(config, runs / f"{name}-seed-{seed}", 200 if given.full else 10)
            tables["tower"].setdefault(name, []).append(found)
        for batch in BATCHES[::2] if given.full and find_spec("skimage") else ():
            found = result(of_photographs(batch, seed, given.full), runs / f"photographs-{batch}-seed-{seed}")
            tables["photographs"].setdefault(f"{batch:,}", []).append(found)
    if given.full:
        remembered(runs / f"batch-{BATCHES[-1]}-seed-0", 4 * BATCHES[-1])
    for title, rows in ((title, rows) for title, rows in tables.items() if rows):
        console.print(
            f"| {title:>11} | zero-shot accuracy, % | recall@1, % |" + (" energy |" if title == "tower" else "")
        )
        for name, results in rows.items():
            console.print(told(name, results))
    (runs / "tables.json").write_text(json.dumps(tables, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
