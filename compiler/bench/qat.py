"""From float to chip: networks quantised after training, and networks trained in the integers of the chip.

The network of ``snnkit demo`` and a small spiking transformer, on Fashion-MNIST, for Loihi 1; the former also with
fewer bits a weight than the chip has. Accuracies are on all 10,000 test images, of which one is 0.01 points. Beside
them the float network after the same fine-tuning: what more training alone would have given.

Trainings are kept under ``runs/qat``: an interrupted one goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from compiler.capturing import capture
from compiler.converting.finetuning import learned
from compiler.passes import simplify
from compiler.training import Agreement, ChipNetwork, compare, fine_tuned, fine_tuning
from compiler.training.tuning import SpikingGraph
from hw import get_chip
from hw.chip import Chip
from snnkit.bench.row import figure
from snnkit.checkpoints import build_model, load_weights
from snnkit.data import DataConfig, ImageData, load_images
from snnkit.engine import ModelConfig, OptimConfig, RunConfig, find_checkpoint, resume, train
from snnkit.engine.progress import console
from snnkit.engine.run_folder import begun
from snnkit.recipes import get_recipe

FOLDER = Path("runs") / "qat"
GAP_BAR = 0.2
"""Points that the chip may lie below the float network."""
Network = TypeVar("Network", bound=nn.Module)
_PLAIN: dict[str, Any] = {"shift_pixels": 0, "flip": False, "mixup": 0.0}


@dataclass(frozen=True)
class Amounts:
    """How much is trained and measured.

    Args:
        source: of the test images, "full" or "vendored".
        epochs: of fine-tuning.
        test: test images, 0 for all.
        compared: test images that are compared spike by spike.
    """

    source: str = "full"
    epochs: int = 3
    test: int = 0
    compared: int = 1_000


@dataclass(frozen=True)
class Case:
    """A network, and the bits of a weight that it is to have.

    Args:
        title: as tables show it.
        settings: of its float training.
        bits: of a weight; 0 for all that Loihi 1 has.
        lr: learning rate of the fine-tuning.
        teacher: weight of the float network's predictions against the labels.
        folder: first word of its run folders.
    """

    title: str
    settings: Callable[[], RunConfig]
    bits: int = 0
    lr: float = 5e-4
    teacher: float = 0.9
    folder: str = "demo"


def demo() -> RunConfig:
    """Return the settings of ``snnkit demo``."""
    return get_recipe("demo")


def transformer() -> RunConfig:
    """Return those of a Spike-driven Transformer of two blocks: spikes pooled by OR, attention by AND."""
    sizes = {"embed_dim": 40, "depth": 2, "num_heads": 4, "mlp_ratio": 1.25, "pools": "1110"}
    data = DataConfig("fashion_mnist", "full", batch_size=64, shift_pixels=1, train_limit=12_000, test_limit=1_000)
    return RunConfig(
        recipe="qat_transformer",
        model=ModelConfig("sdt_v1_8_384", timesteps=4, sizes=sizes),
        data=data,
        optim=OptimConfig(lr=5e-3, weight_decay=0.02),
        epochs=12,
        threads=1,
    )


CASES = (
    Case("spiking_cnn_small", demo),
    Case("spiking_cnn_small, weights of 4 bits", demo, bits=4),
    Case("sdt_v1, 2 blocks of 40", transformer, lr=1e-3, teacher=0.5, folder="transformer"),
)


def run(repeats: int) -> list[dict[str, Any]]:
    """Train what is not trained yet, and measure it; once is enough, since the same comes out every time."""
    quiet, console.quiet = console.quiet, True
    try:
        return [row for case in CASES for row in measured(case, Amounts(), FOLDER)]
    finally:
        console.quiet = quiet


def chip_of(bits: int) -> Chip:
    """Return Loihi 1, with weights of so many bits at most."""
    chip = get_chip("loihi1")
    if not bits:
        return chip
    build = chip.build
    assert build is not None
    kept = tuple(b for b in build.arithmetic.weight_bits if b <= bits)
    return replace(chip, build=replace(build, arithmetic=replace(build.arithmetic, weight_bits=kept)))


def measured(case: Case, amounts: Amounts, folder: Path) -> list[dict[str, Any]]:
    """Return the rows of one case."""
    config = case.settings()
    model = _trained(config, folder / case.folder)
    data = load_images(
        replace(config.data, source=amounts.source, batch_size=200, test_limit=amounts.test, **_PLAIN), 0
    )
    graph = simplify(capture(model, next(iter(data.test))[0][:1]))
    before = ChipNetwork(graph, chip=chip_of(case.bits))
    tuning = fine_tuning(amounts.epochs)
    tuning.optim.lr, tuning.data, tuning.threads = case.lr, replace(config.data, test_limit=1_000), 1
    tuning.task.options["alpha"] = case.teacher
    after = _kept(
        tuning,
        folder / f"{case.folder}-chip{case.bits or ''}",
        lambda place, go: fine_tuned(before, tuning.data, config=tuning, teacher=model, folder=place, go_on=go).network,
        lambda: before.again(graph),
    )
    longer = _kept(
        tuning,
        folder / f"{case.folder}-float",
        lambda place, go: learned(
            lambda: SpikingGraph(graph), graph, model, tuning.data, tuning, folder=place, go_on=go
        )[0],
        lambda: SpikingGraph(graph),
    )
    networks: dict[str, nn.Module] = {"float": model, "float, trained on as long": longer}
    networks |= {"chip, quantised after training": before, "chip, trained in its integers": after}
    accuracies = accuracy(networks, data.test)
    return rows(case, accuracies, compare(after, after.program(), _first(data, amounts.compared)))


def rows(case: Case, accuracies: dict[str, float], agreement: Agreement) -> list[dict[str, Any]]:
    """Return what is written: accuracies in %, gaps in points, and what differs between training and chip."""
    found: list[dict[str, Any]] = [
        {"case": case.title, "variant": name, "value": round(100 * value, 2), "unit": "%"}
        for name, value in accuracies.items()
    ]
    whole = accuracies["float"]
    for variant in ("chip, quantised after training", "chip, trained in its integers"):
        points, name = round(100 * (whole - accuracies[variant]), 2), f"gap: {variant}"
        # Other bits than the chip's are no bar of it; they show what training does where rounding is coarse.
        if variant.endswith("integers") and not case.bits:
            found.append(figure(case.title, name, points, "points", GAP_BAR))
        else:
            found.append({"case": case.title, "variant": name, "value": points, "unit": "points"})
    for kind in ("predictions", "logits", "spikes"):
        differ, of = getattr(agreement, f"{kind}_differ"), getattr(agreement, kind)
        found.append(figure(case.title, f"{kind} of {of:,} that differ, training and chip", differ, "", 0))
    return found


@torch.no_grad()
def accuracy(networks: dict[str, nn.Module], batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Return the share of images that each network classifies as labelled."""
    right, images = dict.fromkeys(networks, 0), 0
    for network in networks.values():
        network.eval()
    for x, labels in batches:
        images += len(labels)
        for name, network in networks.items():
            right[name] += int((network(x).argmax(1) == labels).sum())
    return {name: count / images for name, count in right.items()}


def _first(data: ImageData, count: int) -> list[tuple[Tensor, Tensor]]:
    found: list[tuple[Tensor, Tensor]] = []
    for x, labels in data.test:
        room = count - sum(len(part) for part, _ in found)
        if room > 0:
            found.append((x[:room], labels[:room]))
    return found


def _trained(config: RunConfig, folder: Path) -> nn.Module:
    folder = _named(folder, config.to_dict())
    if not (folder / "summary.json").exists():
        resume(folder) if begun(folder) else train(config, folder)
    model, _ = build_model(find_checkpoint(folder))
    return model.eval()


def _kept(
    config: RunConfig, folder: Path, tune: Callable[[Path, bool], Network], made: Callable[[], Network]
) -> Network:
    folder = _named(folder, config.to_dict())
    if not (folder / "summary.json").exists():
        return tune(folder, begun(folder))
    network = made()
    load_weights(network, find_checkpoint(folder))
    return network


def _named(folder: Path, settings: dict[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return folder.with_name(f"{folder.name}-{digest}")
