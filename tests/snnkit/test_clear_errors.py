"""What goes wrong first is said in one line: argument, value, allowed range. For every neuron, and for streams.

Would break it: an exception of torch's or Python's own, a second line, a message without the name or the value, NaN
that a threshold hides in some neuron, a stream that takes an input of another kind.
"""

import inspect

import pytest
import torch
from support.neurons import examples
from torch import nn

import snnkit
from snnkit import encoders, neurons, readouts, surrogates
from snnkit.checks import finite, whole
from snnkit.encoders import Delta
from snnkit.errors import InvalidArgumentError, NonFiniteError, SnnkitError
from snnkit.layers import norms
from snnkit.neurons import NEURONS, MultiSpike, Recurrent

REQUIRED = {"scale": 0.4, "low": -4, "high": 4, "k": 2, "timesteps": 6, "channels": 5, "num_features": 5}
RANGED = [
    (cls, name)
    for cls in NEURONS
    for name in inspect.signature(cls).parameters
    if "tau" in name or "threshold" in name or name in ("timesteps", "scale")
]
EXAMPLES = {**examples(), "Recurrent": lambda: Recurrent(neurons.LIF(v_threshold=0.5)), "MultiSpike": MultiSpike}


def one_line(error, *parts):
    text = str(error.value)
    assert "\n" not in text
    for part in parts:
        assert part in text, text


def drive():
    return torch.randn(6, 3, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.4


@pytest.mark.parametrize("bad", [0, -1.5, float("nan"), float("inf"), "2", None])
@pytest.mark.parametrize(("cls", "name"), RANGED, ids=lambda v: v if isinstance(v, str) else v.__name__)
def test_time_constants_and_thresholds(cls, name, bad):
    needed = {
        key: REQUIRED[key]
        for key, parameter in inspect.signature(cls).parameters.items()
        if parameter.default is inspect.Parameter.empty and key != name
    }
    with pytest.raises(InvalidArgumentError) as error:
        cls(**needed, **{name: bad})
    plain = name.removeprefix("init_")
    one_line(error, plain, repr(bad) if not isinstance(bad, float) else f"{bad:g}", "must")


def test_ranges_are_covered():
    assert len(RANGED) > 35


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_time_steps(name):
    neuron = EXAMPLES[name]().double()
    with pytest.raises(InvalidArgumentError) as error:
        neuron(drive()[:0])
    one_line(error, type(neuron).__name__, "T ≥ 1", "(0, 3, 5, 4)")
    with pytest.raises(InvalidArgumentError) as error:
        neuron([0.0, 1.0])
    one_line(error, type(neuron).__name__, "got list")


@pytest.mark.parametrize("name", EXAMPLES)
def test_nan_in_any_neuron_is_found_there(name):
    net = nn.Sequential(nn.Identity(), EXAMPLES[name]().double(), nn.Identity())
    x = drive()
    with snnkit.detect_nan(net):
        net(x)
    x[2, 1, 3] = float("nan")
    kind = type(net[1]).__name__
    with pytest.raises(NonFiniteError) as error, snnkit.detect_nan(net):
        net(x)
    one_line(error, f"layer '1' ({kind})", "NaN or infinity")


@pytest.mark.parametrize("cls", [neurons.PSN, neurons.SlidingPSN])
def test_nan_in_a_weight_is_found_too(cls):
    neuron = cls(6)
    with torch.no_grad():
        neuron.bias.fill_(float("nan"))
    assert torch.isfinite(neuron(drive().float())).all(), "the threshold hides it"
    with pytest.raises(NonFiniteError, match=cls.__name__), snnkit.detect_nan(neuron):
        neuron(drive().float())


@pytest.mark.parametrize("name", [n for n, make in EXAMPLES.items() if make().causal])
def test_a_stream_takes_one_kind_of_input(name):
    neuron, x = EXAMPLES[name]().double(), drive()[0]
    stream = snnkit.Stream(neuron)
    stream.step(x)
    cases = (
        (x[:2], "batch size 3", "batch size 2"),
        (x.float(), "dtype torch.float64", "dtype torch.float32"),
        (x.to("meta"), "device cpu", "device meta"),
    )
    for other, had, got in cases:
        with pytest.raises(InvalidArgumentError) as error:
            stream.step(other)
        one_line(error, had, got, "stream.reset()")
    stream.step(x)
    stream.reset()
    stream.step(x[:2])


def test_a_model_in_a_stream_says_it_before_its_first_layer():
    model = snnkit.create_model("spiking_cnn_small", img_size=8, width=4, timesteps=2, num_classes=3).eval()
    stream, x = snnkit.Stream(model), torch.zeros(2, 1, 8, 8)
    stream.step(x)
    with pytest.raises(InvalidArgumentError, match=r"dtype torch.float32, but .* dtype torch.float64"):
        stream.step(x.double())


@pytest.mark.parametrize("cls", [neurons.TernaryIF, neurons.TernaryLIF])
@pytest.mark.parametrize("surrogate", [surrogates.S2NN(), surrogates.LeakyKReLU(0.1, 1.0), surrogates.LogTailedReLU()])
def test_a_surrogate_for_both_sides(cls, surrogate):
    with pytest.raises(InvalidArgumentError) as error:
        cls(surrogate=surrogate)
    one_line(error, cls.__name__, repr(surrogate), "symmetric one, such as")
    cls(surrogate=surrogates.ATan())


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: surrogates.ATan("2"), ("ATan(alpha='2')", "> 0")),
        (lambda: surrogates.ATan(float("inf")), ("alpha=inf", "finite")),
        (lambda: neurons.LIF(v_reset="0"), ("LIF(v_reset='0')", "below v_threshold")),
        (lambda: neurons.LIF(v_reset=2.0), ("v_reset=2", "below v_threshold=1")),
        (lambda: neurons.LIF(tau=torch.tensor([2.0, 0.5])), ("tau=… 0.5 …", "> 1")),
        (lambda: neurons.LIF(tau=torch.full((4,), 2.0))(drive().float()), ("tau", "4 channels", "has 5")),
        (lambda: Delta("1"), ("Delta(threshold='1')", "> 0")),
        (lambda: whole(Delta(), "steps", 2.5), ("Delta(steps=2.5)", "≥ 1")),
        (lambda: finite(Delta(), "x", 0.0, 0.0), ("Delta(x=0.0)", "> 0")),
    ],
)
def test_others(make, parts):
    with pytest.raises(InvalidArgumentError) as error:
        make()
    one_line(error, *parts)


