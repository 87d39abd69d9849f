"""Layers, pools and sums between two neurons become one set of synapses where they can.

Would break it: a kernel turned round, a group of the wrong channels, padding that one layer sees and the merged one
does not, weights that cost more than they are worth.
"""

import itertools
import math

import pytest
from support.random_graphs import Random, assert_same_meaning, data_for, ops

from compiler.analysis.spike_driven import spike_driven
from compiler.graph import BINARY
from compiler.passes import merge_layers, merge_linear


def check(graph, wanted, merge=merge_linear, tolerance=1e-12):
    merged = merge(graph)
    assert ops(merged) == wanted
    assert_same_meaning(graph, merged, data_for(graph), tolerance)
    return merged


# Pools.


@pytest.mark.parametrize("size", [(6, 6), (7, 6), (6, 7), (7, 7), (3, 5)], ids=str)
@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("divisor", [0, 1, 3])
def test_a_pool_before_a_linear_layer_always_merges(size, kernel, divisor):
    b = Random((2, *size), seed=1)
    graph = b.finish([b.linear(b.flatten(b.pool("x", kernel, divisor=divisor)), 4, bias=True)])
    merged = check(graph, ["reshape", "linear"])
    assert merged.shape(merged.nodes[0].output) == (2 * size[0] * size[1],)


@pytest.mark.parametrize("pool", [{"stride": 1}, {"padding": 1}, {"kernel": 3, "stride": 2, "padding": 1}], ids=str)
def test_overlapping_windows_before_a_linear_layer(pool):
    b = Random((2, 7, 6), seed=1)
    x = b.permute(b.pool("x", **{"kernel": 2, **pool}), -1, -2, -3)
    check(b.finish([b.linear(b.flatten(x), 4)]), ["reshape", "linear"])


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"), [(1, 1, 1, 1), (2, 0, 1, 2), (1, 2, 2, 1), (2, 1, 1, 4)]
)
def test_a_pool_before_a_convolution_merges_where_it_divides(stride, padding, dilation, groups):
    """Or where no border is padded: then the merged convolution sees the same windows."""
    for size, divides in (((12, 8), True), ((13, 8), False), ((12, 9), False)):
        b = Random((4, *size), seed=2)
        graph = b.finish([b.conv(b.pool("x", 2), 4, 3, stride, padding, dilation, groups, bias=True)])
        check(graph, ["conv"] if divides or not padding else ["avg_pool", "conv"])


@pytest.mark.parametrize(
    ("pool", "merges"),
    [
        ({"kernel": 2, "stride": 1}, False),
        ({"kernel": 3, "stride": 2}, False),
        ({"kernel": 2, "padding": 1}, True),  # the padded windows see zeros as the convolution's own padding does
        ({"kernel": 2, "padding": 1, "counts": False}, False),  # divides by fewer at the border
        ({"kernel": 2, "divisor": 1}, True),
    ],
    ids=str,
)
def test_windows_that_reach_across_the_border_stay(pool, merges):
    b = Random((2, 6, 6))
    check(b.finish([b.conv(b.pool("x", **pool), 2)]), ["conv"] if merges else ["avg_pool", "conv"])


def test_a_pool_that_two_read_stays():
    b = Random((2, 4, 4))
    pool = b.pool("x")
    graph = b.finish([b.add("add", (b.conv(pool, 2), b.conv(pool, 2)))])
    assert "avg_pool" in ops(merge_linear(graph))


def test_a_pool_behind_a_merged_layer_merges_too():
    b = Random((2, 8, 8), seed=3)
    inner = b.conv(b.pool("x"), 2)
    check(b.finish([b.linear(b.flatten(b.pool(inner)), 3)]), ["conv", "reshape", "linear"])


# Convolutions in a row.


