"""``snnkit qat``: fine-tune a trained spiking network in the integers of its chip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from torch import Tensor

    from compiler.commands.source import Source
    from compiler.training import ChipNetwork


@dataclass
class Settings:
    """How a network is trained for its chip, and on what it is compared.

    Parameters
    ----------
    epochs
        Passes over the training images of the run.
    lr
        Learning rate at the start of the cosine.
    teacher
        Weight of the float network's predictions against the labels, from 0 to 1.
    images
        Number of test images that float network, training and chip are compared on.
    output
        Folder of the run; by default qat/CHIP in the folder of the network's own run.
    resume
        Go on with a training that was interrupted.
    """

    epochs: int = 3
    lr: float = 5e-4
    teacher: float = 0.9
    images: int = 1000
    output: Path | None = None
    resume: bool = False


def qat(
    source: str,
    *,
    chip: str = "loihi1",
    input_type: str = "real",
    settings: Annotated[Settings | None, Parameter(name="*")] = None,
) -> None:
    """Train a network as its chip computes it, and compile it: the accuracy in training is that on the chip.

    Every forward pass is the chip's integer arithmetic, bit for bit; gradients go straight through roundings, and by a
    surrogate through spikes. Writes a run with network.graph, network.program and qat.json.

    Parameters
    ----------
    source
        Folder of a run.
    chip
        Name of a chip.
    input_type
        What the input consists of: real (images; the first layers run on the host), or binary (spikes).
    """
    from compiler.commands.source import resolve
    from compiler.training import ChipNetwork
    from hw import get_chip
    from snnkit.errors import InvalidArgumentError

    chosen = settings or Settings()
    if not 0 <= chosen.teacher <= 1:
        raise InvalidArgumentError(f"--teacher {chosen.teacher:g}: must be between 0 and 1.")
    if chosen.images < 1 or chosen.epochs < 1:
        raise InvalidArgumentError(f"--images {chosen.images}, --epochs {chosen.epochs}: both must be ≥ 1.")
    if not 0 < chosen.lr < float("inf"):
        raise InvalidArgumentError(f"--lr {chosen.lr:g}: must be above 0.")
    get_chip(chip)
    given = resolve(source, input_type)
    if given.folder is None or not (given.folder / "config.json").exists():
        raise InvalidArgumentError(
            f"{given.text} is no run, so nothing says on which images it trains: give the folder of a run "
            "(snnkit train writes one)."
        )
    given.check_classes("qat")
    _qat(given, ChipNetwork(given.graph, chip=chip), chosen)


def _qat(given: Source, network: ChipNetwork, chosen: Settings) -> None:
    from torch import nn

    from compiler.training import compare, fine_tuned, fine_tuning
    from snnkit.engine.progress import say
    from snnkit.engine.run_folder import begun
    from snnkit.errors import InvalidArgumentError
    from snnkit.files import write_json

    assert given.folder is not None
    assert isinstance(given.network, nn.Module)
    chip = network.chip.name
    folder = chosen.output or given.folder / "qat" / chip
    if chosen.resume and not begun(folder):
        raise InvalidArgumentError(f"--resume: {folder} holds no training that was interrupted; leave it out.")
    batches = _batches(given, chosen.images)
    whole, before = _accuracy(given.network, batches), _accuracy(network.eval(), batches)
    said = f"float network {whole:.2%}, {chip} {before:.2%}: a gap of {_points(whole, before)}"
    say(f"before: {said} on {sum(len(labels) for _, labels in batches):,} test images")

    config = fine_tuning(chosen.epochs)
    config.optim.lr, config.task.options["alpha"] = chosen.lr, chosen.teacher
    tuned = fine_tuned(network, given.data, config=config, teacher=given.network, folder=folder, go_on=chosen.resume)
    agreement = compare(tuned.network, tuned.program, batches)
    after = agreement.chip_accuracy
    said = f"float network {whole:.2%}, {chip} {after:.2%}: a gap of {_points(whole, after)}"
    say(f"after {_epochs(chosen.epochs)} in the integers of {chip}: {said}")
    say(str(agreement))
    tuned.network.graph().save(folder / "network.graph")
    tuned.program.save(folder / "network.program")
    found: dict[str, Any] = {"chip": chip, "epochs": chosen.epochs, "float_accuracy": whole, "chip_before": before}
    found |= {"chip_after": after, "tested_in_training": tuned.run.final_score, "agreement": agreement.to_dict()}
    write_json(folder / "qat.json", found)
    say(f"written to {folder}: network.graph, network.program, qat.json")


def _batches(given: Source, images: int) -> list[tuple[Tensor, Tensor]]:
    """Test images in batches with their labels."""
    import torch

    from compiler.commands.stages import batches

    x, labels, _ = given.test_images(images)
    parts = batches(given.graph, x)
    counts = [part.shape[x.ndim - 1 - len(given.graph.shape(given.graph.inputs[0]))] for part in parts]
    return list(zip(parts, torch.split(labels, counts), strict=True))


def _accuracy(network: Any, batches: list[tuple[Tensor, Tensor]]) -> float:
    import torch

    with torch.no_grad():
        right = sum(int((network(x).argmax(1) == labels).sum()) for x, labels in batches)
    return right / sum(len(labels) for _, labels in batches)


def _points(whole: float, chip: float) -> str:
    return f"{100 * (whole - chip):.2f} points"


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' if count > 1 else ''}"
