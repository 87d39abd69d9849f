"""Graph files: what comes back is what was written, the version before is read too, and nothing in a file is believed.

Would break it: attributes that return as lists, types or states lost in the file, weights shared by two nodes that
cannot be written, anything that unpickles, a damaged file that ends in a traceback, an old file that means another
network.
"""

import json
import os
import pickle
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import safetensors
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from support.graphs import assert_same, small, wide
from torch import nn

import snnkit
from compiler.capturing import capture
from compiler.graph import BINARY, Graph, GraphBuilder, Signal, SignalType, integer, verify
from compiler.graph.file import BEFORE, FORMAT, read_graphs, write_graphs
from compiler.interpreting import interpret
from compiler.passes import simplify
from snnkit.errors import CorruptFileError, NonFiniteError
from snnkit.layers import over_time
from snnkit.neurons import IF, LIF


@pytest.fixture(scope="module")
def graph():
    torch.manual_seed(0)
    model = snnkit.create_model("spiking_cnn_small", img_size=8, width=4, timesteps=3, num_classes=2)
    return simplify(capture(model, torch.rand(1, 1, 8, 8)))


def structure_of(path):
    with safetensors.safe_open(str(path), framework="pt") as file:
        return json.loads(file.metadata()["graph"]), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def test_round_trip_is_bit_equal(graph, tmp_path):
    graph.save(tmp_path / "a.graph")
    loaded = Graph.load(tmp_path / "a.graph")
    assert_same(graph, loaded)
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(interpret(loaded, x)[0], interpret(graph, x)[0])
    loaded.save(tmp_path / "b.graph")
    assert (tmp_path / "a.graph").read_bytes() == (tmp_path / "b.graph").read_bytes()


@pytest.mark.parametrize("make", [small, wide, lambda: wide().double()], ids=["small", "wide", "double"])
def test_every_field_comes_back(make, tmp_path):
    """States that start as tensors, roles, types, tuples, several inputs and outputs."""
    original = make()
    original.save(tmp_path / "a.graph")
    assert_same(original, Graph.load(tmp_path / "a.graph"))
    assert structure_of(tmp_path / "a.graph")[0]["format"] == FORMAT == "snnkit-graph-2"


@pytest.mark.parametrize("v_reset", [None, -0.1], ids=str)
def test_a_graph_without_parameters_has_a_file(tmp_path, v_reset):
    graph = capture(IF(0.7, v_reset), torch.zeros(1, 1, 3))
    graph.save(tmp_path / "a.graph")
    assert_same(graph, Graph.load(tmp_path / "a.graph"))


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bits_are_told(graph, tmp_path, seed):
    """Whatever bit of a file changes, it is refused, or the graph is the one that was written."""
    path = tmp_path / "a.graph"
    graph.save(path)
    whole = path.read_bytes()
    for at in torch.randint(8 * len(whole), (50,), generator=torch.Generator().manual_seed(seed)).tolist():
        content = bytearray(whole)
        content[at // 8] ^= 1 << at % 8
        path.write_bytes(content)
        with suppress(CorruptFileError):
            assert_same(graph, Graph.load(path))
    content = bytearray(whole)
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"a\.graph has changed since it was written"):
        Graph.load(path)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("weight", float("nan"), r"a\.graph: weight of head holds nan \(1 of"),
        ("bias", -float("inf"), r"a\.graph: bias of head holds -inf \(1 of"),
    ],
)
def test_weights_that_are_no_numbers_are_named_by_the_verbs(graph, tmp_path, key, value, words):
    from compiler.commands.source import resolve

    node = next(node for node in graph if node.name == "head")
    node.parameters[key].view(-1)[0], kept = value, node.parameters[key].view(-1)[0].clone()
    graph.save(tmp_path / "a.graph")
    node.parameters[key].view(-1)[0] = kept
    with pytest.raises(NonFiniteError, match=words):
        resolve(str(tmp_path / "a.graph"))
    graph.save(tmp_path / "a.graph")
    resolve(str(tmp_path / "a.graph"))