@pytest.mark.parametrize(("groups1", "groups2"), [(1, 1), (4, 1), (1, 4), (4, 4), (2, 4), (2, 2)])
@pytest.mark.parametrize("kernels", [(1, 3), (3, 1), (3, 3), (1, 1)])
def test_two_convolutions(groups1, groups2, kernels):
    for stride1, stride2, dilation1, dilation2, bias in itertools.product(
        (1, 2), (1, 2), (1, 2), (1, 2), (False, True)
    ):
        b = Random((4, 13, 12), seed=stride1)
        first = b.conv("x", 4, kernels[0], stride1, kernels[0] // 2, dilation1, groups1, bias)
        graph = b.finish([b.conv(first, 8, kernels[1], stride2, 0, dilation2, groups2, bias)])
        merged = check(graph, ["conv"])
        assert merged.nodes[0].attributes["groups"] == (math.gcd(groups1, groups2) if groups1 < 4 else groups2)


@pytest.mark.parametrize(("kernel", "bias", "merges"), [(1, False, True), (3, False, False), (1, True, False)])
def test_where_the_second_pads(kernel, bias, merges):
    """Zeros beside a 1×1 are what it makes of zeros; not beside a 3×3, nor with a bias."""
    b = Random((2, 6, 6))
    first = b.conv("x", 4, kernel, padding=kernel // 2, bias=bias)
    check(b.finish([b.conv(first, 3)]), ["conv"] if merges else ["conv", "conv"])


def test_three_in_a_row_are_weighed_together():
    """1×1, depthwise 3×3, 1×1: 9·C² for 2·C² + 9·C; each pair alone would grow nine times."""
    b = Random((96, 3, 3))
    x = b.conv(b.conv(b.conv("x", 96, 1, padding=0, name="in"), 96, groups=96), 96, 1, padding=0)
    graph = b.finish([x])
    merged = check(graph, ["conv"], merge_layers)
    assert merged.nodes[0].name == "in"
    assert merged.outputs == ("in",)


def test_growth_has_a_bound():
    """A depthwise 7×7 before a 1×1 would have 49 times the weights."""
    b = Random((64, 3, 3), input_type=BINARY)
    x = b.conv(b.conv("x", 64, 7, padding=3, groups=64), 64, 1, padding=0)
    graph = b.finish([x])
    assert merge_layers(graph) is graph
    check(graph, ["conv", "conv"], lambda g: merge_layers(g, 27))
    check(graph, ["conv"], lambda g: merge_layers(g, 29))
    assert spike_driven(graph).breaks == 1
    assert spike_driven(check(graph, ["conv"])).spike_driven


def test_the_part_of_a_chain_that_is_worth_it_merges():
    b = Random((64, 3, 3))
    x = b.conv(b.conv("x", 64, 1, padding=0), 64, 1, padding=0)
    x = b.conv(b.conv(x, 64, 7, padding=3, groups=64), 64, 1, padding=0, bias=True)
    check(b.finish([x]), ["conv", "conv", "conv"], merge_layers)
    b = Random((64, 3, 3))
    x = b.conv(b.conv("x", 64, 7, padding=3, groups=64), 64, 1, padding=0)
    check(b.finish([b.conv(x, 64, 1, padding=0)]), ["conv", "conv"], merge_layers)


def test_layers_that_others_read_stay():
    b = Random((4,))
    x = b.linear("x", 4)
    graph = b.finish([b.linear(x, 3), b.lif(x)])
    assert merge_layers(graph) is graph


def test_two_linear_layers():
    b = Random((5, 4))
    merged = check(b.finish([b.linear(b.linear("x", 6, bias=True, name="a"), 3, bias=True, name="b")]), ["linear"])
    assert merged.nodes[0].name == "a"
    b = Random((100,))
    narrow = b.finish([b.linear(b.linear("x", 2), 100)])
    assert merge_layers(narrow) is narrow  # 400 weights would be 10,000


def test_a_pad_joins_the_padding():
    b = Random((2, 4, 4))
    merged = check(b.finish([b.conv(b.pad("x", 2, 2, 1, 1), 3)]), ["conv"], merge_layers)
    assert merged.nodes[0].attributes["padding"] == (2, 3)
    for amounts, value in (((1, 0), 0.0), ((1, 1), 1.0), ((0, 0, 0, 0, 1, 1), 0.0), ((-1, -1), 0.0)):
        b = Random((2, 4, 4))
        graph = b.finish([b.conv(b.pad("x", *amounts, value=value), 3)])
        assert merge_layers(graph) is graph


# Sums.


def test_sums_are_lists():
    b = Random((3,))
    a, c, d = (b.linear("x", 3, name=name) for name in "acd")
    inner = b.add("add", (d, b.plus(b.lif(a), (3,))))
    graph = b.finish([b.add("add", (inner, b.add("add", (c, "x"))))])
    merged = merge_linear(graph)
    assert_same_meaning(graph, merged, data_for(graph), 1e-12)
    terms, signal = [], merged.outputs[0]
    while (node := merged.producer(signal)) is not None and node.op == "add":
        signal, last = node.inputs
        terms.insert(0, last)
    assert [signal, *terms[:-1]] == ["x", "c", "d", "lif"]
    assert merged.producer(terms[-1]).op == "constant"


def test_sums_that_grow_stay_as_they_are():
    b = Random((1, 3))
    rows = b.add("expand", ("x",), {"shape": (4, 3)})
    graph = b.finish([b.add("add", (rows, b.add("add", ("x", b.lif("x")))))])
    assert merge_linear(graph).nodes is graph.nodes
