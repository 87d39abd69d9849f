"""Dense operations of a graph from its shapes alone: nothing is run, so that the largest networks take no time.

``dense_macs(graph)`` are those of the graph as it stands; ``dense_macs(merge_layers(shapes_only(graph)))`` those of the
network with its RepConvs merged.
"""

from __future__ import annotations

from dataclasses import replace

from compiler.graph import REAL, Graph, Node, operation
from compiler.graph.facts import Facts


def dense_macs(graph: Graph) -> dict[str, float]:
    """Return the multiply-accumulates of every layer of weights and product of signals, of one sample and time step.

    They are those of a machine that skips nothing: what the layer's own counting rule says of real signals.
    """
    return {node.name: made for node in graph if (made := _counted(graph, node))}


def shapes_only(graph: Graph) -> Graph:
    """Return the graph for counting, without numbers: weights of no memory, no biases.

    What a machine that folds has not got is left out: norms with stored statistics, stored factors and summands.
    Merging layers of such a graph costs nothing, whatever their size.
    """
    renamed: dict[str, str] = {}
    stored = {name for node in graph if operation(node.op).kind == "constant" for name in node.outputs}
    nodes = []
    for node in graph:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        signals = [name for name in inputs if name not in stored]
        if node.op in ("batch_norm", "scale", "add", "sub") and len(signals) == 1:
            renamed[node.output] = signals[0]
            continue
        parameters = node.parameters
        if operation(node.op).kind == "synapse":
            parameters = {key: value.to("meta") for key, value in parameters.items() if key != "bias"}
        nodes.append(replace(node, inputs=inputs, parameters=parameters))
    ends = tuple(renamed.get(name, name) for name in graph.outputs)
    return replace(graph, outputs=ends).with_nodes(tuple(nodes), graph.signals)


def _counted(graph: Graph, node: Node) -> float:
    op = operation(node.op)
    if op.kind not in ("synapse", "product"):
        return 0.0
    before = [replace(graph.signals[name], type=REAL) for name in node.inputs]
    after = [replace(graph.signals[name], type=REAL) for name in node.outputs]
    return float(op.count_rule(node, Facts(1, before, after, (), ())).get("dense_macs", 0.0))
