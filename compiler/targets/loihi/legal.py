"""Legal: everything that keeps a graph off a chip and shows before any number is chosen.

Neurons, their resets and constants, what feeds them, and what the network reads and writes: all found, not only the
first.
"""

from __future__ import annotations

import torch

from compiler.analysis.currents import Term, terms
from compiler.errors import CompileError, Violation
from compiler.graph import BINARY, Graph, Node, is_neuron
from compiler.targets.loihi.formats import Formats
from compiler.targets.loihi.quantise import leak
from hw.chip import Chip
from snnkit.neurons import NO_RESET


def legal(graph: Graph, chip: Chip) -> list[Violation]:
    """Return what a simplified graph asks of ``chip`` that it has not; an empty list says nothing about cores."""
    found = [*_ends(graph, chip), *_finite(graph)]
    neurons = [node for node in graph if is_neuron(node)]
    if not neurons:
        limit = f"{chip.name} runs spiking networks"
        return [*found, Violation(graph.name, "to run without spikes", limit)]
    for node in neurons:
        found += _neuron(node, chip)
    static = graph.static_signals()
    for node in neurons:
        if node.inputs[0] not in static:
            found += _fed(graph, node.inputs[0], node.name, chip, static)
    for output in graph.outputs:
        found += _fed(graph, output, "the output", chip, static)
    return found or _size(graph, neurons, chip)


def _size(graph: Graph, neurons: list[Node], chip: Chip) -> list[Violation]:
    """What has more neurons than the chip is refused before its synapses are unrolled, which would take long."""
    sizes = sorted(((graph.signals[node.output].size, node.name) for node in neurons), reverse=True)
    total, room = sum(size for size, _ in sizes), int(chip.cores.value * chip.core.neurons.value)
    if total <= room:
        return []
    largest = ", ".join(f"{name} {size:,}" for size, name in sizes[:3])
    limit = f"{chip.name} has {room:,}; the largest layers: {largest}. Make these narrower, or lower the image size"
    return [Violation("the network", f"{total:,} neurons", limit)]


def _ends(graph: Graph, chip: Chip) -> list[Violation]:
    if len(graph.inputs) == len(graph.outputs) == 1:
        return []
    need = f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs"
    return [Violation(graph.name, need, f"a program for {chip.name} has one of each")]


def _finite(graph: Graph) -> list[Violation]:
    wrong = [
        f"{node.name}.{name}"
        for node in graph
        for name, value in node.parameters.items()
        if value.is_floating_point() and not bool(torch.isfinite(value).all())
    ]
    return [Violation(name, "numbers that are not finite", "weights are finite; train again") for name in wrong]


def _neuron(node: Node, chip: Chip) -> list[Violation]:
    if node.op not in chip.neurons:
        return [Violation(node.name, f"the neuron {node.op}", f"{chip.name} runs {', '.join(chip.neurons)}")]
    many = [name for name, value in node.parameters.items() if value.numel() > 1]
    if many:
        limit = f"a population of {chip.name} has one of each; give the layer one value"
        return [Violation(node.name, f"{' and '.join(many)} for each channel", limit)]
    return [*_reset(node, chip), *_decay(node, chip)]


def _reset(node: Node, chip: Chip) -> list[Violation]:
    given = node.parameters.get("v_reset", node.attributes.get("v_reset"))
    value = None if given is None else float(given)
    kind = "soft" if value is None else "none" if value == NO_RESET else "hard"
    wanted = chip.reset_value
    only = f"{chip.name} resets {' or '.join(chip.resets)}{'' if wanted is None else f', to {wanted:g}'}"
    advice = "" if "hard" not in chip.resets else f": use v_reset={0 if wanted is None else wanted:g}"
    if kind not in chip.resets:
        named = {
            "soft": "a soft reset (v_reset=None)",
            "none": "a membrane that spikes leave as it is",
            "hard": "a reset",
        }
        return [Violation(node.name, named[kind], only + advice)]
    if kind == "hard" and wanted is not None and value != wanted:
        return [Violation(node.name, f"a reset to {value:g}", only + advice)]
    return []


def _decay(node: Node, chip: Chip) -> list[Violation]:
    formats = Formats.of(chip)
    _, dv = leak(node, formats)
    if 0 <= dv < formats.unity:
        return []
    limit = f"{chip.name} keeps at least 1/{formats.unity} of it; use a larger tau"
    return [Violation(node.name, "a membrane that forgets everything at each step", limit)]


def _fed(graph: Graph, signal: str, reader: str, chip: Chip, static: frozenset[str]) -> list[Violation]:
    """What feeds a neuron or output must be spikes, through sets of synapses."""
    try:
        found = terms(graph, signal, reader, chip.name)
    except CompileError as error:
        return list(error.violations)
    violations = []
    for term in {term.source: term for term in found}.values():
        kind = graph.type(term.source)
        if kind != BINARY:
            violations.append(_not_spikes(graph, term, reader, chip, static))
        elif term.source not in graph.inputs and graph.producer(term.source) is None:
            limit = f"programs for {chip.name} pass spikes on within a step only, without loops"
            violations.append(Violation(reader, f"spikes of the step before ({term.source})", limit))
    return violations


def _not_spikes(graph: Graph, term: Term, reader: str, chip: Chip, static: frozenset[str]) -> Violation:
    kind, source = graph.type(term.source), term.source
    if kind.is_event:
        return Violation(reader, f"events {kind} of {source}", f"{chip.name} sends single spikes, 0 or 1")
    if source not in graph.inputs:
        limit = f"cores of {chip.name} add weights of spikes and multiply nothing"
        return Violation(reader, f"the real signal {source!r}", limit)
    if source in static:
        limit = f"on {chip.name} real input can only drive a first layer; put a neuron between"
        return Violation(reader, "the real input together with spikes", limit)
    limit = f"a bias register of {chip.name} holds one value; use a direct encoder, or spikes (input_type='binary')"
    return Violation(reader, "a real input that changes from step to step", limit)
