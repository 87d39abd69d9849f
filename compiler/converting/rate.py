"""Rate coding: an ordinary ReLU network as a spiking one, whose firing rates stand for activations.

    spikes = IF(x/λ)   (threshold 1, reset by subtraction, v(0) = 0 or ½),   activation ≈ λ · mean over T of spikes

λ is the largest activation of a layer (or channel) on calibration data, or a percentile: larger values are cut off,
smaller ones resolved better in T steps. The input is fed at every step, unchanged. The network's output is real; its
mean over the steps so far is the answer (``rate_logits``). It comes near the ordinary network's as T grows, and is
never exact.

Source: Diehl et al., IJCNN 2015; Rueckauer et al., Front. Neurosci. 11:682, 2017; SpikingJelly 2.0 ``ann2snn``
(``RateCodingRecipe``), whose spikes are the same for one batch of calibration data. Differences: all batches count
alike (see ``rate_thresholds``); v(0) = ½ also goes with one λ for a layer; a clamp to [0, high] (ReLU6) is an
activation too; a channel that never fires takes the layer's largest λ, not 10⁻⁶; max pooling is refused unless asked
for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from compiler.converting.rate_data import Batches
from compiler.converting.rate_layers import (
    RateLayer,
    activations,
    check_ordinary,
    pools_first,
    spiking,
    thresholds_behind_pools,
)
from compiler.converting.rate_thresholds import Largest, Percentile, Statistic, read_mode, thresholds
from compiler.graph import Graph
from compiler.graph.builder import stored_dtype
from compiler.interpreting import interpret
from compiler.passes import simplify
from snnkit.errors import InvalidArgumentError

_AT_ONCE = 2048  # samples × steps that are computed together, for the memory


def rate_coded(
    graph: Graph,
    calibration: Tensor | Iterable[Any],
    *,
    timesteps: int,
    mode: str | float = "max",
    channel_wise: bool = False,
    half_threshold: bool = False,
    max_pool: str = "refuse",
) -> Graph:
    """Return the spiking graph of a ReLU network.

    Args:
        graph: an ordinary network, ``simplify(capture(model, images))``: linear but for ReLU and clamps to [0, high].
        calibration: samples (N, …), or batches of them (pairs whose first entry counts); read once.
        timesteps: T of the result, ≥ 1.
        mode: λ is the largest activation ("max") or a percentile of all values ("99.9%", or 99.9): exact up to a
            million values a layer, else of a random sample of about as many. Where that is 0, the largest.
        channel_wise: one λ for each channel instead of each layer.
        half_threshold: neurons start at ½, so that rates are rounded instead of cut off.
        max_pool: "refuse"; "before": pool the input of the neurons; "spikes": pool their spikes, as SpikingJelly does.
            Both of the latter take too large a value where the largest changes from step to step.

    Returns:
        A typed graph of T steps with a constant input. λ stands in the weights where a layer can take it up.

    Raises:
        CaptureError: operations that rates cannot carry; ``reasons`` names all of them.
        InvalidArgumentError: the calibration data do not fit, a layer never fires, T < 1, no such mode.
        NonFiniteError: an activation is NaN or infinite.
    """
    check_ordinary(graph, timesteps)
    percent = read_mode(mode)
    graph = ordinary(graph, max_pool)
    found = activations(graph, max_pool)

    def statistic(index: int) -> Statistic:
        return Largest() if percent == 100 else Percentile(percent)

    lambdas = thresholds(graph, found, Batches(graph, calibration), channel_wise, statistic)
    zero, start = torch.zeros(()), torch.tensor(0.5 if half_threshold else 0.0)
    layers = [RateLayer(one, threshold, zero, start) for one, threshold in zip(found, lambdas, strict=True)]
    return folded(spiking(graph, layers, timesteps))


def ordinary(graph: Graph, max_pool: str) -> Graph:
    """Return the graph simplified, with max pools before their ReLUs where that is asked for."""
    graph = simplify(graph)
    return pools_first(graph) if max_pool == "before" else graph


def folded(graph: Graph) -> Graph:
    """Return a spiking graph with thresholds in the weights before and behind its neurons, where they fit in."""
    return simplify(thresholds_behind_pools(graph))


def rate_logits(graph: Graph, x: Tensor, timesteps: int | None = None) -> Tensor:
    """Return the mean of a spiking graph's output over the steps so far, (T, B, …); the last one decides.

    Args:
        graph: of one output, such as ``rate_coded`` makes.
        x: (B, …), fed at every step.
        timesteps: T; the graph's own by default. A network that is calibrated for its T is at its best there.

    Raises:
        InvalidArgumentError: the input does not fit, several outputs.
    """
    if len(graph.outputs) != 1:
        raise InvalidArgumentError(f"the graph {graph.name!r} has {len(graph.outputs)} outputs; rates are read of one.")
    if timesteps is not None and timesteps < 1:
        raise InvalidArgumentError(f"timesteps={timesteps!r}: give the number of steps, 1 or more.")
    few = max(1, _AT_ONCE // (timesteps or graph.timesteps))
    parts = []
    for part in torch.split(x.to(stored_dtype(graph)), few):
        made, _ = interpret(graph, part, timesteps)
        assert isinstance(made, Tensor)
        parts.append(made)
    output = torch.cat(parts, 1)
    steps = torch.arange(1, len(output) + 1, dtype=output.dtype, device=output.device)
    return output.cumsum(0) / steps.reshape(-1, *[1] * (output.ndim - 1))
