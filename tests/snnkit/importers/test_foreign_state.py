"""Imported networks whose state SpikingJelly would hold in its modules: spike for spike, at rest again, in streams.

Would break it: a neuron of the user's that stays with its membrane, an override that is ignored, a second call of a
neuron that starts at rest, a membrane set by hand that is forgotten, a mask that stays for all of training.
"""

import copy
import pickle

import pytest
import torch
from spikingjelly.activation_based import base, functional, layer, neuron, surrogate
from torch import nn

import snnkit
from snnkit.errors import InvalidArgumentError
from snnkit.importers import from_spikingjelly
from snnkit.neurons import IF, LIF

X = torch.rand(6, 3, 4, generator=torch.Generator().manual_seed(0)) * 1.5


def theirs(net, x):
    """The original on a sequence, from rest."""
    functional.reset_net(net)
    single = next(m.step_mode for m in net.modules() if isinstance(m, base.StepModule)) == "s"
    return torch.stack([net(x_t) for x_t in x]) if single else net(x)


class Plain(neuron.LIFNode):
    """The parent's behaviour under another name."""

    def __init__(self, tau=2.0):
        super().__init__(tau=tau, v_threshold=0.6)

    def extra_repr(self):
        return "mine"


class Charge(neuron.SimpleLIFNode):
    """v = .9 v + x: ten times .4 are 3 spikes."""

    def __init__(self):
        super().__init__(tau=2.0, decay_input=True)

    def neuronal_charge(self, x):
        self.v = self.v * 0.9 + x


class Step(neuron.LIFNode):
    def single_step_functional_forward(self, inputs, states, **named):
        v = states[0] * 0.9 + inputs[0]
        spike = self.surrogate_function(v - self.v_threshold)
        return (spike,), (v * (1 - spike),)


class Single(neuron.IFNode):
    def single_step_forward(self, x):
        return super().single_step_forward(x) * 2

    def multi_step_forward(self, x_seq):
        return torch.stack([self.single_step_forward(x) for x in x_seq])


class Own(base.MemoryModule):
    """A user's neuron that owes its memory to the library only."""

    def __init__(self):
        super().__init__()
        self.register_memory("u", 0.0)
        self.register_memory("count", 0)

    def single_step_forward(self, x):
        self.count += 1
        self.u = self.u * 0.5 + x
        return surrogate.atan.apply(self.u - 1 / self.count, 2.0)

    def multi_step_forward(self, x_seq):
        return torch.stack([self.single_step_forward(x) for x in x_seq])


def preset(value, cls=neuron.IFNode):
    made = cls()
    made.v = value
    return made


def moved():
    made = neuron.IFNode()
    made.v_reset = -0.4  # its membrane still starts at 0
    return made


def recurrent():
    return layer.ElementWiseRecurrentContainer(neuron.IFNode(v_threshold=0.8), lambda a, b: 0.4 * a + b)


KEPT = {
    "charge": Charge,
    "step": Step,
    "single": Single,
    "own": Own,
    "preset": lambda: preset(0.75),
    "another reset": moved,
    "filter": lambda: layer.SynapseFilter(tau=3.0),
    "delay": lambda: layer.Delay(2),
    "element-wise": recurrent,
    "linear": lambda: layer.LinearRecurrentContainer(neuron.IFNode(v_threshold=0.3), 4, 4),
    "raf": lambda: neuron.RAFNode(),
}


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize("case", sorted(KEPT))
def test_what_has_no_counterpart_runs_as_it_is_and_keeps_nothing(case, mode):
    torch.manual_seed(0)
    net = nn.Sequential(layer.Linear(4, 4), KEPT[case](), neuron.LIFNode(v_threshold=0.4))
    nn.init.eye_(net[0].weight)
    for part in net:
        part.step_mode = mode
    start = copy.deepcopy(net)
    single = mode == "s"
    expected = (torch.stack([start(x_t) for x_t in X]) if single else start(X)).detach()
    ours = from_spikingjelly(net, X)
    assert ours.import_report.whole == 0.0
    assert [text for text in ours.import_report.conventions if "runs as it is" in text]
    assert ours.import_report.kept
    for _ in range(2):
        out = ours(X)
        assert 0.02 < out.mean() < 0.98
        assert torch.equal(out, expected), "every call starts at rest"
    stream = snnkit.Stream(ours)
    assert torch.equal(torch.stack([stream.step(x_t) for x_t in X]), expected)
    stream.reset()
    parts = [stream.run(X[:2])]
    stream.detach()
    with pytest.raises(InvalidArgumentError):
        stream.step(X[0, :2])
    other = snnkit.Stream(ours)
    assert torch.equal(other.run(X), expected), "two streams do not disturb each other"
    parts += [stream.step(X[2])[None], stream.run(X[3:])]
    assert torch.equal(torch.cat(parts), expected)
    assert torch.equal(copy.deepcopy(ours)(X), expected)
    ours(X).sum().backward()
    copy.deepcopy(ours)


