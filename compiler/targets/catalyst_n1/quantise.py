"""Quantise: a simplified graph → the same network in the integers of Catalyst N1, still a graph.

Neurons become ``lif_n1``, each population with a scale of its own (``scale``). Neurons without leak keep an offset
membrane in the plain mode, in which everything is exact. Neurons with leak run in the current-based mode; their
membranes decay by ``dv = round(4096 / τ)``, and a current that should be gone after its step leaves a little (4,095 of
4,096 is the largest decay): u/4,096 of a positive one, 1 of a negative one. A first layer that a constant real input
feeds gets its current from the host, rounded. The readout adds up its currents and never fires.

``interpret`` gives the result its meaning; the chip must agree with it in every spike and membrane.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from compiler.analysis.currents import at_rest, terms
from compiler.errors import CompileError, Violation
from compiler.graph import Graph, GraphBuilder, Node, is_neuron
from compiler.targets.catalyst_n1.legal import decay_of, static_signals
from compiler.targets.catalyst_n1.scale import LEAKY, LIMIT, PLAIN, READOUT, READOUT_BIAS, Scaled, scaled
from compiler.targets.loihi.constants import number
from compiler.targets.loihi.links import Ints, everything, link_of
from compiler.targets.loihi.scale import Layer
from compiler.targets.target import Options
from hw.chip import Chip

FORGET = 4095
"""The largest decay: a current is (nearly) gone after its step."""
HOST_UNITS = 8191
"""Threshold of neurons that the host drives: four of them are a current of 16 bits, and saturate above it."""
HOST, CURRENT = "host", "current"
_SILENT = {"threshold": LIMIT, "rest": -LIMIT - 1, "leak": 0, "vmin": -LIMIT - 1, "vmax": -LIMIT - 1}
_READOUT = {**_SILENT, "du": 0, "dv": 0, "bias": READOUT_BIAS}


@dataclass
class _Work:
    """The quantised graph under construction; ``signals``: what became of the float graph's, by steps ago."""

    graph: Graph
    chip: Chip
    static: frozenset[str]
    builder: GraphBuilder
    signals: dict[tuple[str, int], str] = field(default_factory=dict)

    def ago(self, source: str, steps: int) -> str:
        """Return the signal that holds what ``source`` was so many steps ago."""
        if (source, steps) not in self.signals and steps:
            self.signals[source, steps] = self.builder.state(f"{source}.before", self.graph.shape(source))
            self.ago(source, steps - 1) if steps > 1 else None
        return self.signals[source, steps]

    def carry(self) -> None:
        """Say of all earlier steps what is handed on to them."""
        for (source, steps), read in self.signals.items():
            if steps:
                self.builder.carry(read, self.signals[source, steps - 1])


def quantise(graph: Graph, chip: Chip, options: Options) -> Graph:
    """Return the integer graph of ``graph`` (simplified) for ``chip``; its output is the readout's sum so far.

    Raises:
        CompileError: what the chip's numbers cannot express (names each layer).
    """
    graph = graph.double()
    work = _Work(graph, chip, static_signals(graph), GraphBuilder.like(graph, f"{graph.name} on {chip.name}"))
    work.signals.update({(name, 0): name for name in graph.inputs})
    found: list[Violation] = []
    for node in graph:
        if is_neuron(node):
            try:
                work.signals[node.output, 0] = _neuron(work, node)
            except CompileError as error:
                found += error.violations
                # A stand-in, so that what follows is looked at as well.
                stand_in = torch.zeros(graph.shape(node.output), dtype=torch.float64)
                work.signals[node.output, 0] = work.builder.constant(stand_in)
    try:
        layer = _layer(work, graph.outputs[0], "the output")
        chosen = scaled(layer, READOUT, graph.timesteps)
    except CompileError as error:
        found += error.violations
    if found:
        raise CompileError(*found)
    current = _current(work, layer, chosen, READOUT)
    _added(work, READOUT, current, _READOUT, CURRENT, chosen.scale, chosen.rounding, "")
    work.carry()
    return work.builder.finish((work.builder.nodes[-1].outputs[1],))


