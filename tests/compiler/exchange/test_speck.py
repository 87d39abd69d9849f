"""The configuration of a Speck: whole numbers that mean the network, written, read back and run.

Would break it: a threshold in another scale than its weights, a pool divided twice or not at all, a kernel turned
around, groups in the wrong channels, a destination to another core, a file that another chip could not hold and that
is read all the same.
"""

import json
import math

import pytest
import torch
from support.nets import InARow
from torch import nn

import compiler
from compiler.checking.cores import words
from compiler.compiling import CompileError
from compiler.exchange import speck
from compiler.exchange.speck.writing import quantised
from compiler.interpreting import interpret
from compiler.passes import simplify
from hw import get_chip
from snnkit.errors import CorruptFileError, UnknownNameError
from snnkit.layers import over_time
from snnkit.neurons import IF

CHIP = get_chip("speck")


def neuron(threshold=1.0, reset=None):
    return IF(v_threshold=threshold, v_reset=reset)


def network(reset=None, eighths=True):
    """Every form there is: stride, padding, groups, dilation, pools of two sizes, linear on a map and on a vector."""
    torch.manual_seed(0)
    model = InARow(
        nn.Conv2d(2, 8, 5, stride=2, padding=2), neuron(0.75, reset), nn.AvgPool2d(2),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4), neuron(0.5, reset), nn.AvgPool2d(4), nn.Flatten(),
        nn.Linear(8 * 2 * 2, 12), neuron(0.5, reset), nn.Linear(12, 5), neuron(0.5, reset),
    ).double()  # fmt: skip
    for parameter in model.parameters():
        if eighths:  # of sums of pools sixteen stand for one
            parameter.data = torch.randint(-6, 7, parameter.shape).double() / 8
        else:
            parameter.data.mul_(3)
    return simplify(compiler.capture(model, torch.zeros(4, 1, 2, 32, 32).double(), "binary"))


def spikes(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(6, 5, 2, 32, 32, generator=generator) < 0.2).double()


def differing(graph, made, x):
    names = [core.name for core in made.cores]
    _, ours = interpret(graph.double(), x, timesteps=len(x), probes=names)
    _, theirs = interpret(made.graph().double(), x, timesteps=len(x), probes=names)
    wrong = {n: int((ours[n].flatten(2) != theirs[n].flatten(2)).sum()) for n in names}
    return wrong, {n: float(ours[n].mean()) for n in names}


@pytest.mark.parametrize("reset", [None, 0.0])
def test_what_rounds_nothing_gives_the_network_s_spikes(tmp_path, reset):
    graph = network(reset)
    made = speck.write(graph, tmp_path / "speck.json")
    assert made.rounding == 0.0
    again = speck.read(tmp_path / "speck.json")
    assert [core.return_to_zero for core in again.cores] == [reset == 0.0] * 4
    wrong, rates = differing(graph, again, spikes())
    assert not any(wrong.values()), wrong
    assert all(0.01 < rate < 0.9 for rate in rates.values()), rates


def test_rounding_is_bounded_in_every_layer(tmp_path):
    """The current of a step differs by no more than is said, and some of it does differ."""
    graph = network(eighths=False)
    made = speck.write(graph, tmp_path / "speck.json")
    assert made.rounding > 0
    for core in made.cores:
        assert int(core.weights.abs().max()) <= 127
        assert core.threshold_high == pytest.approx(core.scale * float(graph.node(core.name).attributes["v_threshold"]))
    first = made.cores[0]
    x = spikes()[0]
    _, ours = interpret(graph.double(), x.unsqueeze(0), timesteps=1, probes=[first.layer])
    _, theirs = interpret(made.graph().double(), x.unsqueeze(0), timesteps=1, probes=[first.layer])
    error = (theirs[first.layer] / first.scale - ours[first.layer]).abs().max()
    assert 0 < error <= first.rounding
    wrong, _ = differing(graph, made, spikes())
    total = spikes().shape[0] * spikes().shape[1]
    sizes = {
        core.name: total * core.output_shape[0] * core.output_shape[1] * core.output_shape[2] for core in made.cores
    }
    assert all(wrong[name] <= 0.1 * sizes[name] for name in sizes), wrong