def test_odd_values_survive(tmp_path):
    weight = torch.tensor([[float("nan"), float("inf")], [-0.0, 1e-310]], dtype=torch.float64)
    b = GraphBuilder("名", timesteps=7)
    x = b.input("größe:α", (2,), SignalType("integer", -3, 5, Fraction(1, 9)))
    y = b.add("linear", (x,), parameters={"weight": weight}, name='"a:b|c"', scope="s")
    clamped = b.add("clamp", (y,), {"low": -float("inf"), "high": 0.1}, name="new\nline")
    graph = b.finish([clamped])
    graph.save(tmp_path / "a.graph")
    loaded = Graph.load(tmp_path / "a.graph")
    assert loaded.nodes[0].parameters["weight"].view(torch.int64).equal(weight.view(torch.int64))
    assert loaded.nodes[1].attributes == graph.nodes[1].attributes
    assert (dict(loaded.signals), loaded.name, loaded.timesteps) == (dict(graph.signals), "名", 7)


@pytest.mark.parametrize(
    "scale", [Fraction(1, 9), Fraction(7, 10**12), Fraction(0.1), Fraction(2) ** -1000, Fraction(10**30)], ids=str
)
def test_scales_are_exact_fractions(tmp_path, scale):
    b = GraphBuilder()
    graph = b.finish([b.add("relu", (b.input("x", (2,), SignalType("integer", 0, 4, scale)),))])
    graph.save(tmp_path / "a.graph")
    assert Graph.load(tmp_path / "a.graph").type("x").scale == scale


def test_every_type_of_number_is_kept(tmp_path):
    b = GraphBuilder()
    x = b.input("x", (4,))
    for index, dtype in enumerate((torch.float64, torch.float16, torch.bfloat16, torch.bool, torch.int8, torch.int64)):
        value = torch.tensor([0, 1, 1, 0]).to(dtype)
        x = b.add("where", (b.constant(value, f"c{index}"), x, x), name=f"w{index}")
    graph = b.finish([x])
    graph.save(tmp_path / "a.graph")
    assert_same(graph, Graph.load(tmp_path / "a.graph"))


def test_weights_that_two_nodes_share_can_be_saved(tmp_path):
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.lif = nn.Conv2d(2, 2, 3, padding=1), LIF()

        def forward(self, x):
            return self.lif(over_time(self.conv, self.lif(over_time(self.conv, x))))

    graph = capture(Shared(), torch.zeros(1, 1, 2, 4, 4))
    graph.save(tmp_path / "a.graph")
    assert_same(graph, Graph.load(tmp_path / "a.graph"))


def test_weights_in_another_memory_order_come_back_equal(tmp_path):
    weight = torch.randn(3, 2).t()
    b = GraphBuilder()
    graph = b.finish([b.add("linear", (b.input("x", (3,)),), parameters={"weight": weight}, name="a")])
    graph.save(tmp_path / "a.graph")
    assert torch.equal(Graph.load(tmp_path / "a.graph").nodes[0].parameters["weight"], weight)


def test_part_of_a_large_tensor_takes_only_its_own_room(tmp_path):
    large = torch.zeros(1_000_000)
    b = GraphBuilder()
    graph = b.finish([b.add("scale", (b.input("x", (3,)),), parameters={"weight": large[:3]})])
    graph.save(tmp_path / "a.graph")
    assert (tmp_path / "a.graph").stat().st_size < 10_000


def test_names_that_would_collide_in_the_file_do_not(tmp_path):
    """``a:b`` with a parameter, beside ``a`` with another: the keys of tensors are made of both."""
    b = GraphBuilder()
    x = b.input("x", (2,))
    one = b.add("linear", (x,), parameters={"weight": torch.ones(2, 2)}, name="a")
    two = b.add("linear", (one,), parameters={"weight": 2 * torch.ones(2, 2)}, name="a:weight")
    held = b.state("a:weight|", (2,), torch.tensor([3.0, 4.0]))
    b.carry(held, two)
    graph = b.finish([b.add("add", (two, held))])
    graph.save(tmp_path / "a.graph")
    assert_same(graph, Graph.load(tmp_path / "a.graph"))


def test_several_graphs_and_strings_share_a_file(graph, tmp_path):
    write_graphs(tmp_path / "a.graph", {"one": graph, "two": small()}, {"why": "a test"})
    graphs, extra = read_graphs(tmp_path / "a.graph")
    assert list(graphs) == ["one", "two"]
    assert extra == {"why": "a test"}
    assert_same(graph, graphs["one"])
    assert_same(small(), graphs["two"])
    with pytest.raises(CorruptFileError, match="holds one, two, not a single graph"):
        Graph.load(tmp_path / "a.graph")


