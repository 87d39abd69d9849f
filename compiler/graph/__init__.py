"""The graph as data: signals and their types, nodes, the builder, the check, files, text and picture."""

from compiler.graph.builder import GraphBuilder
from compiler.graph.graph import Graph, Node, State
from compiler.graph.operation import Operation, is_neuron, is_synapse, operation, operations
from compiler.graph.signals import BINARY, REAL, SIGNED, Signal, SignalType, integer
from compiler.graph.verify import verify

__all__ = [
    "BINARY",
    "REAL",
    "SIGNED",
    "Graph",
    "GraphBuilder",
    "Node",
    "Operation",
    "Signal",
    "SignalType",
    "State",
    "integer",
    "is_neuron",
    "is_synapse",
    "operation",
    "operations",
    "verify",
]
