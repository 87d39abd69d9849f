"""Legal: everything that keeps a graph off Catalyst N1 and shows before any number is chosen."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.analysis.currents import Term, terms
from compiler.errors import CompileError, Violation
from compiler.graph import BINARY, Graph, Node, is_neuron
from compiler.targets.catalyst_n1 import arithmetic
from compiler.targets.loihi.constants import number
from compiler.targets.loihi.plan import fixed_signals
from compiler.targets.target import Options, not_finite, one_of_each, starts_elsewhere
from hw.chip import Chip
from snnkit.neurons import NO_RESET

DROPS = "drops"
"""The loss that may be allowed: spikes and packets for which a step has no room."""
LOSSES = (DROPS,)


def static_signals(graph: Graph) -> frozenset[str]:
    """Return the signals that the host computes once from a constant input; stored numbers are not among them."""
    return graph.static_signals() - fixed_signals(graph)


def legal(graph: Graph, chip: Chip, options: Options) -> list[Violation]:
    """Return what a simplified graph asks of ``chip`` that it has not; an empty list says nothing about cores."""
    found = [*one_of_each(graph, chip), *not_finite(graph)]
    neurons = [node for node in graph if is_neuron(node)]
    if not neurons:
        return [*found, Violation(graph.name, "to run without spikes", f"{chip.name} runs spiking networks")]
    static = static_signals(graph)
    for node in neurons:
        found += [*_neuron(node, chip), *starts_elsewhere(graph, node, chip)]
        if node.inputs[0] not in static:
            found += _fed(graph, node.inputs[0], node.name, chip, static)
    found += _fed(graph, graph.outputs[0], "the output", chip, static)
    return [*found, *_size(graph, neurons, chip)]


def disagreement(chip: Chip) -> str | None:
    """Return where a chip's numbers contradict the arithmetic, None where they agree or are smaller."""
    most = {
        "current_bits": arithmetic.STATE_BITS,
        "state_bits": arithmetic.WORD_BITS,
        "threshold_bits": arithmetic.WORD_BITS,
        "weight_bits": arithmetic.WORD_BITS,
        "decay_bits": arithmetic.DECAY_BITS,
    }
    for name, bits in most.items():
        if name in chip.numbers and chip.number(name).value != bits:
            return f"{chip.name} has {name} {chip.number(name).value:g}, {arithmetic.SEMANTICS} has {bits}"
    return None


def _neuron(node: Node, chip: Chip) -> Iterator[Violation]:
    if node.op not in chip.neurons:
        limit = f"{chip.name} runs {', '.join(chip.neurons)}"
        yield Violation(node.name, f"the neuron {node.op}", limit, "use LIF or IF neurons", "neuron")
        return
    many = [name for name, value in node.parameters.items() if value.numel() > 1]
    if many:
        limit = f"programs for {chip.name} give a layer one value of each"
        yield Violation(
            node.name, f"{' and '.join(many)} for each channel", limit, "give the layer one value", "neuron"
        )
        return
    given = node.parameters.get("v_reset", node.attributes.get("v_reset"))
    if given is None or float(given) != 0.0:
        need = "a soft reset (v_reset=None)" if given is None else f"a reset to {float(given):g}"
        if given is not None and float(given) == NO_RESET:
            need = "a membrane that spikes leave as it is"
        limit = f"membranes of {chip.name} start where they are reset to: use v_reset=0"
        yield Violation(node.name, need, limit, "use v_reset=0", "reset")
    if node.op == "lif" and not 1 <= decay_of(node) < 1 << arithmetic.DECAY_BITS:
        limit = f"decays of {chip.name} are 1 to 4,095 of 4,096: use a tau above 1 and below 8,192"
        yield Violation(node.name, f"tau={number(node, 'tau'):g}", limit, "use a tau between 1 and 8,192", "decay")


def decay_of(node: Node) -> int:
    """Return what a leaky neuron's membrane loses in a step, of 4,096."""
    return round((1 << arithmetic.DECAY_BITS) / number(node, "tau"))


def _fed(graph: Graph, signal: str, reader: str, chip: Chip, static: frozenset[str]) -> list[Violation]:
    """What feeds a population must be spikes, through sets of synapses."""
    try:
        found = terms(graph, signal, reader, chip.name, static)
    except CompileError as error:
        return list(error.violations)
    different = {term.source: term for term in found}.values()
    return [_not_spikes(graph, t, reader, chip, static) for t in different if _wrong(graph, t, static)]


def _wrong(graph: Graph, term: Term, static: frozenset[str]) -> bool:
    return term.source in static or graph.type(term.source) != BINARY


def _not_spikes(graph: Graph, term: Term, reader: str, chip: Chip, static: frozenset[str]) -> Violation:
    kind, source = graph.type(term.source), term.source
    if source in static:
        limit = f"on {chip.name} a real input drives a first layer by itself; put a neuron between"
        return Violation(reader, f"the real input ({source!r}) together with spikes", limit)
    if source in graph.inputs and not kind.is_event:
        limit = "use a direct encoder, or spikes (input_type='binary')"
        return Violation(reader, "a real input that changes from step to step", f"{chip.name} adds spikes; {limit}")
    return Violation(reader, f"{kind} values of {source!r}", f"{chip.name} sends single spikes, 0 or 1")


def _size(graph: Graph, neurons: list[Node], chip: Chip) -> list[Violation]:
    """What has more neurons than the chip is refused before its synapses are unrolled, which would take long."""
    sizes = sorted(((graph.signals[node.output].size, node.name) for node in neurons), reverse=True)
    total = sum(size for size, _ in sizes)
    room = int(chip.number("cores").value * chip.number("neurons_per_core").value)
    if total <= room:
        return []
    largest = ", ".join(f"{name} {size:,}" for size, name in sizes[:3])
    limit = f"{chip.name} has {room:,}; the largest layers: {largest}. Make these narrower, or lower the image size"
    rewrite = "make the largest layers narrower, or lower the image size"
    return [Violation("the network", f"{total:,} neurons", limit, rewrite, "neurons", total, room)]
