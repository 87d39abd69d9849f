"""Every operator of ONNX that is read, against the reference evaluator of the package ``onnx``, sample by sample.

Would break it: a default or a corner of the specification taken wrongly, such as the rounding of nearest, the side that
SAME_UPPER pads, or a scale a group where the version says a channel.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import compiler
from compiler.exchange.onnx import read
from compiler.exchange.onnx.table import TABLE
from compiler.graph import verify

from .onnx_files import by_reference, write

IMAGE, TOKENS = (1, 4, 6, 7), (1, 5, 8)
rng = np.random.default_rng(0)


def _numbers(*shape):
    return rng.standard_normal(shape)


def _ints(*values):
    return np.array(values, np.int64)


def _unary(op, opset=20, **attributes):
    return (op, TOKENS, [(op, ["x"], ["y"], attributes)], {}, opset)


def _binary(op, opset=20, other=None):
    nodes = [(op, ["x", "w"], ["y"], {})]
    return (op, TOKENS, nodes, {"w": _numbers(5, 1) if other is None else other}, opset)


def _layer(op, shape, weights, opset=20, label="", **attributes):
    names = list(weights)
    return (f"{op} {label}".strip(), shape, [(op, ["x", *names], ["y"], attributes)], weights, opset)


def _reduce(op, opset, axes, **attributes):
    """Axes are an input from version 18 on (13 for sums)."""
    if opset >= (13 if op == "ReduceSum" else 18):
        return (f"{op} {opset}", IMAGE, [(op, ["x", "a"], ["y"], attributes)], {"a": _ints(*axes)}, opset)
    return (f"{op} {opset}", IMAGE, [(op, ["x"], ["y"], {"axes": axes, **attributes})], {}, opset)


def _compare(op, opset=20):
    """The result of a comparison chooses between two signals."""
    nodes = [(op, ["x", "w"], ["c"], {}), ("Neg", ["x"], ["n"], {}), ("Where", ["c", "x", "n"], ["y"], {})]
    return (op, TOKENS, nodes, {"w": np.array(0.1)}, opset)


def _logic(op):
    nodes = [
        ("Greater", ["x", "low"], ["a"], {}),
        ("Less", ["x", "high"], ["b"], {}),
        (op, ["a", "b"], ["c"], {}),
        ("Cast", ["c"], ["y"], {"to": 11}),
    ]
    return (op, TOKENS, nodes, {"low": np.array(-0.5), "high": np.array(0.5)}, 20)


def _resize(label, sizes, scales=None, **attributes):
    names, weights = ["x", "", "", "s"], {"s": _ints(*(sizes or ()))}
    if scales is not None:
        names, weights = ["x", "", "s"], {"s": np.array(scales, np.float32)}
    return (f"Resize {label}", IMAGE, [("Resize", names, ["y"], attributes)], weights, 19)


def _pad(mode, opset=20):
    nodes = [("Pad", ["x", "p"], ["y"], {"mode": mode})]
    return (f"Pad {mode}", IMAGE, nodes, {"p": _ints(0, 0, 1, 2, 0, 0, 2, 1)}, opset)


_SHAPE_ARITHMETIC = [
    ("Shape", ["x"], ["s"], {}),
    ("Gather", ["s", "one"], ["n"], {"axis": 0}),
    ("Size", ["x"], ["all"], {}),
    ("Div", ["all", "n"], ["rest"], {}),
    ("Range", ["zero", "n", "step"], ["r"], {}),
    ("CastLike", ["r", "x"], ["f"], {}),
    ("Unsqueeze", ["f", "step1"], ["column"], {}),
    ("ConstantOfShape", ["shape"], ["zeros"], {}),
    ("Cast", ["zeros"], ["z"], {"to": 11}),
    ("Constant", [], ["half"], {"value_float": 0.5}),
    ("Cast", ["half"], ["h"], {"to": 11}),
    ("Mul", ["column", "h"], ["c"], {}),
    ("Sum", ["x", "c", "z"], ["y"], {}),
]

CASES = [
    *(
        _unary(op)
        for op in (
            *("Abs", "Neg", "Sign", "Exp", "Reciprocal", "Sin", "Cos", "Erf", "Floor", "Ceil", "Round", "Relu", "Mish"),
            *(
                "Sigmoid",
                "Tanh",
                "Softplus",
                "Softsign",
                "HardSwish",
                "Gelu",
                "HardSigmoid",
                "LeakyRelu",
                "Elu",
                "Selu",
            ),
            *("Identity", "Softmax", "LogSoftmax", "LpNormalization", "Dropout"),
        )
    ),
    _unary("Gelu", approximate="tanh"),
    _unary("HardSigmoid", alpha=0.3, beta=0.4),
    _unary("LeakyRelu", alpha=0.2),
    _unary("Softmax", axis=1),
    _unary("Flatten"),
    (
        "Flatten of all but the last",
        TOKENS,
        [("Flatten", ["x"], ["a"], {"axis": -1}), ("Reshape", ["a", "s"], ["y"], {})],
        {"s": _ints(1, 8, 5)},
        20,
    ),
    _unary("Transpose", perm=[0, 2, 1]),
    _unary("ArgMax", axis=-1, keepdims=0),
    *(_binary(op) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "PRelu")),
    _binary("Pow", other=np.array(2.0)),
    _binary("CumSum", other=np.array(1)),
    *(_compare(op) for op in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")),
    *(_logic(op) for op in ("And", "Or", "Xor")),
    (
        "Not",
        TOKENS,
        [*_logic("And")[2][:3], ("Not", ["c"], ["d"], {}), ("Cast", ["d"], ["y"], {"to": 11})],
        _logic("And")[3],
        20,
    ),
    ("IsNaN", TOKENS, [("IsNaN", ["x"], ["c"], {}), ("Cast", ["c"], ["y"], {"to": 11})], {}, 20),
    ("Sqrt", TOKENS, [("Abs", ["x"], ["a"], {}), ("Sqrt", ["a"], ["y"], {})], {}, 20),
    ("Log", TOKENS, [("Abs", ["x"], ["a"], {}), ("Log", ["a"], ["y"], {})], {}, 20),
    _layer("Clip", TOKENS, {"low": np.array(-0.5), "high": np.array(0.7)}),
    _layer(
        "Conv",
        IMAGE,
        {"w": _numbers(6, 2, 3, 3), "b": _numbers(6)},
        label="uneven",
        group=2,
        pads=[1, 0, 2, 1],
        strides=[2, 1],
    ),
    _layer("Conv", IMAGE, {"w": _numbers(4, 4, 3, 4)}, label="upper", auto_pad="SAME_UPPER", strides=[2, 2]),
    _layer("Conv", IMAGE, {"w": _numbers(4, 4, 2, 2)}, label="lower", auto_pad="SAME_LOWER"),
    _layer("Conv", (1, 2, 5, 4, 6), {"w": _numbers(3, 2, 2, 3, 3)}, label="of volumes", dilations=[1, 1, 2]),
    _layer(
        "ConvTranspose", IMAGE, {"w": _numbers(4, 3, 3, 3)}, strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 0]
    ),
    _layer("Gemm", (1, 8), {"w": _numbers(8, 3), "b": _numbers(3)}, alpha=0.5, beta=2.0),
    _layer("Gemm", (1, 8), {"w": _numbers(3, 8)}, label="transposed", transB=1),
    _layer("MatMul", TOKENS, {"w": _numbers(8, 3)}),
    _layer("MatMul", TOKENS, {"w": _numbers(1, 8, 3)}, label="with an axis"),
    (
        "MatMul of signals",
        TOKENS,
        [("Transpose", ["x"], ["t"], {"perm": [0, 2, 1]}), ("MatMul", ["x", "t"], ["y"], {})],
        {},
        20,
    ),
    ("Einsum", TOKENS, [("Einsum", ["x", "x"], ["y"], {"equation": "bnc,bmc->bnm"})], {}, 20),
    _layer(
        "BatchNormalization",
        IMAGE,
        {"w": _numbers(4), "b": _numbers(4), "m": _numbers(4), "v": np.abs(_numbers(4)) + 0.1},
    ),
    _layer("InstanceNormalization", IMAGE, {"w": _numbers(4), "b": _numbers(4)}),
    _layer("LayerNormalization", IMAGE, {"w": _numbers(6, 7), "b": _numbers(6, 7)}, axis=2),
    _layer("RMSNormalization", TOKENS, {"w": _numbers(8)}, opset=23),
    _layer("GroupNormalization", IMAGE, {"w": _numbers(4), "b": _numbers(4)}, opset=21, num_groups=2),
    _layer("Swish", TOKENS, {}, opset=24),
    _layer("MaxPool", IMAGE, {}, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 0, 1]),
    _layer("MaxPool", IMAGE, {}, label="ceil", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    _layer("AveragePool", IMAGE, {}, kernel_shape=[3, 2], pads=[1, 0, 1, 0]),
    _layer("AveragePool", IMAGE, {}, label="counted", kernel_shape=[3, 3], pads=[0, 0, 1, 1], count_include_pad=1),
    _layer("AveragePool", IMAGE, {}, label="uneven", kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
    _layer("GlobalAveragePool", IMAGE, {}),
    _layer("GlobalMaxPool", IMAGE, {}),
    *(
        _reduce(op, opset, [-1, 2], keepdims=0)
        for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare")
        for opset in (13, 18)
    ),
    _reduce("ReduceLogSumExp", 18, [1]),
    ("Reshape with 1 and −1", TOKENS, [("Reshape", ["x", "s"], ["y"], {})], {"s": _ints(1, -1, 4)}, 20),
    ("Reshape with 0", TOKENS, [("Reshape", ["x", "s"], ["y"], {})], {"s": _ints(0, 5, 2, 4)}, 20),
    (
        "Reshape to windows and back",
        (1, 4, 6, 6),
        [
            ("Reshape", ["x", "split"], ["a"], {}),
            ("Transpose", ["a"], ["b"], {"perm": [0, 2, 4, 3, 5, 1]}),
            ("Reshape", ["b", "windows"], ["c"], {}),
            ("Add", ["c", "table"], ["d"], {}),
            ("Softmax", ["d"], ["e"], {"axis": 1}),
            ("Reshape", ["e", "back"], ["y"], {}),
        ],
        {
            "split": _ints(1, 4, 2, 3, 2, 3),
            "windows": _ints(4, 9, 4),
            "back": _ints(1, 2, 2, 9, 4),
            "table": _numbers(4, 9, 4),
        },
        20,
    ),
    (
        "Split of queries, keys and values",
        TOKENS,
        [
            ("MatMul", ["x", "w"], ["a"], {}),
            ("Reshape", ["a", "s"], ["b"], {}),
            ("Transpose", ["b"], ["c"], {"perm": [2, 0, 3, 1, 4]}),
            ("Split", ["c"], ["q0", "k0", "v0"], {"axis": 0, "num_outputs": 3}),
            *(("Squeeze", [f"{n}0", "zero"], [n], {}) for n in "qkv"),
            ("Transpose", ["k"], ["kt"], {"perm": [0, 1, 3, 2]}),
            ("MatMul", ["q", "kt"], ["d"], {}),
            ("MatMul", ["d", "v"], ["y"], {}),
        ],
        {"w": _numbers(8, 24), "s": _ints(1, 5, 3, 2, 4), "zero": _ints(0)},
        18,
    ),
    (
        "Concat of class tokens",
        TOKENS,
        [("Expand", ["token", "s"], ["t"], {}), ("Concat", ["t", "x"], ["y"], {"axis": 1})],
        {"token": _numbers(1, 1, 8), "s": _ints(1, 2, 8)},
        20,
    ),
    _layer("Split", TOKENS, {"s": _ints(3, 5)}, axis=2),
    _layer("Slice", TOKENS, {"a": _ints(4, -1), "b": _ints(0, -9), "c": _ints(1, 2), "d": _ints(-2, -3)}),
    _layer("Slice", TOKENS, {"a": _ints(1), "b": _ints(2**62), "c": _ints(-1)}, label="to the end"),
    _layer("Unsqueeze", TOKENS, {"a": _ints(-1, 1)}),
    _layer("Expand", (1, 5, 1), {"s": _ints(5, 3)}),
    _layer("Tile", TOKENS, {"r": _ints(1, 2, 3)}),
    *(_pad(mode) for mode in ("constant", "reflect", "edge", "wrap")),
    _layer("DepthToSpace", IMAGE, {}, blocksize=2),
    _layer("DepthToSpace", IMAGE, {}, label="CRD", blocksize=2, mode="CRD"),
    _layer("SpaceToDepth", (1, 3, 4, 6), {}, blocksize=2),
    _layer("Trilu", (1, 5, 5), {"k": np.array(1)}, upper=0),
    _layer("Gather", TOKENS, {"i": _ints(4, -5, 0)}, axis=1),
    _layer("Gather", TOKENS, {"i": np.array([[0, 1], [2, -1]])}, label="of two axes", axis=2),
    _layer("Gather", TOKENS, {"i": np.array(0)}, label="of one", axis=1),
    (
        "stored positions",
        TOKENS,
        [
            ("GatherND", ["t", "i"], ["a"], {}),
            ("ScatterND", ["a", "j", "u"], ["b"], {}),
            ("GatherElements", ["b", "e"], ["c"], {"axis": 0}),
            ("ReduceProd", ["c", "axis"], ["d"], {}),
            ("Mod", ["d", "three"], ["m"], {}),
            ("Mul", ["x", "m"], ["y"], {}),
        ],
        {
            "t": np.arange(24.0).reshape(4, 6),
            "i": np.array([[0, 1], [3, 2], [2, 5]]),
            "j": np.array([[1]]),
            "u": np.array([2.5]),
            "e": np.array([2, 0]),
            "axis": _ints(0),
            "three": np.array(3.0),
        },
        18,
    ),
    (
        "shape arithmetic",
        TOKENS,
        _SHAPE_ARITHMETIC,
        {"one": np.array(1), "zero": np.array(0), "step": np.array(1), "step1": _ints(1), "shape": _ints(8)},
        20,
    ),
    _resize("twice", [1, 4, 12, 14], mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    _resize("nearest", [1, 4, 3, 10], mode="nearest"),
    _resize("nearest up", [1, 4, 9, 5], mode="nearest", nearest_mode="round_prefer_ceil"),
    _resize("linear", [1, 4, 9, 5], mode="linear"),
    _resize("corners", [1, 4, 9, 5], mode="linear", coordinate_transformation_mode="align_corners"),
    _resize("scales", None, [1, 1, 1.7, 0.6], mode="linear"),
    _resize("cubic", [1, 4, 9, 14], mode="cubic"),
]


def test_every_operator_is_tried():
    assert {op for _, _, nodes, _, _ in CASES for op, *_ in nodes} == set(TABLE)


# The reference keeps attributes as they were stored, in 32 bits, and computes these through float32.
IN_32_BITS = {"Erf", "HardSwish", "Gelu", "HardSigmoid", "LeakyRelu", "Selu", "GroupNormalization", "Resize"}
FILES = [(case, size) for case in CASES for size in (1, "batch") if size == 1 or len(case[2]) > 1]


@pytest.mark.parametrize(("case", "size"), FILES, ids=[f"{case[0]} {size}" for case, size in FILES])
def test_an_operator_is_what_the_reference_says(case, size, tmp_path):
    _, shape, nodes, weights, opset = case
    path = write(tmp_path / "net.onnx", nodes, (size, *shape[1:]), weights, opset)
    x = np.random.default_rng(1).standard_normal((3, *shape[1:]))
    (wanted,) = by_reference(path, x)
    graph = verify(read(path))
    found = compiler.interpret(graph, torch.from_numpy(x))[0][0].numpy()
    assert found.shape == wanted.shape
    close = 2e-6 if {op for op, *_ in nodes} & IN_32_BITS else 1e-12
    np.testing.assert_allclose(found, wanted, rtol=close, atol=close)
