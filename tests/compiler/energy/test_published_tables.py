"""Dense operations of Meta-SpikeFormer and Spikformer V2 at their published sizes, from our graphs' shapes alone.

Would break it: RepConv merged where it should be literal, padding or groups ignored, attention or norms added to what
the table calls dense, a first layer charged T times where a rate is implied.
"""

import functools

import pytest
import torch

from compiler import capture
from compiler.analysis.dense import dense_macs, shapes_only
from compiler.bench.published import built
from compiler.passes import merge_layers, simplify
from hw.energy.published_formula import PaperLayer, implied_rate, published_formula

PARTS = {
    "channel": ("channel.conv",),
    "repconv": ("mixer.q.", "mixer.k.", "mixer.v.", "mixer.proj."),
    "sepconv": ("mixer.expand", "mixer.depthwise", "mixer.project."),
    "mlp": ("channel.fc",),
    "down": ("stem.", ".down."),
    "first": ("stem.",),
    "sdsa": ("sdsa",),
}

TABLE = {
    # literal, merged, channel conv, RepConv literal and merged, sepconv, mlp, down, first, SDSA: G operations a step
    "meta_spikeformer_15m": (6.441, 10.005, 3.699, 1.039, 4.603, 0.284, 1.023, 0.395, 0.059, 0.032),
    "meta_spikeformer_31m": (13.951, 21.312, 8.324, 2.133, 9.494, 0.580, 2.110, 0.804, 0.089, 0.066),
    "meta_spikeformer_55m": (24.699, 37.796, 14.798, 3.781, 16.878, 0.979, 3.751, 1.390, 0.118, 0.117),
}
RATES = {
    # published mJ at T = 4, and the mean rate it implies: RepConv literal, merged
    "meta_spikeformer_15m": (16.7, 0.72, 0.46),
    "meta_spikeformer_31m": (32.8, 0.65, 0.42),
    "meta_spikeformer_55m": (52.4, 0.59, 0.38),
}
PRINTED = 0.0005
"""The table has three decimals; what is computed is exact."""


@functools.cache
def operations(name, merged):
    """Layer → G operations of one step; the weights are never filled."""
    model, x = built(name, timesteps=1)
    graph = shapes_only(capture(model, x))
    return {layer: made / 1e9 for layer, made in dense_macs(merge_layers(graph) if merged else graph).items()}


def part(found, name):
    return sum(made for layer, made in found.items() if any(piece in layer for piece in PARTS[name]))


def sizes(table, fast):
    return [pytest.param(name, marks=() if name in fast else pytest.mark.slow) for name in table]


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
def test_meta_spikeformer(name):
    literal, merged = operations(name, False), operations(name, True)
    whole, whole_merged, channel, rep, rep_merged, sepconv, mlp, down, first, sdsa = TABLE[name]
    assert sum(literal.values()) - part(literal, "sdsa") == pytest.approx(whole, abs=PRINTED)
    assert sum(merged.values()) - part(merged, "sdsa") == pytest.approx(whole_merged, abs=PRINTED)
    assert part(literal, "repconv") == pytest.approx(rep, abs=PRINTED)
    assert part(merged, "repconv") == pytest.approx(rep_merged, abs=PRINTED)
    for found in (literal, merged):  # merging changes RepConv alone: a depthwise 7×7 stays two layers
        for piece, value in [("channel", channel), ("sepconv", sepconv), ("mlp", mlp), ("down", down)]:
            assert part(found, piece) == pytest.approx(value, abs=PRINTED), piece
        assert part(found, "first") == pytest.approx(first, abs=PRINTED)
        assert part(found, "sdsa") == pytest.approx(sdsa, abs=PRINTED)


@pytest.mark.slow
@pytest.mark.parametrize("name", sizes(RATES, ["meta_spikeformer_15m"]))
def test_the_rate_that_a_published_energy_implies(name):
    """Above 0.5 of all neurons in every step with RepConv literal: the papers must count it as merged."""
    energy, literal, merged = RATES[name]
    for found, rate in ((operations(name, False), literal), (operations(name, True), merged)):
        assert implied_rate(energy, lines(found, 4)) == pytest.approx(rate, abs=0.005)


def lines(found, steps, rate=1.0):
    """The formula without attention: the first layer once, all others at every step."""
    stem = next(iter(found))
    return [
        PaperLayer(layer, made * 1e9 * (1 if layer == stem else steps), rate, real=layer == stem)
        for layer, made in found.items()
        if "sdsa" not in layer and "matmul" not in layer
    ]


def by_hand(width, depth, side=224):
    """Spikformer V2: stages of D/8 … D with conv 2×2 /2 and two 3×3 to 4d and back; blocks of 12 D² and attention."""
    total, before, dims = 0, 3, [width // 8, width // 4, width // 2, width]
    for dim in dims:
        side //= 2
        total += side**2 * (before * dim * 4 + 2 * 9 * dim * 4 * dim)
        before = dim
    tokens = side**2
    attention = 2 * tokens * tokens * width
    linear = tokens * 12 * width**2
    return total + depth * linear + width * 1000, depth * attention


V2 = {
    # width, blocks, published mJ at T = 4
    "spikformer_v2_8_384": (384, 8, 4.69),
    "spikformer_v2_8_512": (512, 8, 9.36),
    "spikformer_v2_16_768": (768, 16, None),
}


@pytest.mark.parametrize("name", sizes(V2, ["spikformer_v2_8_384"]))
def test_spikformer_v2(name):
    """No table is published; the stem is inferred, and the count is that of the formula above to the operation.

    Attention is q (kᵀ v), cheaper than (q kᵀ) v.
    """
    width, depth, energy = V2[name]
    found = operations(name, False)
    products = sum(made for layer, made in found.items() if "matmul" in layer)
    layers, quadratic = by_hand(width, depth)
    assert (sum(found.values()) - products) * 1e9 == pytest.approx(layers, rel=1e-12)
    assert 0 < products * 1e9 < quadratic
    if energy is not None:
        rate = implied_rate(energy, lines(found, 4))
        assert published_formula(lines(found, 4, rate)).energy_mj == pytest.approx(energy)
        assert {"spikformer_v2_8_384": 0.115, "spikformer_v2_8_512": 0.129}[name] == pytest.approx(rate, abs=5e-4)


def test_shapes_are_enough():
    """Weights that are nowhere merge to the same operations as weights that are read, layer by layer."""
    torch.manual_seed(0)
    model, x = built("meta_spikeformer_tiny", fill=True, timesteps=1)
    graph = capture(model, x)
    layers = {
        layer: made for layer, made in dense_macs(graph).items() if graph.node(layer).op in ("conv", "linear", "matmul")
    }
    assert dense_macs(shapes_only(graph)) == layers
    merged = dense_macs(merge_layers(simplify(graph)))
    assert sum(dense_macs(merge_layers(shapes_only(graph))).values()) == sum(
        made for layer, made in merged.items() if "constant" not in layer and layer in layers
    )
