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

What else than weights stands between two neurons becomes a gate, a product, or the host's (``plan``); the nodes of the
last two are copied and carry the role "product" or "host".

Whatever depends on the constant real input alone is computed on the host in floating point and rounded once per image
to a bias register, also where spikes reach the same population. The outputs become a population that only integrates;
its last membrane is ``64 · scale · Σ_t y_t``.

All parameters are float64 holding integers; ``interpret`` gives the result its meaning, the chip simulator must agree
with it in every spike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from compiler.analysis.currents import Term, at_rest, since_neurons, terms
from compiler.errors import CompileError, Violation
from compiler.graph import Graph, GraphBuilder, Node, is_neuron
from compiler.targets.loihi.constants import Neuron, neuron_of
from compiler.targets.loihi.formats import Formats
from compiler.targets.loihi.gates import gate_links
from compiler.targets.loihi.legal import planned
from compiler.targets.loihi.links import Ints, Link, everything, link_of
from compiler.targets.loihi.plan import Plan
from compiler.targets.loihi.ranges import Dynamics
from compiler.targets.loihi.scale import Layer, Scaled, scaled
from compiler.targets.target import Options
from hw.chip import Chip

READOUT = "readout"
"""The role of the population whose membrane is the output, and its name where no layer has that."""
GATE, HOST, PRODUCT = "gate", "host", "product"
"""Roles of populations without memory, and of nodes that the host or the chip's multipliers run at every step."""


@dataclass
class _Work:
    """The quantised graph under construction; ``signals`` says what became of the float graph's.

    ``waiting``: states whose signal is not made yet, with the float graph's signal that is carried; ``levels``: new
    signals that are levels of events, with what one level stands for.
    """

    graph: Graph
    chip: Chip
    formats: Formats
    builder: GraphBuilder
    plan: Plan
    options: Options
    scales: Mapping[str, float]
    gates: bool
    signals: dict[str, str] = field(default_factory=dict)
    before: dict[tuple[str, int], str] = field(default_factory=dict)
    waiting: list[tuple[str, str]] = field(default_factory=list)
    levels: dict[str, float] = field(default_factory=dict)

    def ago(self, source: str, steps: int) -> str:
        """Return the signal that holds what ``source`` was so many steps ago."""
        if steps == 0:
            return self.signals[source]
        key = (source, steps)
        if key not in self.before:
            shape = self.graph.shape(source)
            self.before[key] = self.builder.state(f"{source}.before{steps if steps > 1 else ''}", shape)
            if steps == 1:
                self.waiting.append((self.before[key], source))
            else:
                self.builder.carry(self.before[key], self.ago(source, steps - 1))
        return self.before[key]


def quantise(
    graph: Graph,
    chip: Chip,
    options: Options | None = None,
    scales: Mapping[str, float] | None = None,
    gates: bool = True,
) -> Graph:
    """Return the integer graph of ``graph`` (simplified) for ``chip``.

    Its output is the membrane of the readout population after each step. Gradients flow to the weights and biases of
    ``graph`` where they ask for them. ``options``: what is granted; ``scales``: those of populations that have theirs
    already, by the layer they stand for ("" for the readout); the others are chosen. ``gates``: whether gates are
    populations, or the operations that they stand for, with the same values and their gradients.

    Raises:
        CompileError: what the chip's arithmetic cannot express, all of it (names each layer).
    """
    graph = graph.double()
    builder = GraphBuilder.like(graph, f"{graph.name} on {chip.name}")
    granted = options or Options()
    work = _Work(graph, chip, Formats.of(chip), builder, planned(graph, chip, granted), granted, scales or {}, gates)
    work.signals.update({name: name for name in graph.inputs})
    found: list[Violation] = []
    for node in graph:
        try:
            _node(work, node)
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
    for read, source in work.waiting:
        builder.carry(read, work.signals[source])
    return builder.finish((output,))


def _node(work: _Work, node: Node) -> None:
    """Give a node its place; those that only weigh and move become part of the population they lead to."""
    plan = work.plan
    if node.output in plan.static or node.output in work.signals:
        return
    if node.name in plan.host:
        _copied(work, node, HOST)
    elif is_neuron(node):
        _neuron(work, node)
    elif node.output in plan.gates and work.gates:
        _gate(work, node)
    elif node.output in plan.products or node.output in plan.gates:
        for name in node.inputs:
            for step in since_neurons(work.graph, name, plan.stops):
                _copied(work, step, PRODUCT)
        _copied(work, node, PRODUCT)


