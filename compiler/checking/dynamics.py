"""Dynamics: the neurons of each layer, what arrives there, and what lies between two layers, against a chip's.

For chips that are described only. Chips that programs are made for have rules of their own (their target's ``legal``).
"""

from __future__ import annotations

from compiler.checking.findings import Findings
from compiler.checking.needs import Layer
from compiler.checking.rewrites import between, chips_with, either, other_neuron, other_reset, threshold_for_all
from compiler.graph import Node, is_neuron, operation
from compiler.targets.target import not_finite, starts_elsewhere
from hw.chip import Chip
from snnkit.neurons import NO_RESET

_RESETS = {"soft": "a soft reset (v_reset=None)", "none": "a membrane that spikes leave as it is", "hard": "a reset"}


def reset_of(node: Node) -> tuple[str, float | None]:
    """Return a neuron's kind of reset ("" where it has none to choose) and the value that a hard one leaves."""
    if "v_reset" not in node.attributes and "v_reset" not in node.parameters:
        return "", None
    given = node.parameters.get("v_reset", node.attributes.get("v_reset"))
    if given is None:
        return "soft", None
    value = float(given if isinstance(given, float | int) else given.flatten()[0])
    return ("none", None) if value == NO_RESET else ("hard", value)


def check_dynamics(found: Findings) -> None:
    """Hold every neuron, its constants and whatever feeds it against a chip."""
    graph, chip = found.graph, found.chip
    found.violations += not_finite(graph)
    if not any(is_neuron(node) for node in graph):
        found.wrong(
            graph.name,
            "to run without spikes",
            f"{chip.name} runs spiking networks",
            "unspiking",
            "snnkit convert makes a spiking network of an ordinary one",
        )
        return
    if not chip.neurons:
        found.unknown(f"which neurons {chip.name} runs")
    if not chip.resets:
        found.unknown(f"which resets {chip.name} has")
    for layer in found.layers:
        if layer.neuron is not None:
            _neuron(found, layer.neuron)
        _fed(found, layer)


def _neuron(found: Findings, node: Node) -> None:
    chip = found.chip
    found.violations += starts_elsewhere(found.graph, node, chip)
    if chip.neurons and node.op not in chip.neurons and "any" not in chip.neurons:
        runs = f"{chip.name} runs {', '.join(chip.neurons)}"
        found.wrong(node.name, f"the neuron {node.op}", runs, "neuron", other_neuron(chip, node.op))
        return
    many = [name for name, value in node.parameters.items() if value.numel() > 1]
    if many and chip.layers is not None:
        limit = f"a core of {chip.name} has one of each"
        found.wrong(node.name, f"{' and '.join(many)} for each channel", limit, "constants", threshold_for_all(node))
    if chip.resets:
        _reset(found, node, chip)


def _reset(found: Findings, node: Node, chip: Chip) -> None:
    kind, value = reset_of(node)
    if not kind:
        return
    wanted = chip.reset_value
    only = f"{chip.name} resets {' or '.join(chip.resets)}{'' if wanted is None else f', to {wanted:g}'}"
    if kind not in chip.resets:
        found.wrong(node.name, _RESETS[kind], only, "reset", other_reset(chip, kind))
    elif kind == "hard" and wanted is not None and value != wanted:
        found.wrong(node.name, f"a reset to {value:g}", only, "reset", f"v_reset={wanted:g}")


def _fed(found: Findings, layer: Layer) -> None:
    """What arrives must be events, through operations that synapses do."""
    chip = found.chip
    for node in layer.nodes:
        kind = operation(node.op)
        fine = kind.kind in ("synapse", "move", "constant") or (kind.kind == "pool" and kind.linear)
        if fine or node.op in ("add", "sub", "neg") or _divides(found, node):
            continue
        need = f"{node.name} ({node.op}) before it"
        limit = f"{chip.name} adds weights of events and has no such operation"
        found.wrong(layer.name, need, limit, "between", between(node.op, chip))
    for source in layer.sources:
        _source(found, layer, source)


def _divides(found: Findings, node: Node) -> bool:
    by = found.graph.producer(node.inputs[1]) if node.op == "div" else None
    return by is not None and by.op == "constant"


def _source(found: Findings, layer: Layer, source: str) -> None:
    graph, chip = found.graph, found.chip
    kind = graph.type(source)
    if source in graph.inputs:
        if not kind.is_event:
            first = "an encoder that sends spikes (--input-type binary), or an event camera"
            limit = f"{chip.name} takes events, and its host computes no layer"
            found.wrong(layer.name, f"the real input {source!r}", limit, "input", first)
        elif kind.low < 0:
            limit = f"events of {chip.name} have no sign"
            found.wrong(layer.name, f"events {kind} of {source}", limit, "levels", "two channels, one for each sign")
    elif graph.producer(source) is None:
        _loop(found, layer, source)
    else:
        _levels(found, layer, source)


def _levels(found: Findings, layer: Layer, source: str) -> None:
    kind, chip = found.graph.type(source), found.chip
    if not kind.is_event:
        limit = f"{chip.name} sends events"
        found.wrong(layer.name, f"the real signal {source!r}", limit, "levels", "a neuron that spikes")
    elif kind.low < 0 or kind.magnitude > 1:
        most = (chip.layers.spikes_per_step if chip.layers else None) or chip.numbers.get("neuron_spikes_per_step")
        if kind.low >= 0 and most is not None and kind.magnitude <= most.value:
            return
        if "payload_bits" in chip.numbers:
            bits = int(chip.numbers["payload_bits"].value) - (kind.low < 0)
            if kind.magnitude < 2**bits:
                return
        steps = found.graph.timesteps
        spread = f"timesteps {steps} → {steps * kind.magnitude} with spikes of 0 and 1" if kind.low >= 0 else ""
        held = f"a neuron of {chip.name} sends {f'up to {most.value:g} spikes' if most else 'one spike'} a step"
        graded = chips_with(lambda one: "payload_bits" in one.numbers, chip.name)
        found.wrong(layer.name, f"events {kind} of {source}", held, "levels", either(spread, graded))


def _loop(found: Findings, layer: Layer, source: str) -> None:
    loops = found.chip.layers.loops if found.chip.layers else None
    if loops is False:
        limit = f"{found.chip.name} is feed-forward"
        rewrite = either("the layer without feedback", chips_with(_loops, found.chip.name))
        found.wrong(layer.name, f"what was there in the step before ({source})", limit, "loops", rewrite)
    elif loops is None:
        found.unknown(f"whether {found.chip.name} has loops and delays ({layer.name} reads the step before)")


def _loops(chip: Chip) -> bool:
    return bool(chip.layers and chip.layers.loops)
