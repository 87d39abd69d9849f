"""Small ordinary networks of seven families, trained on Fashion-MNIST, for ``compiler.bench.convert``.

Each is trained once by the loop that trains everything, into a folder of its own under ``runs``: what is finished there
is not done again, what was interrupted goes on.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.checkpoints import load_weights
from snnkit.data import DataConfig, load_images
from snnkit.engine import ModelConfig, OptimConfig, RunConfig, find_checkpoint, resume, train
from snnkit.engine.run_folder import begun
from snnkit.models import create_model

CLASSES = 10


@dataclass(frozen=True)
class Network:
    """A network to train and convert.

    Args:
        title: as tables show it.
        name: of ``create_model``.
        sizes: its further arguments.
        side: of the images in pixels.
        convolutional: whether there is no attention in it, which decides which bar it is measured against.
        relu: whether it is linear but for ReLUs, so that rate coding can carry it.
    """

    title: str
    name: str
    sizes: dict[str, Any] = field(default_factory=dict)
    side: int = 28
    convolutional: bool = False
    relu: bool = False


NETWORKS: dict[str, Network] = {
    "resnet18": Network(
        "ResNet-18 (timm), 16 to 128 channels",
        "timm:resnet18",
        {"channels": (16, 32, 64, 128), "stem_width": 16},
        convolutional=True,
        relu=True,
    ),
    "vit": Network(
        "ViT (timm), 3 blocks of 48",
        "timm:vit_tiny_patch16_224",
        {"img_size": 28, "patch_size": 4, "embed_dim": 48, "depth": 3, "num_heads": 2},
    ),
    "lookupvit": Network(
        "LookupViT, 3 blocks of 64, 3 × 3 tokens",
        "lookupvit_small",
        {"lookup_grid": (3, 3), "embed_dim": 64, "depth": 3, "num_heads": 2},
        side=112,
    ),
    "uniformer": Network(
        "UniFormer, 16 to 96 channels",
        "uniformer_small",
        {"dims": (16, 32, 64, 96), "depths": (1, 1, 2, 1), "head_dim": 16, "drop_path_rate": 0.0},
        side=64,
    ),
    "swinv2": Network(
        "Swin V2, 32 to 256 channels, windows of 4",
        "swinv2_tiny_window8_256",
        {
            "window_size": 4,
            "embed_dim": 32,
            "depths": (2, 2, 1, 1),
            "num_heads": (1, 2, 4, 8),
            "pretrained_window_size": 0,
            "drop_path_rate": 0.0,
        },
        side=32,
    ),
    "mobilenetv2": Network(
        "MobileNet V2 × 0.25 with ULSAM as layer 14",
        "mobilenetv2",
        {"width": 0.25, "ulsam_substitute": (14,), "dropout": 0.0},
        side=32,
        convolutional=True,
    ),
    "moat": Network(
        "MOAT, 16 to 96 channels",
        "tiny_moat_0",
        {"stem_dim": 8, "dims": (16, 32, 64, 96), "depths": (1, 1, 2, 1)},
        side=32,
    ),
}


@dataclass(frozen=True)
class Amounts:
    """How much is trained and measured.

    Args:
        source: of the images, "full" or "vendored".
        epochs: of the ordinary networks.
        train_limit: images that they are trained on, 0 for all.
        tuned: images that are fine-tuned on, 0 for all, in ``tuning_epochs``.
        calibration: training images that scales are found from.
        test: test images that all forms decide on; float and quantised form alone also on all.
        counted: test images that operations are counted on.
    """

    source: str = "full"
    epochs: int = 6
    train_limit: int = 0
    tuned: int = 0
    tuning_epochs: int = 1
    calibration: int = 256
    test: int = 2_000
    counted: int = 20


def settings(network: Network, amounts: Amounts) -> RunConfig:
    """Return the configuration that a network is trained by: AdamW, one cycle, shifted and mirrored images."""
    data = DataConfig("fashion_mnist", amounts.source, batch_size=128, img_size=network.side, shift_pixels=1)
    data.train_limit = amounts.train_limit
    return RunConfig(
        recipe=f"convert_{network.name.replace(':', '_')}",
        model=ModelConfig(network.name, sizes=dict(network.sizes)),
        data=data,
        optim=OptimConfig(lr=3e-3, weight_decay=0.05, clip=5.0),
        epochs=amounts.epochs,
        threads=1,
    )


def run_of(name: str, amounts: Amounts, folder: Path, tuned: bool = False) -> Path:
    """Return the folder of a network's training or fine-tuning; runs with other settings have other ones."""
    given: dict[str, Any] = settings(NETWORKS[name], amounts).to_dict()
    if tuned:
        given |= asdict(amounts)
    digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:8]
    return folder / f"{name}{'-tuned' if tuned else ''}-{digest}"


def trained(name: str, amounts: Amounts, folder: Path) -> nn.Module:
    """Return a network in eval mode, training whatever of its run in ``run_of(…)`` is missing."""
    network, folder = NETWORKS[name], run_of(name, amounts, folder)
    config = settings(network, amounts)
    if not (folder / "summary.json").exists():
        resume(folder) if begun(folder) else train(config, folder)
    model = create_model(network.name, num_classes=CLASSES, in_chans=1, **arguments(network))
    load_weights(model, find_checkpoint(folder))
    return model.eval()


def arguments(network: Network) -> dict[str, Any]:
    """Return a network's sizes with the side of its images where it asks for that."""
    return network.sizes if network.name.startswith("timm:") else {**network.sizes, "img_size": network.side}


@dataclass(frozen=True)
class Images:
    """Images of a network's side: to calibrate with (no labels), and to test with, (B, 1, side, side) and (B,)."""

    calibration: list[Tensor]
    test: list[tuple[Tensor, Tensor]]
    origin: str


def images(config: DataConfig, calibration: int, test: int) -> Images:
    """Return the first training images, without augmentation, and test images of every class alike (0: all)."""
    plain = replace(config, shift_pixels=0, flip=False, train_limit=calibration, test_limit=test, batch_size=100)
    data = load_images(plain, seed=0)
    chosen = torch.cat([x for x, _ in data.train])
    return Images(list(torch.split(chosen, 64)), list(data.test), data.origin)
