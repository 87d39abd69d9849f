"""Bad ONNX files: one line each, nothing opened that lies elsewhere, nothing large made, nothing executed.

Would break it: a file of weights outside of the model's folder that is read, a tensor of terabytes that is allocated, a
second unknown operator that is not named, a raw traceback, a function that unfolds without end.
"""

from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

import compiler
from compiler.errors import CaptureError
from compiler.exchange.onnx import OnnxError, read
from snnkit.cli import main
from snnkit.errors import CorruptFileError, InvalidArgumentError

from .onnx_files import write

RELU = [("Relu", ["x"], ["y"], {})]
PRODUCT = [("MatMul", ["x", "w"], ["y"], {})]
SHAPE = ("batch", 4)


def of_graph(change):
    """A change of the file's graph."""
    return {"change": lambda model: change(model.graph)}


def second_input(graph):
    graph.input.append(helper.make_tensor_value_info("z", TensorProto.DOUBLE, [1, 4]))


def external(location, **entries):
    def change(graph):
        weight = graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **entries}.items():
            weight.external_data.add(key=key, value=str(value))

    return {"weights": {"w": np.ones((4, 4))}, "nodes": PRODUCT, **of_graph(change)}


def itself(model):
    """A function that calls itself."""
    node = helper.make_node("Loop2", ["a"], ["b"], domain="own")
    model.functions.append(helper.make_function("own", "Loop2", ["a"], ["b"], [node], model.opset_import))
    model.opset_import.append(helper.make_opsetid("own", 1))


def doubling(model):
    """Functions that unfold into 2^40 nodes."""
    model.opset_import.append(helper.make_opsetid("own", 1))
    for level in range(40):
        inner, domain = (f"f{level - 1}", "own") if level else ("Neg", "")
        nodes = [helper.make_node(inner, [a], [b], domain=domain) for a, b in (("a", "m"), ("m", "b"))]
        model.functions.append(helper.make_function("own", f"f{level}", ["a"], ["b"], nodes, model.opset_import))


def cut_weight(graph):
    graph.initializer[0].raw_data = graph.initializer[0].raw_data[:-1]


HUGE = [("ConstantOfShape", ["s"], ["c"], {}), ("Cast", ["c"], ["d"], {"to": 11}), ("Add", ["x", "d"], ["y"], {})]

