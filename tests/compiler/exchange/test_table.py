"""The table operation ↔ NIR: nothing is missing, and each entry does what it says."""

from __future__ import annotations

import importlib
import inspect

import pytest
import torch

import compiler
from compiler.exchange.nir import NirError, read, table, write
from compiler.graph import GraphBuilder, operations

package = pytest.importorskip("nir")
STRUCTURE = set(table.STRUCTURE)
CLASSES = [
    name
    for name, kind in vars(importlib.import_module("nir.ir")).items()
    if inspect.isclass(kind) and issubclass(kind, package.NIRNode) and kind is not package.NIRNode
]


@pytest.mark.parametrize("name", operations())
def test_every_operation_is_carried_or_refused_with_a_reason(name):
    """A new operation that nobody thought about fails here."""
    carried, refused = name in table.WRITE, name in table.REFUSED
    assert carried != refused
    if refused:
        reason = table.reason(name)
        assert "NIR" in reason
        assert "; " in reason or "use" in reason, "says what to do instead"
        assert "\n" not in reason


def test_no_entry_is_left_over():
    assert set(table.WRITE) | set(table.REFUSED) == set(operations())


@pytest.mark.parametrize("kind", CLASSES)
def test_every_nir_node_is_read(kind):
    assert (kind in table.READ) or (kind in STRUCTURE)


def test_nothing_is_read_that_nir_does_not_have():
    assert set(table.READ) | STRUCTURE == set(CLASSES)


def test_a_refused_operation_names_its_node_and_the_reason(tmp_path):
    builder = GraphBuilder()
    x = builder.input("input", (4, 6, 6))
    y = builder.add("adaptive_max_pool", (x,), {"output_size": (2, 2)}, name="pool")
    with pytest.raises(NirError, match=r"pool \(adaptive_max_pool\): NIR has no maximum pool; use an average pool\."):
        write(builder.finish([y]), tmp_path / "a.nir")
    assert list(tmp_path.iterdir()) == []


def _shape_ops():
    builder = GraphBuilder("all", timesteps=4)
    x = builder.input("input", (2, 8, 8))
    return builder, x


def test_every_operation_without_a_membrane_makes_the_round(tmp_path):
    """conv in two dimensions, scales, pools, sums, differences, steps, biases and shapes in one network."""
    builder, x = _shape_ops()
    torch.manual_seed(0)
    settings = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    pool = {"stride": (2, 2), "padding": (0, 0), "ceil_mode": False, "count_include_pad": True}
    y = builder.add("conv", (x,), settings, {"weight": torch.randn(4, 2, 3, 3)}, name="conv")
    y = builder.add("add", (y, builder.constant(torch.randn(4, 1, 1), "shift")), name="shifted")
    y = builder.add("scale", (y,), {}, {"weight": torch.randn(4, 1, 1)}, name="gains")
    above = builder.add("gt", (y, builder.constant(torch.tensor(0.25), "bound")), name="above")
    s = builder.add("cast", (above,), {"to": "float"}, {"like": torch.zeros(())}, name="s")
    at = builder.add("ge", (y, builder.constant(torch.full((4, 1, 1), 0.5), "bound_2")), name="at")
    r = builder.add("cast", (at,), {"to": "float"}, {"like": torch.zeros(())}, name="r")
    d = builder.add("sub", (s, builder.add("neg", (r,), name="minus")), name="d")
    d = builder.add("identity", (d,), name="same")
    a = builder.add("avg_pool", (d,), {**pool, "kernel_size": (2, 2), "divisor": 0}, name="averages")
    b = builder.add("avg_pool", (d,), {**pool, "kernel_size": (2, 2), "divisor": 1}, name="sums")
    z = builder.add("add", (a, b), name="both")
    z = builder.add("add", (z, builder.add("max_pool", (s,), PEAKS, name="peaks")), name="three")
    fourths = builder.add("adaptive_avg_pool", (z,), {"output_size": (2, 2)}, name="fourths")
    means = builder.add("mean", (fourths,), {"axes": (-2, -1), "keepdim": False}, name="means")
    rows = builder.add("reshape", (z,), {"shape": (4, 16)}, name="rows")
    flat = builder.add("reshape", (rows,), {"shape": (64,)}, name="flat")
    out = builder.add("linear", (flat,), {}, {"weight": torch.randn(3, 64)}, name="head")
    out = builder.add("add", (out, builder.add("linear", (means,), {}, {"weight": torch.randn(3, 4)}, name="short")))
    graph = builder.finish([out]).double()
    used = {node.op for node in graph}
    report = write(graph, tmp_path / "a.nir")
    assert any("shifted became the bias of conv" in note for note in report.notes)
    back = read(tmp_path / "a.nir")
    assert back.node("sums").attributes["divisor"] == 1
    assert back.type("sums").is_event
    assert back.node("gains").parameters["weight"].shape == (4, 1, 1)
    assert back.node("conv").parameters["bias"].shape == (4,)
    x = torch.randn(5, 3, 2, 8, 8, dtype=torch.float64)
    y, y_back = compiler.interpret(graph, x)[0], compiler.interpret(back, x)[0]
    assert y.abs().max() > 1
    torch.testing.assert_close(y, y_back, rtol=1e-13, atol=1e-13)
    stateless = {op for op in table.WRITE if operations()[op].kind != "neuron"}
    assert used == stateless, "an operation that is said to be carried is not tried here"


