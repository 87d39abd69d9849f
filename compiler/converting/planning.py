"""Plan a conversion: what every operation becomes, and which machine can run it, before anything is run.

| becomes | what that is | least machine |
|---|---|---|
| accumulate | weights are added where an event arrives | static |
| fixed sum | weights that are the same everywhere: pools, residuals, scales | static |
| routing | values change place; events are sent elsewhere | static |
| bound | a lowest or highest code, which the tracer has anyway | static |
| look-up | a function of one value, between its neuron and its code | graded |
| three-term product | every event of the one meets the sum of the other | dynamic |
| real input | the layer that reads the network's input, computed once | host |
| cumulative | a function of several sums, computed where one of them changed | host |
| constant | stored numbers | none |

*static*: signed events and fixed synapses, with a neuron of two thresholds. *graded*: events that carry a number too,
and neurons with a table. *dynamic*: synapses whose weight is another neuron's sum, too. *host*: an ordinary processor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from compiler.converting.places import Places
from compiler.graph import REAL, Graph, Node, operation
from compiler.graph.facts import Facts

MACHINES = ("static", "graded", "dynamic", "host")
NEEDS: Mapping[str, str] = {
    "accumulate": "static",
    "fixed sum": "static",
    "routing": "static",
    "bound": "static",
    "look-up": "graded",
    "three-term product": "dynamic",
    "real input": "host",
    "cumulative": "host",
    "constant": "",
}
_BOUNDS = ("relu", "clamp")
_FIXED = ("add", "sub", "neg", "scale", "batch_norm", "avg_pool", "adaptive_avg_pool", "mean", "sum", "resize", "fold")
_FIXED_MODES = ("bilinear", "linear", "trilinear", "nearest", "nearest-exact", "bicubic")
_OF_ONE_VALUE = (
    *("gelu", "silu", "mish", "sigmoid", "tanh", "elu", "selu", "softplus", "hardsigmoid", "hardswish", "erf"),
    *("leaky_relu", "relu", "clamp", "abs", "sign", "exp", "log", "sqrt", "rsqrt", "reciprocal", "sin", "cos", "floor"),
    *("ceil", "round", "trunc", "pow", "power_of"),
)


@dataclass(frozen=True)
class Planned:
    """One operation: its node, what it becomes, the least machine that runs it ("" for constants), and its multiply-
    accumulates in the float network, for one sample.
    """

    node: Node
    becomes: str
    macs: float

    @property
    def machine(self) -> str:
        """The least machine that can run it."""
        return NEEDS[self.becomes]


@dataclass(frozen=True)
class Plan:
    """What a network would become.

    Args:
        graph: the float network, simplified, its attention split into products.
        operations: every operation, in order.
        quantisers: how many signals become codes.
        neurons: how many neurons send them, for one sample.
    """

    graph: Graph
    operations: tuple[Planned, ...]
    quantisers: int
    neurons: int

    @property
    def macs(self) -> float:
        """Multiply-accumulates of the float network, for one sample."""
        return sum(one.macs for one in self.operations)

    def share(self, machine: str) -> float:
        """Return the share of the multiply-accumulates that become synaptic operations on ``machine`` or a lesser one.

        "host" is all of them.
        """
        able = MACHINES[: MACHINES.index(machine) + 1]
        done = sum(one.macs for one in self.operations if one.machine in able)
        return done / self.macs if self.macs else 1.0

    def groups(self) -> list[dict[str, Any]]:
        """Return the operations by kind and fate, in the order of the table above: counts and multiply-accumulates."""
        counts: Counter[tuple[str, str]] = Counter()
        macs: Counter[tuple[str, str]] = Counter()
        for one in self.operations:
            key = one.becomes, one.node.op
            counts[key] += 1
            macs[key] += one.macs  # type: ignore[assignment]
        order = list(NEEDS)
        found = sorted(counts, key=lambda key: (order.index(key[0]), -macs[key], key[1]))
        return [
            {"becomes": key[0], "op": key[1], "machine": NEEDS[key[0]], "nodes": counts[key], "macs": float(macs[key])}
            for key in found
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "name": self.graph.name,
            "macs": self.macs,
            "quantisers": self.quantisers,
            "neurons": self.neurons,
            "shares": {machine: self.share(machine) for machine in MACHINES},
            "groups": self.groups(),
            "operations": [
                {
                    "name": one.node.name,
                    "op": one.node.op,
                    "becomes": one.becomes,
                    "machine": one.machine,
                    "macs": one.macs,
                }
                for one in self.operations
            ],
        }


def plan(graph: Graph, spike_input: bool = False, activation_codes: bool = False) -> Plan:
    """Plan the conversion of a graph as ``prepared`` returns it; nothing is run and no data is needed.

    Args:
        graph: the float network, simplified, its attention split into products.
        spike_input: whether the network's input is sent as events too.
        activation_codes: whether events are all that leaves an activation.
    """
    places = Places(graph, spike_input, activation_codes)
    operations = tuple(Planned(node, _fate(node, places), _macs(graph, node)) for node in graph)
    neurons = sum(graph.signals[name].size for name in places.all)
    return Plan(graph, operations, len(places.all), neurons)


def _fate(node: Node, places: Places) -> str:
    role = places.role(node)
    if role in ("weights", "stored"):
        return "accumulate"
    if role == "product":
        return "three-term product"
    op = operation(node.op)
    if op.kind == "constant" or not any(name in places.moving for name in node.inputs):
        return "constant"
    if op.kind in ("synapse", "product") and node.op not in _FIXED and node.op != "mul":
        return "real input"
    if op.kind == "move" and op.linear:
        return "routing"
    if node.op in _FIXED or (node.op == "mul" and len(node.inputs) == 2):
        return "fixed sum"
    if node.op == "div" and node.inputs[1] not in places.moving:
        return "fixed sum"
    if node.op in _BOUNDS and _only_coded(node, places) and _low(node) == 0:
        return "bound"
    return "look-up" if node.op in _OF_ONE_VALUE and _only_coded(node, places) else "cumulative"


def _low(node: Node) -> float:
    return float(node.attributes.get("low", 0.0))


def _only_coded(node: Node, places: Places) -> bool:
    """Whether the result is read as codes alone, or by functions of one value that are."""
    graph = places.graph
    if places.is_held(node.output):
        return True
    readers = graph.consumers(node.output)
    if node.output in graph.outputs or not readers:
        return False
    for reader in readers:
        coded = places.role(reader) != "value" or places.route(reader.output) is not None
        one_value = reader.op in _OF_ONE_VALUE and _only_coded(reader, places)
        if not (coded or one_value):
            return False
    return node.output in places.all or all(reader.op in _OF_ONE_VALUE for reader in readers)


def _macs(graph: Graph, node: Node) -> float:
    """Return the multiply-accumulates of a node on real numbers, from its own counting rule and its shapes."""
    op = operation(node.op)
    if op.kind not in ("synapse", "product"):
        return 0.0
    signals = [replace(graph.signals[name], type=REAL) for name in node.inputs]
    outputs = [graph.signals[name] for name in node.outputs]
    return float(op.count_rule(node, Facts(1, signals, outputs, [], [])).get("dense_macs", 0.0))
