"""Types of results: sound on data for every operation, and as tight as they can be said.

Would break it: a border that is forgotten, a step lost in a product, an average whose windows differ, a rounding that
leaves its interval by what floats do, an operation that calls its result real where it need not.
"""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.analysis.types import infer_signals
from compiler.graph import BINARY, REAL, SIGNED, GraphBuilder, SignalType
from compiler.graph.operation import operation, operations
from compiler.graph.signals import integer

from .cases import CASES, TYPES, lies_in, random, runs

MOVES = ("identity", "reshape", "permute", "expand", "slice", "roll", "take", "gather", "windows", "resize nearest")
LEVELS = st.integers(-6, 6)
SCALES = st.builds(Fraction, st.integers(1, 5), st.integers(1, 12))


@st.composite
def types(chosen):
    kind = chosen(st.sampled_from(["real", "binary", "signed", "integer", "integer", "integer", "pow2"]))
    scale = chosen(SCALES)
    if kind == "integer":
        low, high = sorted((chosen(LEVELS), chosen(LEVELS)))
        return integer(low, high, scale)
    if kind == "pow2":
        largest = 2 ** chosen(st.integers(0, 4))
        return SignalType("pow2", chosen(st.sampled_from([0, -largest])), largest, scale)
    return {"real": REAL, "binary": BINARY, "signed": SIGNED}[kind].scaled(scale)


def check(case, kinds, seed, dtype=torch.float64, tolerance=1e-9):
    """The values of a node's result lie in the type that its rule says."""
    node, builder = case.node(kinds, dtype)
    for _, results in runs(case, node, kinds, 8, seed, dtype):
        for name, result in zip(node.outputs, results, strict=True):
            kind = builder.signals[name].type
            assert lies_in(result, kind, tolerance), f"{kind} of {', '.join(map(str, kinds))}: {result.unique()[:20]}"
    return builder.signals[node.output].type


def test_every_operation_has_a_case():
    assert {case.op for case in CASES} == set(operations())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_sound_for_every_pair_of_types(case):
    listed = list(TYPES.values())
    for position, first in enumerate(listed):
        for second in listed[position % 3 :: 3] if case.free > 1 else [first]:
            kinds = case.typed([first, second])
            check(case, kinds, position)
            check(case, kinds, position, torch.float32, 1e-3)


@pytest.mark.parametrize("case", CASES, ids=str)
@settings(max_examples=25, deadline=None)
@given(drawn=st.lists(types(), min_size=4, max_size=4), seed=st.integers(0, 2**20))
def test_sound_for_any_types(case, drawn, seed):
    check(case, case.typed(drawn), seed)


def typed(op, kinds, shapes, attributes=None, parameters=None):
    builder = GraphBuilder()
    names = [builder.input(f"x{i}", shape, kind) for i, (kind, shape) in enumerate(zip(kinds, shapes, strict=True))]
    return builder.signals[builder.add(op, names, attributes, parameters)].type


QUARTERS = integer(0, 4, Fraction(1, 4))


@pytest.mark.parametrize(
    ("first", "second", "depth", "expected"),
    [
        (BINARY, BINARY, 9, integer(0, 9)),
        (BINARY, SIGNED, 9, integer(-9, 9)),
        (integer(0, 3), BINARY, 5, integer(0, 15)),
        (integer(-2, 3), integer(-5, 4), 7, integer(-15 * 7, 12 * 7)),
        (QUARTERS, QUARTERS, 4, integer(0, 64, Fraction(1, 16))),
        (QUARTERS, QUARTERS, 49, integer(0, 16 * 49, Fraction(1, 16))),
        (BINARY.scaled(Fraction(1, 3)), BINARY.scaled(Fraction(2, 5)), 6, integer(0, 6, Fraction(2, 15))),
        (SignalType("pow2", -4, 4), BINARY, 3, integer(-12, 12)),
        (BINARY, REAL, 9, REAL),
    ],
    ids=str,
)
def test_products_of_matrices(first, second, depth, expected):
    assert typed("matmul", (first, second), ((3, depth), (depth, 2))) == expected
    assert typed("einsum", (first, second), ((3, depth), (2, depth)), {"equation": "ik,jk->ij"}) == expected