def test_by_hand():
    ours = from_spikingjelly(nn.Sequential(Charge()))
    assert ours(torch.full((10, 1, 1), 0.4)).sum() == 3
    ours = from_spikingjelly(nn.Sequential(preset(0.75)))
    assert ours(torch.full((1, 1, 1), 0.3)).sum() == 1


@pytest.mark.parametrize("mode", ["s", "m"])
def test_subclasses_that_do_as_their_parent_become_neurons(mode):
    net = nn.Sequential(nn.Identity(), Plain(tau=3.0), Plain())
    functional.set_step_mode(net, mode)
    ours = from_spikingjelly(net, X)
    assert ours.import_report.whole == 0.0
    assert not ours.import_report.kept
    assert sum(isinstance(part, LIF) for part in ours.modules()) == 2
    assert torch.equal(ours(X), theirs(net, X))


def test_an_override_of_one_instance_and_hooks_are_seen():
    net = nn.Sequential(neuron.IFNode(), neuron.IFNode(v_threshold=0.5))
    net[0].single_step_forward = lambda x: x * 2
    net[1].register_forward_hook(lambda module, inputs, out: 1 - out)
    ours = from_spikingjelly(net, X)
    assert ours.import_report.whole == 0.0
    assert torch.equal(ours(X), theirs(net, X))
    assert {"IFNode has its own single_step_forward", "IFNode has hooks"} == {
        text.split(":")[0] for text in ours.import_report.conventions if "runs as it is" in text
    }


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize("cls", [neuron.IFNode, Charge])
def test_one_neuron_in_two_places_stays_one(cls, mode):
    shared = cls()
    net = nn.Sequential(shared, nn.Linear(4, 4), shared)
    nn.init.constant_(net[1].weight, 0.4)
    functional.set_step_mode(net, mode)
    ours = from_spikingjelly(net, X)
    expected = theirs(net, X).detach()
    assert 0.02 < expected.mean() < 0.98
    assert ours.import_report.whole == 0.0
    assert torch.equal(ours(X), expected)
    assert torch.equal(ours(X), expected)
    if mode == "s":
        stream = snnkit.Stream(ours)
        assert torch.equal(torch.stack([stream.step(x_t) for x_t in X]), expected)
    elif cls is neuron.IFNode:
        with pytest.raises(InvalidArgumentError, match="cannot run in a stream"):
            snnkit.Stream(ours).step(X[0])


class Loop(nn.Module):
    """Loops over time itself."""

    def __init__(self, mode="s", reset=False):
        super().__init__()
        self.sn = neuron.IFNode(step_mode=mode)
        self.mode, self.reset = mode, reset

    def forward(self, x):
        if self.reset:
            functional.reset_net(self)
        if self.mode == "m":
            return sum(self.sn(x_t[None]) for x_t in x)
        return sum(self.sn(x) for _ in range(4))


def test_a_network_that_loops_over_time_itself():
    x = torch.full((1, 1, 1), 0.3)
    ours = from_spikingjelly(Loop())
    assert ours(x).item() == 1.0, "four times .3"
    assert ours(x).item() == 1.0
    longer = x.repeat(3, 1, 1)
    assert torch.equal(ours(longer), theirs(Loop(), longer))
    anew = from_spikingjelly(Loop(reset=True))
    assert torch.equal(anew(longer), torch.ones(3, 1, 1)), "its own reset is meant"


def test_a_second_call_that_was_not_seen_is_refused_by_path():
    x = torch.full((4, 1, 1), 0.3)
    seen = from_spikingjelly(Loop("m"), x)
    assert seen.import_report.whole == 0.0
    assert seen(x).item() == 1.0
    unseen = from_spikingjelly(Loop("m"))
    with pytest.raises(InvalidArgumentError, match=r"^sn is called a second time"):
        unseen(x)
    assert unseen(x[:1]).item() == 0.0, "one call of the neuron is no second one"
    assert pickle.loads(pickle.dumps(seen))(x).item() == 1.0


