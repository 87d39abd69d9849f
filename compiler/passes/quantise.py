"""Quantise: a folded graph → the same network in a chip's integer arithmetic, still a graph.

Neurons become ``lif_fixed`` (the integer LIF of lava-nc 0.10), layers get even integer weights of 8 bits and an
exponent, biases become integers that a few always-on axons can deliver. One unit of ``scale`` says how many integer
input units one unit of float current is; each neuron layer has its own, the largest that its weights, its threshold and
the absence of overflow allow:

    w_int · 2^e ≈ w · gain · scale       gain = 1/τ where the input decays, else 1
    vth = round(v_threshold · scale)     dv = round(4096 / τ), 0 without leak     du = 4095: no memory in the current

Layers that read the real input stay in floating point, on the host: their result is rounded to a bias (13-bit mantissa,
exponent 7) once per image. The outputs become a population that only integrates; its last membrane is
``64 · scale · Σ_t logits``.

All parameters are float64 holding integers; ``interpret`` gives the result its meaning, the chip simulator must agree
with it in every spike.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from compiler.errors import CompileError
from compiler.graph import BINARY, REAL, Graph, Node, Signal, State
from compiler.operations import is_neuron
from compiler.passes.terms import Term, terms
from hw.chip import Chip

WEIGHT_LIMIT = 254  # even, so that no sign mode drops a bit of it
HOST_THRESHOLD = 2047  # a bias of 13 + 7 bits then spans ±4 thresholds in steps of 1/1024
HOST_EXPONENT = 7
READOUT = "readout"


@dataclass
class _Chip:
    """Limits that quantising needs, as whole numbers."""

    threshold: int
    state: int
    mantissa: int
    shift: int

    @staticmethod
    def of(chip: Chip) -> _Chip:
        a = chip.arithmetic
        return _Chip(
            threshold=2 ** int(a.threshold_bits.value) - 1,
            state=2 ** (int(a.state_bits.value) - 1),
            mantissa=2 ** (int(a.bias_mantissa_bits.value) - 1) - 1,
            shift=a.threshold_shift,
        )


@dataclass
class _Built:
    """Nodes, signals and states of the quantised graph under construction."""

    nodes: list[Node] = field(default_factory=list)
    signals: dict[str, Signal] = field(default_factory=dict)
    states: list[State] = field(default_factory=list)

    def add(self, node: Node, shape: tuple[int, ...]) -> str:
        if all(known.name != node.name for known in self.nodes):
            self.nodes.append(node)
            for output in node.outputs:
                self.signals[output] = Signal(
                    output, shape, BINARY if output == node.name and is_neuron(node) else REAL
                )
        return node.output


def quantise(graph: Graph, chip: Chip) -> Graph:
    """Return the integer graph of ``graph`` (simplified and merged) for ``chip``.

    Its output is the membrane of the readout population after each step.

    Raises:
        CompileError: a layer or neuron that the chip's arithmetic cannot express (names it).
    """
    graph, limits, built = graph.double(), _Chip.of(chip), _Built()
    static = graph.static_signals()
    for name in graph.inputs:
        built.signals[name] = graph.signals[name]
    for node in graph:
        if is_neuron(node):
            _neuron(graph, node, static, limits, built)
    output = _readout(graph, static, limits, built)
    result = Graph(
        inputs=graph.inputs,
        outputs=(output,),
        nodes=tuple(built.nodes),
        signals=built.signals,
        states=tuple(built.states),
        timesteps=graph.timesteps,
        static_input=graph.static_input,
        name=f"{graph.name} on {chip.name}",
    )
    return result.with_nodes(result.nodes, result.signals)


def split_bias(bias: Tensor) -> tuple[list[tuple[Tensor, int]], Tensor]:
    """Write integers as Σ m·2^e with even |m| ≤ 254: return [(m, e), …], coarsest first, and their exact sum."""
    largest = float(bias.abs().max()) if bias.numel() else 0.0
    exponent = next((e for e in range(8) if largest <= WEIGHT_LIMIT * 2**e + WEIGHT_LIMIT * (e > 0)), 7)
    parts: list[tuple[Tensor, int]] = []
    rest = bias
    for e in [exponent, 0] if exponent else [0]:
        mantissa = _even(rest / 2**e)
        parts.append((mantissa, e))
        rest = rest - mantissa * 2**e
    total = torch.stack([m * 2**e for m, e in parts]).sum(0)
    return parts, total


def _even(x: Tensor) -> Tensor:
    return ((x / 2).round() * 2).clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT)


def _neuron(graph: Graph, node: Node, static: frozenset[str], limits: _Chip, built: _Built) -> None:
    a = node.attributes
    if a["v_reset"] is None or a["v_reset"] != 0.0:
        kind = "a soft reset" if a["v_reset"] is None else f"a reset to {a['v_reset']}"
        raise CompileError(f"{node.name} has {kind}; this chip resets to 0: train with v_reset=0.")
    leaky = node.op == "lif"
    gain = 1.0 / a["tau"] if leaky and a["decay_input"] else 1.0
    dv = round(4096 / a["tau"]) if leaky else 0
    shape = graph.shape(node.output)
    summands = terms(graph, node.inputs[0], node.name)
    real = [term for term in summands if not graph.type(term.source).is_event]
    if real:
        _check_host(node.name, summands, real, static)
        drive = _host(graph, node, shape, limits, built, 2**limits.shift * HOST_THRESHOLD / a["v_threshold"] * gain)
        _fixed(node.name, drive, "bias", shape, HOST_THRESHOLD, HOST_THRESHOLD / a["v_threshold"], dv, built)
        return
    scale = _scale(graph, node.name, summands, gain, limits, a["v_threshold"])
    vth = round(a["v_threshold"] * scale)
    drive = _current(graph, node.name, summands, gain * scale, shape, built)
    _fixed(node.name, drive, "current", shape, vth, scale, dv, built)


def _check_host(name: str, summands: tuple[Term, ...], real: list[Term], static: frozenset[str]) -> None:
    if len(real) < len(summands):
        raise CompileError(f"{name} adds the real input to spikes; on a chip real input can only drive a first layer.")
    if any(term.source not in static for term in real):
        raise CompileError(
            f"{name} reads a real input that changes from step to step, which a bias register cannot follow; "
            "use a direct encoder, or spikes as input (input_type='binary')."
        )


def _host(graph: Graph, node: Node, shape: tuple[int, ...], limits: _Chip, built: _Built, scale: float) -> str:
    """Copy the real layers and round what they give the neuron."""
    for host_node in _ancestors(graph, node.inputs[0]):
        built.add(host_node, graph.shape(host_node.output))
    attributes = {"scale": scale, "exponent": HOST_EXPONENT, "mantissa_limit": limits.mantissa}
    name = f"{node.name}.bias"
    return built.add(Node(name, "bias_current", node.inputs[:1], (name,), attributes), shape)


def _ancestors(graph: Graph, signal: str) -> list[Node]:
    wanted, found = {signal}, []
    for node in reversed(graph.nodes):
        if wanted & set(node.outputs):
            found.append(node)
            wanted.update(node.inputs)
    return found[::-1]


def _weights(term: Term) -> Tensor:
    layer = term.layer
    return torch.ones(1, dtype=torch.float64) if layer is None else layer.parameters["weight"]


def _scale(
    graph: Graph, name: str, summands: tuple[Term, ...], gain: float, limits: _Chip, threshold: float | None
) -> float:
    """Return the largest scale at which no weight, threshold or sum leaves its range."""
    magnitudes = [float(_weights(term).abs().max()) * gain for term in summands]
    if not all(magnitudes):
        raise CompileError(f"{name} is fed by a layer whose weights are all zero.")
    by_weights = WEIGHT_LIMIT / min(magnitudes)
    by_exponent = min(WEIGHT_LIMIT * 2**7 / m for m in magnitudes)
    reach = sum(_largest_sum(term) for term in summands) * gain
    steps = 1 if threshold is not None else graph.timesteps
    # Room for the rounding of every weight up and for the bias' own rounding.
    by_sum = (limits.state / 2**limits.shift) * 0.98 / (reach * steps)
    bounds = [by_weights, by_exponent, by_sum]
    if threshold is None:
        return float(min(bounds))
    scale = min([*bounds, limits.threshold / threshold])
    if round(threshold * scale) < 1:
        raise CompileError(f"{name}: its weights are so large that its threshold would round to 0.")
    return float(round(threshold * scale) / threshold)


def _largest_sum(term: Term) -> float:
    """Largest |current| one neuron can get from this term when every source fires."""
    layer = term.layer
    if layer is None:
        return 1.0
    sums = layer.parameters["weight"].abs().flatten(1).sum(1)
    if "bias" in layer.parameters:
        sums = sums + layer.parameters["bias"].abs()
    return float(sums.max())


def _current(
    graph: Graph, name: str, summands: tuple[Term, ...], scale: float, shape: tuple[int, ...], built: _Built
) -> str:
    """Add the quantised layers that feed a neuron and their sum; return the sum's signal."""
    total = ""
    for index, term in enumerate(summands):
        signal = term.source
        for node in term.path:
            signal = built.add(replace(_quantised(node, scale), inputs=(signal,)), graph.shape(node.output))
        if term.layer is None:
            weight, exponent = _integers(torch.ones((), dtype=torch.float64), scale)
            shortcut = f"{name}.shortcut{index}"
            attributes = {"weight_exponent": exponent}
            node = Node(shortcut, "scale", (signal,), (shortcut,), attributes, {"weight": weight})
            signal = built.add(node, shape)
        if total:
            joined = f"{name}.sum{index}"
            signal = built.add(Node(joined, "add", (total, signal), (joined,)), shape)
        total = signal
    return total


