"""Conversion at full size: at rest every sum of events is the quantised network's code, with random weights.

Small sizes are compared by the tests, in every family; this is the same once for networks in their published size.
"""

from __future__ import annotations

from typing import Any

import torch

from compiler.bench.published import built
from compiler.converting import compare, convert
from snnkit.bench.row import figure

NETWORKS = (
    "swinv2_tiny_window8_256",
    "moat_0",
    "uniformer_small",
    "lookupvit_base_7x7",
    "timm:vit_small_patch16_224",
)
LEVELS, EXPONENT, SAMPLES = 16, 2, 2


def run(repeats: int) -> list[dict[str, Any]]:
    """Compare; once is enough, since the same comes out every time."""
    return [row for name in NETWORKS for row in _compared(name)]


def _compared(name: str) -> list[dict[str, Any]]:
    model, x = built(name.removeprefix("timm:"), timm=name.startswith("timm:"), fill=True)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SAMPLES, *x.shape[1:], generator=generator)
    converted = convert(model, [x], LEVELS, EXPONENT)
    found = compare(converted, [x], counted=False)
    case = f"{name}, {x.shape[-1]} × {x.shape[-1]}, L = {LEVELS}, K = {EXPONENT}, {SAMPLES} samples of noise"
    row = figure(case, "codes that differ at rest", found.codes_differ, f"of {found.codes}", 0)
    row |= {"logit_error": found.logit_error, "steps": found.rest, "bound": found.bound}
    return [row | {"events_per_neuron": found.forms[-1].events}]
