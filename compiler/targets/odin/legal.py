"""Legal: everything that keeps a graph off ODIN or tinyODIN and shows before any weight is unrolled."""

from __future__ import annotations

import math

import torch

from compiler.analysis.currents import terms
from compiler.errors import CompileError, Violation
from compiler.graph import Graph, Node, is_neuron
from compiler.targets.odin.arithmetic import FORMATS, NEURONS
from compiler.targets.odin.quantise import READOUT, too_many
from compiler.targets.target import Options, not_finite, one_of_each, starts_elsewhere
from hw.chip import Chip
from snnkit.neurons import NO_RESET


def legal(graph: Graph, chip: Chip, options: Options) -> list[Violation]:
    """Return what a simplified graph asks of ``chip`` that it has not."""
    found = [*_ends(graph, chip), *not_finite(graph)]
    neurons = [node for node in graph if is_neuron(node)]
    if not neurons:
        return [*found, Violation(graph.name, "to run without spikes", f"{chip.name} runs spiking networks")]
    for node in neurons:
        found += [*_neuron(node, chip), *starts_elsewhere(graph, node, chip)]
    for signal, reader in [*((n.inputs[0], n.name) for n in neurons), *((out, READOUT) for out in graph.outputs)]:
        found += _fed(graph, signal, reader, chip)
    return [*found, *_size(graph, neurons, chip, not found)]


def disagreement(chip: Chip) -> str | None:
    """Return where a chip's numbers contradict the arithmetic that it names, None where they do not."""
    form = FORMATS[chip.semantics]
    widths = {
        "state_bits": form.state,
        "threshold_bits": form.threshold,
        "weight_bits": form.weight,
        "leak_bits": form.leak,
    }
    for name, (low, high) in widths.items():
        bits = (high - low).bit_length()
        if name in chip.numbers and chip.number(name).value != bits:
            return f"{name} is {chip.number(name).value:g}, {form.title} has {bits}"
    return None


def _ends(graph: Graph, chip: Chip) -> list[Violation]:
    found = one_of_each(graph, chip)
    for name in graph.inputs:
        kind = graph.type(name)
        if not kind.is_event or kind.low < 0 or kind.scale != 1:
            limit = f"{chip.name} takes events: spikes, or how many there are"
            rewrite = "encode the input as spikes and say so (input_type='binary')"
            found.append(Violation(name, f"{kind} input", f"{limit}; {rewrite}", rewrite, "input"))
    return found


def _neuron(node: Node, chip: Chip) -> list[Violation]:
    if node.op not in chip.neurons:
        need, limit = f"the neuron {node.op}", f"{chip.name} runs {', '.join(chip.neurons)}"
        if node.op == "lif":
            tau = node.parameters.get("tau", node.attributes.get("tau"))
            need = f"a membrane that decays by a factor at each step (lif, tau={float(torch.as_tensor(tau).max()):g})"
            limit = f"a leak of {chip.name} subtracts a constant"
        rewrite = "use IF neurons, which have no leak"
        return [Violation(node.name, need, f"{limit}; {rewrite}", rewrite, "neuron")]
    given = node.parameters.get("v_reset", node.attributes.get("v_reset"))
    if given is not None and bool((torch.as_tensor(given) == 0).all()):
        return []
    need = "a soft reset (v_reset=None)" if given is None else f"a reset to {float(torch.as_tensor(given).max()):g}"
    if given is not None and bool((torch.as_tensor(given) == NO_RESET).all()):
        need = "a membrane that spikes leave as it is"
    return [Violation(node.name, need, f"{chip.name} resets to 0: use v_reset=0", "use v_reset=0", "reset")]


def _fed(graph: Graph, signal: str, reader: str, chip: Chip) -> list[Violation]:
    """What feeds a population must be spikes, through sets of synapses."""
    try:
        found = terms(graph, signal, reader, chip.name)
    except CompileError as error:
        return list(error.violations)
    violations = []
    for term in {term.source: term for term in found}.values():
        kind = graph.type(term.source)
        if term.source not in graph.inputs and (not kind.is_event or kind.low < 0 or kind.scale != 1):
            violations.append(Violation(reader, f"{kind} values of {term.source}", f"{chip.name} sends spikes"))
    return violations


def _size(graph: Graph, neurons: list[Node], chip: Chip, fed: bool) -> list[Violation]:
    """Refuse what has more neurons, or (``fed``: where all are spikes) sources, than the chip, before unrolling any."""
    outputs = math.prod(graph.shape(graph.outputs[0]))
    sizes = {node.name: graph.signals[node.output].size for node in neurons} | {READOUT: outputs}
    sources = {}
    ends = [*((n.inputs[0], n.name) for n in neurons), (graph.outputs[0], READOUT)]
    for signal, reader in ends if fed else ():
        found = {(term.source, term.delay) for term in terms(graph, signal, reader, chip.name)}
        sources[reader] = sum(graph.signals[name].size for name, _ in found)
    counted = ((sizes, "neurons"), (sources, "rows of synapses"))
    return [too_many(chip, of, what) for of, what in counted if sum(of.values()) > NEURONS]