def test_all_of_a_file_is_what_was_written(tmp_path):
    made = speck.write(network(), tmp_path / "speck.json")
    again = speck.read(tmp_path / "speck.json")
    assert again.to_dict() == made.to_dict() == json.loads((tmp_path / "speck.json").read_text())
    one = again.to_dict()["layers"][0]
    assert one["dimensions"] == {
        "input_shape": {"feature_count": 2, "size": {"x": 32, "y": 32}},
        "output_shape": {"feature_count": 8, "size": {"x": 16, "y": 16}},
        "kernel_size": 5,
        "stride": {"x": 2, "y": 2},
        "padding": {"x": 2, "y": 2},
    }
    cores = {core.name: core.core for core in again.cores}
    (sent,) = again.cores[0].destinations
    assert (sent.core, sent.layer, sent.pooling) == (cores["layers.4"], "layers.4", 2)
    assert again.inputs[0].destinations[0].layer == "layers.1"
    assert again.outputs == ("layers.10",)


def test_a_program_gives_its_network(tmp_path):
    """A network that fits both chips: of its program the floating-point network is taken."""
    torch.manual_seed(0)
    model = InARow(nn.Linear(6, 5), IF(), nn.Linear(5, 3), IF()).double()
    program = compiler.compile(model, torch.zeros(4, 1, 6).double(), input_type="binary")
    made = speck.write(program, tmp_path / "speck.json")
    assert [core.name for core in made.cores] == ["layers.1", "layers.3"]


def test_what_does_not_fit_is_not_written(tmp_path):
    model = InARow(nn.Conv2d(1, 4, 3, stride=3), neuron(), nn.Conv2d(4, 3, 17), neuron())
    graph = compiler.capture(model, torch.zeros(2, 1, 1, 60, 60), "binary")
    with pytest.raises(CompileError) as caught:
        speck.write(graph, tmp_path / "speck.json")
    assert {v.kind for v in caught.value.violations} == {"stride", "kernel"}
    assert all(v.rewrite for v in caught.value.violations)
    assert not list(tmp_path.iterdir())
    with pytest.raises(CompileError, match="not programmed layer by layer"):
        speck.configure(network(), "spinnaker2")
    with pytest.raises(CompileError, match=r"not programmed layer by layer.*`snnkit check --chip speck`") as caught:
        speck.configure(network(), "loihi1")
    assert len(caught.value.violations) == 1


# Whole numbers.


def test_one_scale_by_hand():
    """Peak .5 and threshold 1: top 254, 2^7 is not exact for .3; units 254, weights .5 → 127, .3 → 76."""
    made = quantised(
        "a", torch.tensor([0.5, -0.3], dtype=torch.float64).reshape(1, 2, 1, 1), torch.zeros(1).double(), 1.0, 1, CHIP
    )
    assert (made.threshold, made.scale) == (254, 254.0)
    assert made.weights.flatten().tolist() == [127, -76]
    assert made.rounding == pytest.approx(0.3 - 76 / 254)


def test_a_bias_has_its_bits_too():
    """A bias of 2 beside weights of .1: the bias fills the bits, and the weights take what is left."""
    weight, bias = torch.full((1, 1, 1, 1), 0.1).double(), torch.tensor([2.0]).double()
    made = quantised("a", weight, bias, 1.0, 1, CHIP)
    assert made.biases.tolist() == [126]
    assert (made.threshold, made.weights.item()) == (63, 6)


@pytest.mark.parametrize("bias", [0.0, 0.5])
def test_weights_of_zero_are_no_defect(bias):
    weight, biases = torch.zeros(3, 2, 3, 3).double(), torch.full((3,), bias).double()
    made = quantised("a", weight, biases, 1.0, 1, CHIP)
    assert not made.weights.any()
    assert made.threshold >= 1
    assert made.rounding == 0.0
    assert made.biases.tolist() == [round(bias * made.scale)] * 3


