"""What keeps a graph off a chip, each in a network that has just that; layer, need and limit are fields.

Would break it: something that is only found when numbers are chosen, or not at all; another chip's limit in the text.
"""

import pytest
import torch
from torch import nn

import compiler
from compiler.errors import Violation
from compiler.graph import BINARY, REAL, GraphBuilder, integer
from snnkit.neurons import IF, LIF, NO_RESET, CuBaLIF, Izhikevich

EVERY_STEP = torch.zeros(4, 1, 6)


def graph(kind=BINARY, outputs=1, inputs=1):
    """input → linear → IF → linear, with more inputs or outputs if wanted."""
    builder = GraphBuilder("net", timesteps=4)
    current = builder.input("x", (6,), kind)
    for extra in range(1, inputs):
        current = builder.add("add", (current, builder.input(f"x{extra}", (6,), kind)))
    current = builder.add("linear", (current,), {}, {"weight": torch.ones(5, 6)}, name="first")
    constants = {"v_threshold": 1.0, "v_reset": 0.0, "detach_reset": True}
    spikes = builder.neuron("integrate_fire", current, constants, states=[("v", 0.0)], name="lif")
    made = [builder.add("linear", (spikes,), {}, {"weight": torch.ones(3, 5)}) for _ in range(outputs)]
    return builder.finish(made)


def net(neuron, weight=0.5):
    model = nn.Sequential(nn.Linear(6, 5), neuron, nn.Linear(5, 3))
    model[0].weight.data.fill_(weight)
    return compiler.capture(model, EVERY_STEP, "binary")


CASES = {
    "integers as input": (
        lambda: graph(integer(0, 3)),
        "lif",
        "events integer[0,3] of x",
        "loihi1 sends single spikes",
    ),
    "real numbers as input": (lambda: graph(REAL), "lif", "a real input that changes", "a bias register of loihi1"),
    "two outputs": (lambda: graph(outputs=2), "net", "1 inputs and 2 outputs", "loihi1 has one of each"),
    "two inputs": (lambda: graph(inputs=2), "net", "2 inputs and 1 outputs", "loihi1 has one of each"),
    "another neuron": (lambda: net(Izhikevich()), "1", "the neuron izhikevich", "loihi1 runs lif, integrate_fire"),
    "a synaptic current": (lambda: net(CuBaLIF()), "1", "the neuron cuba_lif", "loihi1 runs lif"),
    "a soft reset": (lambda: net(IF(v_reset=None)), "1", "a soft reset", "loihi1 resets hard, to 0: use v_reset=0"),
    "another reset": (lambda: net(LIF(v_reset=-0.5)), "1", "a reset to -0.5", "use v_reset=0"),
    "no reset": (lambda: net(IF(v_reset=NO_RESET)), "1", "a membrane that spikes leave as it is", "use v_reset=0"),
    "a threshold a channel": (
        lambda: net(IF(v_threshold=torch.linspace(0.5, 1, 5))),
        "1",
        "v_threshold for each channel",
        "has one of each",
    ),
    "no memory": (lambda: net(LIF(tau=1.00001)), "1", "forgets everything", "use a larger tau"),
    "not a number": (lambda: net(IF(), torch.nan), "0.weight", "numbers that are not finite", "train again"),
    "no neuron": (
        lambda: compiler.capture(nn.Sequential(nn.Linear(6, 3)), torch.zeros(1, 6)),
        "Sequential",
        "to run without spikes",
        "loihi1 runs spiking networks",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_reason_has_layer_need_and_limit(case):
    make, layer, need, limit = CASES[case]
    found = compiler.check(make(), "loihi1")
    assert any(v.layer == layer and need in v.need and limit in v.limit for v in found), [str(v) for v in found]
    assert all(isinstance(v, Violation) and v.layer and v.need and v.limit for v in found)
    assert "\n" not in str(found[0])


def test_without_a_reason_there_is_none():
    assert compiler.check(graph(), "loihi1") == []
    assert compiler.check(net(LIF(tau=torch.tensor(3.0))), "loihi1") == []


def test_check_and_compile_say_the_same():
    """One way: what check lists is what compile raises, for a module as for its graph."""
    model = nn.Sequential(nn.Linear(6, 5), IF(v_reset=None), nn.Linear(5, 5), LIF(v_reset=None), nn.Linear(5, 3))
    found = compiler.check(model, "loihi1", EVERY_STEP, "binary")
    assert [v.layer for v in found] == ["1", "3"]
    assert compiler.check(compiler.capture(model, EVERY_STEP, "binary"), "loihi1") == found
    with pytest.raises(compiler.errors.CompileError) as caught:
        compiler.compile(model, EVERY_STEP, input_type="binary")
    assert caught.value.violations == tuple(found)