def _neuron(work: _Work, node: Node) -> None:
    neuron = neuron_of(node, work.formats)
    if node.inputs[0] in work.plan.static:
        _host_driven(work, node, neuron)
        return
    layer, static = _layer(work, node.inputs[0], node.name)
    resets, steps = neuron.reset == "hard", work.graph.timesteps
    headroom = work.options.headroom if static else 0
    # Without numbers in events, a neuron that rounds is one population a level, at half its level and so on.
    one = work.formats.graded or neuron.mode == "threshold"
    most = 1 if one else 2 * neuron.levels - 1
    halves = work.formats.graded and neuron.mode != "threshold"
    dynamics = Dynamics(work.formats.forget, neuron.dv, 0, steps, True, headroom, resets, most, halves)
    threshold = neuron.threshold if one else neuron.threshold / 2
    found = scaled(layer, neuron.gain, threshold, dynamics, work.formats, work.scales.get(node.output))
    current = _current(work, layer, found)
    drive = (current, _driven(work, node.name, static, found.scale * neuron.gain)) if static else current
    kind = "both" if static else "current"
    made = _Made(node.name, node.output, kind, found.units, found.scale, found.rounding, neuron)
    _add_neuron(work, made, drive)


def _gate(work: _Work, node: Node) -> None:
    """A population without memory: an AND fires where both of its spikes come, an OR where any does."""
    plan, step = work.plan, work.formats.weight_step
    found, needed = gate_links(work.graph, node, plan.gates[node.output], plan.stops, work.chip.name)
    weights = tuple((link.weight * step, 0) for link in found)
    layer = Layer(node.name, found, (), torch.zeros(work.graph.shape(node.output), dtype=torch.float64))
    drive = _current(work, layer, Scaled(1.0, 0, weights, layer.bias, 0.0))
    gate = Neuron(1.0, work.formats.forget, 1.0)
    _add_neuron(work, _Made(node.name, node.output, "current", needed * step, 1.0, 0.0, gate, GATE), drive)


def _layer(work: _Work, signal: str, name: str) -> tuple[Layer, list[Term]]:
    """Return what feeds a population in spikes, and the terms that the host drives it with."""
    graph, plan = work.graph, work.plan
    found = terms(graph, signal, name, work.chip.name, plan.stops)
    static = [term for term in found if term.source in plan.static or term.source in plan.hosted]
    shape = graph.shape(signal)
    links = tuple(link_of(graph, t, shape, name, work.chip.name) for t in found if t not in static)
    sources = tuple(math.prod(graph.shape(link.source)) for link in links)
    return Layer(name, links, sources, at_rest(graph, signal, plan.stops)), static


def _driven(work: _Work, name: str, static: list[Term], scale: float) -> str:
    """Add what the host computes for a population that spikes reach as well: once an input, or at every step."""
    f, total = work.formats, ""
    role = HOST if any(term.source in work.plan.hosted for term in static) else ""
    for term in static:
        if term.delay:
            limit = f"what the host computes acts in its own step on {work.chip.name}; put a neuron before the delay"
            raise CompileError(Violation(name, f"{term.source!r} of the step before, which the host computes", limit))
        for ancestor in work.graph.ancestors(term.source):
            _copied(work, ancestor, HOST)
        signal = work.signals[term.source]
        for hop in term.path:
            # Stored numbers on the way are in the population's own bias, and so are spikes beside it in its links.
            plain = {key: value for key, value in hop.node.parameters.items() if key != "bias"}
            attributes = {**hop.node.attributes, **({"value": 0.0} if hop.node.op == "pad" else {})}
            inputs = [_zeros(work, other) if at != hop.position else signal for at, other in enumerate(hop.node.inputs)]
            signal = work.builder.add(hop.node.op, inputs, attributes, plain, name=f"{name}.drive", role=role)
        if term.factor != 1:
            factor = {"weight": torch.tensor(term.factor, dtype=torch.float64)}
            signal = work.builder.add("scale", (signal,), {}, factor, name=f"{name}.drive", role=role)
        total = work.builder.add("add", (total, signal), name=f"{name}.drive", role=role) if total else signal
    settings = {"scale": scale * f.unit, "exponent": f.bias_exponent, "mantissa_limit": f.mantissa, "floating": True}
    return work.builder.add("bias_current", (total,), settings, name=f"{name}.bias", role=role)


