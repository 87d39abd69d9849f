"""``snnkit eval``: accuracy of a trained network."""

from __future__ import annotations

from pathlib import Path


def eval_(run: Path, *, dataset: str | None = None, source: str | None = None) -> None:
    """Evaluate the weights of a run (or of a .safetensors file) on the test images.

    Parameters
    ----------
    run
        Folder of a run, or a checkpoint.
    dataset
        Name of a data set; by default the one the run was trained on, as it was fed then.
    source
        Where it lies: for fashion_mnist vendored, full, auto or a folder; by default what the run was trained on.
    """
    from snnkit.checkpoints import build_model
    from snnkit.data import DataConfig, load_images
    from snnkit.engine import RunConfig, evaluate, find_checkpoint
    from snnkit.engine.progress import console
    from snnkit.files import read_json

    checkpoint = find_checkpoint(run)
    model, _ = build_model(checkpoint)
    saved = run / "config.json"
    config = RunConfig.from_dict(read_json(saved)).data if saved.exists() else DataConfig()
    config.dataset, config.source = dataset or config.dataset, source or config.source
    data = load_images(config, seed=0)
    result = evaluate(model, data)
    console.print(
        f"{checkpoint}: accuracy {result['accuracy']:.2%}, loss {result['loss']:.4f}, "
        f"firing rate {result.get('firing_rate', 0.0):.3f} on {len(data.test.dataset):,} test images ({data.origin})"  # type: ignore[arg-type]
    )
