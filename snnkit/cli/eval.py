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
    from snnkit.data import DataConfig, load_images
    from snnkit.engine import RunConfig, evaluate, find_checkpoint
    from snnkit.engine.progress import console

    checkpoint = find_checkpoint(run)
    model, _ = build_model(checkpoint)
    # A checkpoint that lies in a run's folder was fed as that run says, another one at least in the size it says.
    folder, (height, width) = checkpoint.absolute().parent, getattr(model, "trained_size", (0, 0))
    config, saved = DataConfig(img_size=height if height == width else 0), folder.parent / "config.json"
    if folder.name == "checkpoints" and saved.exists():
        config = RunConfig.load(saved).data
    config.dataset, config.source = dataset or config.dataset, source or config.source
    data = load_images(config, seed=0)
    result = evaluate(model, data)
    console.print(
        f"{checkpoint}: accuracy {result['accuracy']:.2%}, loss {result['loss']:.4f}, "
        f"firing rate {result.get('firing_rate', 0.0):.3f} on {len(data.test.dataset):,} test images ({data.origin})"  # type: ignore[arg-type]
    )
