"""Energy as a training aim: accuracy against energy on Fashion-MNIST, for several weights of the penalty on spikes.

    python examples/09_energy_aim.py                  # a few images, to see that it runs
    python examples/09_energy_aim.py --full           # 20,000 images, three seeds: the table in README.md

One network is trained anew for every weight and seed, and once more with a target: at most half of the synaptic
operations that it makes without a penalty. What is finished in the folder of the runs is not done again. The table,
pareto.json and pareto.svg are made of accuracies on the test images, of what compiler.count finds on some of them,
and of its price by hw.energy.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import compiler
import hw
from snnkit.checkpoints import build_model
from snnkit.data import load_images
from snnkit.engine import RunConfig, train
from snnkit.engine.progress import console
from snnkit.files import read_json
from snnkit.recipes import get_recipe

WEIGHTS = (0.0, 0.03, 0.1, 0.3, 1.0)
MODEL = "45nm"  # hw.energy: arithmetic in 32-bit floats


def prepared(seed: int, weight: float, target: str, full: bool) -> RunConfig:
    """Return the configuration of one run: a narrow network, two steps, one thread."""
    config = get_recipe("fashion_mnist")
    config.model.timesteps, config.model.sizes, config.seed, config.threads = 2, {"width": 8}, seed, 1
    energy = config.task.energy
    energy.measure, energy.weight, energy.target = True, weight, target
    config.data.source = "full" if full else "vendored"
    config.epochs, config.data.train_limit, config.data.test_limit = (2, 20_000, 0) if full else (1, 320, 100)
    return config


def result(config: RunConfig, folder: Path, samples: int) -> dict[str, float]:
    """Return accuracy, synaptic operations and energy of a run, training it where that was not done."""
    if not (folder / "result.json").exists():
        train(config, folder)
        data, images = load_images(config.data, config.seed), []
        for batch, _ in data.test:
            images.append(batch[: samples - sum(map(len, images))])
            if sum(map(len, images)) >= samples:
                break
        counts = compiler.count(build_model(folder / "checkpoints" / "last.safetensors")[0].eval(), images)
        energy = hw.energy.estimate(counts, MODEL).total
        final = read_json(folder / "summary.json")["final"]
        found = {"accuracy": final["accuracy"], "operations": counts.total("synaptic_events"), "counted_on": samples}
        found |= {"low": energy.low, "energy": energy.nominal, "high": energy.high, "unit": energy.unit}
        (folder / "result.json").write_text(json.dumps(found), encoding="utf-8")
    return read_json(folder / "result.json")


def measured(runs: Path, seeds: int, weights: tuple[float, ...], full: bool) -> dict[str, list[dict[str, float]]]:
    """Return the results of every seed by the name of the penalty, running what is missing."""
    found: dict[str, list[dict[str, float]]] = {}
    for seed in range(seeds):
        for weight in weights:
            config = prepared(seed, weight, "", full)
            one = result(config, runs / f"weight-{weight:g}-seed-{seed}", 1000 if full else 50)
            found.setdefault(f"w = {weight:g}", []).append(one)
            print(f"seed {seed}, w = {weight:g}: {one['accuracy']:.2%}, {one['operations']:,.0f} SOP", flush=True)
        half = f"{found[f'w = {weights[0]:g}'][seed]['operations'] / 2e3:.0f} kSOP"
        one = result(prepared(seed, 1.0, half, full), runs / f"target-seed-{seed}", 1000 if full else 50)
        found.setdefault("target: half", []).append(one)
        print(f"seed {seed}, target {half}: {one['accuracy']:.2%}, {one['operations']:,.0f} SOP", flush=True)
    return found


def spread(values: list[float], digits: int) -> str:
    """Return mean ± sample standard deviation; the mean alone of one value."""
    deviation = f" ± {statistics.stdev(values):,.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):,.{digits}f}{deviation}"


def mean(results: list[dict[str, float]], name: str) -> float:
    """Return the mean of one number over the seeds."""
    return statistics.mean(one[name] for one in results)


def on_front(name: str, found: dict[str, list[dict[str, float]]]) -> bool:
    """Whether no other penalty has a better mean accuracy for less energy."""
    own = mean(found[name], "accuracy"), mean(found[name], "energy")
    others = [(mean(r, "accuracy"), mean(r, "energy")) for key, r in found.items() if key != name]
    return not any(a >= own[0] and e <= own[1] for a, e in others)


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """Return Markdown: one row a penalty, mean ± deviation over the seeds."""
    unit = next(iter(found.values()))[0]["unit"]
    lines = [
        f"| penalty | accuracy, % | thousand SOP | energy, {unit} | low … high | front |",
        "|---|---|---|---|---|---|",
    ]
    for name, results in found.items():
        accuracy = spread([100 * one["accuracy"] for one in results], 2)
        operations = spread([one["operations"] / 1e3 for one in results], 0)
        energy = spread([one["energy"] for one in results], 3)
        ends = f"{mean(results, 'low'):.3f} … {mean(results, 'high'):.3f}"
        mark = "yes" if on_front(name, found) else ""
        lines.append(f"| {name} | {accuracy} | {operations} | {energy} | {ends} | {mark} |")
    return "\n".join(lines)


def picture(found: dict[str, list[dict[str, float]]]) -> str:
    """Return an SVG: energy to the right, accuracy up, a dot a run and a ring with a name a mean; the front a line."""
    every = [one for results in found.values() for one in results]
    right = 1.05 * max(one["energy"] for one in every)
    bottom, top = min(100 * one["accuracy"] for one in every) - 1, max(100 * one["accuracy"] for one in every) + 1

    def place(energy: float, accuracy: float) -> tuple[float, float]:
        return 60 + 520 * energy / right, 340 - 310 * (100 * accuracy - bottom) / (top - bottom)

    parts = ['<path d="M60 30V340H580" fill="none" stroke="black"/>']
    for one in every:
        x, y = place(one["energy"], one["accuracy"])
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="gray"/>')
    means = {name: place(mean(r, "energy"), mean(r, "accuracy")) for name, r in found.items()}
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in sorted(means[name] for name in found if on_front(name, found)))
    parts.append(f'<polyline points="{line}" fill="none" stroke="steelblue" stroke-width="1.5"/>')
    for name, (x, y) in means.items():
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="none" stroke="black"/>')
        parts.append(f'<text x="{x + 8:.1f}" y="{y + 14:.1f}">{name}</text>')
    for k in range(5):
        energy, accuracy = right * k / 4, bottom + (top - bottom) * k / 4
        parts.append(f'<text x="{60 + 130 * k}" y="356" text-anchor="middle">{energy:.2f}</text>')
        parts.append(f'<text x="54" y="{344 - 310 * k / 4:.1f}" text-anchor="end">{accuracy:.1f}</text>')
    unit = every[0]["unit"]
    parts.append(f'<text x="320" y="376" text-anchor="middle">energy of an image, {unit} ({MODEL}, nominal)</text>')
    parts.append('<text x="60" y="18" text-anchor="middle">test accuracy, %</text>')
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="640" height="390" font-family="sans-serif" font-size="11">'
    return "\n".join([head, "<title>Accuracy against energy</title>", *parts, "</svg>", ""])


def main() -> None:
    """Read the arguments, train what is missing, print the table, write data and picture."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true", help="20,000 images and three seeds instead of a few and one")
    parser.add_argument("--seeds", type=int, default=0, help="default: 3, for a few images 1")
    parser.add_argument("--runs", type=Path, default=None, help="default: runs/energy-aim; for a few images, none kept")
    arguments = parser.parse_args()
    console.quiet = True
    with tempfile.TemporaryDirectory() as scratch:
        runs = arguments.runs or (Path("runs") / "energy-aim" if arguments.full else Path(scratch))
        weights = WEIGHTS if arguments.full else (0.0, 3.0)
        found = measured(runs, arguments.seeds or (3 if arguments.full else 1), weights, arguments.full)
        print("\n" + table(found))
        (runs / "pareto.json").write_text(json.dumps({"model": MODEL, "results": found}, indent=1), encoding="utf-8")
        (runs / "pareto.svg").write_text(picture(found), encoding="utf-8")
        if runs != Path(scratch):
            print(f"\n{runs / 'pareto.json'} and {runs / 'pareto.svg'} hold the numbers and the picture.")


if __name__ == "__main__":
    main()
