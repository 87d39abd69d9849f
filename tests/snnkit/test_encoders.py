"""Encoders: hand-made trains, statistics, and the same trains as SpikingJelly's, snnTorch's and Norse's.

Would break it: a spike one step off, x = 0 that fires (or x = 1 that does not), counts of another distribution, digits
in the wrong order, values outside the range taken as they come, state of a stream mixed into the code of a value.
"""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from snntorch import spikegen
from spikingjelly.activation_based import encoding
from torch import nn

import snnkit
from snnkit.encoders import ENCODERS, Burst, Delta, Direct, Latency, Phase, Poisson, Population, Regular
from snnkit.errors import InvalidArgumentError

OF_VALUES = {
    "direct": Direct(6),
    "poisson": Poisson(6),
    "regular": Regular(6),
    "latency": Latency(6),
    "log latency": Latency(6, logarithmic=True),
    "phase": Phase(3, 2),
    "burst": Burst(6, max_spikes=3),
    "population": Population(Regular(6), features=5, neurons=4),
}
UNIT = {name: encoder for name, encoder in OF_VALUES.items() if name not in ("direct", "population")}


def values(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_every_encoder_is_listed_and_says_whether_it_is_static():
    assert {type(e) for e in OF_VALUES.values()} | {Delta} == set(ENCODERS)
    assert [cls.__name__ for cls in ENCODERS if cls.static] == ["Direct"]
    assert all(encoder.timesteps == 6 for encoder in OF_VALUES.values())
    assert snnkit.encoders.Direct is Direct


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", OF_VALUES)
def test_shape_dtype_and_values(name, dtype):
    encoder, x = OF_VALUES[name], values(3, 2, 5).to(dtype)
    y = encoder(x)
    assert y.shape == (6, 3, 2, 20 if name == "population" else 5)
    assert y.dtype == dtype
    if name != "direct":
        assert set(y.unique().tolist()) == {0.0, 1.0}
    assert repr(pickle.loads(pickle.dumps(copy.deepcopy(encoder)))) == repr(encoder)


def test_direct_repeats_without_copies():
    x = values(3, 4)
    y = Direct(5)(x)
    assert y.stride(0) == 0
    assert all(torch.equal(step, x) for step in y)


# Poisson


def test_poisson_counts_are_binomial():
    """20 000 trains of 10 steps each for five rates: mean and variance of the counts, and independent steps."""
    p = torch.tensor([0.02, 0.3, 0.5, 0.9, 0.999], dtype=torch.float64)
    torch.manual_seed(0)
    spikes = Poisson(10)(p.expand(20000, 5))
    counts = spikes.sum(0)
    variance = 10 * p * (1 - p)
    assert ((counts.mean(0) - 10 * p).abs() < 5 * (variance / 20000).sqrt()).all()
    # Var of the sample variance of a binomial: (μ₄ − σ⁴)/n.
    fourth = variance * (1 + 3 * (10 - 2) * p * (1 - p))
    assert ((counts.var(0) - variance).abs() < 5 * ((fourth - variance**2) / 20000).sqrt()).all()
    both = (spikes[1:] * spikes[:-1]).mean((0, 1))
    assert ((both - p**2).abs() < 5 * (3 * p**2 * (1 - p**2) / 180000).sqrt()).all()


def test_poisson_bounds_are_certain():
    torch.manual_seed(0)
    spikes = Poisson(2000)(torch.tensor([0.0, 1.0]).expand(500, 2))
    assert spikes[..., 0].sum() == 0
    assert (spikes[..., 1] == 1).all()


def test_poisson_max_rate_and_small_rates_in_half_precision():
    torch.manual_seed(0)
    assert Poisson(400, 0.25)(torch.ones(1000)).mean().item() == pytest.approx(0.25, abs=5 * (0.1875 / 4e5) ** 0.5)
    p = float(torch.tensor(0.001).bfloat16())
    got = Poisson(1000)(torch.full((1000,), p).bfloat16()).float().mean().item()
    assert got == pytest.approx(p, abs=5 * (p / 1e6) ** 0.5)


def test_poisson_generator_and_seed():
    x = values(50)
    torch.manual_seed(1)
    first = Poisson(8)(x)
    torch.manual_seed(1)
    assert torch.equal(Poisson(8)(x), first)
    own = Poisson(8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(own(x), first)
    before = torch.get_rng_state()
    assert not torch.equal(own(x), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_poisson_gradient_is_that_of_the_expectation():
    x = values(4, 3).requires_grad_()
    spikes = Poisson(5, 0.5)(x)
    assert set(spikes.unique().tolist()) <= {0.0, 1.0}
    weight = values(5, 4, 3, seed=1)
    (spikes * weight).sum().backward()
    torch.testing.assert_close(x.grad, 0.5 * weight.sum(0), rtol=0, atol=1e-15)


def test_poisson_has_the_rates_of_snntorch_and_spikingjelly():
    x = torch.tensor([0.1, 0.45, 0.8])
    torch.manual_seed(0)
    peers = (spikegen.rate(x.expand(2000, 3), num_steps=20), encoding.PoissonEncoder()(x.expand(20, 2000, 3)))
    ours = Poisson(20)(x.expand(2000, 3)).mean((0, 1))
    for theirs in peers:
        assert ((ours - theirs.mean((0, 1))).abs() < 5 * (2 * x * (1 - x) / 40000).sqrt()).all()


# Regular


def test_regular_counts_and_spacing():
    x = torch.tensor([0.0, 0.1, 0.25, 1 / 3, 0.5, 1.0], dtype=torch.float64)
    spikes = Regular(12)(x)
    assert spikes.sum(0).tolist() == [0, 1, 3, 4, 6, 12]
    assert spikes[:, 2].nonzero().flatten().tolist() == [3, 7, 11]
    torch.testing.assert_close(Regular(1000)(values(99)).mean(0), values(99), rtol=0, atol=2.1e-3)


def test_regular_starts_anew_in_a_stream_and_has_a_gradient():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.code = Regular(4)

        def forward(self, x):
            return self.code(x[0])

    x = torch.full((1, 3), 0.6, dtype=torch.float64)
    stream = snnkit.Stream(Net())
    assert torch.equal(stream.run(x.unsqueeze(0)), stream.run(x.unsqueeze(0)))
    assert stream.state == {}  # the train of a value leaves nothing behind
    x.requires_grad_()
    spikes = Regular(4)(x)
    assert spikes[:, 0, 0].tolist() == [0, 1, 0, 1]
    spikes.sum().backward()
    assert x.grad.tolist() == [[4.0, 4.0, 4.0]]


# Latency


@pytest.mark.parametrize("timesteps", [1, 2, 8, 25])
@pytest.mark.parametrize(("law", "logarithmic"), [("linear", False), ("log", True)])
def test_latency_is_spikingjellys(law, logarithmic, timesteps):
    x = torch.cat([values(400), torch.tensor([0.0, 1.0, 0.5, 1e-9], dtype=torch.float64)])
    theirs = encoding.LatencyEncoder(timesteps, law).single_step_encode(x)
    assert torch.equal(Latency(timesteps, logarithmic)(x), theirs)


def test_latency_is_snntorchs_linear_code():
    x = values(200, dtype=torch.float32)
    theirs = spikegen.latency(x, num_steps=10, threshold=0.2, normalize=True, linear=True, clip=True)
    ours = Latency(10, threshold=0.2)(x)
    assert torch.equal(ours, theirs)
    assert 10 < (ours.sum(0) == 0).sum() < 80


def test_latency_by_hand():
    x = torch.tensor([1.0, 0.74, 0.5, 0.0])
    assert Latency(5).times(x).tolist() == [0, 1, 2, 4]
    # T = 3, α = e² − 1: t(0.5) = 2 − ln(α/2 + 1) = 2 − 1.434 → 1
    assert Latency(3, logarithmic=True).times(x).tolist() == [0, 0, 1, 2]


def test_latency_logarithm_does_not_overflow():
    """T = 2000: e^1999 is no number. For x not tiny, t = −ln x."""
    x = torch.tensor([1.0, math.exp(-3.0), math.exp(-50.0), 0.0])
    assert Latency(2000, logarithmic=True).times(x).tolist() == [0, 3, 50, 1999]


# Phase


@pytest.mark.parametrize("phases", [1, 4, 8])
def test_phase_is_spikingjellys(phases):
    x = values(300) * (1 - 2.0**-phases)
    theirs = encoding.WeightedPhaseEncoder(phases).single_step_encode(x)
    assert torch.equal(Phase(phases, periods=2)(x), torch.cat([theirs, theirs]).double())


def test_phase_by_hand_and_weights():
    x = torch.tensor([0.75, 1 / 256, 0.5, 1.0])
    assert Phase(8)(x).T.int().tolist() == [
        [1, 1, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 1],
        [1, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 1, 1, 1],
    ]
    assert Phase(3, 2).weights.tolist() == [0.5, 0.25, 0.125] * 2
    x = values(500)
    weighted = Phase(6, periods=3, weighted=True)(x)
    assert torch.equal(weighted.sum(0), 3 * torch.floor(x * 64) / 64)
    assert torch.equal(weighted, Phase(6, 3)(x) * Phase(6, 3).weights.unsqueeze(1))


# Burst


def test_burst_by_hand():
    """N = ⌈5x⌉, I = ⌈8 − 6x⌉: 0.5 sends 3 spikes 5 steps apart, 1 sends 5 spikes 2 apart, 0.1 one, 0 none."""
    spikes = Burst(32, 5, 2, 8)(torch.tensor([0.0, 0.1, 0.5, 1.0]))
    times = [train.nonzero().flatten().tolist() for train in spikes.T]
    assert times == [[], [0], [0, 5, 10], [0, 2, 4, 6, 8]]


@pytest.mark.parametrize("settings", [(20, 5, 2, None), (9, 5, 2, None), (40, 4, 1, 13), (7, 1, 2, None), (3, 3, 1, 1)])
def test_burst_counts_and_intervals_are_the_formula(settings):
    encoder, x = Burst(*settings), torch.linspace(0, 1, 1001, dtype=torch.float64)
    spikes = encoder(x).T
    for value, train in zip(x.tolist(), spikes, strict=True):
        count = math.ceil(encoder.max_spikes * value)
        interval = math.ceil(encoder.max_interval - (encoder.max_interval - encoder.min_interval) * value)
        assert train.nonzero().flatten().tolist() == [n * interval for n in range(count)]


def test_burst_takes_the_longest_interval_that_fits():
    for timesteps in range(9, 60):
        longest = Burst(timesteps).max_interval
        assert Burst(timesteps, max_interval=longest).timesteps == timesteps
        with pytest.raises(InvalidArgumentError, match="longest burst"):
            Burst(timesteps, max_interval=longest + 1)
    with pytest.raises(InvalidArgumentError, match="9 steps"):
        Burst(8)


# Delta


@pytest.mark.parametrize("from_zero", [True, False])
@pytest.mark.parametrize("off_spikes", [True, False])
def test_delta_is_snntorchs(from_zero, off_spikes):
    x = torch.randn(30, 4, 5, generator=torch.Generator().manual_seed(0))
    theirs = spikegen.delta(x, threshold=0.7, padding=not from_zero, off_spike=off_spikes)
    ours = Delta(0.7, off_spikes, from_zero)(x)
    assert torch.equal(ours, theirs)
    assert set(ours.unique().tolist()) == ({-1.0, 0.0, 1.0} if off_spikes else {0.0, 1.0})


def test_delta_by_hand():
    x = torch.tensor([1.0, 2.0, 0.0, 2.0, 2.5]).view(5, 1)
    assert Delta(1.0)(x).flatten().tolist() == [1, 1, -1, 1, 0]
    assert Delta(1.0, from_zero=False)(x).flatten().tolist() == [0, 1, -1, 1, 0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("cuts", [(1,) * 9, (4, 5)], ids=str)
@pytest.mark.parametrize("from_zero", [True, False])
def test_delta_in_a_stream(cuts, from_zero, dtype):
    x = torch.randn(9, 2, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    encoder = Delta(0.5, from_zero=from_zero)
    stream = snnkit.Stream(encoder)
    assert torch.equal(torch.cat([stream.run(chunk) for chunk in x.split(cuts)]), encoder(x))
    with pytest.raises(InvalidArgumentError, match="shape"):
        stream.run(x[:, :1])


# Population


def test_population_is_spikingjellys():
    x = values(6, 3, dtype=torch.float32) * 4 - 2
    arguments = (3, 10, 8, (-2.0, 2.0), 0.4)
    ours = Population(Regular(8), 3, 10, -2.0, 2.0, 0.4)
    assert torch.equal(ours(x), encoding.PopSpikeEncoderDeterministic(*arguments)(x))
    ours = Population(Direct(8), 3, 10, -2.0, 2.0, 0.4, trainable=True)
    theirs = encoding.PopEncoder(*arguments)
    weight = values(8, 6, 30, seed=2, dtype=torch.float32)
    for encoder in (ours, theirs):
        (encoder(x) * weight).sum().backward()
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)
    torch.testing.assert_close(ours.mean.grad, theirs.mean.grad[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.std.grad, theirs.std.grad[0], rtol=1e-5, atol=1e-5)
    torch.manual_seed(0)
    random = Population(Poisson(4000), 3, 10, -2.0, 2.0, 0.4)
    p = random.activities(x)
    error = (random(x).mean(0) - p).abs()
    assert (error <= 5 * (p * (1 - p) / 4000).sqrt() + 3 / 4000).all()


def test_population_is_norses():
    encode = pytest.importorskip("norse.torch.functional.encode")
    x = values(7, 2, dtype=torch.float32)
    theirs = encode.population_encode(x, 5, scale=1)
    ours = Population(Direct(1), features=2, neurons=5, std=1.0)(x)[0]
    torch.testing.assert_close(ours, theirs.flatten(1), rtol=0, atol=1e-6)


def test_population_by_hand():
    """Centres 0, ½, 1; σ = ½/1.5 = ⅓: a value on a centre excites its neuron fully, the next by e^(−9/8)."""
    encoder = Population(Direct(2), features=2, neurons=3).double()
    next_one, far = math.exp(-9 / 8), math.exp(-9 / 2)
    expected = [next_one, 1, next_one, 1, next_one, far]
    np.testing.assert_allclose(encoder(torch.tensor([[0.5, 0.0]]).double())[1, 0], expected, rtol=1e-6)
    assert list(encoder.state_dict()) == ["mean", "std"]
    assert not list(encoder.parameters())
    assert Population(Latency(9), 2, 3, trainable=True).timesteps == 9
    assert len(list(Population(Latency(9), 2, 3, trainable=True).parameters())) == 2


# Bad input


@pytest.mark.parametrize("bad", [-0.01, 1.01, float("nan"), float("inf")])
@pytest.mark.parametrize("name", UNIT)
def test_values_outside_the_unit_interval_are_an_error(name, bad):
    x = values(3, 5)
    x[1, 2] = bad
    with pytest.raises(InvalidArgumentError, match=r"\[0, 1\]"):
        UNIT[name](x)


@pytest.mark.parametrize("name", UNIT)
def test_bytes_are_an_error_and_nothing_is_nothing(name):
    with pytest.raises(InvalidArgumentError, match="floating-point"):
        UNIT[name](torch.zeros(3, 5, dtype=torch.uint8))
    assert UNIT[name](torch.zeros(0, 5)).shape == (6, 0, 5)


@pytest.mark.parametrize("bad", [0, -1, 1.5, "4", None, float("nan"), float("inf")], ids=repr)
@pytest.mark.parametrize("make", [Direct, Poisson, Regular, Latency, Phase, Burst], ids=lambda cls: cls.__name__)
def test_numbers_of_steps_must_be_whole(make, bad):
    with pytest.raises(InvalidArgumentError, match="whole number ≥ 1"):
        make(bad)
    assert make(9.0).timesteps == 9


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Poisson(4, 0.0), "max_rate"),
        (lambda: Poisson(4, 1.5), "max_rate"),
        (lambda: Regular(4, 0.0), "v_threshold"),
        (lambda: Regular(4, 1.1), "v_threshold"),
        (lambda: Latency(4, threshold=-0.1), "threshold"),
        (lambda: Latency(4, threshold=1.1), "threshold"),
        (lambda: Phase(53), "52"),
        (lambda: Phase(4, 0), "periods"),
        (lambda: Burst(20, 0), "max_spikes"),
        (lambda: Burst(20, 5, 0), "min_interval"),
        (lambda: Burst(20, 5, 3, 2), "max_interval"),
        (lambda: Delta(0), "threshold"),
        (lambda: Delta(float("inf")), "threshold"),
        (lambda: Delta()(torch.zeros(3)), "sequence"),
        (lambda: Delta()(torch.zeros(3, 2, dtype=torch.uint8)), "floating"),
        (lambda: Population(nn.ReLU(), 2, 3), "encoder"),
        (lambda: Population(Delta(), 2, 3), "encoder"),
        (lambda: Population(Direct(2), 0, 3), "features"),
        (lambda: Population(Direct(2), 2, 1), "neurons"),
        (lambda: Population(Direct(2), 2, 3, 1.0, 1.0), "low"),
        (lambda: Population(Direct(2), 2, 3, std=0.0), "std"),
        (lambda: Population(Direct(2), 2, 3)(torch.zeros(4, 3)), r"\(4, 3\)"),
        (lambda: Population(Direct(2), 2, 3)(torch.zeros(4, 2, dtype=torch.long)), "floating"),
    ],
)
def test_bad_arguments_are_named(make, word):
    with pytest.raises(InvalidArgumentError, match=word):
        make()
