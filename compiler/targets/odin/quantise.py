"""Quantise: a simplified graph → the same network as populations that take their events one after the other.

A neuron layer becomes ``if_sequential``: its weights as rows in the order in which they are sent, each neuron in units
of its own size (``weights``). A source that raises some membranes and lowers others gets two rows where the chip has
one sign for each row, and elsewhere as long as there are rows enough.

The output becomes a population of its own (``readout_sequential``). On a chip with signed membranes it only integrates,
if no T steps of spikes can bring it to the ends of its range. Else, and always where membranes have no sign, one neuron
gathers what raises an output and a second one what lowers it; each counts its own overflows as spikes, of which the
host keeps account.

What is lost against the float network is measured by ``Program.verify``: rounding; that a reset forgets what a membrane
had above the threshold, but not what comes later in the same step; and that membranes end: ODIN's at 0, tinyODIN's at
−2048, below which inhibition is forgotten. A population for which T steps of inhibition alone can go that far has no
bound on what is rounded. At the other end nothing is lost: no threshold lies above it, and a neuron there fires.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from compiler.analysis.currents import at_rest, terms, through
from compiler.errors import CompileError, Violation
from compiler.graph import Graph, GraphBuilder, Node, is_neuron
from compiler.targets.odin.arithmetic import FORMATS, NEURONS, Format
from compiler.targets.odin.operations import most_spikes
from compiler.targets.odin.weights import Rows, Whole, largest, ordered, signs_mixed, whole
from compiler.targets.target import Options
from hw.chip import Chip

READOUT = "readout"
"""The role and name of the population that the output is read from."""


@dataclass(frozen=True, eq=False)
class Fed:
    """What feeds a population: weights (N, S) from all ``sources`` one behind the other, and biases (N,).

    A source is a signal, and how many steps ago its values are from.
    """

    name: str
    sources: tuple[tuple[str, int], ...]
    weight: Tensor
    bias: Tensor


@dataclass(frozen=True, eq=False)
class Population:
    """A population in whole numbers: thresholds (N,) and rows of weights.

    ``whole`` is what the rows were made of; ``loss``: what spikes may lose of a step's sum in the mean, in
    its units.
    """

    fed: Fed
    whole: Whole
    threshold: Tensor
    rows: Rows
    loss: float = 0.0

    def sent(self, most: Mapping[str, Tensor]) -> Tensor:
        """Return how often each row comes in a step at most, from how often each source fires at most."""
        return _every(self.fed, most)[self.rows.source]

    def lowest(self, most: Mapping[str, Tensor], timesteps: int) -> float:
        """Return how low a membrane can come in all steps: all inhibition, and nothing else."""
        return timesteps * float((self.rows.weight.clamp(max=0) * self.sent(most)).sum(1).min())

    def rounding(self, most: Mapping[str, Tensor], timesteps: int, low: int) -> float:
        """Return how far a step's sum can be from the float network's, in its unit, from the same spikes.

        Infinite where signed membranes may end at ``low``, which forgets sums of other steps.
        """
        if low < 0 and self.lowest(most, timesteps) < low:
            return math.inf
        wrong = (self.whole.error * _every(self.fed, most)).sum(1)
        return float(wrong.max()) + self.loss / float(self.whole.scale.min())


def quantise(graph: Graph, chip: Chip, options: Options) -> Graph:
    """Return the integer graph of ``graph`` (simplified) for ``chip``; its output is what the readout stands for.

    Raises:
        CompileError: what has no place in the chip's numbers, neurons or rows (names the layer).
    """
    graph, form = graph.double(), FORMATS[chip.semantics]
    layers = {node.output: _layer(graph, node, form, chip) for node in graph if is_neuron(node)}
    out = _gathered(graph, graph.outputs[0], READOUT, chip)
    inputs = {name: torch.full((graph.signals[name].size,), float(graph.type(name).high)) for name in graph.inputs}
    inputs = {name: high.double() for name, high in inputs.items()}
    for split in (True, False) if form.weight[0] < 0 else (True,):
        made = {
            signal: Population(fed, found, threshold, ordered(form, found.weight, found.bias, split))
            for signal, (fed, found, threshold) in layers.items()
        }
        most = _most(graph, made, inputs)
        readout = _readout(form, graph, out, most, split)
        if sum(p.rows.weight.shape[1] for p in (*made.values(), readout)) <= NEURONS:
            break
    _check_size(chip, [*made.values(), readout])
    return _written(graph, chip, made, readout, most)


def _layer(graph: Graph, node: Node, form: Format, chip: Chip) -> tuple[Fed, Whole, Tensor]:
    """Gather what feeds a neuron layer; return it as it is and in whole numbers, and the thresholds."""
    fed = _gathered(graph, node.inputs[0], node.name, chip)
    given = node.parameters.get("v_threshold", node.attributes.get("v_threshold"))
    height = torch.as_tensor(given, dtype=torch.float64).expand(graph.shape(node.output)).reshape(-1)
    top = float(min(form.threshold[1], form.state[1]))
    found = whole(largest(form), fed.weight, fed.bias, top / height, 1 / height, shared=False)
    negative, positive = largest(form)
    scaled = fed.weight * found.scale[:, None]
    if bool(((scaled > positive + 0.5) | (scaled < -negative - 0.5)).any()):
        need = f"a weight of {float((fed.weight.abs().amax(1) / height).max()):,.4g} times its threshold"
        limit = f"a weight of {chip.name} is {-negative:g} to {positive:g} and a threshold at least 1"
        raise CompileError(Violation(node.name, need, limit, "raise the threshold, or scale the layer's weights down"))
    return fed, found, (height * found.scale * (1 - 1e-12)).ceil().clamp(1, top)


def _gathered(graph: Graph, signal: str, reader: str, chip: Chip) -> Fed:
    """Write all that is added up in ``signal`` as one matrix, from every source once."""
    target = graph.signals[signal].size
    found: dict[tuple[str, int], Tensor] = {}
    for term in terms(graph, signal, reader, chip.name):
        size = graph.signals[term.source].size
        basis = torch.eye(size, dtype=torch.float64).reshape(size, *graph.shape(term.source))
        columns = through(graph, term.path, basis).reshape(size, target).T * term.factor
        source = (term.source, term.delay)
        found[source] = found[source] + columns if source in found else columns
    weight = torch.cat(list(found.values()), 1) if found else torch.zeros(target, 0, dtype=torch.float64)
    return Fed(reader, tuple(found), weight, at_rest(graph, signal).reshape(-1).double())


def _most(graph: Graph, made: Mapping[str, Population], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return how often each neuron and input fires in one of T steps at most.

    Loops need as many rounds as there are steps: nothing comes back before the second.
    """
    most = dict(inputs) | {signal: torch.zeros_like(p.threshold) for signal, p in made.items()}
    loops = any(delay for p in made.values() for _, delay in p.fed.sources)
    for _ in range(graph.timesteps if loops else 1):
        for signal, p in made.items():
            most[signal] = most_spikes(p.rows.weight, p.threshold, p.sent(most)).clamp(max=2.0**40)
    return most


