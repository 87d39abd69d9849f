"""Several steps at once give what step by step gives: every output, every state, every count, bit for bit.

Would break it: sums that survive a run in the prepared weights, a step behind the last change that is forgotten, a
value that is read after it was dropped, samples that are cut apart and not put together, events in another layout than
their reader's, a way that is taken where it cannot be.
"""

import pytest
import timm
import torch
from torch import nn

from compiler.converting import convert, fast
from compiler.converting.fast_plan import Chain, plan_of
from compiler.converting.running import Stepper
from snnkit.events.graded import why_not

needs_compiler = pytest.mark.skipif(bool(why_not()), reason="needs a C compiler")


class Branches(nn.Module):
    """Layers of every kind beside each other: grouped, depthwise, transposed, strided; concat, gate, pooling."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 7, 3, padding=1)
        self.wide, self.narrow = nn.Conv2d(7, 20, 3, padding=1, stride=2), nn.Conv2d(7, 20, 1, stride=2)
        self.depthwise = nn.Conv2d(20, 20, 3, padding=1, groups=20)
        self.grouped, self.up = nn.Conv2d(20, 8, 3, padding=1, groups=4), nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.gate, self.head = nn.Conv2d(20, 20, 1), nn.Linear(26, 5)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        y = torch.relu(self.wide(x) + self.narrow(x))
        z = nn.functional.relu6(self.depthwise(y)) + y
        z = z * torch.sigmoid(self.gate(z.mean((2, 3), keepdim=True)))
        u = nn.functional.max_pool2d(torch.relu(self.up(nn.functional.gelu(self.grouped(z)))), 2)
        return self.head(torch.cat([z, u], 1).mean((2, 3)))


def _resnet():
    return timm.create_model("resnet10t", num_classes=9)


def _transformer():
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 7}
    return timm.models.VisionTransformer(**sizes)


NETWORKS = {"branches": Branches, "resnet": _resnet, "transformer": _transformer}
BATCH = 3


def _converted(name, levels=16, **more):
    torch.manual_seed(0)
    model = NETWORKS[name]().eval()
    images = torch.nn.functional.interpolate(torch.randn(4 + BATCH, 3, 8, 8), size=32, mode="bilinear")
    return convert(model, [images[BATCH:]], levels, **more), images[:BATCH]


@pytest.fixture(scope="module")
def converted():
    made = {}

    def get(name):
        if name not in made:
            made[name] = _converted(name)
        return made[name]

    return get


def _same(graph, inputs, blocks):
    """Run both ways, ``inputs`` step by step; ``blocks`` are the steps taken together."""
    batch = len(inputs[0])
    plain, ahead = Stepper(graph, batch, inputs[0], plainly=True), Stepper(graph, batch, inputs[0])
    assert ahead._blocks is not None
    t = 0
    for number, steps in enumerate(blocks):
        fed = [(x,) for x in inputs[t : t + steps]]
        for x, (got, silent) in zip(fed, ahead.ahead(fed, more=number < len(blocks) - 1), strict=True):
            wanted = plain.step(x)
            assert torch.equal(got[0], wanted[0]), t
            assert silent == plain.silent, t
            t += 1
    assert plain.sent == ahead.sent
    assert any(one.events for one in plain.sent.values())
    states = ahead.states
    assert states.keys() == plain.states.keys()
    for name, state in plain.states.items():
        assert torch.equal(states[name], state), name


@needs_compiler
@pytest.mark.parametrize("exponent", [0, 2, None])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_step_is_the_same(converted, name, exponent):
    network, x = converted(name)
    graph = network.with_exponent(exponent).snn_graph
    _same(graph, [x] * 14, (8, 1, 5))
    _same(graph, [x[:1]] * 8, (8,))  # the second run of a prepared network, and a batch of one
    _same(graph, [x[:1]] * 8, (8,))


@needs_compiler
@pytest.mark.parametrize("name", NETWORKS)
def test_inputs_that_change(converted, name):
    network, x = converted(name)
    frames = [x, x, x.flip(0), x.flip(0) * 0.5, x.flip(0) * 0.5, x, x, x]
    _same(network.snn_graph, frames, (3, 3, 2))
    runs = [network.run(torch.stack(frames), until=limit) for limit in (8, "rest")]
    assert torch.equal(runs[1].logits[:8], runs[0].logits)
    assert torch.equal(runs[1].logits[-1], network.qann(x))


@needs_compiler
def test_parts_of_a_batch(converted, monkeypatch):
    network, x = converted("branches")
    monkeypatch.setattr(fast, "_AT_ONCE", 2 * 7 * 32 * 32)
    assert len(Stepper(network.snn_graph, BATCH, x)._blocks._parts) == 2
    _same(network.snn_graph, [x] * 10, (4, 6))


@needs_compiler
def test_one_scale_a_channel():
    network, x = _converted("branches", levels=5, per_channel=True)
    _same(network.snn_graph, [x] * 8, (8,))


@needs_compiler
def test_threads_share_the_pixels(converted):
    network, x = converted("branches")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        _same(network.snn_graph, [x] * 8, (8,))
    finally:
        torch.set_num_threads(before)


@needs_compiler
def test_rest_is_seen_where_it_begins(converted):
    network, x = converted("resnet")
    found = network.run(x)
    plain = Stepper(network.snn_graph, BATCH, x, plainly=True)
    steps = 0
    while not plain.silent:
        last = plain.step((x,))[0]
        steps += 1
    assert (found.rest, len(found.logits)) == (steps - 1, steps)
    assert torch.equal(found.logits[-1], last)
    assert torch.equal(last, network.qann(x))
    assert found.layers == plain.sent


@needs_compiler
def test_a_residual_network_is_all_chains(converted):
    graph = converted("resnet")[0].snn_graph
    left = {step.op for step in plan_of(graph).steps if not isinstance(step, Chain)}
    assert not left & {"integrate", "trace", "linear", "add"}


def test_where_it_cannot_be_it_is_not(converted, monkeypatch):
    network, x = converted("branches")
    assert Stepper(network.snn_graph, BATCH, x, watch=lambda node, facts: None)._blocks is None
    torch.manual_seed(0)
    double = convert(Branches().double().eval(), [x.double()], 8)
    assert Stepper(double.snn_graph, BATCH, x.double())._blocks is None
    assert torch.equal(double.run(x).logits[-1], double.qann(x))
    monkeypatch.setattr("compiler.converting.fast_plan.why_not", lambda: "no compiler")
    other = network.with_exponent(1)
    assert Stepper(other.snn_graph, BATCH, x)._blocks is None
    assert torch.equal(other.run(x).logits[-1], other.qann(x))