def test_a_threshold_below_one_unit_is_refused_with_a_way_out():
    weight = torch.tensor([300.0]).double().reshape(1, 1, 1, 1)
    with pytest.raises(CompileError) as caught:
        quantised("a", weight, torch.zeros(1).double(), 1.0, 1, CHIP)
    (violation,) = caught.value.violations
    assert "300 times its threshold" in violation.need
    assert violation.rewrite.startswith("a threshold of 2.362")
    assert quantised("a", weight, torch.zeros(1).double(), 2.363, 1, CHIP).threshold == 1


def test_a_membrane_that_could_clip_is_said():
    """127 · 1,024 inputs below zero in four steps is more than −32,768."""
    torch.manual_seed(0)
    model = InARow(nn.Linear(1024, 4), neuron()).double()
    model.layers[0].weight.data.fill_(-0.5)
    made = speck.configure(compiler.capture(model, torch.zeros(4, 1, 1024).double(), "binary"))
    (core,) = made.cores
    assert core.lowest <= 4 * 1024 * int(core.weights.min())
    assert core.clips
    assert not speck.configure(network()).cores[0].clips


# Bad files.


def edited(tmp_path, change):
    speck.write(network(), tmp_path / "speck.json")
    data = json.loads((tmp_path / "speck.json").read_text())
    change(data)
    (tmp_path / "speck.json").write_text(json.dumps(data))
    return tmp_path / "speck.json"


def put(*path, value):
    def change(data):
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


