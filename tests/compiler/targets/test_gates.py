"""Products and maxima of spikes as populations of their own: every spike is the float network's.

Would break it: an AND that fires for one of its spikes, or remembers one from the step before; an operand broadcast
along the wrong axis; a window of a pool that reads beyond its edge, or stops short of it; a gate behind a gate that
is a step late.
"""

import pytest
import torch
import torch.nn.functional as F
from support.chip_runs import Heads, eighths, same, spikes

import compiler
from compiler.errors import CompileError
from snnkit.neurons import IF

CHIPS = ("loihi1", "mesh")
ONE, ROWS, MAP = (8,), (3, 4), (2, 5, 5)


def over_maps(pool, **given):
    return lambda a: pool(a.flatten(0, 1), **given).unflatten(0, a.shape[:2])


GATES = {
    "and": (lambda a, b: a * b, [ONE, ONE]),
    "and of three": (lambda a, b, c: a * b * c, [ONE, ONE, ONE]),
    "minimum": (torch.minimum, [ONE, ONE]),
    "with itself": (lambda a: a * a, [ONE]),
    "a moved self": (lambda a: a * a.flip(-1), [ONE]),
    "a row for all": (lambda a, b: a * b, [ROWS, (1, 4)]),
    "a column for all": (lambda a, b: a * b, [ROWS, (3, 1)]),
    "row by column": (lambda a, b: a * b, [(3, 1), (1, 4)]),
    "moved operands": (lambda a, b: a.transpose(-1, -2) * b.reshape(*b.shape[:2], 4, 3).roll(1, -1), [ROWS, (12,)]),
    "parts": (lambda a, b: a[..., 1:7:2] * torch.cat([b[..., :1], b[..., 5:7]], -1), [ONE, ONE]),
    "and not": (lambda a, b: a * (1 - b), [ONE, ONE]),
    "not and": (lambda a, b: (1 - a) * b, [ONE, ONE]),
    "and not itself": (lambda a, b: torch.cat([a * (1 - a), a * (1 - a * b)], -1), [ONE, ONE]),
    "and not of a column": (lambda a, b: a * (1 - b.flip(-2)), [ROWS, (3, 1)]),
    "and not an or": (lambda a, b, c: torch.maximum(a * (1 - b), c) * (1 - a), [ONE, ONE, ONE]),
    "or": (torch.maximum, [ONE, ONE]),
    "or of three": (lambda a, b, c: torch.maximum(torch.maximum(a, b), c), [ONE, ONE, ONE]),
    "or of a row": (torch.maximum, [ROWS, (1, 4)]),
    "and of an or": (lambda a, b, c: torch.maximum(a, b) * c, [ONE, ONE, ONE]),
    "or of ands": (lambda a, b, c: torch.maximum(a * b, b * c), [ONE, ONE, ONE]),
    "and of early and late": (lambda a, b, c: (a * b) * torch.maximum(c, a * b) * a, [ONE, ONE, ONE]),
    "any of a row": (lambda a: a.amax(-1), [ROWS]),
    "any of a column": (lambda a: a.amax(-2, keepdim=True), [ROWS]),
    "any at all": (lambda a: a.amax((-2, -1)), [ROWS]),
    "mask of any": (lambda a, b: a * b.amax(-2, keepdim=True), [ROWS, ROWS]),
    "pool": (over_maps(F.max_pool2d, kernel_size=2), [MAP]),
    "pool of strides": (over_maps(F.max_pool2d, kernel_size=3, stride=2, padding=1), [MAP]),
    "pool of one step": (over_maps(F.max_pool2d, kernel_size=3, stride=1, padding=1), [MAP]),
    "pool that is not square": (over_maps(F.max_pool2d, kernel_size=(1, 3), stride=(2, 1), padding=(0, 1)), [MAP]),
    "dilated pool": (over_maps(F.max_pool2d, kernel_size=2, stride=1, dilation=2), [MAP]),
    "pool to the ceiling": (over_maps(F.max_pool2d, kernel_size=2, ceil_mode=True), [MAP]),
    "padded pool to the ceiling": (
        over_maps(F.max_pool2d, kernel_size=3, stride=3, padding=1, dilation=1, ceil_mode=True),
        [MAP],
    ),
    "adaptive pool": (over_maps(F.adaptive_max_pool2d, output_size=(2, 3)), [MAP]),
    "pool of lines": (over_maps(F.max_pool1d, kernel_size=3, stride=2, padding=1), [(2, 7)]),
    "pool of an and": (lambda a, b: over_maps(F.max_pool2d, kernel_size=2)(a * b), [MAP, MAP]),
    "pool of a pool": (
        lambda a: over_maps(F.max_pool2d, kernel_size=2)(over_maps(F.max_pool2d, kernel_size=2, stride=1)(a)),
        [MAP],
    ),
    "pool and its map": (
        lambda a: torch.cat([over_maps(F.max_pool2d, kernel_size=2)(a).flatten(2), a.flatten(2)], -1),
        [MAP],
    ),
}