def test_import_after_a_training_step():
    torch.manual_seed(0)
    for mode in ("s", "m"):
        net = nn.Sequential(layer.Linear(4, 4), neuron.LIFNode(store_v_seq=True), layer.Linear(4, 4), Charge())
        functional.set_step_mode(net, mode)
        fresh = from_spikingjelly(net, X)
        assert fresh.import_report.max_mismatch == 0.0
        (net(X) if mode == "m" else torch.stack([net(x_t) for x_t in X])).sum().backward()
        ours = from_spikingjelly(net, X)
        assert ours.import_report.whole == 0.0
        assert torch.equal(ours(X), fresh(X))
        assert any("had left" in text for text in ours.import_report.conventions)
        assert isinstance(net[1].v, torch.Tensor), "the original keeps its own"


@pytest.mark.parametrize("cls", [layer.Dropout, layer.Dropout2d])
def test_dropout_of_single_steps_draws_one_mask_for_a_sequence(cls):
    net = nn.Sequential(cls(0.5), neuron.IFNode())
    ours = from_spikingjelly(net).train()
    x = torch.full((5, 3, 8, 2, 2), 2.0)
    torch.manual_seed(3)
    expected = theirs(net.train(), x)
    torch.manual_seed(3)
    first = ours(x)
    assert torch.equal(first, expected)
    assert torch.equal(first[0], first[4]), "one mask for all steps"
    assert not torch.equal(ours(x), first), "and another one for the next sequence"
    assert torch.equal(ours.eval()(x), torch.ones_like(x))


ZOO = ["spiking_resnet.spiking_resnet18", "sew_resnet.sew_resnet18", "spiking_vgg.spiking_vgg11_bn"]


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize("which", ZOO)
def test_spikingjellys_own_zoo(which, mode, monkeypatch):
    from spikingjelly.activation_based import model
    from spikingjelly.activation_based.model import sew_resnet, spiking_resnet, spiking_vgg  # noqa: F401

    file, name = which.split(".")
    made = getattr(model, file)
    more = {"cnf": "ADD"} if "sew" in file else {}
    torch.manual_seed(0)
    if "vgg" in file:
        monkeypatch.setitem(made.cfgs, "A", [8, "M", 16, "M", 16, "M", 16, "M", 512, "M"])
    net = getattr(made, name)(spiking_neuron=neuron.IFNode, surrogate_function=surrogate.ATan(), num_classes=10, **more)
    if "vgg" in file:  # its own of 4096 features would be all of its weights
        net.classifier = nn.Sequential(layer.Linear(25088, 32), neuron.IFNode(), layer.Dropout(), layer.Linear(32, 10))
    functional.set_step_mode(net, mode)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.constant_(part.bias, 0.5)
    x = torch.randn(2, 2, 3, 32, 32)
    with torch.no_grad():
        expected = theirs(net.eval(), x)
        ours = from_spikingjelly(net)
        assert expected.std() > 0
        assert torch.equal(ours(x), expected)
        assert torch.equal(ours(x), expected)
    assert sum(isinstance(part, IF) for part in ours.modules()) > 5


def test_what_runs_as_it_is_cannot_be_captured():
    from compiler import capture

    ours = from_spikingjelly(nn.Sequential(nn.Linear(4, 4), Charge()))
    with pytest.raises(InvalidArgumentError, match=r"Charge runs as it is.*translated"):
        capture(ours, X)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.sn = layer.Linear(4, 4), neuron.IFNode()

    def forward(self, x):
        return self.sn(self.fc(x)) + x


def test_networks_with_a_forward_of_their_own_compile():
    net = Residual()
    functional.set_step_mode(net, "m")
    ours = from_spikingjelly(net)
    compiled = torch.compile(ours, backend="eager")
    for _ in range(3):
        assert torch.equal(compiled(X), ours(X))
    looped = from_spikingjelly(Loop("m"), X)
    assert torch.equal(torch.compile(looped, backend="eager")(X), looped(X))


def test_a_network_whose_neurons_run_once_compiles_as_one_graph():
    net = Residual()
    functional.set_step_mode(net, "m")
    ours = from_spikingjelly(net)
    assert torch.equal(torch.compile(ours, backend="eager", fullgraph=True)(X), ours(X))
