"""Write: a network → the configuration of a Speck's cores.

Each layer has one scale for weights, bias and threshold, as the chip adds them up in one membrane:

    w_int = round(w · s)    b_int = round(b · s)    θ_int = θ · s, a whole number

s is the largest at which weights and biases fit their bits (8 with sign, biases too, as sinabs has it) and the
threshold the membrane's (16). A power of two that rounds nothing is taken where there is one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from compiler.checking import described
from compiler.checking.cores import CoreLayer, bias_of, feeds, has_cores, neuron_of
from compiler.checking.findings import Findings
from compiler.checking.needs import between
from compiler.errors import CompileError, Violation
from compiler.exchange.speck.configuration import Configuration, Core, Destination, Input
from compiler.graph import Graph
from compiler.passes import simplify
from compiler.program import Program
from hw import get_chip, list_chips
from hw.chip import Chip
from snnkit.files import write_json


def write(program_or_graph: Program | Graph, path: str | Path, chip: str = "speck") -> Configuration:
    """Write the configuration of a network for ``chip`` as JSON and return it.

    Args:
        program_or_graph: of a program its floating-point network is taken.
        path: of the file, written whole or not at all.
        chip: a chip whose cores take one layer each.

    Raises:
        CompileError: it does not fit; its ``violations`` say what, each with layer, need, limit and a rewrite.
        DiskError: the file could not be written.
    """
    graph = program_or_graph.source_graph if isinstance(program_or_graph, Program) else program_or_graph
    made = configure(graph, chip)
    write_json(Path(path), made.to_dict())
    return made


def configure(graph: Graph, chip: str = "speck") -> Configuration:
    """Return the configuration of a graph for ``chip``.

    Raises:
        CompileError: it does not fit; its ``violations`` say what, each with layer, need, limit and a rewrite.
    """
    graph, silicon = simplify(graph).double(), get_chip(chip)
    if not has_cores(silicon.layers):
        able = " or ".join(name for name in list_chips() if has_cores(get_chip(name).layers))
        limit = (
            f"cores of {silicon.name} are not programmed layer by layer; those of {able} are, and `snnkit check "
            f"--chip {able}` says whether a network fits"
        )
        raise CompileError(Violation(graph.name, "a configuration of cores", limit, f"--chip {able}"))
    report = described(graph, silicon)
    if report.violations:
        raise CompileError(*report.violations)
    numbers = dict(report.cores)
    layers, found = report.core_layers, Findings(graph, report.layers, silicon)
    sends = feeds(layers, graph.inputs)

    def destinations(name: str) -> tuple[Destination, ...]:
        return tuple(Destination(numbers[to], to, pool) for to, pool in sends[name])

    cores = tuple(_core(found, layer, numbers[layer.name], destinations(layer.name)) for layer in layers)
    inputs = tuple(Input(n, graph.shape(n), str(graph.type(n)), destinations(n)) for n in graph.inputs)
    read = {layer.neuron.output: layer.name for layer in layers}
    outputs = tuple(dict.fromkeys(read[source] for source in _read_out(graph) if source in read))
    return Configuration(silicon.name, graph.name, graph.timesteps, inputs, cores, outputs)


def _read_out(graph: Graph) -> list[str]:
    """The neurons whose spikes the graph gives, and the counts so far to which its outputs add them, in order."""
    return [source for name in graph.outputs for source in reversed(between(graph, name)[1])]


def _core(found: Findings, layer: CoreLayer, number: int, destinations: tuple[Destination, ...]) -> Core:
    threshold, reset = neuron_of(layer)
    levels = max(found.graph.type(source).magnitude * pool**2 for source, pool in layer.sources)
    held = quantised(layer.name, layer.weights(), bias_of(found, layer), threshold, levels, found.chip)
    low = (held.weights.clamp(max=0).flatten(1).sum(1) * levels + held.biases.clamp(max=0)).min()
    return Core(
        name=layer.name,
        layer=layer.node.name,
        core=number,
        input_shape=layer.input_shape,
        output_shape=layer.output_shape,
        stride=layer.stride,
        padding=layer.padding,
        weights=held.weights,
        biases=held.biases,
        threshold_high=held.threshold,
        threshold_low=-(2 ** (_bits(found.chip, "state_bits") - 1)),
        return_to_zero=reset == "hard",
        destinations=destinations,
        scale=held.scale,
        rounding=held.rounding,
        lowest=int(low) * found.graph.timesteps,
        memory=layer.words(),
    )


def _bits(chip: Chip, key: str) -> int:
    return int(chip.number(key).value)


@dataclass(frozen=True, eq=False)
class Quantised:
    """A layer in whole numbers; ``rounding`` as in ``Core``."""

    weights: Tensor
    biases: Tensor
    threshold: int
    scale: float
    rounding: float


def quantised(name: str, weight: Tensor, bias: Tensor, threshold: float, levels: int, chip: Chip) -> Quantised:
    """Return weights (f, c, k, k), biases (f,) and threshold in the chip's whole numbers.

    ``levels``: the most events that one value of the map stands for in a step.

    Raises:
        CompileError: weights or biases are so much larger than the threshold that none is left of it.
    """
    held, states = 2 ** (_bits(chip, "weight_bits") - 1) - 1, 2 ** (_bits(chip, "state_bits") - 1) - 1
    peak = max(float(weight.abs().max()), float(bias.abs().max()))
    top = min(states / threshold, held / peak) if peak else states / threshold
    power = 2.0 ** math.floor(math.log2(top))
    exact = all(bool((x * power == (x * power).round()).all()) for x in (weight, bias, torch.tensor([threshold])))
    units = round(threshold * power) if exact else math.floor(threshold * top * (1 + 1e-12))
    if units < 1:
        need = f"weights and biases of up to {peak / threshold:,.4g} times its threshold"
        limit = f"weights of {chip.name} go to {held}, and a threshold takes at least one"
        rewrite = f"a threshold of {peak / held:.4g} or more, or weights below {threshold * held:.4g}"
        raise CompileError(Violation(name, need, limit, rewrite, "threshold", peak / threshold, held))
    scale = units / threshold
    whole, added = (weight * scale).round().clamp(-held, held), (bias * scale).round().clamp(-held, held)
    wrong = (whole / scale - weight).abs().flatten(1).sum(1) * levels + (added / scale - bias).abs()
    rounding = 0.0 if exact else float(wrong.max())
    return Quantised(whole.long(), added.long(), units, scale, rounding)
