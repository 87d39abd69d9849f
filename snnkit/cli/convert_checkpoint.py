"""``snnkit convert-checkpoint``: published weights to safetensors, once, with the risk named."""

from __future__ import annotations

from pathlib import Path


def convert_checkpoint(
    source: Path, output: Path | None = None, *, model: str | None = None, allow_pickle: bool = False
) -> None:
    """Write the weights of a checkpoint as safetensors, which can be opened without running anything.

    Parameters
    ----------
    source
        A checkpoint: .pth, .pt, .tar, .bin or .safetensors.
    output
        The file to write; by default beside the source, with the ending .safetensors.
    model
        Name of the model it is for: keys are translated to snnkit's own, and the file can build the model by itself.
    allow_pickle
        Open files that hold more than tensors too. Opening them can run code that their author put in.
    """
    from snnkit.checkpoints import load_weights, read_any, save_weights
    from snnkit.checkpoints.formats import unwrap
    from snnkit.checkpoints.weights import save_tensors
    from snnkit.engine.progress import console
    from snnkit.models import create_model

    output = output or source.with_suffix(".safetensors")
    content, _ = read_any(source, allow_pickle)
    if model is None:
        tensors = unwrap(content, {})
        save_tensors(tensors, output)
        console.print(f"{output}: {len(tensors)} tensors, keys as published")
        return
    built = create_model(model)
    report = load_weights(built, content)
    save_weights(built, output, {"name": model, **report.form})
    console.print(f"{output}: {model}: {report}")
