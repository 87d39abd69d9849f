"""``snnkit demo``: the whole way, once: train, capture, count, map, prove, exchange, report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def demo(*, runs: Path = Path("runs"), epochs: int | None = None, images: int = 1000) -> None:
    """Train a spiking network on real images, count it, map it onto a chip, prove the mapping and show it.

    Takes a few minutes on two CPU cores, without GPU or network.

    Parameters
    ----------
    runs
        Folder in which the run's folder is made.
    epochs
        Passes over the training images; by default the recipe's.
    images
        Number of test images that are counted and run on the chip.
    """
    import time

    from snnkit.engine import new_run_folder, train
    from snnkit.engine.progress import console
    from snnkit.errors import InvalidArgumentError
    from snnkit.recipes import get_recipe
    from snnkit.report import write_report

    if images < 1:
        raise InvalidArgumentError(f"--images {images}: must be ≥ 1.")
    started = time.perf_counter()

    def title(text: str) -> None:
        console.print(f"\n[bold]{text}[/bold]  ({time.perf_counter() - started:.0f} s)", markup=True)

    config = get_recipe("demo")
    if epochs is not None:
        config.epochs = epochs
    title("1 · train a spiking network on Fashion-MNIST (4,000 images)")
    run = train(config, new_run_folder("demo", runs))
    console.print(f"test accuracy {run.final_score:.1%}: that of the last epoch, whose weights go on")

    _count_map_and_hand_on(run.folder, images, title)

    title("6 · report")
    console.print(f"open {write_report(run.folder)}")
    console.print(f"done in {time.perf_counter() - started:.0f} s; everything is in {run.folder}")


def _count_map_and_hand_on(folder: Path, images: int, title: Callable[[str], None]) -> None:
    """Everything between training and the report, on the weights and test images of a run."""
    from importlib.util import find_spec

    from compiler.analysis.spike_driven import spike_driven
    from compiler.commands import show, stages
    from compiler.commands.source import first, resolve
    from compiler.commands.tested import Labelled
    from compiler.compiling import compile
    from compiler.exchange import lava
    from snnkit.engine.progress import console, say

    title("2 · capture it as a graph")
    given = resolve(str(folder))
    x, labels, classes = given.test_images(images)
    graph = given.graph
    graph.save(folder / "network.graph")
    stages.describe_graph(graph, folder)
    say(f"{len(given.captured)} nodes, {len(graph)} after simplifying; {spike_driven(graph)}")

    title(f"3 · count it on {len(x):,} test images, beside its ordinary twin")
    priced = stages.count_and_price(graph, x, (), folder)
    show.counts(priced)
    show.energies(priced)

    title("4 · map it onto loihi1 and run it in integers")
    program = compile(graph)
    show.mapping(stages.describe_mapping(program, folder))
    program.save(folder / "network.program")
    show.equality(stages.run_on_chip(program, Labelled(x, labels, classes), folder))

    title("5 · hand it on")
    lava.write(program, folder / "lava.npz", first(graph, x))
    console.print("lava: lava.npz holds the program with the first test image")
    if find_spec("nir"):
        row = stages.exchange_nir(graph, first(graph, x, 100), folder / "network.nir")
        stages.record_exchange(folder, [row])
        say(f"NIR: network.nir, {row['verdict']}: {row['detail']}")
    else:
        console.print("NIR: left out, the package nir is not installed (pip install 'snnkit[nir]')")
