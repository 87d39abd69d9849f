"""What deploying brings ordinary hybrids of convolution and attention: UniFormer and MOAT-0 at 224, one image.

Each network against itself: as built, and with norms, layer scales and skip connections folded, channels innermost,
pointwise convolutions as the faster form. No peer has these models; what matrix products take is common to all forms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.bench.harness import compare
from snnkit.bench.row import figure, rows
from snnkit.deploy import deploy
from snnkit.layers.layer_scale import LayerScale
from snnkit.models import create_model

_MODELS = ("uniformer_small", "uniformer_base_ls", "moat_0")


def run(repeats: int) -> list[dict[str, Any]]:
    """Measure."""
    found = []
    for name in _MODELS:
        torch.manual_seed(0)
        model, x = _lively(create_model(name)), torch.randn(1, 3, 224, 224)
        made = deploy(model, example=x)
        timings = compare({"as built": _quiet(model, x), "deployed": _quiet(made, x)}, repeats)
        found += rows(f"{name}, one image of 224", timings, "as built", {"deployed": 1.0})
        with torch.no_grad():
            model, x = model.double(), x.double()
            exact = model(x)
            difference = ((deploy(model)(x) - exact).abs().max() / exact.abs().max()).item()
        found.append(figure(f"{name}, float64", "largest relative difference of deployed", difference, "", 1e-10))
    return found


def _lively(model: nn.Module) -> nn.Module:
    """Statistics and scales as after training: with those of a new network folding would have nothing to do."""
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0.0, 0.1)
        elif isinstance(part, LayerScale):
            nn.init.uniform_(part.gamma, 0.1, 1.0)
    return model.eval()


def _quiet(model: nn.Module, x: Tensor) -> Callable[[], None]:
    def run_once() -> None:
        with torch.no_grad():
            model(x)

    return run_once
