"""``snnkit energy``: exact counts on test images and what they cost."""

from __future__ import annotations


def energy(source: str, *, model: str = "45nm", images: int = 1000) -> None:
    """Count spikes and operations layer by layer, beside the ordinary twin, and price both.

    With the folder of a run, counts.json and energy.json are written there.

    Parameters
    ----------
    source
        Folder of a run, a checkpoint, or a model's name.
    model
        Name of an energy model.
    images
        Number of test images.
    """
    from compiler.capture import capture
    from compiler.commands import show
    from compiler.commands.source import resolve
    from compiler.commands.stages import count_and_price
    from compiler.passes import simplify
    from compiler.passes.infer_signals import spike_driven
    from snnkit.engine.progress import console

    given = resolve(source)
    x, _, _ = given.test_images(images)
    graph = simplify(capture(given.model, x[:1]))
    counts, twin, priced, twin_priced = count_and_price(graph, x, model, given.folder)
    console.print(f"{graph.name}: {spike_driven(graph)}")
    show.counts(counts, twin)
    show.energies(priced, twin_priced)
