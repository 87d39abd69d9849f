"""Legal: everything that keeps a graph off a chip and shows before any number is chosen.

Neurons, their resets and constants, what feeds them, and what the network reads and writes: all found, not only the
first.
"""

from __future__ import annotations

import contextlib

from compiler.analysis.currents import Term, terms
from compiler.errors import CompileError, Violation
from compiler.graph import Graph, Node, is_neuron, is_synapse
from compiler.targets.loihi.constants import leak, reset_of
from compiler.targets.loihi.formats import Formats
from compiler.targets.loihi.links import link_of
from compiler.targets.loihi.plan import PRODUCTS, Plan, single_spikes
from compiler.targets.loihi.sizes import Read, float_synapses_beyond, further_beyond, neurons_beyond
from compiler.targets.target import Options, not_finite, one_of_each, starts_elsewhere
from hw.chip import Chip

EXPANDED = ("multi_spike",)
"""Neurons that become several of the chip's own: one a level, since they have no memory."""


def planned(graph: Graph, chip: Chip, options: Options) -> Plan:
    """Return who computes what of a simplified graph on ``chip``."""
    has = {node.name: not _neuron(node, chip) for node in graph if is_neuron(node)}
    return Plan.of(graph, chip, options, has)


def legal(graph: Graph, chip: Chip, options: Options | None = None) -> list[Violation]:
    """Return what a simplified graph asks of ``chip`` that it has not; an empty list says nothing about cores."""
    found = [*one_of_each(graph, chip), *not_finite(graph)]
    neurons = [node for node in graph if is_neuron(node)]
    if not neurons:
        limit = f"{chip.name} runs spiking networks"
        return [*found, Violation(graph.name, "to run without spikes", limit)]
    plan = planned(graph, chip, options or Options())
    kept = [node for node in neurons if node.name not in plan.host]
    for node in kept:
        found += [*_neuron(node, chip), *starts_elsewhere(graph, node, chip)]
    lost = _products(graph, chip, plan)
    for node in kept:
        if node.inputs[0] not in plan.static:
            found += _fed(graph, node.inputs[0], node.name, chip, plan, lost)
    for output in graph.outputs:
        found += _fed(graph, output, "the output", chip, plan, lost)
    found += lost.values()
    return [*found, *_size(graph, kept, chip, plan, not found)]


def _products(graph: Graph, chip: Chip, plan: Plan) -> dict[str, Violation]:
    """Products of two signals that nobody computes, by their output, each with what would do."""
    found = {}
    placed = {*plan.gates, *plan.products}
    for node in graph:
        if node.op not in PRODUCTS or node.output in placed or node.name in plan.host:
            continue
        if node.output in plan.static or node.output in plan.hosted:
            continue
        makers = [graph.producer(name) for name in node.inputs]
        if any(maker is not None and maker.op == "constant" for maker in makers):
            continue
        kinds = " × ".join(str(graph.type(name)) for name in node.inputs)
        gates = _and_gates(graph, node)
        need = f"a product of two signals ({kinds})" + (f", {gates:,} AND gates if they were spikes" if gates else "")
        limit = (
            f"{chip.name} adds weights of spikes; a mask of spikes (SDSA-1) is AND gates and exact, loihi2 and mesh "
            'multiply events, or leave it to the host (host="auto")'
        )
        found[node.output] = Violation(node.name, need, limit)
    return found


def _and_gates(graph: Graph, node: Node) -> int:
    """How many pairs of values a product of matrices multiplies; 0 for another one."""
    if node.op != "matmul":
        return 0
    return graph.signals[node.output].size * graph.shape(node.inputs[0])[-1]


def _size(graph: Graph, neurons: list[Node], chip: Chip, plan: Plan, fine: bool) -> list[Violation]:
    """What is larger than the chip, found before numbers are chosen and synapses unrolled.

    ``fine``: whether nothing else was found; else only what is far too large is told.
    """
    if beyond := neurons_beyond(graph, neurons, chip):
        return further_beyond(graph, neurons, beyond, chip, plan.stops)
    return float_synapses_beyond(graph, _reads(graph, neurons, chip, plan, fine), chip, plan.stops)