def _zeros(work: _Work, signal: str) -> str:
    return work.builder.constant(torch.zeros(work.graph.shape(signal), dtype=torch.float64))


def _host_driven(work: _Work, node: Node, neuron: Neuron) -> None:
    """Copy the part that the host computes and round what it gives the neuron."""
    f, signal = work.formats, node.inputs[0]
    exponent, units = host_threshold(work.formats, neuron.levels)
    if units < 1:
        limit = f"a bias register of {work.chip.name} holds {f.mantissa << f.bias_exponent:,} of them"
        raise CompileError(Violation(node.name, f"a bias above its threshold of {f.unit:,} membrane units", limit))
    for ancestor in work.graph.ancestors(signal):
        _copied(work, ancestor)
    per_unit = units * f.unit / neuron.threshold * neuron.gain
    settings = {"scale": per_unit, "exponent": exponent, "mantissa_limit": f.mantissa}
    drive = work.builder.add("bias_current", (work.signals[signal],), settings, name=f"{node.name}.bias")
    half = 2**exponent / 2 / per_unit
    scale = units / neuron.threshold
    if neuron.mode != "threshold" and not f.graded:
        units //= 2  # half a level
    made = _Made(node.name, node.output, "bias", units, scale, half, neuron)
    _add_neuron(work, made, drive)


def host_threshold(formats: Formats, levels: int = 1) -> tuple[int, int]:
    """Return the exponent of a host's biases and the threshold they are measured by, in threshold units.

    The register spans four thresholds, or one more than a neuron sends ``levels``, so that whatever saturates lies
    above all that it sends; both are as fine as the states allow. A threshold is a whole number of register steps: a
    bias at the threshold fires.
    """
    span = max(4, levels + 1)
    mantissas = (formats.mantissa + 1) // span
    for exponent in range(formats.bias_exponent, -1, -1):
        height = mantissas << exponent
        if (
            height // formats.unit <= formats.threshold + 1
            and (span + 1) * height <= formats.state
            and height % formats.unit == 0
        ):
            return exponent, height // formats.unit
    return 0, 0


def _copied(work: _Work, node: Node, role: str = "") -> None:
    """Copy a node of the float graph as it is, with the states it reads."""
    one = float(work.graph.type(node.output).scale)
    if node.output in work.signals and (
        one == 1 or role != PRODUCT or is_neuron(node) or work.signals[node.output] in work.levels
    ):
        return
    states = {state.read: state for state in work.graph.states}
    builder, carried = work.builder, []
    for name in node.inputs:
        if name in work.signals:
            continue
        if name in states:
            work.signals[name] = builder.state(name, work.graph.shape(name), states[name].initial)
            carried.append(states[name])
        else:
            for ancestor in work.graph.ancestors(name):
                _copied(work, ancestor, role)
    name = builder.unique(node.name)
    outputs = tuple(name if signal == node.name else builder.unique(signal) for signal in node.outputs)
    kept = node.role if node.output in work.plan.static else role or node.role  # what is static runs once
    inputs = tuple(_value_of(work, signal, kept) for signal in node.inputs)
    copy = replace(node, name=name, inputs=inputs, outputs=outputs, role=kept)
    if one != 1 and kept == HOST and is_neuron(node):
        copy = _in_levels(copy)
    if one != 1 and (kept == PRODUCT or (kept == HOST and is_neuron(node))):
        work.levels[outputs[0]] = one
    builder.append(copy)
    work.signals.update(zip(node.outputs, outputs, strict=True))
    for state in carried:
        if state.written in node.outputs:
            builder.carry(work.signals[state.read], work.signals[state.written])
        else:
            work.waiting.append((work.signals[state.read], state.written))


def _in_levels(node: Node) -> Node:
    """Return a neuron of the float network that sends levels, not what they stand for.

    Raises:
        CompileError: it has no such form.
    """
    if "divisor" not in {**node.attributes, **node.parameters}:
        limit = "events are whole numbers; leave what reads them to the host as well, or use MultiSpike"
        raise CompileError(Violation(node.name, "to send fractions", limit))
    parameters = {name: value for name, value in node.parameters.items() if name != "divisor"}
    return replace(node, attributes={**node.attributes, "divisor": 1.0}, parameters=parameters)