BAD = {
    "no format": (put("format", value="x"), "no configuration of the format"),
    "no layers": (lambda data: data.pop("layers"), "no field 'layers'"),
    "a weight beyond its bits": (put("layers", 0, "weights", 0, 0, 0, 0, value=400), "weights beyond ±127"),
    "a fraction": (put("layers", 0, "weights", 0, 0, 0, 0, value=0.5), "weights and biases are whole numbers"),
    "ragged weights": (put("layers", 0, "weights", 0, 0, 0, value=[1]), "describes no configuration"),
    "biases": (put("layers", 0, "biases", value=[1]), "1 biases for 8 channels"),
    "two on one core": (lambda d: put("layers", 1, "core", value=d["layers"][0]["core"])(d), "have one core"),
    "no such core": (put("layers", 0, "core", value=9), "is on core 9, there are 9"),
    "another map": (put("layers", 0, "dimensions", "output_shape", "size", "x", value=15), "makes no map of"),
    "no stride": (put("layers", 0, "dimensions", "stride", "x", value=0), "makes no map of"),
    "threshold": (put("layers", 0, "threshold_high", value=0), "a threshold of 0"),
    "memory": (put("layers", 0, "memory", "kernel", value=10**6), "1,000,000 words of"),
    "destination": (put("layers", 0, "destinations", 0, "core", value=8), "which is not there"),
    "output": (put("outputs", value=["nobody"]), "the output nobody"),
    "no steps": (put("timesteps", value=0), "it has 0 time steps"),
    "an input without shape": (put("inputs", 0, "shape", value=[]), "has the shape ()"),
    "an empty input": (put("inputs", 0, "shape", value=[2, 0, 16]), "has the shape (2, 0, 16)"),
    "a weight of one more": (put("layers", 0, "weights", 0, 0, 0, 0, value=128), "weights beyond ±127"),
    "a weight of one less": (put("layers", 0, "weights", 0, 0, 0, 0, value=-128), "weights beyond ±127"),
    "the least whole number": (put("layers", 0, "weights", 0, 0, 0, 0, value=-(2**63)), "weights beyond ±127"),
    "a bias of one more": (put("layers", 0, "biases", 0, value=128), "weights beyond ±127"),
    "threshold above the state": (put("layers", 0, "threshold_high", value=2**15), "a threshold of 32,768"),
    "lower limit below the state": (put("layers", 0, "threshold_low", value=-(2**15) - 1), "a lower limit of -32,769"),
    "lower limit above the start": (put("layers", 0, "threshold_low", value=1), "a lower limit of 1"),
    "no memory": (put("layers", 0, "memory", value={}), "does not say how many words of kernel memory"),
    "less memory": (put("layers", 0, "memory", "neuron", value=8), "takes 2,048 words of neuron memory, not 8"),
    "no bias memory": (put("layers", 0, "memory", "bias", value=0), "takes 8 words of bias memory, not 0"),
    "text for a flag": (put("layers", 0, "return_to_zero", value="false"), "'false' stands where true or false should"),
    "a pool that is not there": (put("layers", 0, "destinations", 0, "pooling", value=3), "with a pool of 3"),
    "another pool": (put("layers", 0, "destinations", 0, "pooling", value=4), "sends maps of (8, 4, 4) to layers.4"),
    "too many destinations": (
        lambda d: d["layers"][0].update(destinations=d["layers"][0]["destinations"] * 3),
        "has 3 destinations, a core has 2",
    ),
    "a layer that nobody feeds": (put("layers", 0, "destinations", value=[]), "nothing sends to layers.4"),
    "no outputs": (put("outputs", value=[]), "it has no outputs"),
    "another input": (put("inputs", 0, "shape", value=[2, 32, 16]), "sends maps of (2, 32, 16) to layers.1"),
    "a real input": (put("inputs", 0, "type", value="real"), "the input input is real"),
    "one name for two": (lambda d: put("layers", 0, "name", value=d["inputs"][0]["name"])(d), "has the name of"),
    "a rounding that is none": (put("layers", 0, "rounding", value=-1.0), "a rounding of -1.0"),
    "text for a number": (put("timesteps", value="4"), "'4' stands where a whole number should"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_line(tmp_path, case):
    change, text = BAD[case]
    path = edited(tmp_path, change)
    with pytest.raises(CorruptFileError) as caught:
        speck.read(path)
    assert text in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def larger(side, kernel=5, stride=2, padding=2, channels=2):
    """The first layer on other maps, with the memory that these take."""

    def change(data):
        one = data["layers"][0]
        made = (side + 2 * padding - kernel) // stride + 1
        sizes = one["dimensions"]
        sizes["input_shape"] = {"feature_count": channels, "size": {"x": side, "y": side}}
        sizes["output_shape"]["size"] = {"x": made, "y": made}
        sizes["stride"], sizes["padding"] = {"x": stride, "y": stride}, {"x": padding, "y": padding}
        one["weights"] = torch.ones(8, channels, kernel, kernel, dtype=torch.int64).tolist()
        shapes = (channels, side, side), (8, made, made)
        one["memory"] = words(*shapes, kernel, True)
        data["inputs"][0]["shape"] = [channels, side, side]

    return change


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"side": 10000}, "10,000 pixels of input map, a core has 128"),
        ({"side": 128, "stride": 1}, "128 pixels of output map, a core has 64"),
        ({"side": 33, "stride": 3}, "has a stride of 3, there is 1, 2, 4, 8"),
        ({"side": 32, "kernel": 17, "padding": 7}, "17 pixels of kernel, a core has 16"),
        ({"side": 32, "padding": 8}, "8 pixels of padding, a core has 7"),
        ({"side": 32, "channels": 1025}, "1,025 channels, a core has 1,024"),
        ({"side": 32, "channels": 1000}, "words of 16,384 (kernel memory)"),
        ({"side": 64, "stride": 1}, "words of 16,384 (neuron memory)"),
    ],
)
def test_a_layer_that_no_core_holds_is_not_read(tmp_path, given, text):
    """Dimensions count, not what the file says of its memory; the last two stand on a core that has too little."""

    def change(data):
        larger(**given)(data)
        if "(kernel" in text:
            data["layers"][0]["core"], data["inputs"][0]["destinations"][0]["core"] = 8, 8
        if "(neuron" in text:
            data["layers"][0]["core"], data["inputs"][0]["destinations"][0]["core"] = 8, 8

    with pytest.raises(CorruptFileError) as caught:
        speck.read(edited(tmp_path, change))
    assert text in str(caught.value)


# What is written is read.


def flat(*shape):
    torch.manual_seed(0)
    layers = (nn.Linear(math.prod(shape), 6), neuron(0.5), nn.Linear(6, 4), neuron(0.5))
    front = (nn.Flatten(1),) if len(shape) > 1 else ()
    return compiler.capture(InARow(*front, *layers).double(), torch.zeros(4, 1, *shape).double(), "binary")


