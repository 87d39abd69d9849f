"""What else makes a spiking network of an ordinary one, on the same images: rate coding, calibrated, SpikingJelly's.

A peer that refuses a network is a row too, with the first line of what it said.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from compiler.capturing import capture
from compiler.converting import calibrated_rate_coded, rate_coded, rate_logits
from compiler.graph import Graph
from compiler.passes import simplify

STEPS = (1, 2, 4, 8, 16, 32)
"""T after which rate coding is looked at."""
FEW = (1, 2, 4, 8)
"""T for networks whose steps cost much."""
RATE_CODED: dict[str, dict[str, Any]] = {
    "rate coding, maximum": {"mode": "max"},
    "rate coding, 99.9 %": {"mode": "99.9%"},
    "rate coding, maximum of channels, from half": {"mode": "max", "channel_wise": True, "half_threshold": True},
}
_TIMM_NORM = "timm.layers.norm.LayerNorm"
Pairs = Sequence[tuple[Tensor, Tensor]]


def row(case: str, variant: str, accuracy: float, images: int) -> dict[str, Any]:
    """Return a row for an accuracy, in percent."""
    return {"case": case, "variant": variant, "value": round(100 * accuracy, 3), "unit": "%", "images": images}


def refused(case: str, variant: str, error: Exception) -> dict[str, Any]:
    """Return a row without an accuracy that says why there is none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = ": ".join([type(error).__name__, *lines[:1]])
    return {"case": case, "variant": variant, "value": 0.0, "unit": "networks converted", "why": said[:160]}


def accuracies(outputs: Callable[[Tensor], Tensor], pairs: Pairs, steps: Iterable[int]) -> dict[int, float]:
    """Return the share of right decisions after each T; ``outputs`` maps images (B, …) to logits (T, B, K)."""
    right, count = dict.fromkeys(steps, 0), 0
    for x, labels in pairs:
        decided = outputs(x).argmax(-1)
        count += len(labels)
        for t in right:
            right[t] += int((decided[t - 1] == labels).sum())
    return {t: number / count for t, number in right.items()}


def rate_rows(case: str, model: nn.Module, calibration: list[Tensor], pairs: Pairs) -> list[dict[str, Any]]:
    """Return our own rate coding and calibration of a ReLU network, a row for each T."""
    graph, images = simplify(capture(model, calibration[0][:1])), sum(len(x) for x, _ in pairs)
    rows = []
    for name, options in RATE_CODED.items():
        coded = rate_coded(graph, calibration, timesteps=max(STEPS), max_pool="spikes", **options)
        found = accuracies(partial(rate_logits, coded), pairs, STEPS)
        rows += [row(case, f"{name}, T = {t}", found[t], images) for t in STEPS]
    for t in STEPS:
        coded = _calibrated(graph, calibration, t)
        found = accuracies(partial(rate_logits, coded), pairs, (t,))
        rows.append(row(case, f"calibrated rate coding, T = {t}", found[t], images))
    return rows


def _calibrated(graph: Graph, calibration: list[Tensor], timesteps: int) -> Graph:
    return calibrated_rate_coded(
        graph, calibration, timesteps=timesteps, channel_wise=True, potential=True, max_pool="spikes"
    )


def peer_rows(case: str, model: nn.Module, calibration: list[Tensor], pairs: Pairs) -> list[dict[str, Any]]:
    """Return SpikingJelly's converters on a network: a row for each T, or one that says why there is none."""
    rows: list[dict[str, Any]] = []
    images = sum(len(x) for x, _ in pairs)
    for name, (convert, read, steps) in _peers(calibration).items():
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                network = convert(met_halfway(model))
                found = accuracies(partial(read, network), pairs, steps)
        except Exception as error:  # whatever a peer says is its answer
            rows.append(refused(case, name, error))
            continue
        rows += [row(case, f"{name}, T = {t}", found[t], images) for t in steps]
    return rows


def met_halfway(model: nn.Module) -> nn.Module:
    """Return a copy without checks of the input, which cannot be traced, and with torch's LayerNorm for timm's."""
    copied = copy.deepcopy(model).eval()
    for part in list(copied.modules()):
        if hasattr(part, "_check"):
            part.__dict__["_check"] = lambda *given, **named: None
        for name, child in part.named_children():
            if isinstance(child, nn.LayerNorm) and f"{type(child).__module__}.{type(child).__name__}" == _TIMM_NORM:
                norm = nn.LayerNorm(child.normalized_shape, child.eps, child.elementwise_affine)
                norm.load_state_dict(child.state_dict())
                setattr(part, name, norm.eval())
    return copied


def _peers(calibration: list[Tensor]) -> dict[str, tuple[Callable[..., Any], Callable[..., Tensor], Sequence[int]]]:
    """Return name → how it converts, how its output is read, after how many steps."""
    ann2snn: Any = import_module("spikingjelly.activation_based.ann2snn")

    def rate(**options: Any) -> Callable[..., Any]:
        return lambda model: ann2snn.Converter(recipe=ann2snn.RateCodingRecipe(calibration, **options)).convert(model)

    def sta(mode: str) -> Callable[..., Any]:
        recipe = ann2snn.STATransformerRecipe(calibration, time_steps=max(FEW), mode=mode, num_calibration_batches=1)
        return lambda model: ann2snn.FXConverter(recipe=recipe).convert(model)

    def spikezip(model: nn.Module) -> Any:
        recipe = ann2snn.SpikeZIPTFQANNRecipe(time_steps=max(FEW), model_family="vit")
        network = ann2snn.ModuleConverter(recipe=recipe).convert(model)
        if not any("STBIF" in type(part).__name__ for part in network.modules()):
            raise ValueError("not one neuron is in the result: it takes networks that were quantised for it")
        return network

    half = {"mode": "Max", "channel_wise": True, "half_threshold": True}
    return {
        "SpikingJelly, RateCodingRecipe, maximum": (rate(mode="Max"), _repeated, STEPS),
        "SpikingJelly, RateCodingRecipe, 99.9 %": (rate(mode="99.9%"), _repeated, STEPS),
        "SpikingJelly, RateCodingRecipe, maximum of channels, from half": (rate(**half), _repeated, STEPS),
        "SpikingJelly, STATransformerRecipe, spiking_encoder": (sta("spiking_encoder"), _once, FEW),
        "SpikingJelly, STATransformerRecipe, equivalent": (sta("equivalent"), _once, FEW),
        "SpikingJelly, SpikeZIPTFQANNRecipe": (spikezip, _once, FEW),
    }


@torch.no_grad()
def _repeated(network: nn.Module, x: Tensor) -> Tensor:
    """Feed the images at every step, single steps; the mean of the outputs so far, (T, B, K)."""
    functional: Any = import_module("spikingjelly.activation_based.functional")
    functional.set_step_mode(network, "s")
    functional.reset_net(network)
    outputs = torch.stack([network(x) for _ in range(max(STEPS))])
    return outputs.cumsum(0) / torch.arange(1, len(outputs) + 1).reshape(-1, 1, 1)


@torch.no_grad()
def _once(network: nn.Module, x: Tensor) -> Tensor:
    """Feed the images at the first step and nothing after it, as a sequence; the outputs so far, (T, B, K)."""
    functional: Any = import_module("spikingjelly.activation_based.functional")
    functional.set_step_mode(network, "m")
    functional.reset_net(network)
    sequence = torch.zeros(max(FEW), *x.shape)
    sequence[0] = x
    outputs: Tensor = network(sequence)
    return outputs.cumsum(0)