def test_a_sum_pool_of_spikes_has_levels_and_the_pool_of_the_file_is_plain(tmp_path):
    builder = GraphBuilder("sums", timesteps=2)
    x = builder.input("input", (2, 4, 4), compiler.SignalType.parse("binary"))
    spikes = builder.neuron(
        "integrate_fire", x, {"v_threshold": 1.0, "v_reset": 0.0, "detach_reset": True}, states=[("v", 0.0)], name="if"
    )
    pool = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0), "ceil_mode": False, "count_include_pad": True}
    y = builder.add("avg_pool", (spikes,), {**pool, "divisor": 1}, name="pool")
    graph = builder.finish([y])
    write(graph, tmp_path / "a.nir")
    assert type(package.read(tmp_path / "a.nir").nodes["pool"]).__name__ == "SumPool2d"
    back = read(tmp_path / "a.nir")
    assert str(back.type("pool")) == str(graph.type("pool")) == "integer[0,4]"


POOLS = {
    "another divisor": ({"divisor": 3}, r"pool \(avg_pool\) divides by 3.*4, or by 1"),
    "border left out": ({"padding": (1, 1), "count_include_pad": False}, "leaves padded zeros out"),
    "hanging over": ({"kernel_size": (3, 3), "stride": (2, 2), "ceil_mode": True}, "hang over the border"),
}


@pytest.mark.parametrize("case", POOLS)
def test_pools_that_nir_does_not_have(case, tmp_path):
    changes, message = POOLS[case]
    builder = GraphBuilder()
    x = builder.input("input", (2, 6, 6))
    plain = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0), "ceil_mode": False}
    given = {**plain, "count_include_pad": True, "divisor": 0, **changes}
    with pytest.raises(NirError, match=message) as caught:
        write(builder.finish([builder.add("avg_pool", (x,), given, name="pool")]), tmp_path / "a.nir")
    assert "\n" not in str(caught.value)


def _adds(shape, constant):
    builder = GraphBuilder()
    x = builder.input("input", shape)
    return builder.finish([builder.add("add", (x, builder.constant(constant, "c")), name="sum")])


PEAKS = {"kernel_size": (3, 3), "stride": (2, 2), "padding": (1, 1), "dilation": (1, 1), "ceil_mode": False}
REFUSED = {
    "constant without a layer": (lambda: _adds((4,), torch.ones(4)), r"sum \(add\) adds stored numbers.*bias"),
    "one-dimensional pool": (
        lambda: _one(
            "avg_pool",
            (4, 8),
            {"kernel_size": (2,), "stride": (2,), "padding": (0,), "ceil_mode": False, "count_include_pad": True,
             "divisor": 0},
        ),
        "NIR pools",
    ),
    "volume": (
        lambda: _one(
            "conv",
            (1, 4, 4, 4),
            {"stride": (1,) * 3, "padding": (0,) * 3, "dilation": (1,) * 3, "groups": 1},
            {"weight": torch.ones(1, 1, 2, 2, 2)},
        ),
        "one and two",
    ),
    "windows that differ": (
        lambda: _one("adaptive_avg_pool", (2, 7, 7), {"output_size": (3, 3)}),
        r"makes \(3, 3\) of a signal of shape \(2, 7, 7\)",
    ),
    "mean of channels": (lambda: _one("mean", (2, 7, 7), {"axes": (-3,), "keepdim": False}), r"axes \(-3,\)"),
    "maximum of numbers": (lambda: _one("max_pool", (2, 7, 7), PEAKS), r"type real; NIR has no maximum"),
    "split axes": (lambda: _one("reshape", (8,), {"shape": (2, 4)}), r"makes \(2, 4\) of \(8,\)"),
    "growing scale": (lambda: _one("scale", (1, 4), {}, {"weight": torch.ones(3, 1)}), r"shape \(3, 4\)"),
    "cast": (lambda: _one("cast", (4,), {"to": "int"}), r"node \(cast\) changes the type"),
}  # fmt: skip