def _reads(graph: Graph, neurons: list[Node], chip: Chip, plan: Plan, fine: bool) -> list[Read]:
    """Return the layers that a spike passes by itself on its way to each population and to the outputs."""
    ends = [(node.name, node, node.inputs[0]) for node in neurons if node.inputs[0] not in plan.static]
    reads = []
    for name, node, signal in [*ends, *(("the output", None, output) for output in graph.outputs)]:
        links, whole = [], fine
        with contextlib.suppress(CompileError):  # said already, or raised by quantising
            for term in terms(graph, signal, name, chip.name, plan.stops):
                weighing = [hop for hop in term.path if hop.weighs]
                spikes = term.source not in {*plan.static, *plan.hosted}
                if not spikes or len(weighing) != 1 or not is_synapse(weighing[0].node):
                    whole = False
                    continue
                try:
                    links.append(link_of(graph, term, graph.shape(signal), name, chip.name))
                except CompileError:
                    whole = False
        reads.append(Read(name, node, signal, tuple(links), whole))
    return reads


def _neuron(node: Node, chip: Chip) -> list[Violation]:
    if node.op not in chip.neurons and node.op not in EXPANDED:
        return [Violation(node.name, f"the neuron {node.op}", f"{chip.name} runs {', '.join(chip.neurons)}")]
    many = [name for name, value in node.parameters.items() if value.numel() > 1]
    if many:
        limit = f"a population of {chip.name} has one of each; give the layer one value"
        return [Violation(node.name, f"{' and '.join(many)} for each channel", limit)]
    return [*_reset(node, chip), *_decay(node, chip)]


def _reset(node: Node, chip: Chip) -> list[Violation]:
    kind, value = reset_of(node)
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
    if kind == "hard" and value != (0.0 if wanted is None else wanted):
        return [Violation(node.name, f"a reset to {value:g}", only + advice)]
    return []


def _decay(node: Node, chip: Chip) -> list[Violation]:
    formats = Formats.of(chip)
    _, dv = leak(node, formats)
    if 0 <= dv < formats.unity or formats.graded:
        return []
    limit = f"{chip.name} keeps at least 1/{formats.unity} of it; use a larger tau"
    return [Violation(node.name, "a membrane that forgets everything at each step", limit)]


def _fed(graph: Graph, signal: str, reader: str, chip: Chip, plan: Plan, lost: dict[str, Violation]) -> list[Violation]:
    """What feeds a neuron or output must be spikes, through sets of synapses."""
    try:
        found = terms(graph, signal, reader, chip.name, {*plan.stops, *lost})
    except CompileError as error:
        return list(error.violations)
    violations = []
    for term in {term.source: term for term in found}.values():
        if term.source in lost or (term.source in {*plan.static, *plan.hosted} and reader != "the output"):
            continue
        if not _carried(graph, term, chip):
            violations.append(_not_spikes(graph, term, reader, chip))
    return violations


def _carried(graph: Graph, term: Term, chip: Chip) -> bool:
    """Whether an event of the chip carries a source."""
    kind, maker = graph.type(term.source), graph.producer(term.source)
    if maker is not None and maker.op in EXPANDED and maker.op not in chip.neurons:
        return True
    if not kind.is_event or not chip.arithmetic.payload_bits:
        return single_spikes(kind)
    return bool(kind.magnitude < 2 ** (chip.arithmetic.payload_bits - 1))


def _not_spikes(graph: Graph, term: Term, reader: str, chip: Chip) -> Violation:
    kind, source = graph.type(term.source), term.source
    if kind.is_event:
        bits = chip.arithmetic.payload_bits
        sends = f"sends events of {bits} bits" if bits else "sends single spikes, 0 or 1"
        return Violation(reader, f"events {kind} of {source}", f"{chip.name} {sends}")
    if source not in graph.inputs:
        limit = f"cores of {chip.name} add weights of spikes and multiply nothing"
        return Violation(reader, f"the real signal {source!r}", limit)
    if reader == "the output":
        limit = f"on {chip.name} real input can only drive a first layer; put a neuron between"
        return Violation(reader, "the real input together with spikes", limit)
    limit = (
        f"a bias register of {chip.name} holds one value; use a direct encoder, or spikes (input_type='binary'), or "
        'let the host run the first neurons at every step (host="auto")'
    )
    return Violation(reader, "a real input that changes from step to step", limit)