@pytest.mark.parametrize(
    ("name", "chip"), [*((name, "loihi1") for name in GATES), *((name, "mesh") for name in list(GATES)[::4])]
)
def test_every_spike_is_the_float_networks(name, chip):
    between, shapes = GATES[name]
    program, trace, equality = same(eighths(Heads(between, shapes), low=-5), spikes(9, 4, 6, rate=0.6), chip)
    gates = [placed for placed in program.mapping.lowered.placed if placed.kind == "gate"]
    assert gates
    assert not program.host_operations
    assert equality.float_verdict == "exact"
    assert any(trace.spikes[gate.layer].any() for gate in gates)
    assert not all(trace.spikes[gate.layer].all() for gate in gates)


def test_gates_on_the_input_itself():
    """Input spikes go into the gates as they come: the network begins with an AND and a pool."""

    class First(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.mix, self.last = torch.nn.Linear(10, 6, bias=False), IF()
            self.out = torch.nn.Linear(6, 3, bias=False)

        def forward(self, x):
            pooled = F.max_pool1d(x, 2, 2, ceil_mode=True)
            y = torch.cat([x * x.flip(-1), pooled], -1)[..., :10]
            return self.out(self.last(self.mix(y)))

    for chip in CHIPS:
        program, _, _ = same(eighths(First(), low=-4), spikes(7, 3, 8), chip)
        assert sum(placed.kind == "gate" for placed in program.mapping.lowered.placed) == 2


def test_an_and_keeps_nothing_of_the_step_before():
    """Spikes of two inputs that never come together: a neuron with a memory would fire at every second step."""

    class And(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.neuron, self.out = IF(), torch.nn.Linear(1, 1, bias=False)

        def forward(self, x):
            return self.out(self.neuron(x[..., :1] * x[..., 1:]))

    x = torch.zeros(8, 1, 2)
    x[::2, :, 0], x[1::2, :, 1] = 1, 1
    together = x.clone()
    together[5] = 1
    for chip in CHIPS:
        program = compiler.compile(And().double(), x.double(), chip, "binary")
        for given, wanted in ((x, 0), (together, 1)):
            trace = program.simulate(given.double())
            assert [int(sent.sum()) for sent in trace.spikes.values()] == [wanted, wanted]
            assert program.verify(given.double(), trace).verdict == "exact"


@pytest.mark.parametrize("chip", CHIPS)
def test_what_is_no_gate_is_no_gate(chip):
    """A sum of two spikes may be 2: its maximum with a third is none of single spikes."""
    model = eighths(Heads(lambda a, b: torch.maximum(a + a.flip(-1), b), [ONE, ONE]))
    with pytest.raises(CompileError, match="maximum"):
        compiler.compile(model, spikes(4, 2, 6), chip, "binary")


def padded_with_ones(a, b):
    return F.pad(a, (1, 0), value=1.0)[..., :8] * b


@pytest.mark.parametrize(
    "between",
    [lambda a, b: (1 - a) * (1 - b), lambda a, b: a * (1 - 0.5 * b), lambda a, b: a * (2 - b), padded_with_ones],
)
def test_what_needs_more_than_spikes_and_silence_is_no_gate(between):
    """Where both must be silent nothing would come to fire it; half of a spike is no spike, a stored 1 is none."""
    with pytest.raises(CompileError, match="mul"):
        compiler.compile(eighths(Heads(between, [ONE, ONE])), spikes(4, 2, 6), "loihi1", "binary")
