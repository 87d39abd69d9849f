"""Circles within one step, in a graph and in a file: one line that names every node of the circle.

Would break it: a search that runs round for ever, a node named that is not on the circle, a file that loads.
"""

from dataclasses import replace

import pytest
import torch
from support.graphs import small

from compiler.errors import GraphError
from compiler.graph import BINARY, Graph, GraphBuilder, verify
from snnkit.errors import CorruptFileError


def circle() -> Graph:
    """in → sum → lif → back → sum: what the neuron sends is added to its own current in the same step."""
    b = GraphBuilder("circle", timesteps=4)
    x = b.input("x", (3,), BINARY)
    first = b.add("linear", (x,), {}, {"weight": torch.eye(3)}, name="in")
    total = b.add("add", (first, first), name="sum")
    constants = {"v_threshold": 1.0, "v_reset": 0.0, "detach_reset": True}
    spikes = b.neuron("integrate_fire", total, constants, states=[("v", 0.0)], name="lif")
    graph = b.finish([b.add("linear", (spikes,), {}, {"weight": torch.eye(3)}, name="back")])
    nodes = tuple(replace(node, inputs=("in", "back")) if node.name == "sum" else node for node in graph)
    return replace(graph, nodes=nodes)


def test_a_circle_without_delay_is_named():
    with pytest.raises(GraphError) as caught:
        verify(circle())
    text = str(caught.value)
    assert "sum (add) reads 'back' before it is written" in text
    assert "a circle without delay (sum → lif → back → sum)" in text
    assert "loops go through a state" in text


def test_a_file_with_a_circle_is_refused_in_one_line(tmp_path):
    circle().save(tmp_path / "circle.graph")
    with pytest.raises(CorruptFileError) as caught:
        Graph.load(tmp_path / "circle.graph")
    assert "sum → lif → back → sum" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_order_is_no_circle():
    graph = small()
    turned = replace(graph, nodes=tuple(reversed(graph.nodes)))
    with pytest.raises(GraphError, match=r"before it is written\.$"):
        verify(turned)
