"""Tracer: golden ST-BIF and power-of-two runs, SpikingJelly's STBIFNode, its rest value, and the quantiser's gradient.

Would break it: another start of q, a bound applied to q instead of to S, an event larger than the correction (a rounded
logarithm), a gradient that is not the quantiser's, a clip whose gradient stops one level early, a kernel that drifts.
"""

import json
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import neuron as peer
from support.kernels import LAYOUTS, assert_kernels_agree, laid_out

import snnkit
from snnkit.errors import InvalidArgumentError
from snnkit.neurons import Tracer

KERNELS = ["reference", "numba"]
GOLDEN = Path(__file__).parents[2] / "golden"


def cases(name):
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as data:
        return [pytest.param(case, id=case["key"]) for case in json.loads(str(data["meta"])) if "thr" in case]


def drive(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def start_like(neuron, x):
    """States from the middle of a run: q anywhere near [0, 1), S a level."""
    q = torch.rand_like(x[0]) * 3 - 1
    return q, torch.randint(neuron.low, neuron.high + 1, q.shape).to(q.dtype)


@pytest.fixture(scope="module")
def stbif():
    return np.load(GOLDEN / "stbif.npz", allow_pickle=False)


@pytest.fixture(scope="module")
def stbif_mt():
    return np.load(GOLDEN / "stbif_mt.npz", allow_pickle=False)


@pytest.mark.parametrize("case", cases("stbif"))
def test_golden_st_bif(stbif, case):
    x, spikes, levels = (torch.from_numpy(stbif[f"{case['key']}_{name}"]).double() for name in ("x", "spike", "S"))
    for kernel in KERNELS:
        neuron = Tracer(case["thr"], case["lo"], case["hi"], kernel=kernel)
        assert torch.equal(neuron(x), spikes * case["thr"])
    states = neuron.states(x)
    assert torch.equal(states["total"], levels)
    np.testing.assert_array_equal(states["q"].numpy(), stbif[f"{case['key']}_q"])
    assert torch.equal(neuron.quantise(x), states["total"][-1])
    np.testing.assert_array_equal(neuron.quantise(x).numpy(), stbif[f"{case['key']}_ann"])
    quiet = [bool(neuron.quiescent(q, s).all()) for q, s in zip(states["q"], states["total"], strict=True)]
    last = case["last_spike_step"]
    assert all(quiet[last:])
    if case["kind"] in ("analog", "ties"):  # all input at once: an event is due after every step but the last
        assert not any(quiet[:last])


@pytest.mark.parametrize("case", cases("stbif_mt"))
def test_golden_powers_of_two(stbif_mt, case):
    x, events, levels = (torch.from_numpy(stbif_mt[f"{case['key']}_{name}"]).double() for name in ("x", "out", "S"))
    exponent = None if case["K"] < 0 else case["K"]
    for kernel in KERNELS:
        neuron = Tracer(case["thr"], case["lo"], case["hi"], exponent, kernel=kernel)
        assert torch.equal(neuron(x), events * case["thr"])
    assert torch.equal(neuron.states(x)["total"], levels)
    assert torch.equal(neuron.quantise(x), levels[-1])


def test_golden_covers_every_exponent():
    assert {case.values[0]["K"] for case in cases("stbif_mt")} == {-1, 0, 1, 2, 3}
    assert len(cases("stbif")) == len(cases("stbif_mt")) == 40


@pytest.mark.parametrize("kernel", KERNELS)
def test_by_hand(kernel):
    """s = ½, x = 3.25, then −1, then nothing: q = 7, S → 6 or the bound; −2 levels later 4.

    K = 2: 4, then q = 3 − 2 = 1: ⌊1⌋ + 4 = 5 → 1, done. Graded: 7, then −2.
    """
    x = torch.tensor([3.25, -1.0, 0.0, 0.0], dtype=torch.float64)[:, None]

    def run(high, exponent):
        return Tracer(0.5, 0, high, exponent, kernel=kernel)(x).flatten().tolist()

    assert run(15, 2) == [2.0, 0.5, 0.0, 0.0]
    assert run(15, None) == [3.5, -1.0, 0.0, 0.0]
    assert run(15, 0) == [0.5, 0.5, 0.5, 0.5]
    assert run(15, 1) == [1.0, 1.0, 0.5, 0.0]
    assert run(3, None) == [1.5, 0.0, 0.0, 0.0]  # 5 levels wanted, 3 allowed


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("level", "sym"), [(2, False), (4, True), (16, False), (32, True)])
def test_equals_spikingjelly(level, sym, dtype, kernel):
    theirs = peer.STBIFNode(0.375, level, sym, step_mode="m")
    low, high = (-level // 2, level // 2 - 1) if sym else (0, level - 1)
    x = drive(40, 3, 30, dtype=dtype)
    assert torch.equal(Tracer(0.375, low, high, kernel=kernel)(x), theirs(x))


@pytest.mark.parametrize("exponent", [0, 1, 2, 5, 30, None])
def test_every_exponent_comes_to_rest_at_the_quantiser(exponent):
    """Within high − low silent steps, and then for good."""
    neuron, inputs = Tracer(0.25, -9, 22, exponent), drive(7, 4, 50) * 3
    x = torch.cat([inputs, torch.zeros(31, 4, 50, dtype=torch.float64)])
    states = neuron.states(x)
    assert torch.equal(states["total"][-1], torch.clamp(torch.floor(0.5 + inputs.sum(0) / 0.25), -9, 22))
    assert neuron.quiescent(states["q"][-1], states["total"][-1]).all()
    assert torch.equal(neuron(x).sum(0), states["total"][-1] * 0.25)
    assert states["total"][-1].unique().numel() > 25
    assert not neuron.quiescent(states["q"][0], states["total"][0]).all() or exponent in (5, 30, None)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_largest_power_just_below_and_at_a_power(kernel, dtype):
    """A correction of 2^k − 1 sends 2^(k−1), one of 2^k sends 2^k, up to where float32 counts."""
    for k in range(1, 24):
        x = torch.tensor([[2.0**k - 1, 2.0**k, 1 - 2.0**k]], dtype=dtype)
        sent = Tracer(1.0, -(2**24), 2**24, 30, kernel=kernel)(x).flatten().tolist()
        assert sent == [2.0 ** (k - 1), 2.0**k, -(2.0 ** (k - 1))], k


@pytest.mark.parametrize("exponent", [0, 2, None])
def test_gradient_of_the_total_is_that_of_the_quantiser(exponent):
    """LSQ's rule, written out: 1 inside and 0 outside to the input; level − Σx/s, or the bound, to the scale."""
    scale = torch.nn.Parameter(torch.tensor(0.3, dtype=torch.float64))
    neuron, x = Tracer(scale, -4, 3, exponent), (drive(5, 4, 60) * 0.6).requires_grad_()
    weight = drive(4, 60, seed=1)
    padded = torch.cat([x, torch.zeros(8, 4, 60, dtype=torch.float64)])
    (neuron(padded).sum(0) * weight).sum().backward()
    ratio = x.detach().sum(0) / 0.3
    rounded = torch.floor(ratio + 0.5)
    inside = (rounded >= -4) & (rounded <= 3)
    assert 0.05 < inside.double().mean() < 0.95
    assert (rounded == 3).any()
    torch.testing.assert_close(x.grad, (inside * weight).expand(5, 4, 60), rtol=0, atol=1e-12)
    to_scale = torch.where(inside, rounded - ratio, rounded.clamp(-4, 3))
    torch.testing.assert_close(scale.grad, (to_scale * weight).sum(), rtol=0, atol=1e-11)
    x.grad = scale.grad = None
    (neuron.quantise(x) * scale * weight).sum().backward()
    torch.testing.assert_close(x.grad, (inside * weight).expand(5, 4, 60), rtol=0, atol=1e-12)
    torch.testing.assert_close(scale.grad, (to_scale * weight).sum(), rtol=0, atol=1e-11)


@pytest.mark.parametrize("kernel", KERNELS)
def test_gradient_at_the_bounds_by_hand(kernel):
    """T = 1, levels −1 … 1: the outermost levels still pass, the next ones do not."""
    x = torch.tensor([[-1.75, -1.25, 0.1, 1.25, 1.75]], dtype=torch.float64, requires_grad=True)
    Tracer(1.0, -1, 1, None, kernel=kernel)(x).sum().backward()
    assert x.grad.flatten().tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("exponent", [0, 1, 3, None])
@pytest.mark.parametrize(("low", "high"), [(0, 15), (-4, 3)])
def test_kernels_equal_the_step(low, high, exponent, dtype, layout):
    torch.manual_seed(0)
    neuron, x = Tracer(0.3, low, high, exponent), laid_out(drive(5, 2, 5, 6, 36, dtype=dtype), layout)
    assert_kernels_agree(neuron, x, start_like(neuron, x))


@pytest.mark.parametrize("kernel", KERNELS)
def test_stream_equals_sequence(kernel):
    neuron, x = Tracer(0.2, -8, 7, 1, kernel=kernel), drive(6, 2, 5)
    stream = snnkit.Stream(neuron)
    assert torch.equal(torch.stack([stream.step(x_t) for x_t in x]), neuron(x))
    for name, states in neuron.states(x).items():
        assert torch.equal(stream.state[name], states[-1])
    while not neuron.quiescent(**stream.state).all():
        stream.step(torch.zeros_like(x[0]))
    assert torch.equal(stream.state["total"], neuron.quantise(x))


def test_half_storage():
    x = drive(6, 2, 5, dtype=torch.float32).bfloat16()
    neuron = Tracer(0.3, -8, 7, 2)
    assert torch.equal(neuron(x), neuron(x.float()).bfloat16())
    assert torch.equal(neuron.quantise(x), neuron.quantise(x.float()).bfloat16())
    with pytest.raises(InvalidArgumentError, match="float32 and float64"):
        Tracer(0.3, -8, 7, kernel="numba")(x)


def test_scale_per_channel():
    scale = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    neuron, x = Tracer(scale, -8, 7, 1), drive(6, 2, 3, 4, 4)
    for c, value in enumerate(scale.tolist()):
        alone = Tracer(value, -8, 7, 1)
        assert torch.equal(neuron(x)[:, :, c], alone(x)[:, :, c])
        assert torch.equal(neuron.quantise(x)[:, c], alone.quantise(x)[:, c])
    with pytest.raises(InvalidArgumentError, match="scale"):
        Tracer(scale, -8, 7, kernel="numba")(x)


def test_what_it_sends():
    def sent(exponent):
        neuron = Tracer(0.5, -4, 3, exponent)
        return neuron.operator.events(neuron.constants())

    assert [sent(k) for k in (0, 2, None)] == [
        ("signed", -1, 1, 0.5),
        ("pow2", -4, 4, 0.5),
        ("integer", -7, 7, 0.5),
    ]


def test_operator_check():
    x = drive(3, 2, 4).requires_grad_()
    states = [torch.zeros(2, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    constants = astuple(Tracer(0.3, -4, 3, 2).constants())
    arguments = (x, *states, *constants, [], "", "sigmoid", [4.0], "exact", True, "auto")
    torch.library.opcheck(torch.ops.snnkit.tracer.default, arguments)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Tracer(0.0, 0, 3), "scale"),
        (lambda: Tracer(torch.tensor([0.5, -1.0]), 0, 3), "scale"),
        (lambda: Tracer(0.5, 3, 3), "low must lie below high"),
        (lambda: Tracer(0.5, 4, 3), "low=4, high=3"),
        (lambda: Tracer(0.5, 0.5, 3), "low=0.5.*whole"),
        (lambda: Tracer(0.5, 0, float("inf")), "high"),
        (lambda: Tracer(0.5, 0, 3, -1), "max_exponent=-1.*None for graded"),
        (lambda: Tracer(0.5, 0, 3, 31), "max_exponent=31"),
        (lambda: Tracer(0.5, 0, 3, 1.5), "max_exponent=1.5"),
        (lambda: Tracer(0.5, 0, 3)(torch.zeros(3)), "sequence"),
        (lambda: Tracer(0.5, 0, 3).quantise(torch.zeros(0, 3)), "T ≥ 1"),
    ],
)
def test_bad_constants_are_named(make, word):
    with pytest.raises(InvalidArgumentError, match=word):
        make()