def _value_of(work: _Work, signal: str, role: str) -> str:
    """Return a signal as the host reads it: levels of events times what one level stands for."""
    made = work.signals[signal]
    if role == PRODUCT or made not in work.levels:
        return made
    parameters = {"weight": torch.tensor(work.levels[made], dtype=torch.float64)}
    return work.builder.add("scale", (made,), {}, parameters, name=f"{made}.value", role=HOST)


def _current(work: _Work, layer: Layer, found: Scaled) -> str:
    """Add the quantised links that feed a population, and its bias; return the sum's signal."""
    builder, total = work.builder, ""
    for link, (mantissas, exponent) in zip(layer.links, found.weights, strict=True):
        signal = _moved(builder, work.ago(link.source, link.delay), link.before)
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


@dataclass(frozen=True)
class _Made:
    """An integer neuron to be added: ``layer`` is the float graph's signal it stands for, ``units`` its threshold."""

    name: str
    layer: str
    drive: str
    units: int
    scale: float
    rounding: float
    neuron: Neuron
    role: str = ""


def _add_neuron(work: _Work, made: _Made, drive: str | tuple[str, str]) -> None:
    """Add an integer neuron of the chip's kind."""
    f, neuron = work.formats, made.neuron
    if neuron.mode != "threshold" and not f.graded:
        _add_levels(work, made, drive)
        return
    attributes = {"dv": neuron.dv, "scale": made.scale, "drive": made.drive}
    attributes |= {"layer": made.layer, "rounding": made.rounding}
    if f.graded:
        attributes |= {"vth": made.units, "levels": neuron.levels, "mode": neuron.mode, "reset": neuron.reset}
        attributes |= {"limit": f.state, "decay_bits": f.unity.bit_length() - 1, "event": neuron.event}
        op, states = "lif_graded", ["v"]
    else:
        # A threshold must be exceeded.
        attributes |= {"du": f.forget, "vth": made.units - 1, "event": neuron.event}
        op, states = "lif_fixed", ["u", "v"]
    carried = tuple((state, 0.0) for state in states)
    signal = work.builder.neuron(op, drive, attributes, states=carried, name=made.name, role=made.role)
    if made.layer:
        work.signals[made.layer] = signal
        if (event := float(work.graph.type(made.layer).scale)) != 1:
            work.levels[signal] = event


def _add_levels(work: _Work, made: _Made, drive: str | tuple[str, str]) -> None:
    """Add a population for each level of a neuron without memory: n of them fire where it sends n.

    ``made.units`` is half a level. Level k is reached at k − ½, where halves round up or k is even, else above it.
    """
    total, neuron = "", made.neuron
    for level in range(1, neuron.levels + 1):
        reached = neuron.mode == "half_up" or level % 2 == 0
        one = replace(neuron, levels=1, mode="threshold")
        units = (2 * level - 1) * made.units + (0 if reached else 1)
        _add_neuron(work, replace(made, name=f"{made.name}.{level}", units=units, neuron=one), drive)
        signal = work.signals[made.layer]
        total = work.builder.add("add", (total, signal), name=f"{made.name}.levels") if total else signal
    work.signals[made.layer] = total
    if (event := float(work.graph.type(made.layer).scale)) != 1:
        work.levels[total] = event


def _readout(work: _Work) -> str:
    """Add the population that integrates the outputs; return the signal of its membrane."""
    graph, formats = work.graph, work.formats
    layer, static = _layer(work, graph.outputs[0], "the output")
    if static:
        limit = f"the output of a program for {work.chip.name} is sums of spikes; put a neuron before the last layer"
        raise CompileError(Violation("the output", f"the real signal {static[0].source!r}", limit))
    dynamics = Dynamics(formats.forget, 0, formats.threshold, graph.timesteps, fires=False)
    found = scaled(layer, 1.0, None, dynamics, formats, work.scales.get(""))
    layer = replace(layer, name=READOUT, links=tuple(_named(work, link) for link in layer.links))
    drive = _current(work, layer, found)
    silent = Neuron(1.0, 0, 1.0, "none", levels=0)
    units = formats.threshold + 1
    _add_neuron(work, _Made(READOUT, "", "current", units, found.scale, found.rounding, silent, READOUT), drive)
    return work.builder.nodes[-1].outputs[-1]


def _named(work: _Work, link: Link) -> Link:
    return replace(link, name=link.name.replace("the output", READOUT))
