"""Configuration: the cores of a Speck as data, and the network that they hold as a graph.

Fields are called as in the chip's own configuration where it has them (sinabs, DYNAP-CNN back end): ``dimensions``,
``weights``, ``biases``, ``threshold_high``, ``threshold_low``, ``return_to_zero``, ``destinations`` with ``pooling``.
Kernels lie as (output channel, input channel, row, column).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compiler.checking.cores import as_map
from compiler.graph import Graph, GraphBuilder, SignalType

FORMAT = "snnkit.speck/1"
CAVEAT = (
    "events are worked off one by one as they come, and a bias is a leak of its own clock: a simulation in time steps "
    "is not the chip"
)


@dataclass(frozen=True)
class Destination:
    """Where the spikes of a layer, or of an input, go, and the sum pool on the way."""

    core: int
    layer: str
    pooling: int


@dataclass(frozen=True, eq=False)
class Core:
    """One core with its layer.

    Attributes:
        name: of the neurons. layer: of the weights. core: its number.
        input_shape, output_shape: (channels, rows, columns). stride, padding: (rows, columns).
        weights: int64 (f, c, k, k). biases: int64 (f,).
        threshold_high: where a neuron fires. threshold_low: where its membrane stays.
        return_to_zero: whether a spike resets to 0; else the threshold is subtracted.
        scale: whole numbers of one unit of the float network's membrane. rounding: how far the current of a step can
            be from the float network's, in its unit, when both get the same spikes.
        lowest: the lowest membrane that T steps could reach without the limit ``threshold_low``.
        memory: words of kernel, neuron and bias memory.
    """

    name: str
    layer: str
    core: int
    input_shape: tuple[int, int, int]
    output_shape: tuple[int, int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    weights: Tensor
    biases: Tensor
    threshold_high: int
    threshold_low: int
    return_to_zero: bool
    destinations: tuple[Destination, ...]
    scale: float
    rounding: float
    lowest: int
    memory: dict[str, int]

    @property
    def clips(self) -> bool:
        """Whether the membrane could reach the lower limit, which the float network has not."""
        return self.lowest < self.threshold_low


@dataclass(frozen=True, eq=False)
class Input:
    """An input of the network: its shape, type, and where its events go.

    A shape is (channels, rows, columns); values of any other one are so many channels, in their order.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    destinations: tuple[Destination, ...]


@dataclass(frozen=True, eq=False)
class Configuration:
    """A network on the cores of a chip; ``outputs`` are the layers whose spikes are read."""

    chip: str
    network: str
    timesteps: int
    inputs: tuple[Input, ...]
    cores: tuple[Core, ...]
    outputs: tuple[str, ...]

    @property
    def rounding(self) -> float:
        """The largest rounding of a layer."""
        return max((core.rounding for core in self.cores), default=0.0)

    def graph(self) -> Graph:
        """Return the integer network in time steps: convolutions, sum pools and integrate-and-fire neurons.

        Its membranes have no lower limit; whether that matters ``Core.clips`` says.
        """
        builder = GraphBuilder(f"{self.network} on {self.chip}", timesteps=self.timesteps)
        signals: dict[str, str] = {}
        arriving: dict[str, list[tuple[str, int]]] = {core.name: [] for core in self.cores}
        for one in self.inputs:
            signals[one.name] = builder.input(one.name, one.shape, SignalType.parse(one.type))
            for to in one.destinations:
                arriving[to.layer].append((one.name, to.pooling))
        waiting = list(self.cores)
        for core in self.cores:
            for to in core.destinations:
                arriving[to.layer].append((core.name, to.pooling))
        while waiting:
            core = next(one for one in waiting if all(name in signals for name, _ in arriving[one.name]))
            waiting.remove(core)
            signals[core.name] = _add(builder, core, [(signals[name], pool) for name, pool in arriving[core.name]])
        return builder.finish([signals[name] for name in self.outputs])

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "format": FORMAT,
            "chip": self.chip,
            "network": self.network,
            "timesteps": self.timesteps,
            "note": CAVEAT,
            "inputs": [
                {"name": i.name, "shape": list(i.shape), "type": i.type, "destinations": _sent(i.destinations)}
                for i in self.inputs
            ],
            "layers": [_core(core) for core in self.cores],
            "outputs": list(self.outputs),
        }


def _add(builder: GraphBuilder, core: Core, sources: list[tuple[str, int]]) -> str:
    total = ""
    for signal, pool in sources:
        shape = builder.signals[signal].shape
        if len(shape) != 3:
            signal = builder.reshape(signal, as_map(shape))
        if pool > 1:
            settings = {
                "kernel_size": (pool, pool),
                "stride": (pool, pool),
                "padding": (0, 0),
                "ceil_mode": False,
                "count_include_pad": True,
                "divisor": 1,
            }
            signal = builder.add("avg_pool", (signal,), settings, name=f"{core.name}.pool")
        total = builder.add("add", (total, signal), name=f"{core.name}.sum") if total else signal
    attributes = {"stride": core.stride, "padding": core.padding, "dilation": (1, 1), "groups": 1}
    parameters = {"weight": core.weights.double(), "bias": core.biases.double()}
    current = builder.add("conv", (total,), attributes, parameters, name=core.layer)
    constants = {
        "v_threshold": float(core.threshold_high),
        "v_reset": 0.0 if core.return_to_zero else None,
        "detach_reset": True,
    }
    return builder.neuron("integrate_fire", current, constants, states=[("v", 0.0)], name=core.name)


def _sent(destinations: tuple[Destination, ...]) -> list[dict[str, Any]]:
    return [{"core": d.core, "layer": d.layer, "pooling": d.pooling} for d in destinations]


def _core(core: Core) -> dict[str, Any]:
    return {
        "name": core.name,
        "layer": core.layer,
        "core": core.core,
        "dimensions": {
            "input_shape": _shape(core.input_shape),
            "output_shape": _shape(core.output_shape),
            "kernel_size": int(core.weights.shape[-1]),
            "stride": {"x": core.stride[1], "y": core.stride[0]},
            "padding": {"x": core.padding[1], "y": core.padding[0]},
        },
        "weights": core.weights.tolist(),
        "biases": core.biases.tolist(),
        "leak_enable": bool(torch.any(core.biases != 0)),
        "threshold_high": core.threshold_high,
        "threshold_low": core.threshold_low,
        "return_to_zero": core.return_to_zero,
        "destinations": _sent(core.destinations),
        "scale": core.scale,
        "rounding": core.rounding,
        "lowest_membrane": core.lowest,
        "memory": core.memory,
    }


def _shape(shape: tuple[int, int, int]) -> dict[str, Any]:
    return {"feature_count": shape[0], "size": {"x": shape[2], "y": shape[1]}}
