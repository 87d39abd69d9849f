"""What is granted to a compiler, what a program is given to run, and what a trace is held against: refused in one line.

Would break it: a loss or a host that the chip's programs do not have taken without a word, a headroom of nothing, a raw
error of torch for samples that are no numbers, a trace of other samples, another network or another chip compared.
"""

from itertools import pairwise

import numpy as np
import pytest
import torch
from support.nets import SpikesIn, lively

import compiler
from compiler.checking import examine
from compiler.passes import simplify
from compiler.targets import TARGETS
from hw import get_chip, list_chips
from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.neurons import IF

ONE_A_TARGET = {get_chip(n).semantics: n for n in reversed(list_chips()) if get_chip(n).semantics in TARGETS}.values()
HOSTLESS = [name for name in ONE_A_TARGET if not TARGETS[get_chip(name).semantics].host]
STEPS, SAMPLES = 3, 4


class Tiny(torch.nn.Module):
    """Spikes (T, B, 5) through six neurons to three numbers."""

    def __init__(self):
        super().__init__()
        self.one, self.neuron, self.two = torch.nn.Linear(5, 6, bias=False), IF(), torch.nn.Linear(6, 3, bias=False)

    def forward(self, x):
        return self.two(self.neuron(self.one(x)))


class Masked(Tiny):
    """Neurons behind a product of two spikes."""

    def __init__(self):
        super().__init__()
        self.mask = IF()

    def forward(self, x):
        spikes = self.neuron(self.one(x))
        return self.two(self.mask(spikes * spikes.flip(-1)))


def spikes(samples=SAMPLES, seed=0):
    return (torch.rand(STEPS, samples, 5, generator=torch.Generator().manual_seed(seed)) < 0.5).float()


def graph(kind=Tiny):
    torch.manual_seed(0)
    return simplify(compiler.capture(kind(), spikes(1), "binary"))


@pytest.fixture(scope="module", params=ONE_A_TARGET)
def program(request):
    return compiler.compile(graph(), chip=request.param)


@pytest.mark.parametrize("headroom", [0, -1, 2.5, float("nan"), "32", None, True])
def test_headroom_is_a_whole_number_of_thresholds(headroom):
    with pytest.raises(InvalidArgumentError, match="whole number of thresholds"):
        compiler.compile(graph(), chip="loihi1", headroom=headroom)


@pytest.mark.parametrize("chip", ONE_A_TARGET)
def test_a_loss_that_a_chip_has_not_is_refused(chip):
    with pytest.raises(UnknownNameError, match="drop'.*(Did you mean 'drops'|lose nothing)") as caught:
        compiler.compile(graph(), chip=chip, allow="drop")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("chip", HOSTLESS)
def test_a_host_that_a_chip_s_programs_have_not_is_refused(chip):
    with pytest.raises(InvalidArgumentError, match=f"host='neuron': programs for {chip} leave nothing"):
        compiler.compile(graph(), chip=chip, host="neuron")
    assert compiler.compile(graph(), chip=chip, host="auto").chip.name == chip  # what cannot be done is refused anyway
    ways = [violation.rewrite for violation in examine(graph(Masked), chip).violations]
    assert ways
    assert not any("to the host" in way or "masks" in way for way in ways)
    assert any("--chip" in way and "loihi1" in way for way in ways)


@pytest.mark.parametrize("granted", [{"host": ("neuron",)}, {"allow": "drops"}])
def test_nothing_is_granted_to_a_chip_that_is_described_only(granted):
    with pytest.raises(InvalidArgumentError, match="speck is described only"):
        examine(graph(), "speck", **granted)
    assert examine(graph(), "speck", host="auto").violations


