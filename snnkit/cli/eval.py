"""``snnkit eval``: how good a trained network is."""

from __future__ import annotations

from pathlib import Path


def eval_(run: Path, *, dataset: str | None = None, source: str | None = None) -> None:
    """Evaluate the weights of a run (or of a .safetensors file) on the test images.

    Parameters
    ----------
    run
        Folder of a run, or a checkpoint; one inside a run's folder is fed as that run was.
    dataset
        Name of a data set; by default the one the run was trained on, as it was fed then.
    source
        Where it lies: for fashion_mnist vendored, full, auto or a folder; by default what the run was trained on.
    """
    from snnkit.checkpoints import build_model
    from snnkit.data import load_images
    from snnkit.engine import find_checkpoint
    from snnkit.engine.evaluating import learns_more, run_of, test
    from snnkit.engine.feeding import fed_as, on_other_data
    from snnkit.engine.own_classes import run_classes
    from snnkit.engine.progress import console, say
    from snnkit.measures import MEASURES, Measure

    checkpoint = find_checkpoint(run)
    model, _ = build_model(checkpoint)
    config, trained = on_other_data(fed_as(checkpoint, model), dataset, source), run_of(checkpoint)
    data = load_images(config, seed=0)
    result = test(trained, model, data, run_classes(checkpoint))
    if data.test.skipped:
        say(f"{len(data.test.skipped):,} test samples could not be read whole, last: {data.test.skipped[-1]}")
    on = f"on {len(data.test.dataset):,} test images ({data.origin})"  # type: ignore[arg-type]
    if not learns_more(trained):
        console.print(
            f"{checkpoint}: accuracy {result['accuracy']:.2%}, loss {result['loss']:.4f}, "
            f"firing rate {result.get('firing_rate', 0.0):.3f} {on}"
        )
        return
    say(f"{checkpoint}: {on}")
    for key, value in result.items():
        if key != "score":
            known = MEASURES.get(key, Measure(key.replace("_", " "), share=False))
            console.print(f"  {known.words:<24} {known.shown(value)}")