BAD = {
    "no batch axis": ({"batch_axis": 2}, InvalidArgumentError, "has 2 axes"),
    "older operators": ({"opset": 12}, OnnxError, "version 12 .* 13 to 25 are known"),
    "newer operators": ({"opset": 99}, OnnxError, "version 99 .* 13 to 25 are known"),
    "two inputs": (of_graph(second_input), OnnxError, "has 2 inputs: 'x', 'z'"),
    "whole numbers": ({"dtype": TensorProto.INT64}, OnnxError, "torch.int64; networks that read float32 or float64"),
    "strings": ({"dtype": TensorProto.STRING}, OnnxError, "numbers of type STRING"),
    "a batch of 4": ({"shape": (4, 4)}, OnnxError, "fixed batch of 4 along axis 0; export it with a batch of 1"),
    "an open width": ({"shape": ("batch", "width")}, OnnxError, r"size of axis 1 open \(width\)"),
    "no shape": ({"shape": None}, OnnxError, "no tensor of a known shape"),
    "nothing before": ({"nodes": [("Relu", ["q"], ["y"], {})]}, CorruptFileError, "n0 .Relu. reads 'q'"),
    "written twice": ({"nodes": [*RELU, *RELU]}, CorruptFileError, "writes 'y', which was written before"),
    "no output": ({"outputs": ("q",)}, CorruptFileError, "nothing writes the output 'q'"),
    "no nodes": ({"nodes": []}, CorruptFileError, "holds no network"),
    "half a number": (
        {"nodes": PRODUCT, "weights": {"w": np.ones((4, 4))}, **of_graph(cut_weight)},
        CorruptFileError,
        "'w' does not hold what its shape",
    ),
    "no file of weights": (external("gone.bin"), CorruptFileError, "'gone.bin', which is not beside net.onnx"),
    "weights above": (external("../secret.bin"), CorruptFileError, "outside of the model's folder: not opened"),
    "weights elsewhere": (external("/etc/passwd"), CorruptFileError, "outside of the model's folder: not opened"),
    "weights through a link": (external("link.bin"), CorruptFileError, "outside of the model's folder: not opened"),
    "short weights": (external("short.bin"), CorruptFileError, "bytes 0 to 128 of short.bin, which has 5"),
    "another length": (external("short.bin", length=64), CorruptFileError, "takes 128 bytes; the file says 64"),
    "before the start": (external("short.bin", offset=-8), CorruptFileError, "it was cut off"),
    "no place": (external("short.bin", offset="x"), CorruptFileError, "is no number"),
    "a function of itself": (
        {"change": itself, "nodes": [("Loop2", ["x"], ["y"], {"domain": "own"})]},
        CorruptFileError,
        "calls itself",
    ),
    "endless functions": (
        {"change": doubling, "nodes": [("f39", ["x"], ["y"], {"domain": "own"})]},
        OnnxError,
        "at most 1000000",
    ),
    "terabytes": (
        {"nodes": HUGE, "weights": {"s": np.array([2**20, 2**20, 4])}},
        OnnxError,
        "1.64e.04 GiB; at most 4 GiB",
    ),
    "more than there is": (
        {"nodes": HUGE, "weights": {"s": np.array([2**62, 2**62])}},
        CaptureError,
        "n0 .ConstantOfShape.",
    ),
    "endless numbers": (
        {
            "nodes": [("Range", ["a", "b", "c"], ["y"], {})],
            "weights": dict(zip("abc", np.array([0, 2**60, 1]), strict=True)),
        },
        CaptureError,
        "makes 1.15e",
    ),
    "shapes that do not fit": (
        {"nodes": PRODUCT, "weights": {"w": np.ones((3, 4))}},
        CaptureError,
        r"n0 .MatMul. does not fit what it reads of shape \(1, 4\), \(3, 4\)",
    ),
    "constant output": (
        {"nodes": [("Neg", ["w"], ["y"], {})], "weights": {"w": np.ones(3)}},
        CaptureError,
        "does not depend on the network",
    ),
    "a training norm": (
        {
            "nodes": [("BatchNormalization", ["x", "w", "w", "w", "w"], ["y"], {"training_mode": 1})],
            "weights": {"w": np.ones(4)},
        },
        CaptureError,
        "statistics of the batch",
    ),
    "samples mixed": (
        {"nodes": [("ReduceMean", ["x"], ["y"], {"axes": [0]})], "opset": 13},
        CaptureError,
        "mixes samples",
    ),
    "a batch that is reshaped away": (
        {"nodes": [("Reshape", ["x", "s"], ["y"], {})], "weights": {"s": np.array([2, 2])}},
        CaptureError,
        "samples along axis 0 together",
    ),
    "the batch dropped": ({"nodes": [("Squeeze", ["x"], ["y"], {})]}, CaptureError, "drops the axis of the batch"),
    "the batch joined": (
        {"nodes": [("Concat", ["x", "x"], ["y"], {"axis": 0})]},
        CaptureError,
        "joins along the batch",
    ),
    "a sample taken": (
        {"nodes": [("Gather", ["x", "i"], ["y"], {})], "weights": {"i": np.array(0)}},
        CaptureError,
        "takes samples out of the batch",
    ),
    "positions beyond": (
        {"nodes": [("Gather", ["x", "i"], ["y"], {"axis": 1})], "weights": {"i": np.array([4])}},
        CaptureError,
        "beyond the 4 of axis 1",
    ),
    "a computed shape": (
        {"nodes": [("Cast", ["x"], ["s"], {"to": 7}), ("Reshape", ["x", "s"], ["y"], {})]},
        CaptureError,
        "n1 .Reshape. computes its input 1 from the network's input",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_in_one_line(case, tmp_path):
    changes, error, message = BAD[case]
    changes = {"nodes": RELU, "shape": SHAPE, **changes}
    batch_axis = changes.pop("batch_axis", 0)
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(1000))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "short.bin").write_bytes(b"short")
    path = write(folder / "net.onnx", **changes)
    with pytest.raises(error, match=message) as caught:
        read(path, batch_axis)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"not a model at all", b"\x08\x07", bytes(64), b"\xff" * 50])
