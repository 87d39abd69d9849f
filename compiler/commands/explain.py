"""What became of each layer on its way onto a chip: folded, merged or kept, on host or chip, and how rounded."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from compiler.graph import Graph, Node, is_neuron, is_synapse, operation
from compiler.program import Program
from snnkit.engine.progress import console, say

_SHOWN = ("synapse", "norm", "pool", "neuron", "activation", "product")


@dataclass(frozen=True)
class Fate:
    """What became of one operation of the network: ``becomes`` in words, ``where`` it runs ("host", "chip" or "")."""

    name: str
    op: str
    becomes: str
    where: str


def fates(captured: Graph, program: Program) -> list[Fate]:
    """Return the fate of every operation of a captured graph that weighs, averages, multiplies or fires."""
    simple, made = program.source_graph, program.graph
    kept, placed = {node.name: node for node in simple}, {node.name: node for node in made}
    stands = {str(node.attributes.get("layer")): node for node in made if node.attributes.get("layer")}
    host = {*program.host_layers, *(node.name for node in made if node.role == "host"), *_before(simple, placed)}
    decay = program.chip.numbers.get("decay_bits")
    unity = 2 ** int(decay.value) if decay else 0
    found = []
    for node in captured:
        if operation(node.op).kind not in _SHOWN:
            continue
        if node.name not in kept:
            into = _near(captured, node, lambda one: one.name in kept and is_synapse(one))
            text = f"folded into {into.name}" if into else "computed beforehand"
            where = "" if into is None else "host" if into.name in host else "chip"
            found.append(Fate(node.name, node.op, text, where))
        elif is_neuron(node):
            found.append(_neuron(node, stands.get(kept[node.name].output, placed.get(node.name)), host, unity))
        elif node.name in placed:
            when = "at every step" if node.name in program.host_operations else "once an image"
            found.append(_layer(node, placed[node.name], when if node.name in host else ""))
        else:
            found.append(_merged(simple, kept[node.name], placed))
    return found


def _near(graph: Graph, node: Node, wanted: Callable[[Node], bool]) -> Node | None:
    """The nearest node that is ``wanted``: among what feeds ``node`` first, then among what it feeds."""
    before = _search(node, lambda one: (graph.producer(name) for name in one.inputs), wanted)
    return before or _search(node, lambda one: (n for name in one.outputs for n in graph.consumers(name)), wanted)


def _search(
    node: Node, further: Callable[[Node], Iterator[Node | None]], wanted: Callable[[Node], bool]
) -> Node | None:
    waiting, seen = deque([node]), {node.name}
    while waiting:
        for one in further(waiting.popleft()):
            if one is None or one.name in seen:
                continue
            seen.add(one.name)
            if wanted(one):
                return one
            if not is_neuron(one):
                waiting.append(one)
    return None


def _before(simple: Graph, placed: dict[str, Node]) -> Iterator[str]:
    """What hangs on a constant real input alone, and is in the program as it was: the host computes it once."""
    static = simple.static_signals() if not simple.type(simple.inputs[0]).is_event else frozenset[str]()
    for node in simple:
        if node.output in static and node.name in placed:
            yield node.name


def _neuron(node: Node, made: Node | None, host: set[str], unity: int) -> Fate:
    if made is None:
        return Fate(node.name, node.op, "dropped: nothing depends on it", "")
    if made.name in host:
        return Fate(node.name, node.op, "as it is, in floating point, at every step", "host")
    a, said = made.attributes, []
    if "scale" in a:
        said.append(f"1 → {float(a['scale']):,.6g} units")
    if node.op == "lif" and unity and a.get("dv"):
        tau, given = unity / int(a["dv"]), _number(node, "tau")
        said.append(f"τ {given:g}" + ("" if math.isclose(tau, given) else f" → {tau:.6g}"))
    return Fate(node.name, node.op, ", ".join([made.op, *said]), "chip")


def _number(node: Node, name: str) -> float:
    value = node.parameters.get(name, node.attributes.get(name))
    return float("nan") if value is None else float(value.flatten()[0] if hasattr(value, "flatten") else value)


def _layer(node: Node, made: Node, on_host: str) -> Fate:
    """``on_host``: when the host does it, "" for what the chip does."""
    if on_host:
        return Fate(node.name, node.op, f"as it is, in floating point, {on_host}", "host")
    weight = made.parameters.get("weight")
    if weight is None:
        return Fate(node.name, node.op, made.op, "chip")
    exponent, zero = int(made.attributes.get("weight_exponent", 0)), int((weight == 0).sum())
    # Zeros are said where rounding made them: those of the network are its own.
    lost = zero - int((node.parameters["weight"] == 0).sum()) if "weight" in node.parameters else 0
    peak = float(weight.abs().max()) if weight.numel() else 0.0
    text = f"whole weights up to {peak:,.0f}" + (f" × 2^{exponent}" if exponent else "")
    return Fate(node.name, node.op, text + (f", {lost:,} rounded to 0" if lost > 0 else ""), "chip")


def _merged(simple: Graph, node: Node, placed: dict[str, Node]) -> Fate:
    into = _near(simple, node, lambda one: one.name in placed and is_synapse(one))
    if into is not None:
        return Fate(node.name, node.op, f"merged with {into.name}", "chip")
    reader = _search(node, lambda one: (n for s in one.outputs for n in simple.consumers(s)), is_neuron)
    name = reader.name if reader else "readout"
    done = "as synapses" if operation(node.op).kind == "pool" else "in the weights"
    return Fate(node.name, node.op, f"{done} of {name}", "chip")


def explain(captured: Graph, program: Program, description: dict[str, Any]) -> None:
    """Print what became of each layer, then of each population; ``description`` is the program's mapping as data."""
    table = Table("layer", "operation", "became", "on", box=None)
    table.columns[0].overflow = table.columns[2].overflow = "fold"
    for fate in fates(captured, program):
        table.add_row(fate.name, fate.op, fate.becomes, fate.where)
    console.print(table, soft_wrap=False)
    console.print()
    _populations(program, description.get("populations", []))
    for line in _sums(program, description):
        say(line)


