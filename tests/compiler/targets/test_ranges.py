"""The proof that no accumulator overflows: sound (nothing that passes ever wraps) and tight (what is refused can).

Would break it: a step that is not counted, a leak that shrinks a bound too much, a bias forgotten or counted twice, a
clip at the lower end called harmless although the neuron still gets to its threshold.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from support.nets import Residual, SpikesIn, lively
from torch import nn

import compiler
from compiler.errors import CompileError
from compiler.network import INPUT, Lowered, Placed, Population, Projection
from compiler.simulate import reference
from compiler.targets.loihi import arithmetic
from compiler.targets.loihi.formats import Formats
from compiler.targets.loihi.lower import lower
from compiler.targets.loihi.ranges import Dynamics, broken, currents, overflows
from hw import get_chip
from snnkit.neurons import IF, LIF

CHIP = get_chip("loihi1")
FORMATS = Formats.of(CHIP)
EDGE = 2**23 // 64  # a current of this, in threshold units, leaves 24 bits


def unlimited(a_in, dynamics):
    """Spikes of one neuron in numbers that know no limit."""

    def decay(x, rate):
        return (abs(x) * (4096 - rate) >> 12) * (1 if x > 0 else -1)

    u = v = 0
    spikes = []
    for current in a_in:
        u = decay(u, dynamics.du + 1) + 64 * current
        v = decay(v, dynamics.dv) + u
        spikes.append(v > 64 * dynamics.vth)
        v = 0 if spikes[-1] else v
    return spikes, v


def limited(a_in, dynamics):
    u = v = np.zeros(1, np.int64)
    spikes = []
    for current in a_in:
        u, v, s = arithmetic.step(u, v, np.array([current]), 0, dynamics.du, dynamics.dv, dynamics.vth)
        spikes.append(bool(s[0]))
    return spikes, int(v[0])


@given(
    st.integers(-EDGE, 0),
    st.integers(0, EDGE),
    st.sampled_from([4095, 4095, 3000, 400]),
    st.sampled_from([0, 0, 7, 500, 2048]),
    st.integers(0, 131071),
    st.integers(1, 12),
    st.integers(0, 2**30),
)
@settings(max_examples=400, deadline=None)
def test_what_passes_never_leaves_its_range(low, high, du, dv, vth, timesteps, seed):
    """Ends of the interval and values in between, in every order: limits of 24 bits change no spike."""
    dynamics = Dynamics(du, dv, vth, timesteps, fires=True)
    if broken(np.array([low]), np.array([high]), dynamics, FORMATS):
        return
    rng = np.random.default_rng(seed)
    late = [low] * (timesteps // 2) + [high] * (timesteps - timesteps // 2)
    for a_in in (late, rng.choice([low, high], timesteps).tolist(), rng.integers(low, high + 1, timesteps).tolist()):
        assert limited(a_in, dynamics)[0] == unlimited(a_in, dynamics)[0]


def test_a_current_that_wraps_is_refused_one_less_is_not():
    """131,072 · 64 is 2^23, one more than the highest state that no wrap touches."""
    dynamics = Dynamics(4095, 0, 1000, 1, fires=True)
    for current, passes in ((EDGE - 1, True), (EDGE, False)):
        for low, high in ((0, current), (-current, 0)):
            assert (broken(np.array([low]), np.array([high]), dynamics, FORMATS) is None) == passes
    assert limited([EDGE + 1], dynamics) != unlimited([EDGE + 1], dynamics)


def test_the_current_adds_up_where_it_has_memory():
    """du = 0 keeps almost all of it: four steps of a third of the range are too many, one is not."""
    third = np.array([EDGE // 3])
    for timesteps, passes in ((1, True), (4, False)):
        assert (broken(0 * third, third, Dynamics(0, 0, 9, timesteps, True), FORMATS) is None) == passes


def test_a_clip_is_harmless_only_if_the_threshold_is_out_of_reach():
    """Two steps down clip at −2^23; two steps up from there reach a low threshold and not a high one."""
    down, up = -(EDGE - 1), EDGE - 2
    fires = Dynamics(4095, 0, 100, 4, True)
    silent = replace(fires, vth=131071)
    a_in = [down, down, up, up]
    assert limited(a_in, fires)[0] != unlimited(a_in, fires)[0]
    assert "a voltage of" in broken(np.array([down]), np.array([up]), fires, FORMATS)
    assert broken(np.array([down]), np.array([up]), replace(silent, timesteps=3), FORMATS) is None
    assert limited(a_in[:3], silent)[0] == unlimited(a_in[:3], silent)[0] == [False] * 3


def test_a_leak_keeps_sums_small():
    """τ = 2: never more than twice the current, however many steps; without leak a hundred are too many."""
    current = np.array([EDGE // 3])
    for dv, passes in ((2048, True), (0, False)):
        assert (broken(-current, 0 * current, Dynamics(4095, dv, 100, 100, False), FORMATS) is None) == passes


def test_a_readout_must_stay_below_its_threshold():
    """It never fires: 131,071 units are its end, and every one of T steps counts."""
    dynamics = Dynamics(4095, 0, 131071, 4, fires=False)
    for total, passes in ((131071, True), (131072, False)):
        steps = np.array([total // 4 + (total % 4 > 0)])
        high = steps if not passes else np.array([131071 // 4])
        assert (broken(0 * high, high, dynamics, FORMATS) is None) == passes


def lowered(weights, vth=100, timesteps=4, exponent=0, kind="neuron"):
    """One population of the given weights from two input lines, and a clock line with the last column."""
    matrix = csr_array(np.array(weights, np.int32))
    population = Population.unbiased("the layer", matrix.shape[0], 4095, 0, vth)
    placed = Placed(population, kind, "the layer", "the layer", (matrix.shape[0],), 1)
    return Lowered((placed,), (Projection(INPUT, 0, matrix, exponent, 8),), 2, (1,), timesteps)


def test_currents_by_hand():
    """Spikes may or may not come, the clock always does, and not before and behind a population's steps."""
    low, high = currents(lowered([[10, -4, 6], [-10, -4, -6], [0, 8, 2]], exponent=1), 0)
    assert low.tolist() == [-8, -40, 0]
    assert high.tolist() == [2 * 16, 0, 2 * 10]