def _every(fed: Fed, most: Mapping[str, Tensor]) -> Tensor:
    """Put one behind the other how often all sources fire in a step at most; the last is the bias, once."""
    return torch.cat([*(most[name] for name, _ in fed.sources), torch.ones(1, dtype=torch.float64)])


def _readout(form: Format, graph: Graph, out: Fed, most: Mapping[str, Tensor], split: bool) -> Population:
    """Lay out the readout: one neuron for each output where it can never leave its range, else a pair where needed."""
    count, (low, high) = len(out.bias), form.state
    ends = torch.ones(count, dtype=torch.float64)
    found = whole(largest(form), out.weight, out.bias, 1e30 * ends, 1e-30 * ends, shared=True)
    single = Population(out, found, form.threshold[1] * ends, ordered(form, found.weight, found.bias, split))
    if low < 0:
        above = (single.rows.weight.clamp(min=0) * single.sent(most)).sum(1) * graph.timesteps
        if single.lowest(most, graph.timesteps) >= low and float(above.max()) <= high:
            return single
    positive = largest(form)[1]
    found = whole((positive, positive), out.weight, out.bias, 1e30 * ends, 1e-30 * ends, shared=True)
    weight, bias = found.weight, found.bias
    if bool((weight < 0).any() or (bias < 0).any()):
        weight = torch.cat([weight.clamp(min=0), (-weight).clamp(min=0)])
        bias = torch.cat([bias.clamp(min=0), (-bias).clamp(min=0)])
    rows = ordered(form, weight, bias, split)
    paired = Population(out, found, torch.full((len(bias),), float(high), dtype=torch.float64), rows)
    # A spike forgets what its last weight brought beyond the threshold.
    steps = rows.weight.amax(1) - 1 if rows.weight.numel() else torch.zeros(1)
    sums = (rows.weight * paired.sent(most)).sum(1) * graph.timesteps
    loss = (steps.clamp(min=0) * (sums / high).floor()).reshape(-1, count).sum(0) / graph.timesteps
    return Population(out, found, paired.threshold, rows, float(loss.max()))