PAIR = ((3, 4), (3, 4))
FIRST = integer(2, 3)  # whole numbers above 0


@pytest.mark.parametrize(
    ("op", "kinds", "expected"),
    [
        ("mul", (BINARY, BINARY), BINARY),
        ("mul", (BINARY, SIGNED), SIGNED),
        ("mul", (SignalType("pow2", -4, 4), SignalType("pow2", 0, 2)), SignalType("pow2", -8, 8)),
        ("mul", (QUARTERS, BINARY), QUARTERS),
        ("add", (BINARY, BINARY), integer(0, 2)),
        ("add", (BINARY, QUARTERS), integer(0, 8, Fraction(1, 4))),
        ("add", (BINARY.scaled(Fraction(1, 2)), BINARY.scaled(Fraction(1, 3))), integer(0, 5, Fraction(1, 6))),
        ("sub", (BINARY, BINARY), integer(-1, 1)),
        ("maximum", (BINARY, BINARY), BINARY),
        ("maximum", (BINARY, SIGNED), BINARY),
        ("minimum", (BINARY, SIGNED), SIGNED),
        ("maximum", (integer(-4, 2), integer(1, 5)), integer(1, 5)),
        ("div", (BINARY, integer(9, 9)), BINARY.scaled(Fraction(1, 9))),
        ("div", (QUARTERS, integer(-2, -2)), integer(-4, 0, Fraction(1, 8))),
        ("div", (QUARTERS, BINARY), REAL),
        ("ge", (REAL, REAL), BINARY),
        ("lt", (QUARTERS, BINARY), BINARY),
    ],
    ids=str,
)
def test_two_signals(op, kinds, expected):
    assert typed(op, kinds, PAIR) == expected


@pytest.mark.parametrize(
    ("op", "kind", "attributes", "expected"),
    [
        ("sum", BINARY, {"axes": (-1,), "keepdim": True}, integer(0, 4)),
        ("sum", QUARTERS, {"axes": (-2, -1), "keepdim": False}, integer(0, 48, Fraction(1, 4))),
        ("sum", BINARY, {"axes": (-3,), "keepdim": False}, BINARY),
        ("mean", BINARY, {"axes": (-2, -1), "keepdim": False}, integer(0, 12, Fraction(1, 12))),
        ("mean", integer(-1, 2, Fraction(1, 2)), {"axes": (-2,), "keepdim": True}, integer(-3, 6, Fraction(1, 6))),
        ("max", SIGNED, {"axes": (-1,), "keepdim": True}, SIGNED),
        ("min", QUARTERS, {"axes": (-1,), "keepdim": True}, QUARTERS),
        ("cumsum", FIRST, {"axis": -1}, integer(2, 12)),
        ("clamp", SIGNED, {"low": 0.0, "high": float("inf")}, BINARY),
        ("clamp", integer(-3, 9), {"low": -1, "high": 2.0}, integer(-1, 2)),
        ("clamp", BINARY, {"low": 0.0, "high": 0.5}, integer(0, 1, Fraction(1, 2))),
        ("clamp", BINARY, {"low": -5.0, "high": 5.0}, BINARY),
        ("clamp", BINARY, {"low": 2.0, "high": 3.0}, integer(1, 1, 2)),
        ("relu", SIGNED, {}, BINARY),
        ("relu", BINARY, {}, BINARY),
        ("leaky_relu", BINARY, {"negative_slope": 0.1}, BINARY),
        ("leaky_relu", SIGNED, {"negative_slope": 0.1}, REAL),
        ("neg", BINARY, {}, integer(-1, 0)),
        ("abs", SIGNED, {}, BINARY),
        ("abs", integer(-5, 3), {}, integer(0, 5)),
        ("sign", integer(0, 7), {}, BINARY),
        ("sign", integer(2, 7), {}, integer(1, 1)),
        ("floor", integer(-3, 9, Fraction(1, 4)), {}, integer(-1, 2)),
        ("ceil", integer(-3, 9, Fraction(1, 4)), {}, integer(0, 3)),
        ("round", integer(0, 6, Fraction(1, 4)), {}, integer(0, 2)),
        ("floor", integer(0, 10), {}, integer(0, 10)),
        ("pow", SIGNED, {"exponent": 2}, BINARY),
        ("pow", integer(-3, 2, Fraction(1, 2)), {"exponent": 2}, integer(0, 9, Fraction(1, 4))),
        ("pow", integer(-3, 2), {"exponent": 3}, integer(-27, 8)),
        ("pow", BINARY, {"exponent": 0.5}, REAL),
        ("argmax", REAL, {"axis": -1}, integer(0, 3)),
        ("roll", QUARTERS, {"shifts": (1,), "axes": (-1,)}, QUARTERS),
        ("slice", QUARTERS, {"axis": -1, "start": 0, "stop": 2, "step": 1}, QUARTERS),
        ("pad", BINARY, {"amounts": (1, 1), "mode": "constant", "value": 0.0}, BINARY),
        ("pad", FIRST, {"amounts": (1, 1), "mode": "constant", "value": 0.0}, integer(0, 3)),
        ("pad", BINARY, {"amounts": (1, 1), "mode": "constant", "value": 0.5}, integer(0, 2, Fraction(1, 2))),
        ("softmax", BINARY, {"axis": -1}, REAL),
    ],
    ids=str,
)
def test_one_signal(op, kind, attributes, expected):
    assert typed(op, (kind,), ((1, 3, 4),), attributes) == expected


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ((BINARY, BINARY, BINARY), BINARY),
        ((BINARY, BINARY, integer(0, 0)), BINARY),
        ((BINARY, SIGNED, integer(0, 0)), SIGNED),
        ((BINARY, integer(0, 0), QUARTERS), QUARTERS),
        ((BINARY, QUARTERS, BINARY), QUARTERS),
        ((BINARY, REAL, BINARY), REAL),
    ],
    ids=str,
)
def test_a_choice_takes_the_values_of_both(kinds, expected):
    assert typed("where", kinds, ((3, 4),) * 3) == expected
    assert typed("concat", kinds[1:], PAIR, {"axis": -1}) == expected