def test_saving_over_a_file_leaves_nothing_else(graph, tmp_path):
    for _ in range(2):
        graph.save(tmp_path / "a.graph")
    assert [path.name for path in tmp_path.iterdir()] == ["a.graph"]


# The version before.

OLD = Path(__file__).parent


def test_a_file_of_the_version_before_means_the_same():
    """Written by the version before, with an input and what it gave: equal to the last bit."""
    graph = Graph.load(OLD / "version_1.graph")
    run = load_file(OLD / "version_1_run.safetensors")
    assert [node.op for node in graph][:3] == ["conv", "batch_norm", "lif"]
    assert graph.timesteps == 3
    assert graph.static_input
    assert torch.equal(interpret(graph, run["x"], stepwise=True)[0], run["y"])
    torch.testing.assert_close(interpret(graph, run["x"])[0], run["y"], rtol=0, atol=1e-6)


def test_a_file_of_the_version_before_is_written_as_the_new_one(tmp_path):
    graph = Graph.load(OLD / "version_1.graph")
    graph.save(tmp_path / "a.graph")
    assert structure_of(tmp_path / "a.graph")[0]["format"] == FORMAT
    assert_same(graph, Graph.load(tmp_path / "a.graph"))


def old_file(path):
    """Every operation of version 1 but the chip's neurons, written by hand as it wrote them."""
    generator = torch.Generator().manual_seed(0)
    p = {
        name: torch.randn(shape, generator=generator)
        for name, shape in {
            "c:weight": (4, 2, 3, 3),
            "c:bias": (4,),
            "b:mean": (4,),
            "b:weight": (4,),
            "b:bias": (4,),
            "f:weight": (5, 16),
            "f:bias": (5,),
            "v:mean": (5,),
            "s:weight": (),
        }.items()
    }
    p["b:variance"] = torch.rand(4, generator=generator) + 0.5
    p["v:variance"] = torch.rand(5, generator=generator) + 0.5
    conv = {"stride": [2, 2], "padding": [1, 1], "dilation": [1, 1], "groups": 1}
    fires = {"tau": 2.0, "decay_input": True, "v_threshold": 0.1, "v_reset": None, "detach_reset": True}
    nodes = [
        ["c", "conv2d", ["x"], ["c"], conv, ["bias", "weight"], "c"],
        ["b", "batch_norm", ["c"], ["b"], {"eps": 1e-3}, ["bias", "mean", "variance", "weight"], ""],
        ["n", "lif", ["b", "n.v"], ["n", "n.v_next"], fires, [], "n"],
        ["p", "avg_pool2d", ["n"], ["p"], {"kernel_size": [3, 3], "stride": [2, 2], "padding": [1, 1]}, [], ""],
        ["r", "relu", ["p"], ["r"], {}, [], ""],
        ["i", "identity", ["r"], ["i"], {}, [], ""],
        ["l", "flatten", ["i"], ["l"], {}, [], ""],
        ["f", "linear", ["l"], ["f"], {}, ["bias", "weight"], "f"],
        ["v", "batch_norm", ["f"], ["v"], {"eps": 1e-3}, ["mean", "variance"], ""],
        ["s", "scale", ["v"], ["s"], {}, ["weight"], ""],
        ["a", "add", ["s", "f"], ["a"], {}, [], ""],
    ]
    shapes = {name: [4, 4, 4] for name in ("c", "b", "n", "n.v", "n.v_next")}
    shapes |= {name: [4, 2, 2] for name in "pri"} | {"x": [2, 8, 8], "l": [16]} | {name: [5] for name in "fvsa"}
    types = {"n": ["binary", 0, 1, 1.0], "p": ["integer", 0, 9, 1 / 9], "r": ["integer", 0, 9, 0.1111111111111111]}
    structure = {
        "name": "old",
        "inputs": ["x"],
        "outputs": ["a"],
        "timesteps": 3,
        "static_input": True,
        "states": [["n.v", "n.v_next", 0.05]],
        "signals": [[name, shape, *types.get(name, ["real", 0, 0, 1.0])] for name, shape in shapes.items()],
        "nodes": nodes,
    }
    tensors = {f"graph:{key}": value for key, value in p.items()}
    metadata = {"format": BEFORE, "graphs": {"graph": structure}, "extra": {}}
    save_file(tensors, path, {"graph": json.dumps(metadata)})
    return p


