"""Quantise: a simplified graph → the same network in a chip's integer arithmetic, still a graph.

Neurons become ``lif_fixed``, layers get whole-number weights and an exponent, everything that is added regardless of
spikes becomes one constant a population. Each population has its own scale (``scale``):

    w_int · 2^e ≈ w · gain · scale       gain = 1/τ where the input decays, else 1
    units = v_threshold · scale          vth = units − 1
    dv = round(4096 / τ), 0 without leak     du = 4095: no memory in the current

The float network fires at v ≥ v_threshold, the chip at v_int > vth · 64. Synapses and always-on axons add multiples of
64, so that without leak v_int ≥ units · 64 is the same: a membrane exactly at the threshold fires in both. With leak a
decayed v_int need not be such a multiple, and one that is less than one unit below the threshold fires too: a threshold
that is at most 1/units too low, which is why the scale is doubled as far as it goes. (vth = units would be nearer to
the threshold for most values, but would never fire where an input reaches it exactly.)

Whatever depends on the constant real input alone is computed on the host in floating point and rounded once per image
to a bias register. The outputs become a population that only integrates; its last membrane is ``64 · scale · Σ_t y_t``.

All parameters are float64 holding integers; ``interpret`` gives the result its meaning, the chip simulator must agree
with it in every spike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from compiler.analysis.currents import at_rest
from compiler.errors import CompileError, Violation
from compiler.graph import Graph, GraphBuilder, Node, is_neuron
from compiler.targets.loihi.formats import Formats
from compiler.targets.loihi.links import Ints, Link, everything, links
from compiler.targets.loihi.ranges import Dynamics
from compiler.targets.loihi.scale import Layer, Scaled, scaled
from hw.chip import Chip

READOUT = "readout"
"""The role of the population whose membrane is the output, and its name where no layer has that."""


@dataclass
class _Work:
    """The quantised graph under construction; ``signals`` says what became of the float graph's."""

    graph: Graph
    chip: Chip
    formats: Formats
    builder: GraphBuilder
    static: frozenset[str]
    scales: Mapping[str, float] = field(default_factory=dict)
    signals: dict[str, str] = field(default_factory=dict)


def quantise(graph: Graph, chip: Chip, scales: Mapping[str, float] | None = None) -> Graph:
    """Return the integer graph of ``graph`` (simplified) for ``chip``.

    Its output is the membrane of the readout population after each step. Gradients flow to the weights and biases of
    ``graph`` where they ask for them. ``scales``: those of populations that have theirs already, by the layer they
    stand for ("" for the readout); the others are chosen.

    Raises:
        CompileError: what the chip's arithmetic cannot express, all of it (names each layer).
    """
    graph = graph.double()
    builder = GraphBuilder.like(graph, f"{graph.name} on {chip.name}")
    work = _Work(graph, chip, Formats.of(chip), builder, graph.static_signals(), scales or {})
    work.signals.update({name: name for name in graph.inputs})
    found: list[Violation] = []
    for node in graph:
        if is_neuron(node):
            try:
                _neuron(work, node)
            except CompileError as error:
                found += error.violations
                # A stand-in, so that what follows is looked at as well.
                stand_in = torch.zeros(graph.shape(node.output), dtype=torch.float64)
                work.signals[node.output] = builder.constant(stand_in)
    try:
        output = _readout(work)
    except CompileError as error:
        found += error.violations
    if found:
        raise CompileError(*found)
    return builder.finish((output,))


def number(node: Node, name: str) -> float:
    """Return a neuron's constant, whether fixed or trained (one for the whole layer)."""
    return float(node.parameters[name]) if name in node.parameters else float(node.attributes[name])


def leak(node: Node, formats: Formats) -> tuple[float, int]:
    """Return what a neuron multiplies its input by, and its dv."""
    if node.op != "lif":
        return 1.0, 0
    tau = number(node, "tau")
    return (1.0 / tau if node.attributes["decay_input"] else 1.0), round(formats.unity / tau)


def _neuron(work: _Work, node: Node) -> None:
    gain, dv = leak(node, work.formats)
    threshold = number(node, "v_threshold")
    if node.inputs[0] in work.static:
        _host_driven(work, node, gain, threshold, dv)
        return
    layer = _layer(work, node.inputs[0], node.name)
    dynamics = Dynamics(work.formats.forget, dv, 0, work.graph.timesteps, fires=True)
    found = scaled(layer, gain, threshold, dynamics, work.formats, work.scales.get(node.output))
    drive = _current(work, layer, found)
    _fixed(work, node.name, node.output, drive, "current", found.units - 1, dv, found.scale, found.rounding)


def _layer(work: _Work, signal: str, name: str) -> Layer:
    found = links(work.graph, signal, name, work.chip.name)
    sources = tuple(math.prod(work.graph.shape(link.source)) for link in found)
    return Layer(name, found, sources, at_rest(work.graph, signal))