def _neuron(work: _Work, node: Node) -> str:
    """Add a neuron layer and return its spikes."""
    threshold, leaky = number(node, "v_threshold"), node.op == "lif"
    gain = 1 / number(node, "tau") if leaky and node.attributes["decay_input"] else 1.0
    dv = decay_of(node) if leaky else 0
    if node.inputs[0] in work.static:
        scale = HOST_UNITS / threshold
        drive = _host_current(work, node, scale * gain)
        registers = _registers(HOST_UNITS, dv)
        return _added(work, node.name, drive, registers, HOST, scale, 0.5 / scale / gain, node.output)
    layer = _layer(work, node.inputs[0], node.name)
    chosen = scaled(layer, LEAKY if leaky else PLAIN, work.graph.timesteps, threshold, gain, dv / 4096)
    current = _current(work, layer, chosen, node.name)
    rounding = chosen.rounding if chosen.safe else math.inf
    registers = _registers(chosen.units, dv)
    return _added(work, node.name, current, registers, CURRENT, chosen.scale, rounding, node.output)


def _registers(units: int, dv: int) -> dict[str, int]:
    """Return what a firing neuron is programmed with; without leak its membrane is offset as far as it goes."""
    found = {"leak": 0, "bias": 0, "vmin": -LIMIT - 1, "vmax": LIMIT, "dv": dv}
    return found | (
        {"threshold": units, "rest": 0, "du": FORGET} if dv else {"threshold": LIMIT, "rest": LIMIT - units, "du": 0}
    )


def _layer(work: _Work, signal: str, name: str) -> Layer:
    """Return what feeds a population: links, sizes of their sources, biases."""
    graph, shape = work.graph, work.graph.shape(signal)
    found = terms(graph, signal, name, work.chip.name)
    links = tuple(link_of(graph, term, shape, name, work.chip.name) for term in found)
    return Layer(name, links, tuple(graph.signals[link.source].size for link in links), at_rest(graph, signal))


def _current(work: _Work, layer: Layer, chosen: Scaled, name: str) -> str:
    """Add the layers that feed a population, in whole numbers; return their sum."""
    builder, summands = work.builder, []
    for link, weight in zip(layer.links, chosen.weights, strict=True):
        selected = _selected(builder, work.ago(link.source, link.delay), link.before)
        wanted = link.name.replace("the output", READOUT)
        weighed = builder.add(link.op, (selected,), link.attributes, {"weight": weight}, name=wanted)
        summands.append(_selected(builder, weighed, link.after))
    if not summands or bool(chosen.bias.any()):
        summands.append(builder.constant(chosen.bias, name=f"{name}.bias"))
    total = summands[0]
    for summand in summands[1:]:
        total = builder.add("add", (total, summand), name=f"{name}.sum")
    return total


def _selected(builder: GraphBuilder, signal: str, picked: Ints) -> str:
    """Add the selection of values of a signal, where it is one."""
    flat = picked.ravel()
    if flat.shape == (builder.signals[signal].size,) and bool((flat == everything(flat.shape)).all()):
        return builder.reshape(signal, picked.shape)
    settings: dict[str, object] = {"shape": picked.shape}
    if bool((flat < 0).any()):
        settings["zeros"] = 1
    return builder.add(
        "rearrange", (signal,), settings, {"index": torch.from_numpy(flat.copy())}, name=f"{signal}.moved"
    )


def _host_current(work: _Work, node: Node, scale: float) -> str:
    """Copy what the host computes, and round it to a host current of 16 bits."""
    for ancestor in work.graph.ancestors(node.inputs[0]):
        if (ancestor.output, 0) not in work.signals:
            work.signals.update({(name, 0): name for name in work.builder.append(ancestor)})
    settings = {"scale": scale, "exponent": 0, "mantissa_limit": LIMIT}
    signal = work.signals[node.inputs[0], 0]
    return work.builder.add("bias_current", (signal,), settings, name=f"{node.name}.{HOST}")


def _added(
    work: _Work,
    name: str,
    drive: str,
    registers: dict[str, int],
    kind: str,
    scale: float,
    rounding: float,
    layer: str,
) -> str:
    """Add a ``lif_n1`` and return its spikes."""
    attributes = {**registers, "drive": kind, "scale": scale, "layer": layer, "rounding": rounding}
    states = (("u", 0.0), ("v", float(registers["rest"])))
    role = "" if layer else READOUT
    return work.builder.neuron("lif_n1", drive, attributes, states=states, name=name, role=role)
