"""Between two neurons: which sets of synapses feed a signal.

The current of a neuron is a sum of terms. Each term comes from one event signal (or the input) through at most one
layer with weights; plain sums and reshapes in between do not count.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.errors import CompileError
from compiler.graph import Graph, Node
from compiler.operations import OPERATIONS


@dataclass(frozen=True)
class Term:
    """One summand of a current: ``source`` signal, then ``path`` of nodes (flatten, layer; empty = a shortcut)."""

    source: str
    path: tuple[Node, ...]

    @property
    def layer(self) -> Node | None:
        """The node with weights, None for a shortcut."""
        return next((node for node in self.path if OPERATIONS[node.op].kind == "synapse"), None)


def terms(graph: Graph, signal: str, where: str) -> tuple[Term, ...]:
    """Return the summands of ``signal``; ``where`` names the neuron or output it feeds, for messages.

    Raises:
        CompileError: there is an operation between two neurons that a set of synapses cannot do.
    """
    node = graph.producer(signal)
    if node is None or OPERATIONS[node.op].kind == "neuron":
        return (Term(signal, ()),)
    if node.op == "add":
        return terms(graph, node.inputs[0], where) + terms(graph, node.inputs[1], where)
    if node.op not in ("conv2d", "linear", "scale", "flatten", "identity"):
        raise CompileError(
            f"{where} is fed through {node.name} ({node.op}), which synapses cannot do; "
            "between two neurons a chip has sums of convolutions, linear layers and shortcuts."
        )
    below = terms(graph, node.inputs[0], where)
    if OPERATIONS[node.op].kind == "synapse":
        for term in below:
            if term.layer is not None:
                raise CompileError(
                    f"{where} is fed through {term.layer.name} and then {node.name} without a neuron between them; "
                    "put a neuron there, or merge the two layers before compiling."
                )
        if len(below) > 1:
            raise CompileError(
                f"{node.name} reads a sum of {len(below)} signals ({', '.join(t.source for t in below)}); "
                "on a chip each needs weights of its own: put a neuron after the sum, or apply the layer to each."
            )
    return tuple(Term(term.source, (*term.path, node)) for term in below)