def _host_driven(work: _Work, node: Node, gain: float, threshold: float, dv: int) -> None:
    """Copy the part that the host computes and round what it gives the neuron."""
    f, signal = work.formats, node.inputs[0]
    exponent, units = host_threshold(work.formats)
    if units < 1:
        limit = f"a bias register of {work.chip.name} holds {f.mantissa << f.bias_exponent:,} of them"
        raise CompileError(Violation(node.name, f"a bias above its threshold of {f.unit:,} membrane units", limit))
    for ancestor in work.graph.ancestors(signal):
        _copied(work, ancestor)
    per_unit = units * f.unit / threshold * gain
    settings = {"scale": per_unit, "exponent": exponent, "mantissa_limit": f.mantissa}
    drive = work.builder.add("bias_current", (work.signals[signal],), settings, name=f"{node.name}.bias")
    half = 2**exponent / 2 / per_unit
    _fixed(work, node.name, node.output, drive, "bias", units - 1, dv, units / threshold, half)


def host_threshold(formats: Formats) -> tuple[int, int]:
    """Return the exponent of a host's biases and the threshold they are measured by, in threshold units.

    The register spans four thresholds, so that whatever saturates lies above the threshold; both are as fine as the
    states allow. A threshold is a whole number of register steps: a bias at the threshold fires.
    """
    mantissas = (formats.mantissa + 1) // 4
    for exponent in range(formats.bias_exponent, -1, -1):
        height = mantissas << exponent
        if (
            height // formats.unit <= formats.threshold + 1
            and 5 * height <= formats.state
            and height % formats.unit == 0
        ):
            return exponent, height // formats.unit
    return 0, 0


def _copied(work: _Work, node: Node) -> None:
    """Copy a node of the float graph as it is."""
    if node.output in work.signals:
        return
    name = work.builder.unique(node.name)
    outputs = tuple(name if signal == node.name else work.builder.unique(signal) for signal in node.outputs)
    inputs = tuple(work.signals[signal] for signal in node.inputs)
    work.builder.append(replace(node, name=name, inputs=inputs, outputs=outputs))
    work.signals.update(zip(node.outputs, outputs, strict=True))


def _current(work: _Work, layer: Layer, found: Scaled) -> str:
    """Add the quantised links that feed a population, and its bias; return the sum's signal."""
    builder, total = work.builder, ""
    for link, (mantissas, exponent) in zip(layer.links, found.weights, strict=True):
        signal = _moved(builder, work.signals[link.source], link.before)
        attributes = {**link.attributes, "weight_exponent": exponent}
        signal = builder.add(link.op, (signal,), attributes, {"weight": mantissas}, name=link.name)
        signal = _moved(builder, signal, link.after)
        total = builder.add("add", (total, signal), name=f"{layer.name}.sum") if total else signal
    if total and not bool(found.bias.any()):
        return total
    bias = builder.add("constant", (), parameters={"value": found.bias}, name=f"{layer.name}.bias")
    return builder.add("add", (total, bias), name=f"{layer.name}.sum") if total else bias


def _moved(builder: GraphBuilder, signal: str, picked: Ints) -> str:
    """Select values of a signal."""
    shape, size = picked.shape, math.prod(builder.signals[signal].shape)
    if picked.size == size and bool((picked.ravel() == everything((size,))).all()):
        return builder.reshape(signal, shape)
    zeros = {"zeros": 1} if bool((picked < 0).any()) else {}
    index = torch.from_numpy(picked.ravel().copy())
    return builder.add("rearrange", (signal,), {"shape": shape, **zeros}, {"index": index}, name=f"{signal}.moved")


def _fixed(
    work: _Work, name: str, layer: str, drive: str, kind: str, vth: int, dv: int, scale: float, rounding: float
) -> str:
    """Add the integer neuron ``name`` that stands for the float graph's signal ``layer``."""
    attributes = {"du": work.formats.forget, "dv": dv, "vth": vth, "scale": scale, "drive": kind}
    attributes |= {"layer": layer, "rounding": rounding}
    role = "" if layer else READOUT
    states = (("u", 0.0), ("v", 0.0))
    made = work.builder.neuron("lif_fixed", drive, attributes, states=states, name=name, role=role)
    if layer:
        work.signals[layer] = made
    return made


def _readout(work: _Work) -> str:
    """Add the population that integrates the outputs; return the signal of its membrane."""
    graph, formats = work.graph, work.formats
    layer = _layer(work, graph.outputs[0], "the output")
    dynamics = Dynamics(formats.forget, 0, formats.threshold, graph.timesteps, fires=False)
    found = scaled(layer, 1.0, None, dynamics, formats, work.scales.get(""))
    layer = replace(layer, name=READOUT, links=tuple(_named(work, link) for link in layer.links))
    drive = _current(work, layer, found)
    made = _fixed(work, READOUT, "", drive, "current", formats.threshold, 0, found.scale, found.rounding)
    return work.builder.nodes[-1].outputs[2] if made else ""


def _named(work: _Work, link: Link) -> Link:
    return replace(link, name=link.name.replace("the output", READOUT))
