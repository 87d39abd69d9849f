"""``snnkit energy``: exact counts on test samples and what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compiler.conventions import Conventions
    from hw.counts import Counts


def energy(
    source: str,
    *,
    model: list[str] | None = None,
    images: int = 1000,
    all_images: bool = False,
    input_type: str = "real",
    beside: str | None = None,
    repconv: str = "literal",
    first_layer: str = "once",
    padding: str = "counted",
    strict: bool = False,
) -> None:
    """Count spikes and operations layer by layer, beside the ordinary twin, and price all under every model.

    With the folder of a run, counts.json and energy.json are written there.

    Parameters
    ----------
    source
        Folder of a run, a checkpoint, a model's name, or a .graph file.
    model
        Name of an energy model, the headline first; every model that can price the network by default.
    images
        Number of test samples.
    all_images
        Count the whole test set, read batch by batch.
    input_type
        What the input consists of: real, binary, signed, or integer[low,high].
    beside
        An ordinary network (run, checkpoint, model's name) counted and priced beside it, such as its teacher.
    repconv
        Layers in a row without a neuron between them: literal, or merged into one.
    first_layer
        A layer whose input is the same at every step counts once, or "each step".
    padding
        Multiply-accumulates with zeros of padding: counted or skipped.
    strict
        Refuse constants that were not checked against their source, and operations without a price.
    """
    from compiler.conventions import Conventions

    conventions = Conventions(repconv, "folded", first_layer, padding)
    _run(source, model or [], None if all_images else images, input_type, beside, conventions, strict)


def _run(
    source: str,
    models: list[str],
    images: int | None,
    input_type: str,
    beside: str | None,
    conventions: Conventions,
    strict: bool,
) -> None:
    from compiler.analysis.spike_driven import spike_driven
    from compiler.commands import show
    from compiler.commands.source import resolve
    from compiler.commands.stages import count_and_price, count_and_price_parts, mapped_models
    from hw.energy import MODELS
    from hw.lookup import lookup
    from snnkit.engine.progress import console

    for name in models:
        lookup("energy model", name, MODELS)
    given = resolve(source, input_type)
    teacher = None if beside is None else _counted(beside, min(images or 1000, 1000), conventions)
    samples, simulated, counted = given.test_batches(images), mapped_models(given.folder), None
    how = (models, given.folder, conventions, teacher, strict)
    if given.parts is None:
        priced = count_and_price(conventions.of_graph(given.graph), samples, *how)
    else:
        priced, counted = count_and_price_parts(given.parts, samples, *how)
    console.print(f"{given.graph.name}: {spike_driven(given.graph)}", soft_wrap=False)
    show.counts(priced)
    if counted is not None:
        show.parts(counted)
    show.energies(priced)
    if given.folder is not None:
        path = Path(given.folder) / "energy.json"
        held = "every model" if not models else ", ".join(models) + " alone"
        console.print(f"{path} holds {held}, by part and layer, with sources", soft_wrap=False)
        for name in simulated:
            console.print(
                f"the estimate by {name} of an earlier `snnkit simulate` is no longer in it: simulate again",
                soft_wrap=False,
            )


def _counted(text: str, images: int, conventions: Conventions) -> Counts:
    """Count an ordinary network on its own test samples.

    Raises:
        InvalidArgumentError: it has neurons.
    """
    from compiler.commands.source import resolve
    from compiler.counting import count
    from compiler.graph import is_neuron
    from snnkit.errors import InvalidArgumentError

    given = resolve(text)
    if given.parts is not None:
        raise InvalidArgumentError(f"--beside {text}: is made of parts; count it by itself: `snnkit energy {text}`.")
    if any(is_neuron(node) for node in given.graph):
        raise InvalidArgumentError(f"--beside {text}: has spiking neurons; what stands beside is an ordinary network.")
    return count(given.graph, given.test_batches(images), conventions=conventions)