def pool(kernel, padding=0, divisor=0, **more):
    settings = {"kernel_size": (kernel,) * 2, "stride": (2, 2), "padding": (padding,) * 2, "divisor": divisor}
    return {**settings, "ceil_mode": False, "count_include_pad": True, **more}


@pytest.mark.parametrize(
    ("attributes", "side", "expected"),
    [
        (pool(2), 6, integer(0, 4, Fraction(1, 4))),
        (pool(3), 7, integer(0, 9, Fraction(1, 9))),
        (pool(3, 1), 7, integer(0, 9, Fraction(1, 9))),
        (pool(2, divisor=1), 6, integer(0, 4)),
        (pool(2, divisor=8), 6, integer(0, 4, Fraction(1, 8))),
        # In the corners four values are inside, on the borders six.
        (pool(3, 1, count_include_pad=False), 7, integer(0, 36, Fraction(1, 36))),
        # The last window of nine leaves one row and column.
        (pool(2, ceil_mode=True), 7, integer(0, 4, Fraction(1, 4))),
        (pool(1), 5, BINARY),
    ],
    ids=str,
)
def test_averages_of_spikes(attributes, side, expected):
    assert typed("avg_pool", (BINARY,), ((3, side, side),), attributes) == expected


def test_other_pools_of_spikes():
    shape = ((3, 6, 6),)
    settings = {"kernel_size": (3, 3), "stride": (2, 2), "padding": (1, 1), "dilation": (1, 1), "ceil_mode": False}
    assert typed("max_pool", (BINARY,), shape, settings) == BINARY
    assert typed("adaptive_max_pool", (QUARTERS,), shape, {"output_size": (2, 2)}) == QUARTERS
    assert typed("adaptive_avg_pool", (BINARY,), shape, {"output_size": (2, 2)}) == integer(0, 9, Fraction(1, 9))
    # Windows of two rows and of three: sixths.
    assert typed("adaptive_avg_pool", (BINARY,), ((3, 5, 1),), {"output_size": (2, 1)}) == integer(0, 3, Fraction(1, 3))
    nearest = {"mode": "nearest", "size": (12, 12), "scales": (0.0, 0.0), "align_corners": False}
    assert typed("resize", (QUARTERS,), shape, nearest) == QUARTERS
    windows = {"kernel_size": (2, 2), "dilation": (1, 1), "padding": (0, 0), "stride": (2, 2)}
    assert typed("unfold", (BINARY,), shape, windows) == BINARY
    # Blocks side by side meet nowhere, blocks that overlap by half meet in fours.
    assert typed("fold", (BINARY,), ((4, 9),), {**windows, "output_size": (6, 6)}) == BINARY
    overlapping = {**windows, "stride": (1, 1), "output_size": (6, 6)}
    assert typed("fold", (BINARY,), ((4, 25),), overlapping) == integer(0, 4)