@pytest.mark.parametrize("shape", [(20,), (2, 10), (2, 3, 3), (2, 1, 2, 5)])
def test_inputs_of_any_shape_are_read_and_run(tmp_path, shape):
    graph = simplify(flat(*shape))
    made = speck.write(graph, tmp_path / "speck.json")
    again = speck.read(tmp_path / "speck.json")
    assert again.to_dict() == made.to_dict()
    assert again.inputs[0].shape == shape
    x = (torch.rand(5, 6, *shape, generator=torch.Generator().manual_seed(1)) < 0.4).double()
    wrong, rates = differing(graph, again, x)
    assert all(rate > 0 for rate in rates.values())
    assert all(count <= 6 for count in wrong.values()), wrong  # rounded weights


class Branches(nn.Module):
    """Two layers of neurons on one input, and what a caller makes of them."""

    def __init__(self, meet):
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Conv2d(n, 2, 3, padding=1) for n in (2, 2, 2, 2))
        self.head, self.pool = nn.Linear(2 * 64, 5), nn.AvgPool2d(2)
        self.na, self.nb, self.nc = neuron(0.5), neuron(0.5), neuron(0.5)
        self.meet = meet

    def forward(self, x):
        return self.meet(self, x)


def branches(meet):
    torch.manual_seed(0)
    return simplify(compiler.capture(Branches(meet).double(), torch.zeros(3, 1, 2, 8, 8).double(), "binary"))


def first_of(m, x):
    return m.na(over_time(m.a, x))


def second_of(m, x):
    return m.nb(over_time(m.b, x))


READ_OUT = {
    "a sum": (lambda m, x: first_of(m, x) + second_of(m, x), ("na", "nb")),
    "side by side": (lambda m, x: torch.cat([first_of(m, x), second_of(m, x)], 2), ("na", "nb")),
    "the other way": (lambda m, x: torch.cat([second_of(m, x), first_of(m, x)], 2), ("nb", "na")),
    "flattened": (lambda m, x: first_of(m, x).flatten(2), ("na",)),
    "two outputs": (lambda m, x: (second_of(m, x), first_of(m, x)), ("nb", "na")),
}


@pytest.mark.parametrize("case", READ_OUT)
def test_outputs_count_or_move_spikes(tmp_path, case):
    meet, outputs = READ_OUT[case]
    speck.write(branches(meet), tmp_path / "speck.json")
    assert speck.read(tmp_path / "speck.json").outputs == outputs


@pytest.mark.parametrize("ways", [1, 2])
def test_a_layer_that_flattens_before_its_neurons(tmp_path, ways):
    """The neurons are flat, their core has a map: the next layer's kernel is as large as that."""

    def meet(m, x):
        one = m.na(over_time(lambda y: m.a(y).flatten(1), x))
        return m.nb(over_time(m.head, one + one if ways == 2 else one))

    graph = branches(meet)
    made = speck.write(graph, tmp_path / "speck.json")
    again = speck.read(tmp_path / "speck.json")
    assert [core.input_shape for core in again.cores] == [(2, 8, 8), (2, 8, 8)]
    assert len(again.cores[0].destinations) == ways
    assert again.graph().shape(again.graph().outputs[0]) == (5, 1, 1)
    x = (torch.rand(3, 4, 2, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.3).double()
    wrong, rates = differing(graph, made, x)
    assert rates["nb"] > 0
    assert wrong["nb"] <= 6, wrong


def test_circles_and_unknown_chips_are_refused(tmp_path):
    def circle(data):
        first = {"core": data["layers"][0]["core"], "layer": data["layers"][0]["name"], "pooling": 1}
        data["layers"][-1]["destinations"] = [first]

    with pytest.raises(CorruptFileError, match="in a circle"):
        speck.read(edited(tmp_path, circle))
    with pytest.raises((UnknownNameError, LookupError), match="'speck'"):
        speck.read(edited(tmp_path, put("chip", value="spek")))
    with pytest.raises(CorruptFileError, match="does not exist"):
        speck.read(tmp_path / "nothing.json")
