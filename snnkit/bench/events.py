"""Event-driven linear layer and convolution against torch's dense ones, at firing rates from 1 to 30 %.

Linear 512 → 2048 on 1024 rows; convolution 3 × 3, 64 → 128 channels, on 8 images of 32 × 32. Event times include
packing the float32 spikes into bits; the peers get their input in the form they like best: torch's CSR product a matrix
that is already sparse, ``torch._int_mm`` one that is already int8, the convolution images in either memory format.
``torch._int_mm`` returns bare integers, while our int8 outputs are scaled to floats and have their bias.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snnkit.bench.harness import Timing, compare
from snnkit.bench.row import figure, rows
from snnkit.events import EventConv, EventLinear, event_conv, event_linear, pack, pack_pixels, panels, quantise
from snnkit.events.library import why_not

RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
_BAR_RATE = 0.05
_LINEAR_BARS = {"events float32": 3.0, "events int8": 9.0}
_CONV_BARS = {"events float32": 4.0, "events int8": 4.0}
_DISPATCH_BAR = 1.05
_SETTLE = 40  # calls until a layer has compared its ways more than once

_Ways = dict[str, Callable[[], Tensor]]


def run(repeats: int) -> list[dict[str, Any]]:
    """Measure; without a C compiler there are no events to measure, and one row says so."""
    if why_not():
        return [figure(f"events cannot be computed here: {why_not()}", "events", 0, "rows", 1, at_most=False)]
    generator = torch.Generator().manual_seed(0)
    found = []
    with torch.no_grad():
        for rate in RATES:
            spikes = (torch.rand(1024, 512, generator=generator) < rate).float()
            found += _linear(rate, spikes, repeats)
        for rate in RATES:
            spikes = (torch.rand(8, 64, 32, 32, generator=generator) < rate).float()
            found += _conv(rate, spikes, repeats)
    return found


def _linear(rate: float, x: Tensor, repeats: int) -> list[dict[str, Any]]:
    layer = nn.Linear(512, 2048)
    weight, bias = layer.weight.detach(), layer.bias.detach()
    q, scale = quantise(weight)
    sparse, bytes_, columns = x.to_sparse_csr(), x.to(torch.int8), q.t().contiguous()
    floats, integers, sums = panels(weight, bias), panels(q, bias, scale), panels(q)
    layers = {name: _settled(EventLinear(layer, name), x) for name in ("float32", "int8")}
    ways: _Ways = {
        "torch float32": lambda: F.linear(x, weight, bias),
        "torch CSR": lambda: sparse @ weight.t(),
        "torch._int_mm": lambda: torch._int_mm(bytes_, columns),
        "events float32": lambda: event_linear(pack(x), floats),
        "events int8": lambda: event_linear(pack(x), integers),
        "dense int8": lambda: layers["int8"]._integer_product(x),
        "chosen float32": lambda: layers["float32"](x),
        "chosen int8": lambda: layers["int8"](x),
    }
    exact = bytes_.long() @ q.long().t()
    case = f"linear 512→2048, 1024 rows, {rate:.0%}"
    timings = compare(ways, repeats)
    bars = _LINEAR_BARS if rate == _BAR_RATE else None
    return [
        *rows(case, timings, "torch float32", bars),
        *_dispatch(case, timings, ["torch float32"]),
        *_errors(case, ways["events float32"](), F.linear(x.double(), weight.double(), bias.double())),
        _wrong(case, event_linear(pack(x), sums), exact),
    ]


def _conv(rate: float, x: Tensor, repeats: int) -> list[dict[str, Any]]:
    layer = nn.Conv2d(64, 128, 3, padding=1)
    weight, bias = layer.weight.detach(), layer.bias.detach()
    q, scale = quantise(weight)
    last = torch.channels_last
    x_last, weight_last = x.contiguous(memory_format=last), weight.contiguous(memory_format=last)
    floats, integers, sums = panels(weight, bias), panels(q, bias, scale), panels(q)
    layers = {name: _settled(EventConv(layer, name), x) for name in ("float32", "int8")}
    geometry = layers["float32"].geometry
    ways: _Ways = {
        "torch float32": lambda: F.conv2d(x, weight, bias, padding=1),
        "torch float32 channels last": lambda: F.conv2d(x_last, weight_last, bias, padding=1),
        "events float32": lambda: event_conv(pack_pixels(x), floats, geometry),
        "events float32 channels last": lambda: event_conv(pack_pixels(x_last), floats, geometry),
        "events int8": lambda: event_conv(pack_pixels(x), integers, geometry),
        "dense int8": lambda: layers["int8"]._integer_product(x),
        "chosen float32": lambda: layers["float32"](x),
        "chosen int8": lambda: layers["int8"](x),
    }
    exact = F.conv2d(x.double(), q.double(), padding=1)
    case = f"conv 3×3 64→128, 8 images 32×32, {rate:.0%}"
    timings = compare(ways, repeats)
    peers = ["torch float32", "torch float32 channels last"]
    best = min(peers, key=lambda name: timings[name].min_ms)
    bars = _CONV_BARS if rate == _BAR_RATE else None
    return [
        *rows(case, timings, best, bars),
        *_dispatch(case, timings, ["torch float32"]),
        *_errors(case, ways["events float32"](), F.conv2d(x.double(), weight.double(), bias.double(), padding=1)),
        _wrong(case, event_conv(pack_pixels(x), sums, geometry), exact),
    ]


def _settled(layer: nn.Module, x: Tensor) -> nn.Module:
    for _ in range(_SETTLE):
        layer(x)
    return layer


def _dispatch(case: str, timings: dict[str, Timing], dense: list[str]) -> list[dict[str, Any]]:
    """How much slower the chosen way is than the better of its ways."""
    found = []
    for weights, ways in (("float32", dense), ("int8", [*dense, "dense int8"])):
        best = min(timings[name].min_ms for name in (f"events {weights}", *ways))
        slower = timings[f"chosen {weights}"].min_ms / best
        found.append(figure(case, f"chosen {weights}", round(slower, 3), "times the best way", _DISPATCH_BAR))
    return found


def _errors(case: str, y: Tensor, exact: Tensor) -> list[dict[str, Any]]:
    error = ((y - exact).abs().max() / exact.abs().max()).item()
    return [figure(case, "events float32 error", error, "of the largest output", 1e-5)]


def _wrong(case: str, sums: Tensor, exact: Tensor) -> dict[str, Any]:
    return figure(case, "events int8 sums that differ", int((sums != exact).sum()), "sums", 0)
