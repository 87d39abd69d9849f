"""``snnkit energy``: exact counts on test images and what they cost."""

from __future__ import annotations


def energy(source: str, *, model: str = "45nm", images: int = 1000, input_type: str = "real") -> None:
    """Count spikes and operations layer by layer, beside the ordinary twin, and price both.

    With the folder of a run, counts.json and energy.json are written there.

    Parameters
    ----------
    source
        Folder of a run, a checkpoint, a model's name, or a .graph file.
    model
        Name of an energy model.
    images
        Number of test images.
    input_type
        What the input consists of: real, binary, signed, or integer[low,high].
    """
    from compiler.analysis.spike_driven import spike_driven
    from compiler.commands import show
    from compiler.commands.source import resolve
    from compiler.commands.stages import count_and_price
    from snnkit.engine.progress import console

    given = resolve(source, input_type)
    x, _, _ = given.test_images(images)
    counts, twin, priced, twin_priced = count_and_price(given.graph, x, model, given.folder)
    console.print(f"{given.graph.name}: {spike_driven(given.graph)}")
    show.counts(counts, twin)
    show.energies(priced, twin_priced)
