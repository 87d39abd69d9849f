"""What capture must refuse: samples or time steps that see each other, and what is no fixed function."""

from __future__ import annotations

from collections.abc import Callable

import timm
import torch
from torch import Tensor, nn

import snnkit

from .functional import Code
from .neurons import MIXING_TIME
from .ours import segmenter


def _images(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.zeros(shape)


def _timm(name: str, **sizes: object) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, pretrained=False, num_classes=7, **sizes)


def _masked() -> nn.Module:
    sizes = {"embed_dim": 16, "depth": 1, "num_heads": 2, "stem_ratio": 2, "decoder_dim": 8, "decoder_heads": 2}
    return snnkit.create_model("spikformer_v2_mae_8_384", **sizes, img_size=32, in_chans=2)


def _official() -> nn.Module:
    sizes = {"embed_dim": 16, "depths": (1, 1, 1), "num_heads": 2, "mlp_ratio": 2.0, "img_size": 48, "in_chans": 2}
    return snnkit.create_model("qkformer_10_384", **sizes, official=True)


def _code(function: Callable) -> Callable[[], nn.Module]:
    return lambda: Code(function)


_SIX = _images(1, 6)
REFUSED: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], str]] = {
    **{f"neuron {name}": (make, _images(6, 1, 5, 4), "time steps") for name, make in MIXING_TIME.items()},
    "segmentation over several steps": (lambda: segmenter(timesteps=4), _images(1, 3, 32, 32), "(?i)time"),
    "masked autoencoder": (_masked, _images(1, 2, 32, 32), "takes no sequence"),
    "membranes across the batch": (_official, _images(1, 2, 48, 48), "sample|batch|mixes"),
    "weights chosen for every sample": (_timm("efficientnet_cc_b0_4e"), _images(1, 3, 64, 64), "'weight' of conv2d"),
    "a recurrent layer of torch": (_timm("sequencer2d_s", img_size=64), _images(1, 3, 64, 64), "recurrent layer"),
    "csatv2": (_timm("csatv2"), _images(1, 3, 64, 64), "sample|batch"),
    "mean over the batch": (_code(lambda p, x: x - x.mean(0)), _SIX, "sample|batch"),
    "norm with the batch's statistics": (
        lambda: nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6, track_running_stats=False)),
        _SIX,
        "sample|batch|statistics",
    ),
    "batch as features": (_code(lambda p, x: x.reshape(3, -1) @ x.reshape(-1, 3)), _SIX, "sample|batch"),
    "samples sorted": (_code(lambda p, x: x.flip(0)), _SIX, "sample|batch"),
    "first sample": (_code(lambda p, x: x + x[:1]), _SIX, "sample|batch"),
    "product of samples": (_code(lambda p, x: x @ x.T), _SIX, "sample|batch"),
    "sum over samples": (_code(lambda p, x: x / x.norm()), _SIX, "sample|batch"),
    "dropout that stays on": (_code(lambda p, x: nn.functional.dropout(x, 0.5, True)), _SIX, "random|drop"),
    "noise": (_code(lambda p, x: x + torch.randn_like(x)), _SIX, "random"),
    "a branch on data": (_code(lambda p, x: x if x.sum() > 0 else -x), _SIX, "data"),
    "a size that depends on data": (_code(lambda p, x: x[x > 0]), _SIX, "data|size"),
    "the weights alone": (_code(lambda p, x: p.w), _SIX, "weights alone"),
}