@pytest.mark.parametrize(
    ("weight", "kind", "expected"),
    [
        (torch.tensor(0.125), BINARY, BINARY.scaled(Fraction(1, 8))),
        (torch.full((3, 1), 0.1), QUARTERS, QUARTERS.scaled(Fraction(torch.tensor(0.1).item()))),
        (torch.tensor(-2.0), SIGNED, SIGNED.scaled(2)),
        (torch.tensor(0.0), QUARTERS, integer(0, 0)),
        (torch.tensor([0.0, 1.0, 1.0, 0.0]), QUARTERS, QUARTERS),
        (torch.tensor([0.0, 0.5, 0.5, 0.0]), BINARY, BINARY.scaled(Fraction(1, 2))),
        (torch.tensor([-1.0, 1.0, 1.0, 0.0]), BINARY, SIGNED),
        (random(4), BINARY, REAL),
        (torch.tensor(0.125), REAL, REAL),
        (torch.tensor(float("inf")), BINARY, REAL),
    ],
    ids=lambda v: str(v).replace("\n", ""),
)
def test_stored_factors(weight, kind, expected):
    assert typed("scale", (kind,), ((3, 4),), {}, {"weight": weight}) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (torch.tensor([1.0, 0.0]), BINARY),
        (torch.tensor([1.0, -1.0, 0.0]), SIGNED),
        (torch.tensor([True, False]), BINARY),
        (torch.tensor([0.25, 0.0]), BINARY.scaled(Fraction(1, 4))),
        (torch.tensor([3.0, -7.0]), integer(-7, 3)),
        (torch.tensor([0.1, 0.1]), integer(1, 1, Fraction(torch.tensor(0.1).item()))),
        (torch.zeros(3), integer(0, 0)),
        (torch.tensor([0.1, 0.2]), REAL),
        (torch.tensor([0.0, -float("inf")]), REAL),
        (torch.tensor([2.0**30, 0.0, 3.0]), REAL),
    ],
    ids=lambda v: str(v).replace("\n", ""),
)
def test_stored_numbers(value, expected):
    assert typed("constant", (), (), {}, {"value": value}) == expected


@pytest.mark.parametrize("case", [case for case in CASES if str(case) in MOVES], ids=str)
@pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES)
def test_moves_change_no_type(case, kind):
    node, builder = case.node(case.typed([kind, BINARY]))
    assert builder.signals[node.output].type == kind


def test_neurons_say_what_they_send():
    sent = {}
    for case in CASES:
        if operation(case.op).kind == "neuron":
            node, builder = case.node(case.typed([REAL]))
            sent[str(case)] = builder.signals[node.output].type
    assert sent["lif"] == sent["lif_fixed"] == BINARY
    assert sent["ternary_if"] == SIGNED
    assert sent["multilevel_lif"] == integer(0, 4)
    assert sent["multi_spike"] == QUARTERS
    assert integer(0, 6, Fraction(1, 3)) in sent.values()
    assert sent["tracer"] == SIGNED.scaled(Fraction(1, 2))
    assert [name for name, kind in sent.items() if kind == REAL] == ["leaky_integrator", "readout_sequential"]


def test_types_are_inferred_anew():
    """What a graph says of its signals is not believed: only its inputs are."""
    builder = GraphBuilder()
    x = builder.input("x", (4, 6), integer(0, 3))
    graph = builder.finish([builder.add("sum", [x], {"axes": (-1,), "keepdim": False})])
    wrong = {name: replace(signal, type=REAL if name != "x" else signal.type) for name, signal in graph.signals.items()}
    assert infer_signals(replace(graph, signals=wrong)).signals == graph.signals
    assert graph.type(graph.outputs[0]) == integer(0, 18)
