"""Surrogates against SpikingJelly, snnTorch, Norse and their written formulas.

Would break it: a wrong constant or sign, a boundary on the wrong side, a name that does not survive the operators.
"""

import math
import pickle

import pytest
import torch

from snnkit import surrogates
from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.neurons import LIF
from snnkit.surrogates import SURROGATES

X = torch.cat([torch.linspace(-3, 3, 241, dtype=torch.float64), torch.tensor([0.5, -0.5, 1.0, -1.0]).double()])


def gradient(function, x=X):
    leaf = x.clone().requires_grad_()
    function(leaf).sum().backward()
    return leaf.grad


_THEIRS = """sigmoid atan piecewise_quadratic piecewise_exp soft_sign super_spike erf nonzero_sign_log_abs rect s2nn
    q_pseudo_spike squarewave_fourier_series piecewise_leaky_relu fake_numerical_gradient leaky_k_relu log_tailed_relu
    straight_through"""
SPIKINGJELLY = _THEIRS.split()


@pytest.mark.parametrize("name", SPIKINGJELLY)
@pytest.mark.parametrize("steeper", [False, True])
def test_as_in_spikingjelly(name, steeper):
    from spikingjelly.activation_based import surrogate as theirs

    cls = SURROGATES[name]
    numbers = [2 * v for v in surrogates.parameters_of(cls())] if steeper else surrogates.parameters_of(cls())
    ours = cls(*numbers)
    kind = {"StraightThrough": "DeterministicPass"}.get(cls.__name__, cls.__name__)
    given = {key: int(v) if key == "n" else v for key, v in zip(cls.__dataclass_fields__, numbers, strict=True)}
    other = getattr(theirs, kind)(**given)
    x = X[X != 0] if name == "fake_numerical_gradient" else X  # 0/0 there
    torch.testing.assert_close(
        gradient(lambda v: surrogates.spike(v, ours), x), gradient(other, x), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (surrogates.FastSigmoid(25), ("fast_sigmoid", 25)),
        (surrogates.ATan(3.0), ("atan", 3.0)),
        (surrogates.Sigmoid(5.0), ("sigmoid", 5.0)),
        (surrogates.Triangular(0.7), ("triangular", 0.7)),
        (surrogates.SpikeRateEscape(1.5, 20), ("spike_rate_escape", 1.5, 20)),
        (surrogates.SparseFastSigmoid(25, -0.2), ("SFS", 25, -0.2)),
        (surrogates.StraightThrough(), ("straight_through_estimator",)),
        (surrogates.LeakyKReLU(0.0, 1.0), ("heaviside",)),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, tuple) else value[0],
)
def test_as_in_snntorch(ours, theirs):
    import snntorch.surrogate

    other = getattr(snntorch.surrogate, theirs[0])(*theirs[1:])
    x = X[X != 0]  # they fire above the threshold, we at it
    torch.testing.assert_close(
        gradient(lambda v: surrogates.spike(v, ours), x), gradient(other, x), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize(
    ("ours", "method", "alpha"),
    [
        (surrogates.SuperSpike(1.0), "super", 1.0),
        (surrogates.Triangle(0.3), "triangle", 0.3),
        (surrogates.Tanh(2.0), "tanh", 2.0),
        (surrogates.Circ(0.7), "circ", 0.7),
        (surrogates.Erfc(1.5), "heavi_erfc", 1.5),
    ],
)
def test_as_in_norse(ours, method, alpha):
    from norse.torch.functional.threshold import threshold

    theirs = gradient(lambda v: threshold(v, method, alpha))
    torch.testing.assert_close(gradient(lambda v: surrogates.spike(v, ours)), theirs, rtol=1e-6, atol=1e-8)


def test_densities_and_exponentials_at_points_worked_out_by_hand():
    at = torch.tensor([0.0, 0.5, -0.5], dtype=torch.float64)
    normal = 1 / (0.5 * math.sqrt(2 * math.pi))
    expected = [normal, normal * math.exp(-0.5), normal * math.exp(-0.5)]
    torch.testing.assert_close(surrogates.Gaussian().derivative(at).tolist(), expected)
    wide = 1 / (3.0 * math.sqrt(2 * math.pi))
    centre = 1.15 * normal - 0.15 * 2 * wide * math.exp(-0.5 * (0.5 / 3.0) ** 2)
    assert surrogates.MultiGaussian().derivative(at)[0].item() == pytest.approx(centre)
    assert surrogates.MultiGaussian().derivative(torch.tensor(2.0)).item() < 0
    assert surrogates.SingleExponential().derivative(at)[1].item() == pytest.approx(math.exp(-1.0))
    periodic = surrogates.PeriodicExponential(0.5, 2.0).derivative(torch.tensor([-1.0, 0.0, 0.25, 1.0, 1.75]))
    expected = [2 * math.exp(-2.0), 2.0, 2 * math.exp(-0.5), 2.0, 2 * math.exp(-0.5)]
    torch.testing.assert_close(periodic.tolist(), expected)


def test_the_stochastic_operator_is_one_above_and_bounded_noise_below():
    torch.manual_seed(0)
    slope = surrogates.StochasticSpikeOperator(0.0, 0.2).derivative(torch.cat([torch.ones(500), -torch.ones(500)]))
    assert (slope[:500] == 1).all()
    assert slope[500:].abs().max() <= 0.1
    assert slope[500:].std() == pytest.approx(0.2 / math.sqrt(12), rel=0.1)


@pytest.mark.parametrize("name", SURROGATES)
def test_every_one_is_finite_named_and_rebuilt(name):
    surrogate = SURROGATES[name]()
    assert surrogates.name_of(surrogate) == name
    assert surrogates.build(name, surrogates.parameters_of(surrogate)) == surrogate
    assert pickle.loads(pickle.dumps(surrogate)) == surrogate
    torch.manual_seed(1)
    slope = surrogate.derivative(X)
    assert torch.isfinite(slope).all()
    assert slope.abs().max() > 0
    assert slope.dtype == X.dtype
    assert surrogate.derivative(X.float()).dtype == torch.float32


@pytest.mark.parametrize("name", SURROGATES)
def test_bells_are_symmetric_and_the_others_are_not(name):
    surrogate = SURROGATES[name]()
    assert surrogates.is_symmetric(surrogate) == (type(surrogate).__module__ == "snnkit.surrogates.bells")


def test_one_of_your_own():
    def triangle(x, height, width):
        return height * (1 - (x / width).abs()).clamp_min(0)

    own = surrogates.from_function("own_triangle", triangle, height=0.5, width=2.0)
    assert own.derivative(torch.tensor([0.0, 1.0, 3.0])).tolist() == [0.5, 0.25, 0.0]
    assert pickle.loads(pickle.dumps(own)) == own
    neuron, x = LIF(surrogate=own), torch.randn(4, 2, 3, dtype=torch.float64)
    grads = []
    for run in (neuron, torch.compile(neuron, backend="aot_eager", fullgraph=True)):
        leaf = x.clone().requires_grad_()
        run(leaf).sum().backward()
        grads.append(leaf.grad)
    assert grads[0].abs().max() > 0
    torch.testing.assert_close(*grads)
    again = surrogates.from_function("own_triangle", triangle, height=0.6, width=2.0)
    assert type(again) is SURROGATES["own_triangle"]
    del SURROGATES["own_triangle"]


def test_bad_ones_are_named():
    with pytest.raises(InvalidArgumentError, match=r"Sigmoid\(alpha=0\): alpha must be > 0"):
        surrogates.Sigmoid(0)
    with pytest.raises(InvalidArgumentError, match="alpha must be > 1"):
        surrogates.QPseudoSpike(1.0)
    with pytest.raises(InvalidArgumentError, match="built-in"):
        surrogates.from_function("atan", torch.cos)
    with pytest.raises(InvalidArgumentError, match="identifier"):
        surrogates.from_function("my bell", torch.cos)
    with pytest.raises(UnknownNameError, match="sigmoid"):
        surrogates.build("sigmoyd", [1.0])
    with pytest.raises(InvalidArgumentError, match="from_function"):
        LIF(surrogate=torch.nn.ReLU())
    with pytest.raises(InvalidArgumentError, match="symmetric"):
        surrogates.require_symmetric("TernaryLIF", surrogates.S2NN())


def test_drawn_spikes():
    p = torch.full((20000,), 0.3, requires_grad=True)
    s = surrogates.sample(p, torch.Generator().manual_seed(0))
    s.sum().backward()
    assert set(s.unique().tolist()) == {0.0, 1.0}
    assert s.mean().item() == pytest.approx(0.3, abs=0.02)
    assert (p.grad == 1).all()