def test_every_operation_of_the_version_before_means_the_same(tmp_path):
    """Against plain torch: convolutions, norms of maps and of vectors, pools that count their border, flattening."""
    p = old_file(tmp_path / "old.graph")
    graph = Graph.load(tmp_path / "old.graph")
    assert graph.type("p") == integer(0, 9, Fraction(1, 9))
    assert graph.type("n") == BINARY
    x = torch.randn(2, 2, 8, 8)
    y = F.conv2d(x, p["c:weight"], p["c:bias"], 2, 1)
    y = F.batch_norm(y, p["b:mean"], p["b:variance"], p["b:weight"], p["b:bias"], eps=1e-3)
    v, wanted = torch.full_like(y, 0.05), []
    for _ in range(3):
        v = v + (y - v) / 2.0
        spikes = (v >= 0.1).float()
        v = v - 0.1 * spikes
        z = F.linear(torch.relu(F.avg_pool2d(spikes, 3, 2, 1)).flatten(1), p["f:weight"], p["f:bias"])
        wanted.append(F.batch_norm(z, p["v:mean"], p["v:variance"], eps=1e-3) * p["s:weight"] + z)
    assert 0.1 < float(spikes.mean()) < 0.9
    torch.testing.assert_close(interpret(graph, x)[0], torch.stack(wanted), rtol=1e-5, atol=1e-5)


def test_an_old_file_that_is_damaged_is_named(tmp_path):
    old_file(tmp_path / "old.graph")
    structure, tensors = structure_of(tmp_path / "old.graph")
    for damage in ("signals", "nodes", "states"):
        broken = json.loads(json.dumps(structure))
        broken["graphs"]["graph"][damage] = [[1]]
        save_file(tensors, tmp_path / "b.graph", {"graph": json.dumps(broken)})
        with pytest.raises(CorruptFileError, match=r"b\.graph describes a graph that does not hold together"):
            Graph.load(tmp_path / "b.graph")


# Files that are none, or damaged.


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


def test_a_newer_version_is_named(graph, tmp_path):
    graph.save(tmp_path / "a.graph")
    structure, tensors = structure_of(tmp_path / "a.graph")
    structure["format"] = "snnkit-graph-9"
    save_file(tensors, tmp_path / "b.graph", {"graph": json.dumps(structure)})
    with pytest.raises(CorruptFileError, match=r"'snnkit-graph-9'; this version reads snnkit-graph-2"):
        Graph.load(tmp_path / "b.graph")


def change(**fields):
    """A damage that sets fields of the only graph."""
    return lambda structure, tensors: structure["graphs"]["graph"].update(fields)


def drop(field):
    def damage(structure, tensors):
        del structure["graphs"]["graph"][field]

    return damage


def node(index, value):
    """A damage to one entry of the first node."""

    def damage(structure, tensors):
        structure["graphs"]["graph"]["nodes"][0][index] = value

    return damage


def signal(index, value):
    def damage(structure, tensors):
        structure["graphs"]["graph"]["signals"][0][index] = value

    return damage


def without_tensor(structure, tensors):
    del tensors[next(key for key in tensors if key.endswith("stem.conv:weight"))]


def node_cut_short(structure, tensors):
    nodes = structure["graphs"]["graph"]["nodes"]
    nodes[0] = nodes[0][:3]


def graphs_as_text(structure, tensors):
    structure["graphs"] = "none"


def without_extra(structure, tensors):
    del structure["extra"]


def another_shape(structure, tensors):
    key = next(key for key in tensors if key.endswith("stem.conv:weight"))
    tensors[key] = tensors[key][:, :, :2]


def whole_weight(structure, tensors):
    key = next(key for key in tensors if key.endswith("stem.conv:weight"))
    tensors[key] = tensors[key].long()