def test_a_network_that_could_overflow_is_refused_by_name():
    """254 · 2^7 from three lines in four steps: too much for a readout, fine for a neuron that resets."""
    wide = [[254, 254, 254]]
    assert overflows(lowered(wide, exponent=7), CHIP) == []
    (violation,) = overflows(lowered(wide, vth=131071, exponent=7, kind="readout"), CHIP)
    assert violation.layer == "the layer"
    assert violation.need == f"a sum of {2 * 3 * 254 * 2**7 * 64:,}"
    assert "hold 8,388,607" in violation.limit


def test_a_quantised_graph_that_could_overflow_is_not_lowered():
    """The same network with every exponent raised by four."""
    torch.manual_seed(0)
    program = compiler.compile(lively(SpikesIn(LIF)), torch.zeros(6, 1, 20).double(), input_type="binary")
    raised = tuple(
        replace(n, attributes={**n.attributes, "weight_exponent": n.attributes["weight_exponent"] + 4})
        if "weight_exponent" in n.attributes
        else n
        for n in program.graph
    )
    graph = program.graph.with_nodes(raised, program.graph.signals)
    with pytest.raises(
        CompileError, match=r"needs a (sum|voltage|current) of [\d,]+, the states of loihi1 hold 8,388,607"
    ):
        lower(graph, CHIP)


@pytest.mark.parametrize("neuron", [IF, LIF])
@pytest.mark.parametrize("timesteps", [4, 64])
def test_programs_are_scaled_until_they_pass(neuron, timesteps):
    """All inputs at once, first only the negative weights' for half of the time, then the positive ones'."""
    torch.manual_seed(0)
    first = nn.Linear(300, 20).double()
    model = nn.Sequential(first, neuron(v_threshold=2.0), nn.Linear(20, 3).double())
    program = compiler.compile(model, torch.zeros(timesteps, 1, 300).double(), input_type="binary")
    assert overflows(program.mapping.lowered, CHIP) == []
    x = torch.zeros(timesteps, 20, 300).double()
    x[: timesteps // 2] = (first.weight < 0).double()
    x[timesteps // 2 :] = (first.weight > 0).double()
    equality = program.verify(x)
    assert equality.verdict == "exact"
    assert equality.float_mismatches <= 0.03 * equality.float_compared
    for n in range(0, 20, 7):
        record = reference.run(program.network(x[:, n : n + 1]))
        assert all(np.abs(record[f"{key}{i}"]).max() < 2**23 for key in "uv" for i in range(2))


def test_programs_of_the_small_network_keep_their_bits():
    """Room is taken where it is needed: the proof costs these layers no more than one bit."""
    program = compiler.compile(lively(Residual()), torch.zeros(1, 1, 12, 12).double())
    placed = program.mapping.lowered.placed
    layers = [p for p in program.mapping.lowered.projections if p.source != INPUT and p.weights.nnz > 200]
    largest = [int(np.abs(p.weights.data).max()) for p in layers if placed[p.target].kind != "relay"]
    assert len(largest) >= 4
    assert all(127 <= weight <= 254 for weight in largest), largest
