"""Check: everything that keeps a network off a chip, found before anything is compiled."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from compiler.capture import graph_of
from compiler.errors import CompileError
from compiler.graph import Graph
from compiler.lower import lower
from compiler.mapping import place
from compiler.operations import is_neuron
from compiler.passes import merge_linear, quantise, simplify
from compiler.passes.infer_signals import spike_driven
from hw import get_chip
from hw.chip import Chip


@dataclass(frozen=True)
class Violation:
    """One reason why a network does not fit: the ``layer``, what it ``need``s, and the chip's ``limit``."""

    layer: str
    need: str
    limit: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.need}; {self.limit}"


def check(model_or_graph: nn.Module | Graph, chip: str, example: Tensor | None = None) -> list[Violation]:
    """Return what keeps a network off ``chip``; an empty list means that it compiles.

    Args:
        model_or_graph: a module, captured with ``example``; or a graph.
        chip: name of a chip.
        example: one input of the right shape (needed for a module).

    Raises:
        CaptureError: the module holds an operator that graphs do not have.
    """
    silicon = get_chip(chip)
    graph = simplify(graph_of(model_or_graph, example))
    found = [*_neurons(graph, silicon), *_signals(graph, silicon)]
    if not found:
        found += _fits(graph, silicon)
    return found


def _neurons(graph: Graph, chip: Chip) -> list[Violation]:
    found = []
    for node in graph:
        if not is_neuron(node):
            continue
        if node.op not in chip.neurons:
            found.append(Violation(node.name, f"the neuron {node.op}", f"{chip.name} runs {', '.join(chip.neurons)}"))
            continue
        v_reset = node.attributes.get("v_reset")
        if v_reset is None:
            found.append(Violation(node.name, "a soft reset (v_reset=None)", f"{chip.name} resets to 0: use v_reset=0"))
        elif v_reset != 0.0:
            found.append(Violation(node.name, f"a reset to {v_reset}", f"{chip.name} resets to 0: use v_reset=0"))
    if not found and not any(is_neuron(node) for node in graph):
        found.append(Violation(graph.name, "a network without spikes", f"{chip.name} runs spiking networks"))
    return found


def _signals(graph: Graph, chip: Chip) -> list[Violation]:
    verdict = spike_driven(graph)
    if verdict.first_break is None:
        return []
    layer = verdict.first_break.split(" ")[0]
    return [Violation(layer, verdict.first_break, f"cores of {chip.name} add weights of spikes and multiply nothing")]


def _fits(graph: Graph, chip: Chip) -> list[Violation]:
    """Go through with it: quantise, lower and place, and report the first thing that is refused."""
    try:
        place(lower(quantise(merge_linear(graph), chip), chip), chip)
    except CompileError as error:
        layer, _, rest = str(error).partition(": ")
        if not rest:
            layer, rest = graph.name, str(error)
        need, _, limit = rest.partition("; ")
        return [Violation(layer, need, limit or f"see `snnkit chips {chip.name}`")]
    return []
