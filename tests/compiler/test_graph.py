"""Graphs as data: what the queries answer, and files that come back bit by bit or are refused.

Would break it: attributes that return as lists, types or states lost in the file, weights shared by two nodes that
cannot be written, anything that unpickles, a damaged file that ends in a traceback.
"""

import json
import os
import pickle

import pytest
import safetensors
import torch
from safetensors.torch import save_file
from torch import nn

import compiler
import snnkit
from compiler.graph import BINARY, FORMAT, REAL, Graph, Node, Signal, SignalType, State
from compiler.passes import simplify
from snnkit.errors import CorruptFileError
from snnkit.layers import over_time
from snnkit.neurons import IF, LIF


@pytest.fixture(scope="module")
def graph():
    torch.manual_seed(0)
    model = snnkit.create_model("spiking_cnn_small", img_size=8, width=4, timesteps=3, num_classes=2)
    return simplify(compiler.capture(model, torch.rand(1, 1, 8, 8)))


def assert_same(a, b):
    for field in ("inputs", "outputs", "states", "timesteps", "static_input", "name"):
        assert getattr(a, field) == getattr(b, field), field
    assert dict(a.signals) == dict(b.signals)
    assert list(a.signals) == list(b.signals)
    assert len(a.nodes) == len(b.nodes)
    for one, two in zip(a, b, strict=True):
        assert (one.name, one.op, one.inputs, one.outputs, one.scope) == (
            two.name,
            two.op,
            two.inputs,
            two.outputs,
            two.scope,
        )
        assert dict(one.attributes) == dict(two.attributes)
        assert {k: type(v) for k, v in one.attributes.items()} == {k: type(v) for k, v in two.attributes.items()}
        assert set(one.parameters) == set(two.parameters)
        for key, value in one.parameters.items():
            assert value.dtype == two.parameters[key].dtype
            assert torch.equal(value, two.parameters[key])


# Queries.


def test_who_writes_and_who_reads(graph):
    stem = graph.producer("stem.conv")
    assert stem is graph.nodes[0]
    assert graph.producer("input") is None
    assert graph.producer("stem_lif.v") is None
    assert graph.producer("stem_lif.v_next").name == "stem_lif"
    assert [node.name for node in graph.consumers("down_lif")] == ["depthwise.conv", "add"]
    assert graph.consumers(graph.outputs[0]) == ()


def test_every_signal_is_written_before_it_is_read(graph):
    known = {*graph.inputs, *(state.read for state in graph.states)}
    for node in graph:
        assert set(node.inputs) <= known, node.name
        known |= set(node.outputs)
    assert known == set(graph.signals)
    assert {state.written for state in graph.states} <= known
    assert set(graph.outputs) <= known


def test_static_signals_end_at_the_first_neuron(graph):
    assert graph.static_signals() == {"input", "stem.conv"}
    changing = Graph(**{**vars(graph), "static_input": False})
    assert changing.static_signals() == frozenset()


def test_signals_that_nothing_uses_are_dropped(graph):
    short = graph.with_nodes(graph.nodes[:2], graph.signals)
    assert set(short.signals) >= {"input", "stem.conv", "stem_lif", "stem_lif.v"}
    assert "down_lif.v" not in short.signals
    assert [state.read for state in short.states] == ["stem_lif.v"]
    assert len(graph.states) == 4  # the graph itself has not changed


def test_double_changes_parameters_and_nothing_else(graph):
    double = graph.double()
    for one, two in zip(graph, double, strict=True):
        for key, value in one.parameters.items():
            assert two.parameters[key].dtype == torch.float64
            assert torch.equal(two.parameters[key], value.double())
    assert dict(double.signals) == dict(graph.signals)


@pytest.mark.parametrize(
    ("signal_type", "text", "event"),
    [
        (REAL, "real", False),
        (BINARY, "binary", True),
        (SignalType("signed", -1, 1), "signed", True),
        (SignalType("integer", 0, 2), "integer[0,2]", True),
        (SignalType("integer", 0, 4, 0.25), "integer[0,4]×0.25", True),
        (SignalType("binary", 0, 1, 0.5), "binary×0.5", True),
    ],
)
def test_types_read_as_they_are_written(signal_type, text, event):
    assert str(signal_type) == text
    assert signal_type.is_event is event


# Files.


def test_round_trip_is_bit_equal(graph, tmp_path):
    graph.save(tmp_path / "a.graph")
    loaded = Graph.load(tmp_path / "a.graph")
    assert_same(graph, loaded)
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(compiler.interpret(loaded, x)[0], compiler.interpret(graph, x)[0])
    loaded.save(tmp_path / "b.graph")
    assert (tmp_path / "a.graph").read_bytes() == (tmp_path / "b.graph").read_bytes()


@pytest.mark.parametrize("v_reset", [None, -0.1], ids=str)
def test_a_graph_without_parameters_has_a_file(tmp_path, v_reset):
    graph = compiler.capture(IF(0.7, v_reset), torch.zeros(1, 1, 3))
    graph.save(tmp_path / "a.graph")
    assert_same(graph, Graph.load(tmp_path / "a.graph"))