@pytest.mark.parametrize("given", [3, ("neuron", 3), None])
def test_names_are_text(given):
    with pytest.raises(InvalidArgumentError, match="is no name"):
        compiler.compile(graph(), chip="loihi1", host=given)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (lambda x: x.numpy(), "got ndarray"),
        (lambda x: None, "got NoneType"),
        (lambda x: x[:, :0], "is empty"),
        (lambda x: x[:0], "is empty"),
        (lambda x: x.to_sparse(), "sparse"),
        (lambda x: x.to(torch.complex64), "complex"),
        (lambda x: x.to("meta"), "meta"),
        (lambda x: x / 0, "values from nan"),
        (lambda x: 0.5 * x, "0 to 0.5"),
    ],
)
def test_what_cannot_be_run_is_said(program, given, text):
    for run in (program.simulate, program.verify):
        with pytest.raises(InvalidArgumentError, match=text) as caught:
            run(given(spikes()))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [torch.Tensor.half, torch.Tensor.bool, torch.Tensor.long, torch.Tensor.requires_grad_, lambda x: x.mT.clone().mT],
    ids=["half", "bool", "int64", "with a gradient", "another layout"],
)
def test_the_same_spikes_give_the_same_trace(program, given):
    x = spikes()
    wanted, got = program.simulate(x), program.simulate(given(x.clone()))
    assert torch.equal(wanted.logits, got.logits)
    assert all(np.array_equal(wanted.spikes[name], got.spikes[name]) for name in wanted.spikes)
    assert program.verify(given(x.clone()), got).verdict == "exact"


@pytest.mark.parametrize("samples", [SAMPLES - 1, SAMPLES + 1])
def test_a_trace_of_other_samples_is_refused(program, samples):
    trace = program.simulate(spikes())
    with pytest.raises(InvalidArgumentError, match=f"the trace is of {SAMPLES} samples"):
        program.verify(spikes(samples), trace)


def of(*sizes, first=5, last=3):
    """A program's network of integrate-and-fire layers of such sizes, and three numbers."""
    torch.manual_seed(0)
    layers = []
    for inside, outside in pairwise((first, *sizes)):
        layers += [torch.nn.Linear(inside, outside, bias=False), IF()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(sizes[-1], last, bias=False))
    return simplify(compiler.capture(model, spikes(1), "binary"))


@pytest.mark.parametrize("chip", ONE_A_TARGET)
@pytest.mark.parametrize(
    ("sizes", "last", "said"),
    [
        ((7,), 3, r"layer 1 is \(3, 4, 7\), in the program \(3, 4, 6\)"),
        ((6, 6), 3, "layer 3 is .*, in the program not there"),
        ((6,), 2, r"its output is \(4, 2\), in the program \(4, 3\)"),
    ],
)
def test_a_trace_of_another_network_is_refused(chip, sizes, last, said):
    """Whichever of the two is the larger, and where all that both have is of one size."""
    program, other = compiler.compile(of(6), chip=chip), compiler.compile(of(*sizes, last=last), chip=chip)
    with pytest.raises(InvalidArgumentError, match=f"the trace is of another network: {said}: give") as caught:
        program.verify(spikes(), other.simulate(spikes()))
    assert "\n" not in str(caught.value)
    with pytest.raises(InvalidArgumentError, match="the trace is of another network: "):
        other.verify(spikes(), program.simulate(spikes()))


def test_a_trace_of_another_chip_is_refused(program):
    """Equal in every shape, and on chips of one target in every number."""
    x, here = spikes(), program.chip.name
    for chip in (*ONE_A_TARGET, "mesh", "mesh:width=4"):
        trace = compiler.compile(graph(), chip=chip).simulate(x)
        if chip == here:
            assert program.verify(x, trace).verdict == "exact"
            continue
        with pytest.raises(InvalidArgumentError, match=f"the trace is of {chip}, the program for {here}: ") as caught:
            program.verify(x, trace)
        assert "\n" not in str(caught.value)


def test_a_network_with_infinite_weights_is_called_so():
    torch.manual_seed(0)
    model = lively(SpikesIn(IF))
    next(module for module in model.modules() if isinstance(module, torch.nn.Linear)).weight.data[0, 0] = float("inf")
    wrong = compiler.check(model, "loihi1", (torch.rand(4, 1, 20) < 0.5).double(), "binary")
    assert any("not finite" in violation.need for violation in wrong)
