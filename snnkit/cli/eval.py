"""``snnkit eval``: accuracy of a trained network."""

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
    from snnkit.engine import evaluate, find_checkpoint
    from snnkit.engine.feeding import fed_as
    from snnkit.engine.progress import console

    checkpoint = find_checkpoint(run)
    model, _ = build_model(checkpoint)
    config = fed_as(checkpoint, model)
    config.dataset, config.source = dataset or config.dataset, source or config.source
    data = load_images(config, seed=0)
    result = evaluate(model, data)
    console.print(
        f"{checkpoint}: accuracy {result['accuracy']:.2%}, loss {result['loss']:.4f}, "
        f"firing rate {result.get('firing_rate', 0.0):.3f} on {len(data.test.dataset):,} test images ({data.origin})"  # type: ignore[arg-type]
    )