def _written(
    graph: Graph, chip: Chip, made: Mapping[str, Population], readout: Population, most: Mapping[str, Tensor]
) -> Graph:
    """Write the populations as a graph."""
    builder = GraphBuilder.like(graph, f"{graph.name} on {chip.name}")
    signals = {(name, 0): name for name in graph.inputs}
    earlier = {source for p in (*made.values(), readout) for source in p.fed.sources if source[1]}
    for name in dict.fromkeys(name for name, _ in sorted(earlier)):
        for delay in range(1, 1 + max(steps for source, steps in earlier if source == name)):
            signals[name, delay] = builder.state(f"{name}.before", graph.shape(name))
    for layer, population in made.items():
        shape = graph.shape(layer)
        signals[layer, 0] = _node(builder, chip, population, signals, most, "if_sequential", {"layer": layer}, (shape,))
    shape = graph.shape(graph.outputs[0])
    neurons = (len(readout.threshold),)
    settings = {"layer": "", "shape": shape}
    name = _node(builder, chip, readout, signals, most, "readout_sequential", settings, (neurons, neurons))
    for (source, delay), read in signals.items():
        if delay:
            builder.carry(read, signals[source, delay - 1])
    return builder.finish((name,))


def _node(
    builder: GraphBuilder,
    chip: Chip,
    population: Population,
    signals: Mapping[tuple[str, int], str],
    most: Mapping[str, Tensor],
    op: str,
    settings: Mapping[str, object],
    states: tuple[tuple[int, ...], ...],
) -> str:
    """Add a population with its states (membrane, and of a readout the spikes so far); return its first output."""
    low, high = FORMATS[chip.semantics].state
    name = builder.unique(population.fed.name)
    reads = [builder.state(f"{name}.{state}", shape) for state, shape in zip(("v", "fired"), states, strict=False)]
    attributes = {
        "low": low,
        "high": high,
        "scale": float(population.whole.scale.min()),
        "rounding": population.rounding(most, builder.timesteps, low),
        "drive": "events",
        **settings,
    }
    parameters = {
        "weight": population.rows.weight,
        "threshold": population.threshold,
        "source": population.rows.source.double(),
    }
    inputs = (*(signals[source] for source in population.fed.sources), *reads)
    outputs = (name, *(builder.unique(f"{read}_next") for read in reads))
    role = READOUT if op == "readout_sequential" else ""
    builder.append(Node(name, op, inputs, outputs, attributes, parameters, "", role))
    for read, written in zip(reads, outputs[1:], strict=True):
        builder.carry(read, written)
    return name


def _check_size(chip: Chip, populations: list[Population]) -> None:
    """Refuse what takes more neurons or rows than there are."""
    neurons = {p.fed.name: len(p.threshold) for p in populations}
    rows = {p.fed.name: p.rows.weight.shape[1] for p in populations}
    double = sum(signs_mixed(p.whole.weight) for p in populations)
    signed = FORMATS[chip.semantics].weight[0] < 0
    also = "" if signed or not double else f"; {double:,} sources that raise some membranes and lower others take two"
    found = [
        too_many(chip, of, what, more)
        for of, what, more in ((neurons, "neurons", ""), (rows, "rows of synapses", also))
        if sum(of.values()) > NEURONS
    ]
    if found:
        raise CompileError(*found)


def too_many(chip: Chip, of: Mapping[str, int], what: str, also: str = "") -> Violation:
    """Return the violation of populations that take so many neurons or rows."""
    needed = sum(of.values())
    shown = ", ".join(f"{name} {count:,}" for name, count in sorted(of.items(), key=lambda item: -item[1])[:3])
    return Violation(
        layer="the network",
        need=f"{needed:,} {what} ({shown})",
        limit=f"{chip.name} has {NEURONS}{also}",
        rewrite="make these narrower, or the input smaller",
        kind=what.split()[0],
        need_value=float(needed),
        limit_value=float(NEURONS),
    )
