"""Ordinary networks become spiking ones on Fashion-MNIST, equal in every integer at rest: what is lost, what it costs.

    python examples/07_convert.py           # a small transformer on a few images, to see that it runs
    python examples/07_convert.py --full    # seven networks on all 60,000 images, baselines and peers: an hour or two
    python examples/07_convert.py --table   # what was measured, as in README.md

The full form writes benchmarks/convert.json after every part, and goes on where it was interrupted.
"""

import argparse
import tempfile
from pathlib import Path

import torch

from compiler.bench.convert import FOLDER, NETWORKS, kept, measured
from compiler.bench.convert_networks import Amounts
from compiler.bench.convert_table import tables
from snnkit.bench.harness import machine
from snnkit.files import read_json, write_json

FEW = Amounts("vendored", epochs=3, tuned=512, train_limit=2_000, calibration=64, test=100, counted=4)


def shown(row: dict) -> str:
    """Return a row as a line."""
    bar = "" if "bar" not in row else f"   bar {row['bar']:g}: {'reached' if row['reached'] else 'NOT reached'}"
    events = row.get("events_per_neuron")
    sent = "" if events is None else f"   {events:.3f} events per neuron"
    return f"  {row['variant']:72} {row['value']:>9.5g} {row['unit']}{sent}{bar}   {row.get('why', '')}".rstrip()


def main() -> None:
    """Measure part by part."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true", help="all images, all networks, baselines and peers")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=None, help="by default all, or vit")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/convert.json"), help="of the full form")
    parser.add_argument("--table", action="store_true", help="only show the tables of --output")
    arguments = parser.parse_args()
    if arguments.table:
        print(tables(read_json(arguments.output)["rows"]))
        return
    torch.set_num_threads(1)
    names = tuple(arguments.networks or (NETWORKS if arguments.full else ("vit",)))
    with tempfile.TemporaryDirectory() as scratch:
        amounts, folder = (Amounts(), FOLDER) if arguments.full else (FEW, Path(scratch))
        for part in measured(amounts, folder, names, others=arguments.full):
            print("\n".join([part[0]["case"], *map(shown, part)]), flush=True)
            if arguments.full:
                found = {"benchmark": "convert", "repeats": 1, "threads": 1, "machine": machine()}
                write_json(arguments.output, {**found, "rows": kept(amounts, folder)})


if __name__ == "__main__":
    main()