DAMAGES = {
    "no signals": drop("signals"),
    "no nodes": drop("nodes"),
    "no name": drop("name"),
    "no tensor": without_tensor,
    "a node cut short": node_cut_short,
    "text for graphs": graphs_as_text,
    "no extra": without_extra,
    "a number for attributes": node(4, 3),
    "a number for a node's name": node(0, 3),
    "an unknown operation": node(1, "lineer"),
    "a list for an operation": node(1, ["conv"]),
    "inputs that are none": node(2, ["nothing"]),
    "a number for inputs": node(2, 3),
    "a dictionary for parameters": node(5, {"weight": 1, "x": 2}),
    "attributes that are unknown": node(4, {"a": 1}),
    "a number for a scope": node(6, 3),
    "nested attributes": node(4, {"stride": [[1], [1]]}),
    "a signal's shape as text": signal(1, "22"),
    "a negative size": signal(1, [-1]),
    "a size that is none": signal(1, [None]),
    "a huge size": signal(1, [10**30]),
    "sizes whose product is huge": signal(1, [2**62, 2**62]),
    "an unknown kind": signal(2, "reel"),
    "a step of 1/0": signal(5, "1/0"),
    "a step that is text": signal(5, "ninth"),
    "a step of nothing": signal(5, None),
    "an end that is text": signal(3, "low"),
    "no steps": change(timesteps=0),
    "steps as text": change(timesteps="3"),
    "outputs that are none": change(outputs=["nothing"]),
    "no output": change(outputs=[]),
    "outputs as a number": change(outputs=3),
    "an input that is none": change(inputs=["nothing"]),
    "a state cut short": change(states=[["a", "b"]]),
    "a state that is none": change(states=[["a", "b", 0.0]]),
    "states as text": change(states="none"),
    "a weight of another shape": another_shape,
    "a weight of whole numbers": whole_weight,
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_structure_is_named(graph, tmp_path, name):
    graph.save(tmp_path / "a.graph")
    structure, tensors = structure_of(tmp_path / "a.graph")
    DAMAGES[name](structure, tensors)
    tensors = {key: value.contiguous() for key, value in tensors.items()}
    save_file(tensors, tmp_path / "b.graph", {"graph": json.dumps(structure)})
    with pytest.raises(CorruptFileError, match=r"b\.graph") as caught:
        loaded = Graph.load(tmp_path / "b.graph")
        interpret(loaded, torch.rand(2, 1, 8, 8))
    assert "\n" not in str(caught.value)


def test_a_structure_that_is_not_json_is_named(graph, tmp_path):
    graph.save(tmp_path / "a.graph")
    structure, tensors = structure_of(tmp_path / "a.graph")
    for text in (json.dumps(structure)[:-20], "[" * 100_000, "", "NaN"):
        save_file(tensors, tmp_path / "b.graph", {"graph": text})
        with pytest.raises(CorruptFileError, match=r"b\.graph"):
            Graph.load(tmp_path / "b.graph")


def test_a_file_whose_bits_flip_never_ends_in_a_traceback(tmp_path):
    """Two hundred damaged copies: each is refused by name or is a graph that holds together."""
    wide().save(tmp_path / "a.graph")
    content = bytearray((tmp_path / "a.graph").read_bytes())
    generator = torch.Generator().manual_seed(0)
    header = int.from_bytes(content[:8], "little") + 8
    loaded = 0
    for place in torch.randint(0, header, (200,), generator=generator).tolist():
        broken = bytearray(content)
        broken[place] ^= 1 << int(torch.randint(0, 7, (), generator=generator))
        (tmp_path / "b.graph").write_bytes(bytes(broken))
        with suppress(CorruptFileError):
            verify(Graph.load(tmp_path / "b.graph"))
            loaded += 1
    assert loaded < 200


def test_made_up_attributes_are_not_believed(tmp_path):
    """Files are verified: what no operation knows does not come in."""
    original = small()
    odd = replace(original.nodes[0], attributes={"a": None, "b": (1, 2)})
    write_graphs(tmp_path / "a.graph", {"graph": replace(original, nodes=(odd, *original.nodes[1:]))})
    with pytest.raises(CorruptFileError, match="fc.*attribute 'a' that the operation does not know"):
        Graph.load(tmp_path / "a.graph")


def test_a_shape_that_lies_is_not_believed(tmp_path):
    original = small()
    lying = replace(original, signals={**original.signals, "fc": Signal("fc", (7,))})
    write_graphs(tmp_path / "a.graph", {"graph": lying})
    with pytest.raises(CorruptFileError, match="fc"):
        Graph.load(tmp_path / "a.graph")


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
