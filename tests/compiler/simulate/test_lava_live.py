"""Our integer simulation against lava-nc itself, on random networks: not one entry of u, v, s may differ.

Runs where an interpreter with lava-nc is found (`make lava`); each test is one run of lava with several cases in it.
"""

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from compiler.network import INPUT, Network, Population, Projection
from compiler.simulate.artifact import load, save
from compiler.simulate.lava_bridge import LavaNotFound, compare, find_lava_python, run_lava
from compiler.simulate.reference import run
from compiler.targets.loihi.arithmetic import effective_weights

GOLDEN = Path(__file__).parents[2] / "golden" / "lava"


@pytest.fixture(scope="module")
def lava_python():
    try:
        return find_lava_python()
    except LavaNotFound as missing:
        pytest.skip(str(missing))


def population(rng, n, vth, bias=200, largest_exponent=4):
    """N neurons with random decays and, per neuron, bias mantissa and bias exponent."""
    mantissa = rng.integers(-bias, bias + 1, n).astype(np.int32)
    exponent = rng.integers(0, largest_exponent + 1, n).astype(np.int32)
    return Population("p", int(rng.integers(1, 4095)), int(rng.integers(1, 1000)), vth, mantissa, exponent)


def projection(rng, source, target, shape, sign="mixed", exponent=0, bits=8, density=0.6):
    """Random weights of one sign mode, with empty rows and columns as they happen."""
    weights = rng.integers(-256, 256, shape)
    if sign != "mixed":
        weights = np.abs(weights) * (1 if sign == "exc" else -1)
        weights = np.minimum(weights, 255)
    weights = np.where(rng.random(shape) < density, weights, 0).astype(np.int32)
    return Projection(source, target, csr_array(weights), exponent, bits)


def spikes(rng, n, steps, rate=0.4):
    return (rng.random((n, steps)) < rate).astype(np.uint8)


def assert_equal_to_lava(network, tmp_path, lava_python):
    """Run both, compare everything, and make sure there was something to compare; returns our record."""
    save(tmp_path / "net.npz", network)
    ours = run(network)
    comparison = compare(ours, run_lava(tmp_path / "net.npz", lava_python, timeout_s=120))
    assert comparison.exact, str(comparison)
    assert comparison.entries == 3 * network.steps * sum(p.size for p in network.populations)
    assert comparison.counts == ({"u": 0, "v": 0, "s": 0},) * len(network.populations)
    return ours


def test_chain_form(tmp_path, lava_python):
    """The stored golden is reproduced by lava itself; breaks if the runner misreads the chain form."""
    comparison = compare(run(load(GOLDEN / "b.npz")), run_lava(GOLDEN / "b.npz", lava_python))
    assert comparison.exact, str(comparison)


def test_residual_paths(tmp_path, lava_python):
    """Skips over one and two populations, exponents -2..7, 6-bit weights, all sign modes.

    Breaks if a sum over projections is shifted or rounded as one, or a skip arrives at another step.
    """
    rng = np.random.default_rng(1)
    sizes, inputs = (24, 17, 1, 9), 20
    pops = tuple(population(rng, n, vth) for n, vth in zip(sizes, (300, 200, 60, 5000), strict=True))
    projections = (
        projection(rng, INPUT, 0, (24, inputs), "mixed", -2, 6),
        projection(rng, 0, 1, (17, 24), "exc", -1),
        projection(rng, INPUT, 1, (17, inputs), "mixed", 1, 6),
        projection(rng, 1, 2, (1, 17), "inh", -2, 6),
        projection(rng, 0, 2, (1, 24), "exc", 2),
        projection(rng, 2, 3, (9, 1), "mixed", 7, density=1.0),
        projection(rng, 0, 3, (9, 24), "mixed", 5, 4),
        projection(rng, INPUT, 3, (9, inputs), "exc", -8, 1),
    )
    ours = assert_equal_to_lava(Network(pops, projections, spikes(rng, inputs, 40)), tmp_path, lava_python)
    assert all(0 < ours[f"s{i}"].mean() < 1 for i in range(4)), "each population both fires and is silent"


def test_inhibition_loops_and_large_biases(tmp_path, lava_python):
    """Purely inhibitory networks driven by biases up to 4095 << 7, loops, ways back, and a population on its own.

    Breaks if inhibitory weights are rounded as signed numbers, or the bias exponent is taken as one per population.
    """
    rng = np.random.default_rng(2)
    pops = (
        population(rng, 12, 500, bias=4095, largest_exponent=7),
        population(rng, 8, 900, bias=4095, largest_exponent=7),
        population(rng, 5, 700, bias=4095, largest_exponent=7),
    )
    projections = (
        projection(rng, INPUT, 0, (12, 6), "inh", -1, 6),
        projection(rng, 0, 0, (12, 12), "inh", 2, 5),
        projection(rng, 0, 1, (8, 12), "inh", 3),
        projection(rng, 1, 0, (12, 8), "inh", -3, 6),
    )
    ours = assert_equal_to_lava(Network(pops, projections, spikes(rng, 6, 40)), tmp_path, lava_python)
    assert all(0 < ours[f"s{i}"].mean() < 1 for i in range(3))


def test_overflows_and_big_sparse_matrices(tmp_path, lava_python):
    """No input lines; a full matrix whose sums overflow int32, and two sparse ones that the runner gives to Sparse.

    Breaks if one of the wraps is missing, or if lava's Sparse rounded or shifted otherwise than its Dense.
    """
    rng = np.random.default_rng(4)
    n = 1100  # 1100 * 255 << 7 exceeds 2^25, from where the shift by 6 leaves int32
    always = Population("always", 0, 4095, 0, np.full(n, 4095, np.int32), np.full(n, 7, np.int32))
    busy = population(rng, 900, 60)
    pops = (always, busy, population(rng, 80, 100, bias=0))
    projections = (
        Projection(0, 0, csr_array(np.full((n, n), 255, np.int32)), 7, 8),
        projection(rng, 1, 2, (80, 900), "mixed", -2, 6, density=0.05),
        projection(rng, 2, 1, (900, 80), "inh", -3, 6, density=0.05),
    )
    ours = assert_equal_to_lava(Network(pops, projections, np.zeros((0, 12), np.uint8)), tmp_path, lava_python)
    assert ours["u0"].min() < -(2**23), "int32 overflowed"
    assert effective_weights(projections[1].weights, 6).nnz < projections[1].weights.nnz, "some weights round to zero"
    assert all(0 < ours[f"s{i}"].mean() < 1 for i in range(3))