def _one(op, shape, attributes, parameters=None):
    builder = GraphBuilder()
    x = builder.input("input", shape)
    return builder.finish([builder.add(op, (x,), attributes, parameters, name="node")])


@pytest.mark.parametrize("case", REFUSED)
def test_carried_operations_refuse_what_nir_does_not_say(case, tmp_path):
    make, message = REFUSED[case]
    with pytest.raises(NirError, match=message) as caught:
        write(make(), tmp_path / "a.nir")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("threshold", [0.1, 0.5, 1 / 3])
@pytest.mark.parametrize("op", ["gt", "ge"])
def test_a_step_is_exact_at_its_threshold(op, threshold, tmp_path):
    """Numbers around the threshold, one by one: NIR's > and our ≥ agree on each."""
    import numpy as np

    number = np.float32(threshold)
    near = [np.nextafter(number, np.float32(-1)), number, np.nextafter(number, np.float32(2))]
    builder = GraphBuilder()
    x = builder.input("input", (1,))
    step = builder.add(op, (x, builder.constant(torch.tensor(float(number)), "bound")), name="step")
    y = builder.add("cast", (step,), {"to": "float"}, {"like": torch.zeros(())}, name="y")
    graph = builder.finish([y])
    x = torch.tensor(np.array(near)).reshape(3, 1)
    expected = [0.0, float(op == "ge"), 1.0]
    write(graph, tmp_path / "a.nir")
    stored = package.read(tmp_path / "a.nir").nodes["y"].threshold
    assert [float(v > stored[0]) for v in near] == expected
    for given in (graph, read(tmp_path / "a.nir")):
        assert compiler.interpret(given, x)[0].flatten().tolist() == expected
    wide = package.Threshold(np.array([threshold], np.float64))
    nodes = {"input": package.Input(np.array([1])), "w": package.Scale(np.ones(1, np.float32)), "t": wide}
    nodes["output"] = package.Output(np.array([1]))
    edges = [("input", "w"), ("w", "t"), ("t", "output")]
    package.write(tmp_path / "b.nir", package.NIRGraph(nodes, edges))
    found = compiler.interpret(read(tmp_path / "b.nir"), x)[0].flatten().tolist()
    assert found == [float(float(v) > threshold) for v in near]


def test_old_names_warn_and_work(tmp_path):
    import compiler.emit

    builder = GraphBuilder()
    graph = builder.finish([builder.add("neg", (builder.input("input", (3,)),), name="minus")])
    with pytest.warns(DeprecationWarning, match=r"compiler\.exchange\.nir\.write"):
        compiler.emit.nir(graph, tmp_path / "a.nir")
    with pytest.warns(DeprecationWarning, match=r"compiler\.exchange\.nir\.read"):
        assert len(compiler.emit.read_nir(tmp_path / "a.nir")) == 1
    with pytest.warns(DeprecationWarning, match=r"compiler\.exchange\.lava\.write"):
        assert compiler.emit.lava is compiler.exchange.lava.write
    with pytest.raises(AttributeError):
        compiler.emit.onnx  # noqa: B018


def test_exchange_is_lazy():
    """``import compiler`` and ``compiler.exchange`` load neither torch's readers nor nir."""
    import subprocess
    import sys

    script = (
        "import sys, compiler\n"
        "compiler.exchange\n"
        "assert not {'nir', 'torch', 'compiler.exchange.nir'} & set(sys.modules)\n"
        "compiler.exchange.nir.write, compiler.exchange.nir.read, compiler.exchange.lava.write\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("padding", [0, 1])
def test_the_maximum_of_spikes_is_a_sum_above_zero(padding, tmp_path):
    """Bit for bit, borders included: there the windows hold fewer values."""
    builder = GraphBuilder()
    x = builder.input("input", (2, 7, 9), compiler.SignalType.parse("binary"))
    graph = builder.finish([builder.add("max_pool", (x,), {**PEAKS, "padding": (padding, padding)}, name="peaks")])
    write(graph, tmp_path / "a.nir")
    back = read(tmp_path / "a.nir")
    assert str(back.type("peaks")) == "binary"
    x = (torch.rand(6, 2, 7, 9) < 0.1).float()
    y = compiler.interpret(graph, x)[0]
    assert 0.2 < y.mean() < 0.9
    assert torch.equal(y, compiler.interpret(back, x)[0])