def test_odd_values_survive(tmp_path):
    weight = torch.tensor([[float("nan"), float("inf")], [-0.0, 1e-310]], dtype=torch.float64)
    node = Node(
        "größe:α", "linear", ("x",), ("y",), {"a": None, "b": (1, 2), "c": 0.1, "d": True}, {"weight": weight}, "s"
    )
    signals = {"x": Signal("x", (2,), SignalType("integer", -3, 5, 1 / 9)), "y": Signal("y", (2,))}
    graph = Graph(("x",), ("y",), (node,), signals, (State("x", "y", -0.1),), 7, False, "名")
    graph.save(tmp_path / "a.graph")
    loaded = Graph.load(tmp_path / "a.graph")
    assert loaded.nodes[0].parameters["weight"].view(torch.int64).equal(weight.view(torch.int64))
    assert loaded.nodes[0].attributes == node.attributes
    assert (loaded.signals, loaded.states, loaded.name, loaded.timesteps) == (signals, graph.states, "名", 7)


def test_weights_that_two_nodes_share_can_be_saved(tmp_path):
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.lif = nn.Conv2d(2, 2, 3, padding=1), LIF()

        def forward(self, x):
            return self.lif(over_time(self.conv, self.lif(over_time(self.conv, x))))

    graph = compiler.capture(Shared(), torch.zeros(1, 1, 2, 4, 4))
    graph.save(tmp_path / "a.graph")
    assert_same(graph, Graph.load(tmp_path / "a.graph"))


def test_weights_in_another_memory_order_come_back_equal(tmp_path):
    weight = torch.randn(3, 2).t()
    node = Node("a", "linear", ("x",), ("a",), {}, {"weight": weight})
    graph = Graph(("x",), ("a",), (node,), {name: Signal(name, (3,)) for name in ("x", "a")})
    graph.save(tmp_path / "a.graph")
    assert torch.equal(Graph.load(tmp_path / "a.graph").nodes[0].parameters["weight"], weight)


def test_saving_over_a_file_leaves_nothing_else(graph, tmp_path):
    for _ in range(2):
        graph.save(tmp_path / "a.graph")
    assert [path.name for path in tmp_path.iterdir()] == ["a.graph"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CorruptFileError, match=r"nothing\.graph does not exist"):
        Graph.load(tmp_path / "nothing.graph")


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1])
def test_a_truncated_file_is_named(graph, tmp_path, keep):
    graph.save(tmp_path / "whole.graph")
    (tmp_path / "a.graph").write_bytes((tmp_path / "whole.graph").read_bytes()[:keep])
    with pytest.raises(CorruptFileError, match=r"a\.graph is not a graph file"):
        Graph.load(tmp_path / "a.graph")


@pytest.mark.parametrize(
    "metadata", [None, {"graph": "null"}, {"graph": "[1]"}, {"graph": '{"format": "x"}'}, {"format": "pt"}], ids=str
)
def test_a_foreign_safetensors_file_is_named(tmp_path, metadata):
    save_file({"weight": torch.zeros(2)}, tmp_path / "a.safetensors", metadata)
    with pytest.raises(CorruptFileError, match="without a graph"):
        Graph.load(tmp_path / "a.safetensors")


def structure_of(path):
    with safetensors.safe_open(str(path), framework="pt") as file:
        return json.loads(file.metadata()["graph"]), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def without_key(structure, tensors):
    del structure["graphs"]["graph"]["signals"]


def without_tensor(structure, tensors):
    del tensors[next(key for key in tensors if key.endswith("stem.conv:weight"))]


def node_cut_short(structure, tensors):
    nodes = structure["graphs"]["graph"]["nodes"]
    nodes[0] = nodes[0][:3]


def graphs_as_text(structure, tensors):
    structure["graphs"] = "none"


def without_extra(structure, tensors):
    del structure["extra"]


def attributes_as_number(structure, tensors):
    structure["graphs"]["graph"]["nodes"][0][4] = 3


@pytest.mark.parametrize(
    "damage", [without_key, without_tensor, node_cut_short, graphs_as_text, without_extra, attributes_as_number]
)
def test_a_damaged_structure_is_named(graph, tmp_path, damage):
    graph.save(tmp_path / "a.graph")
    structure, tensors = structure_of(tmp_path / "a.graph")
    assert structure["format"] == FORMAT
    damage(structure, tensors)
    save_file(tensors, tmp_path / "b.graph", {"graph": json.dumps(structure)})
    with pytest.raises(CorruptFileError, match=r"b\.graph"):
        Graph.load(tmp_path / "b.graph")


def test_a_structure_that_is_not_json_is_named(graph, tmp_path):
    graph.save(tmp_path / "a.graph")
    structure, tensors = structure_of(tmp_path / "a.graph")
    save_file(tensors, tmp_path / "b.graph", {"graph": json.dumps(structure)[:-20]})
    with pytest.raises(CorruptFileError, match=r"b\.graph"):
        Graph.load(tmp_path / "b.graph")


class Trap:
    """Unpickling this leaves a folder behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("write", [lambda o, f: f.write(pickle.dumps(o)), torch.save], ids=["pickle", "torch.save"])
def test_a_pickle_is_refused_and_not_run(tmp_path, write):
    with open(tmp_path / "a.graph", "wb") as file:
        write(Trap(str(tmp_path / "sprung")), file)
    with pytest.raises(CorruptFileError, match="not a graph file"):
        Graph.load(tmp_path / "a.graph")
    assert not (tmp_path / "sprung").exists()


def test_a_folder_is_no_graph(tmp_path):
    with pytest.raises(CorruptFileError):
        Graph.load(tmp_path)