def _populations(program: Program, populations: list[dict[str, Any]]) -> None:
    nodes = {node.name: node for node in program.graph if is_neuron(node)}
    table = Table("population", "kind", "delay", "weight bits", "scale", "rounding", box=None)
    table.columns[0].overflow = "fold"
    for column in table.columns[2:]:
        column.justify = "right"
    for one in populations:
        node = nodes.get(one["name"]) or nodes.get(one["name"].rpartition(".")[0])
        a = node.attributes if node is not None and one["kind"] != "relay" else {}
        scale, rounding = (f"{float(a[key]):.4g}" if key in a else "" for key in ("scale", "rounding"))
        table.add_row(one["name"], one["kind"], str(one["depth"]), f"{one['weight_bits'] or ''}", scale, rounding)
    if populations:
        console.print(table, soft_wrap=False)
        console.print()


def _sums(program: Program, description: dict[str, Any]) -> Iterator[str]:
    populations, steps = description.get("populations", []), description.get("steps")
    relays = [one for one in populations if one["kind"] == "relay"]
    if populations:
        yield "delay: steps behind the network; a layer of synapses takes one"
        yield (
            "scale: whole numbers of one unit of the membrane; rounding: how far the current of a step can be from the "
            "float network's, in its unit, when both get the same spikes (0: nothing was rounded)"
        )
    if steps is not None:
        yield f"time: {program.graph.timesteps} steps of the network take {steps} of the chip"
    if relays:
        neurons = sum(one["neurons"] for one in relays)
        many = "population" if len(relays) == 1 else "populations"
        yield f"relays: {len(relays)} {many} of {neurons:,} neurons keep spikes of shortcuts until they are due"
    for name in program.host_operations:
        yield f"host: {name} is done between the steps"
