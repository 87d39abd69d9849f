"""First weights of layers between neurons that no norm follows.

w ~ N(0, (2 v / √(0.1 n))²): of n inputs of which a tenth fire, currents deviate by two thresholds v = 1
"""

from __future__ import annotations

import math
from typing import Any

from torch import nn

_FIRING, _SPREAD = 0.1, 2.0
"""Share of firing inputs for which new layers without norms give currents of so many thresholds, as their deviation."""
_SMALL = 0.01  # standard deviation of the last layers' weights, as in torchvision


def drawn(layer: nn.Module) -> Any:
    """Draw weights so that a tenth of firing inputs makes currents that reach the threshold; biases are zero.

    The draw of ordinary layers, made for real inputs, would leave neurons behind layers without norms silent.
    """
    weight: Any = layer.weight
    inputs = weight[0].numel() if not isinstance(layer, nn.ConvTranspose2d) else weight.shape[0]
    nn.init.normal_(weight, std=_SPREAD / math.sqrt(_FIRING * inputs))
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def small(layer: nn.Module, std: float = _SMALL) -> Any:
    """Draw small weights, for layers that nothing follows."""
    nn.init.normal_(layer.weight, std=std)  # type: ignore[arg-type]
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