def test_what_is_no_onnx_file(data, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    with pytest.raises(CorruptFileError, match="is no ONNX file"):
        read(path)


def test_a_file_cut_anywhere_is_refused(tmp_path):
    path = write(tmp_path / "net.onnx", PRODUCT, SHAPE, {"w": np.ones((4, 4))})
    whole = path.read_bytes()
    for end in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:end])
        with pytest.raises((CorruptFileError, OnnxError, CaptureError)):
            read(path)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(CorruptFileError, match="does not exist"):
        read(tmp_path / "none.onnx")
    with pytest.raises(CorruptFileError, match="is no file"):
        read(tmp_path)


def test_all_unknown_operators_are_named_at_once(tmp_path, capsys):
    nodes = [
        ("Relu", ["x"], ["a"], {}),
        ("Det", ["a"], ["b"], {}),
        ("Relus", ["b"], ["c"], {}),
        ("Fused", ["a"], ["d"], {"domain": "com.vendor"}),
        ("Resize", ["x", "", "", "s"], ["f"], {"antialias": 1}),
        ("Add", ["c", "d"], ["e"], {}),
        ("Add", ["e", "f"], ["y"], {}),
    ]
    path = write(tmp_path / "net.onnx", nodes, SHAPE, {"s": np.array([1, 8])})
    with pytest.raises(CaptureError) as caught:
        read(path)
    reasons = caught.value.reasons
    assert [reason.partition(" ")[0] for reason in reasons] == ["n1", "n2", "n3", "n4"]
    assert "'Det'" in reasons[0]
    assert "Did you mean 'Relu'?" in reasons[1]
    assert "'com.vendor.Fused'" in reasons[2]
    assert "antialias" in reasons[3]
    for verb in ("capture", "check"):
        with pytest.raises(SystemExit) as left:
            main([verb, str(path)])
        assert left.value.code == 3
        said = capsys.readouterr().out
        assert all(f"n{index} " in said for index in (1, 2, 3, 4))


def test_verbs_take_an_onnx_file(tmp_path, capsys):
    path = write(
        tmp_path / "small.onnx",
        [*PRODUCT[:1], ("Relu", ["y"], ["z"], {})],
        SHAPE,
        {"w": np.ones((4, 3))},
        outputs=("z",),
    )
    with pytest.raises(SystemExit) as left:
        main(["capture", str(path), "--text", "--output", str(tmp_path / "small.graph")])
    assert left.value.code == 0
    assert "relu" in capsys.readouterr().out
    assert [node.op for node in compiler.Graph.load(tmp_path / "small.graph")] == ["linear", "relu"]


def test_weights_in_a_file_beside_the_model(tmp_path):
    weight = np.random.default_rng(0).standard_normal((4, 4))
    (tmp_path / "w.bin").write_bytes(bytes(16) + weight.tobytes())
    path = write(tmp_path / "net.onnx", shape=SHAPE, **external("w.bin", offset=16, length=128))
    x = torch.randn(2, 4).double()
    assert torch.equal(compiler.interpret(read(path), x)[0][0], x @ torch.from_numpy(weight))


def test_the_batch_may_lie_behind_other_axes(tmp_path):
    weight = np.random.default_rng(0).standard_normal((4, 4))
    nodes = [("MatMul", ["x", "w"], ["a"], {}), ("Transpose", ["a"], ["y"], {"perm": [1, 0, 2]})]
    path = write(tmp_path / "net.onnx", nodes, (3, "batch", 4), {"w": weight})
    x = torch.randn(2, 3, 4).double()
    torch.testing.assert_close(compiler.interpret(read(path, batch_axis=1), x)[0][0], x @ torch.from_numpy(weight))


def test_functions_of_the_file_are_written_out(tmp_path):
    def change(model: onnx.ModelProto) -> None:
        model.opset_import.append(helper.make_opsetid("own", 1))
        nodes = [helper.make_node("Relu", ["a"], ["m"]), helper.make_node("Neg", ["m"], ["b"])]
        model.functions.append(helper.make_function("own", "F", ["a"], ["b"], nodes, model.opset_import[:1]))

    path = write(tmp_path / "net.onnx", [("F", ["x"], ["y"], {"domain": "own"})], SHAPE, change=change)
    assert [node.op for node in read(path)] == ["relu", "neg"]


def test_without_the_package(tmp_path, monkeypatch):
    path = write(tmp_path / "net.onnx", RELU, SHAPE)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(OnnxError, match=r"pip install snnkit\[onnx\]"):
        read(path)
