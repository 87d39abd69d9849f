"""Plan: who computes what. Read off a simplified graph before any number is chosen.

Between two neurons synapses add up weights of spikes. What else stands there becomes, where it can:

- a **gate**, a population without memory: the product of two spikes is an AND, that of a spike and of 1 minus another
  an AND NOT, the maximum of spikes an OR; exact;
- a **product** of two event signals, on chips that multiply them (``arithmetic.products``); exact;
- an operation of the **host**, where the user grants it: everything from the spikes before it to the neuron behind it,
  which the host runs as well, so that spikes alone cross the border. Where spikes of the chip reach that neuron too, it
  stays on the chip, and the host writes what it computes into its bias register at every step.

What depends on a constant real input alone is *static*: the host computes it once, and it drives biases.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from compiler.analysis.currents import at_rest, is_linear, since_neurons, terms
from compiler.errors import CompileError
from compiler.graph import Graph, Node, SignalType, is_neuron, operation
from compiler.targets.target import Options
from hw.chip import Chip

GATES = {
    "mul": "and",
    "logical_and": "and",
    "minimum": "and",
    "logical_or": "or",
    "maximum": "or",
    "max_pool": "or",
    "adaptive_max_pool": "or",
    "max": "or",
}
"""What an operation on spikes, 0 or 1, is."""

PRODUCTS = ("mul", "matmul", "einsum")


@dataclass(frozen=True)
class Plan:
    """Who computes what.

    ``static``: signals that the host computes once an input, ``hosted``: real ones that it computes at every step;
    ``gates`` and ``products``: signals of these kinds; ``host``: names of the nodes that the host's neurons need and
    these themselves; ``stops``: signals at which paths of currents begin, beside neurons and inputs.
    """

    static: frozenset[str]
    hosted: frozenset[str]
    gates: dict[str, str]
    products: frozenset[str]
    host: frozenset[str]
    stops: frozenset[str]

    @staticmethod
    def of(graph: Graph, chip: Chip, options: Options, on_chip: dict[str, bool]) -> Plan:
        """Plan a simplified graph; ``on_chip`` says of each neuron, by name, whether the chip has it."""
        work = _Planning(graph, chip, options, on_chip)
        for node in graph:
            work.visit(node)
        stops = frozenset(work.stops | work.hosted)
        products, host = frozenset(work.products), frozenset(work.host_nodes())
        return Plan(work.static, frozenset(work.hosted), work.gates, products, host, stops)


@dataclass
class _Planning:
    graph: Graph
    chip: Chip
    options: Options
    on_chip: dict[str, bool]
    gates: dict[str, str] = field(default_factory=dict)
    products: set[str] = field(default_factory=set)
    hosted: set[str] = field(default_factory=set)
    host_neurons: list[Node] = field(default_factory=list)

    def __post_init__(self) -> None:
        fixed = fixed_signals(self.graph)
        self.static = _still(self.graph, self.on_chip) - fixed
        self.fixed = fixed
        self.stops: set[str] = set(self.static)
        if self.options.host:
            # A real input that changes from step to step comes from the host as well.
            self.hosted |= {x for x in self.graph.inputs if x not in self.static and not self.graph.type(x).is_event}

    def visit(self, node: Node) -> None:
        """Place one node; those before it are placed."""
        if node.output in self.static or node.output in self.fixed:
            return
        if is_neuron(node):
            self._neuron(node)
        elif is_linear(self.graph, node):
            here = {*self.hosted, *self.static, *self.fixed}
            if all(name in here for name in node.inputs):
                self.hosted.update(node.outputs)
        elif any(name in self.hosted for name in node.inputs):
            self.hosted.update(node.outputs)
        elif self._is_gate(node):
            self.gates[node.output] = GATES[node.op]
            self.stops.add(node.output)
        elif self.chip.arithmetic.products and self._is_product(node):
            self.products.add(node.output)
            self.stops.add(node.output)
        elif self.options.on_host(node):
            self.hosted.update(node.outputs)

    def _neuron(self, node: Node) -> None:
        hosted = self._from_host(node.inputs[0])
        lacking = not self.on_chip.get(node.name, True) and self.options.on_host(node)
        if hosted or lacking or (self.options.on_host(node) and "auto" not in self.options.host):
            self.host_neurons.append(node)

    def _from_host(self, signal: str) -> bool:
        """Whether the host computes a current, and no spikes of the chip are in it."""
        if signal in self.hosted:
            return True
        try:
            found = terms(self.graph, signal, "", stops={*self.stops, *self.hosted})
        except CompileError:
            return False
        here = [term.source in self.hosted or term.source in self.static for term in found]
        return any(term.source in self.hosted for term in found) and all(here)

    def _is_gate(self, node: Node) -> bool:
        """Whether an operation takes spikes alone, moved at most, and gives spikes."""
        if node.op not in GATES or not single_spikes(self.graph.type(node.output)):
            return False
        spikes = [self._spikes(name) for name in node.inputs]
        others = [name for name, found in zip(node.inputs, spikes, strict=True) if not found]
        return not others or (GATES[node.op] == "and" and any(spikes) and all(map(self._complement, others)))

    def _spikes(self, signal: str) -> bool:
        """Whether a signal is spikes, each of which is one spike of a source."""
        if signal in self.static or signal in self.fixed or not single_spikes(self.graph.type(signal)):
            return False
        return self._moved(signal) and not bool(at_rest(self.graph, signal, self.stops).any())

    def _complement(self, signal: str) -> bool:
        """Whether a signal is 1 where a source is silent, and 0 where it fires."""
        if signal in self.static or signal in self.fixed or not single_spikes(self.graph.type(signal)):
            return False
        return self._moved(signal, -1.0) and bool((at_rest(self.graph, signal, self.stops) == 1).all())

    def _moved(self, signal: str, factor: float = 1.0) -> bool:
        try:
            found = terms(self.graph, signal, "", stops=self.stops)
        except CompileError:
            return False
        return bool(found) and all(term.factor == factor and not any(hop.weighs for hop in term.path) for term in found)

    def _is_product(self, node: Node) -> bool:
        """Whether an operation multiplies two event signals whose product an event can carry."""
        kind = self.graph.type(node.output)
        limit = 2 ** (self.chip.arithmetic.payload_bits - 1) - 1
        if node.op not in PRODUCTS or len(node.inputs) != 2 or not kind.is_event:
            return False
        if kind.magnitude > limit:
            return False
        return all(self.graph.type(name).is_event and self._moved(name) for name in node.inputs)

    def host_nodes(self) -> set[str]:
        """Names of everything that the neurons of the host need, back to spikes and static signals."""
        found = set()
        for node in self.host_neurons:
            found.add(node.name)
            for name in node.inputs[:1]:
                found |= {n.name for n in since_neurons(self.graph, name, self.stops) if n.output not in self.fixed}
        return found


def fixed_signals(graph: Graph) -> frozenset[str]:
    """Signals that hang on no input and no state: stored numbers."""
    found: set[str] = set()
    for node in graph:
        if all(name in found for name in node.inputs):
            found.update(node.outputs)
    return frozenset(found)


def _still(graph: Graph, on_chip: dict[str, bool]) -> frozenset[str]:
    """Signals that are the same at every step, and made before any neuron of the chip, with a memory or without."""
    still = graph.static_signals()
    found = {name for name in graph.inputs if name in still}
    for node in graph:
        here = is_neuron(node) and on_chip.get(node.name, True)
        if not here and all(name in found for name in node.inputs):
            found.update(node.outputs)
    return frozenset(found)


def single_spikes(kind: SignalType) -> bool:
    """Whether a signal is 0 or 1, whatever it is called."""
    return kind.is_event and (kind.low, kind.high) == (0, 1) and kind.scale == 1


def is_event(graph: Graph, signal: str) -> bool:
    """Whether a signal is made by a neuron or comes in as events."""
    node = graph.producer(signal)
    made = node is not None and operation(node.op).kind == "neuron"
    return made or (signal in graph.inputs and graph.type(signal).is_event)