def _quantised(node: Node, scale: float) -> Node:
    if "weight" not in node.parameters:
        return node
    weight, exponent = _integers(node.parameters["weight"], scale)
    parameters = {"weight": weight}
    if "bias" in node.parameters:
        parameters["bias"] = split_bias(node.parameters["bias"] * scale)[1]
    return replace(node, attributes={**node.attributes, "weight_exponent": exponent}, parameters=parameters)


def _integers(weight: Tensor, scale: float) -> tuple[Tensor, int]:
    """Return even integers |m| ≤ 254 and the smallest exponent e ≥ 0 with m·2^e ≈ weight·scale."""
    scaled = weight * scale
    largest = float(scaled.abs().max())
    exponent = next((e for e in range(8) if largest <= (WEIGHT_LIMIT + 1) * 2**e), 7)
    return _even(scaled / 2**exponent), exponent


def _fixed(
    name: str, drive: str, kind: str, shape: tuple[int, ...], vth: int, scale: float, dv: int, built: _Built
) -> None:
    u, v = f"{name}.u", f"{name}.v"
    attributes = {"du": 4095, "dv": dv, "vth": vth, "scale": scale, "drive": kind}
    outputs = (name, f"{u}_next", f"{v}_next")
    built.add(Node(name, "lif_fixed", (drive, u, v), outputs, attributes), shape)
    for state in (u, v):
        built.signals[state] = Signal(state, shape)
        built.states.append(State(state, f"{state}_next", 0.0))


def _readout(graph: Graph, static: frozenset[str], limits: _Chip, built: _Built) -> str:
    """Add the population that integrates the outputs; return the signal of its membrane."""
    output = graph.outputs[0]
    summands = terms(graph, output, "the output")
    if any(not graph.type(term.source).is_event for term in summands):
        raise CompileError("the output reads the real input directly; a chip program needs a neuron layer in between.")
    shape = graph.shape(output)
    scale = _scale(graph, "the output", summands, 1.0, limits, None)
    drive = _current(graph, READOUT, summands, scale, shape, built)
    _fixed(READOUT, drive, "current", shape, limits.threshold, scale, 0, built)
    return f"{READOUT}.v_next"
