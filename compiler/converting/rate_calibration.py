"""Calibration of a rate-coded network for its T: thresholds of least error, biases and initial potentials.

    θ       of 95 candidates the one whose T levels are nearest to the activations (``rate_thresholds.LeastError``)
    shift   + θ/(2T) at every step: ⌊·⌋ becomes rounding by the last step
    bias    + mean(ANN) − mean(SNN) of each channel, layer after layer, each behind those that are mended already
    v(0)    + T·(mean(ANN) − mean(SNN)) of each neuron, in the same order, behind the bias

ANN is the activation of the ordinary network, SNN θ times the firing rate over T steps, both means over the samples.
Weights stay as they are.

Source: Li et al., ICML 2021 (SNN calibration), its "light" pipeline with the potentials of the "advanced" one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from compiler.converting.rate import folded, ordinary
from compiler.converting.rate_data import Batches, values_of
from compiler.converting.rate_layers import Activation, RateLayer, activations, check_ordinary, spiking, up_to
from compiler.converting.rate_thresholds import Largest, LeastError, Statistic, gathered, rows, thresholds
from compiler.graph import Graph
from compiler.interpreting import interpret


def calibrated_rate_coded(
    graph: Graph,
    calibration: Tensor | Iterable[Any],
    *,
    timesteps: int,
    channel_wise: bool = False,
    shift: bool = True,
    bias: bool = True,
    potential: bool = False,
    max_pool: str = "refuse",
) -> Graph:
    """Return the spiking graph of a ReLU network, calibrated for its T.

    The data are read 3 times and once more for each activation and each of ``bias`` and ``potential``, up to that
    activation and over T steps.

    Args:
        graph: an ordinary network, ``simplify(capture(model, images))``: linear but for ReLU and clamps to [0, high].
        calibration: samples (N, …), or batches of them (pairs whose first entry counts).
        timesteps: T of the result, ≥ 1; the calibration holds for this T.
        channel_wise: one threshold for each channel instead of each layer.
        shift: add θ/(2T) at every step.
        bias: mend the mean of each channel.
        potential: mend the mean of each neuron by its membrane at the start.
        max_pool: as in ``rate_coded``.

    Raises:
        CaptureError, InvalidArgumentError, NonFiniteError: as ``rate_coded``.
    """
    check_ordinary(graph, timesteps)
    graph = ordinary(graph, max_pool)
    found, batches = activations(graph, max_pool), Batches(graph, calibration)
    largest = gathered(graph, found, batches, channel_wise, [Largest() for _ in found])

    def statistic(index: int) -> Statistic:
        return LeastError(largest[index], timesteps)

    thetas = thresholds(graph, found, batches, channel_wise, statistic)
    half, zero = (0.5 / timesteps if shift else 0.0), torch.zeros(())
    layers = [RateLayer(one, theta, theta * half, zero) for one, theta in zip(found, thetas, strict=True)]
    if bias or potential:
        wanted = _means(graph, found, batches)
        for index, layer in enumerate(layers):
            for mend, asked in ((_mend_bias, bias), (_mend_potential, potential)):
                if asked:
                    rate = _rate(spiking(graph, layers, timesteps), layers[index], batches, timesteps)
                    layers[index] = mend(layers[index], wanted[layer.activation.name] - rate, timesteps)
    return folded(spiking(graph, layers, timesteps))


def _means(graph: Graph, found: tuple[Activation, ...], batches: Batches) -> dict[str, Tensor]:
    """Return the mean activation of every neuron of the ordinary network, over the samples, in float64."""
    sums: dict[str, Tensor] = {}
    count = 0
    for values in values_of(graph, tuple(one.node.output for one in found), batches):
        for one in found:
            value = values[one.node.output].double()
            sums[one.name] = sums.get(one.name, torch.zeros(())) + value.sum(0)
        count += len(value)
    return {name: total / count for name, total in sums.items()}


def _rate(graph: Graph, layer: RateLayer, batches: Batches, timesteps: int) -> Tensor:
    """Return θ times the firing rate of every neuron of a layer, over the samples and T steps, in float64."""
    part = up_to(graph, layer.value)
    total, count = torch.zeros((), dtype=torch.float64), 0
    for x in batches:
        value, _ = interpret(part, x, timesteps)
        assert isinstance(value, Tensor)
        total, count = total + value.double().sum((0, 1)), count + len(x)
    return total / (count * timesteps)


def _mend_bias(layer: RateLayer, missing: Tensor, timesteps: int) -> RateLayer:
    """Add what a channel's mean lacks to its input at every step."""
    axis = layer.activation.axis
    added = rows(missing.unsqueeze(0), axis).mean(1).reshape(-1, *[1] * (-axis - 1))
    return replace(layer, shift=layer.shift + added)


def _mend_potential(layer: RateLayer, missing: Tensor, timesteps: int) -> RateLayer:
    """Add what a neuron's T steps lack to its membrane at the start."""
    return replace(layer, initial=layer.initial + missing * timesteps / layer.threshold.double())
