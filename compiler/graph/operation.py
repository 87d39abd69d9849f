"""Operation: what one kind of node is, and the table of all of them.

A graph is data and knows its operations by name. What a name means comes from the modules in ``PLUGINS``, each of which
holds a tuple ``OPERATIONS``; they are loaded when the first name is looked up, so that this package stays below all
others. To add an operation: its file, and its line in the list of ``compiler.operations``; a target's own integer
operations live in its folder.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from compiler.errors import GraphError
from compiler.graph.graph import Node, doubled
from compiler.graph.signals import SignalType
from snnkit.errors import nearest

if TYPE_CHECKING:
    from torch import Tensor

    from compiler.graph.facts import Amount, Facts

PLUGINS = (
    "compiler.operations",
    "compiler.targets.loihi.operations",
    "compiler.targets.graded.operations",
    "compiler.targets.odin.operations",
    "compiler.targets.catalyst_n1.operations",
)

Shapes = Sequence[tuple[int, ...]]
TypeRule = Callable[[Node, Sequence[SignalType], Shapes], SignalType]
CountRule = Callable[[Node, "Facts"], Mapping[str, "Amount"]]
Captures = Mapping[str, Callable[[Any], None]]
"""Overloads of ATen, such as "aten.relu.default", each with what translates a ``Call`` of it."""

NOT_CAPTURED: Captures = {}

KINDS = ("synapse", "product", "neuron", "activation", "norm", "pool", "elementwise", "move", "constant")


@dataclass(frozen=True)
class Operation:
    """One kind of node.

    Args:
        name: as nodes carry it.
        kind: "synapse" (weights meet a signal), "product" (signal × signal), "neuron", "activation", "norm", "pool",
            "elementwise", "move" (values change place, not size) or "constant".
        run: ``run(node, *inputs) -> outputs``: tensors with the batch in front, one sample behind it. Batches may be 1
            where a signal does not depend on the sample.
        type_rule: ``(node, types of the inputs, their shapes) -> type of the first output``; other outputs are real
            unless ``same_types`` says that they are like the first.
        count_rule: ``(node, facts) -> {count: amount}`` for the evaluations that ``facts`` describes.
        captures: which overloads of ATen become this operation, and how; ``NOT_CAPTURED`` for what only passes and
            targets make.
        attributes: the attributes it must have, with the types they may be of.
        optional: attributes it may have.
        parameters: the parameters it must have.
        optional_parameters: parameters it may have.
        inputs: smallest and largest number of inputs (largest None: any).
        same_types: whether every output has the type of the first.
        linear: whether it is linear in its first input (with its parameters fixed), up to a constant.
        sequence: for neurons: run a whole sequence at once, ``(node, x (T, B, …), *state) -> outputs`` with the output
            (T, B, …) and the last states (B, …); None where only single steps are defined.
    """

    name: str
    kind: str
    run: Callable[..., tuple[Tensor, ...]]
    type_rule: TypeRule
    count_rule: CountRule
    captures: Captures
    attributes: Mapping[str, tuple[type, ...]] = field(default_factory=dict)
    optional: Mapping[str, tuple[type, ...]] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()
    optional_parameters: tuple[str, ...] = ()
    inputs: tuple[int, int | None] = (1, 1)
    same_types: bool = False
    linear: bool = False
    sequence: Callable[..., tuple[Tensor, ...]] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise GraphError(f"operation {self.name!r} has kind {self.kind!r}; allowed are {', '.join(KINDS)}.")


_table: dict[str, Operation] = {}


def operations() -> Mapping[str, Operation]:
    """Return every operation by name."""
    if not _table:
        found: dict[str, Operation] = {}
        for plugin in PLUGINS:
            for one in importlib.import_module(plugin).OPERATIONS:
                if one.name in found:
                    raise GraphError(f"two operations are called {one.name!r}; the second is in {plugin}.")
                found[one.name] = one
        _table.update(found)
    return _table


def operation(name: str) -> Operation:
    """Return the operation called ``name``.

    Raises:
        GraphError: there is none (names the nearest).
    """
    table = operations()
    if name not in table:
        raise GraphError(f"unknown operation {name!r}.{nearest(name, table)}")
    return table[name]


STEADY = "steady"
"""The role of a node that is computed in float64 and rounded, so that no order of sums and no place in memory shows:
functions such as GELU differ in the last bit of float32 where values lie otherwise, and a code can hang on that."""


def run_node(node: Node, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Run a node in the way that its role asks for: inputs with the batch in front → outputs."""
    op = operation(node.op)
    if node.role != STEADY:
        return op.run(node, *inputs)
    wide = (x.double() if x.is_floating_point() else x for x in inputs)
    dtype = next((x.dtype for x in inputs if x.is_floating_point()), None)
    return tuple(y.to(dtype) if y.is_floating_point() else y for y in op.run(doubled(node), *wide))


def is_neuron(node: Node) -> bool:
    """Whether a node is a neuron: it has dynamics of its own and sends events."""
    return operation(node.op).kind == "neuron"


def is_synapse(node: Node) -> bool:
    """Whether in a node stored weights meet a signal."""
    return operation(node.op).kind == "synapse"


def attribute(node: Node, name: str, default: Any) -> Any:
    """Return an attribute that may be left out."""
    return node.attributes.get(name, default)