NAN = float("nan")


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: neurons.LIF(tau=torch.tensor([])), ("LIF(tau=…)", "shape (0,)")),
        (lambda: neurons.IF(v_reset=torch.tensor([])), ("IF(v_reset=…)", "shape (0,)")),
        (lambda: neurons.TernaryIF(v_reset=torch.tensor(-1.0)), ("v_reset=-1", "between")),
        (lambda: neurons.LIF(kernel=None), ("kernel", "None")),
        (lambda: neurons.LIF(save=None), ("save tier", "None")),
        (lambda: neurons.MaskedPSN(2, 4, 5.0), ("lambda_", "5.0", "0 … 1")),
        (lambda: neurons.MaskedPSN(2, 4, NAN), ("lambda_init=nan",)),
        (lambda: neurons.MaskedPSN(2.5, 4), ("MaskedPSN(k=2.5)",)),
        (lambda: neurons.GatedLIF(4, channels=0), ("GatedLIF(channels=0)",)),
        (lambda: neurons.ParametricLIF(channels=-1), ("ParametricLIF(channels=-1)",)),
        (lambda: neurons.MembraneNormLIF(0), ("MembraneNormLIF(num_features=0)",)),
        (lambda: neurons.FewSpikes.relu(4, -1.0), ("high=-1.0", "> 0")),
        (lambda: neurons.FewSpikes.relu(2.5), ("steps=2.5", "whole number")),
        (lambda: neurons.Noisy(neurons.LIF(), 1.0, "a"), ("Noisy(correlation='a')",)),
        (lambda: surrogates.LeakyKReLU(NAN, 1.0), ("LeakyKReLU(leak=nan)", "finite")),
        (lambda: surrogates.LogTailedReLU("a"), ("LogTailedReLU(alpha='a')",)),
        (lambda: surrogates.PiecewiseLeakyReLU(1.0, -1.0), ("c=-1.0", "≥ 0")),
        (lambda: surrogates.MultiGaussian(h=None), ("MultiGaussian(h=None)",)),
        (lambda: surrogates.StochasticSpikeOperator(variance=NAN), ("variance=nan",)),
        (lambda: surrogates.SparseFastSigmoid(B=NAN), ("B=nan",)),
        (lambda: surrogates.from_function("a_bell", 3), ("from_function('a_bell', 3)", "function")),
        (lambda: surrogates.from_function("a_bell", abs, k="x"), ("k='x'", "number")),
        (lambda: encoders.Poisson(4, "a"), ("Poisson(max_rate='a')",)),
        (lambda: encoders.Regular(4, None), ("Regular(v_threshold=None)",)),
        (lambda: encoders.Latency(4, threshold="a"), ("Latency(threshold='a')",)),
        (lambda: encoders.Population(encoders.Direct(4), 2, 4, low="a"), ("Population(low='a')",)),
        (lambda: norms.ThresholdDependentBatchNorm2d(1.0, -1.0, 3), ("v_threshold=-1.0", "> 0")),
        (lambda: norms.ThresholdDependentBatchNorm2d(NAN, 1.0, 3), ("alpha=nan",)),
        (lambda: norms.TemporalEffectiveBatchNorm2d(2.5, 3), ("timesteps=2.5", "whole number")),
        (lambda: readouts.Mean()(torch.ones(3, 2, 4, dtype=torch.bool)), ("Mean", "torch.bool")),
        (lambda: readouts.Sum()(None), ("Sum", "NoneType")),
        (lambda: snnkit.Stream(None), ("Stream(model=None)", "module")),
        (lambda: snnkit.Stream(neurons.LIF()).step([1.0]), ("a step is a tensor", "list")),
    ],
)
def test_of_another_kind_or_out_of_range(make, parts):
    with pytest.raises(SnnkitError) as error:
        make()
    one_line(error, *parts)


@pytest.mark.parametrize(
    "neuron",
    [
        neurons.LIF(tau=torch.full((3,), 2.0)),
        neurons.ParametricLIF(channels=3),
        neurons.GatedLIF(6, channels=3),
        neurons.Noisy(neurons.LIF(), torch.ones(3)),
        neurons.MembraneNormLIF(3),
        neurons.Recurrent(neurons.LIF(), neurons.SelfFeedback(3)),
    ],
    ids=lambda neuron: type(neuron).__name__,
)
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 1)], ids=str)
def test_one_number_per_channel_needs_those_channels(neuron, shape):
    """Three batch entries or one channel would broadcast in silence."""
    with pytest.raises(InvalidArgumentError) as error:
        neuron(torch.zeros(shape))
    one_line(error, "3")
    assert neuron(torch.zeros(2, 5, 3)).shape == (2, 5, 3)
