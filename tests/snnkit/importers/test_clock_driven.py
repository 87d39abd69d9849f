"""The old names: behaviour of 0.0.0.0.12 (goldens), state until reset, and a repository's script unchanged.

Would break it: a membrane forgotten between calls or kept over reset_net, other defaults (detach_reset), a key that
is not the original's, old names that shadow an installed SpikingJelly.
"""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch

from snnkit import surrogates
from snnkit.errors import InvalidArgumentError
from snnkit.importers.clock_driven import encoding, functional, layer, neuron, surrogate

SCRIPT = """
import sys, torch
from spikingjelly.clock_driven.neuron import MultiStepLIFNode, MultiStepParametricLIFNode
from spikingjelly.clock_driven import functional, surrogate
from spikingjelly.activation_based import neuron as newer
class MLP(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Conv1d(4, 4, 1)
        self.lif = MultiStepLIFNode(tau=2.0, detach_reset=True, backend="cupy")
    def forward(self, x):
        T, B, C, N = x.shape
        return self.lif(self.fc(x.flatten(0, 1)).reshape(T, B, C, N))
torch.manual_seed(1)  # one draw in ten fires alike from any membrane
net = MLP()
assert list(net.state_dict()) == ["fc.weight", "fc.bias"]
x = torch.randn(4, 2, 4, 3) * 4
a = net(x); functional.reset_net(net); b = net(x)
assert torch.equal(a, b) and 0 < a.mean() < 1 and not torch.equal(net(x), b)
a.sum().backward()
node = newer.LIFNode(step_mode="m", backend="cupy", surrogate_function=surrogate.ATan())
node(x)
print("ran", sys.argv[1:])
"""


def settings(name):
    kind, *parts = str(name).split("|")
    read = {"True": True, "False": False, "None": None}
    return kind, {k: read[v] if v in read else float(v) for k, v in (part.split("=") for part in parts)}


def test_goldens_of_the_published_package(golden):
    units = np.load(golden / "lif_units.npz", allow_pickle=False)
    for i, name in enumerate(units["names"]):
        kind, values = settings(name)
        cls = {"lif": neuron.MultiStepLIFNode, "if": neuron.MultiStepIFNode}[kind]
        node = cls(**values, backend="cupy")
        node.store_v_seq = True
        x = torch.from_numpy(units["x"]).requires_grad_()
        out = node(x)
        np.testing.assert_array_equal(out.detach().numpy(), units[f"s{i}"])
        np.testing.assert_allclose(node.v_seq.detach().numpy(), units[f"v{i}"], rtol=0, atol=1e-12)
        (out * torch.from_numpy(units["w"])).sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), units[f"g{i}"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("cls", [neuron.IFNode, neuron.LIFNode, neuron.ParametricLIFNode])
def test_single_steps_keep_the_membrane_until_reset(cls):
    x = torch.rand(5, 2, 3) * 3
    single, multi = cls(), cls(step_mode="m")
    whole = multi(x)
    assert whole.sum() > 0
    assert torch.equal(torch.stack([single(x_t) for x_t in x]), whole)
    functional.reset_net(single)
    assert single.v == 0.0
    assert torch.equal(torch.stack([single(x_t) for x_t in x]), whole)


def test_defaults_are_the_old_ones():
    node = neuron.LIFNode()
    assert node.neuron.detach_reset is False
    assert str(node.neuron.surrogate) == "Sigmoid(alpha=4.0)"
    assert list(neuron.MultiStepParametricLIFNode().state_dict()) == ["w"]
    assert surrogate.ATan().alpha == 2.0
    with pytest.raises(InvalidArgumentError, match="step_mode"):
        neuron.LIFNode(step_mode="multi")
    with pytest.raises(InvalidArgumentError, match="spiking=False"):
        surrogate.PiecewiseExp(spiking=False)


def test_a_loaded_and_a_moved_parameter_is_the_one_that_is_used():
    node = neuron.MultiStepParametricLIFNode()
    x = torch.rand(4, 2, 3) * 2
    before = node(x)
    node.load_state_dict({"w": torch.tensor(-3.0)})
    functional.reset_net(node)
    assert not torch.equal(node(x), before)
    node.double()
    functional.reset_net(node)
    assert node(x.double()).dtype == torch.float64


def test_constants_have_their_old_names_and_act():
    node = neuron.MultiStepLIFNode(tau=3.0, v_threshold=0.5, v_reset=None, detach_reset=True, backend="cupy")
    named = (node.tau, node.v_threshold, node.v_reset, node.detach_reset, node.decay_input)
    assert named == (3.0, 0.5, None, True, True)
    x = torch.ones(4, 2, 3)
    assert node(x).sum() > 0
    node.v_threshold = 100.0
    functional.reset_net(node)
    assert node(x).sum() == 0
    node.surrogate_function = surrogate.ATan()
    assert node.neuron.surrogate == surrogates.ATan()
    assert neuron.ParametricLIFNode(init_tau=4.0).tau == pytest.approx(4.0)


def test_copies_after_a_forward_with_gradient():
    net = torch.nn.Sequential(torch.nn.Linear(3, 3), neuron.ParametricLIFNode(step_mode="m", store_v_seq=True))
    torch.nn.init.eye_(net[0].weight)
    x = torch.rand(4, 2, 3, generator=torch.Generator().manual_seed(0)) * 3
    assert net(x).sum() > 0
    twin = copy.deepcopy(net)
    assert torch.equal(twin[1].v, net[1].v)
    assert torch.equal(twin(x), net(x)), "both go on from the same membrane"
    with torch.no_grad():
        twin[1].w.fill_(-9.0)
    assert not torch.equal(twin(x), net(x))
    functional.reset_net(net)
    net(x).sum().backward()
    assert net[1].w.grad is not None


def test_layers_and_functions():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        layer.Conv2d(1, 2, 3, step_mode="m"), neuron.LIFNode(step_mode="m"), layer.MultiStepDropout()
    )
    x = torch.randn(4, 2, 1, 5, 5) * 3
    sequence = net(x)
    functional.reset_net(net)
    functional.set_step_mode(net, "s")
    torch.manual_seed(0)
    mask_free = net[1](net[0](x[0]))
    assert torch.equal(mask_free, net[1].neuron(net[0](x[0])[None])[0])
    assert sequence.shape == (4, 2, 2, 3, 3)
    assert {float(v) for v in sequence.unique()} <= {0.0, 2.0}
    functional.detach_net(net)
    assert not net[1].v.requires_grad


def test_the_names_are_taken_over_and_given_back():
    code = (
        "import spikingjelly\nfrom snnkit.importers import clock_driven\nclock_driven.install()\n"
        "from spikingjelly.clock_driven.neuron import MultiStepLIFNode\n"
        "assert MultiStepLIFNode.__module__.startswith('snnkit'), MultiStepLIFNode.__module__\n"
        "clock_driven.uninstall()\n"
        "from spikingjelly.activation_based import neuron\n"
        "assert neuron.LIFNode.__module__.startswith('spikingjelly')\n"
        "try:\n    clock_driven.install()\nexcept ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "imported already" in done.stdout


def test_an_installed_package_keeps_its_data_sets():
    code = (
        "from snnkit.importers import clock_driven\nclock_driven.install()\n"
        "import spikingjelly, importlib.util\n"
        "assert importlib.util.find_spec('spikingjelly.datasets')\n"
        "from spikingjelly.clock_driven.neuron import MultiStepLIFNode\n"
        "assert MultiStepLIFNode.__module__.startswith('snnkit')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_published_script_runs_unchanged(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "snnkit.importers.clock_driven", str(script), "--epochs", "3"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ran ['--epochs', '3']" in done.stdout
    missing = subprocess.run([*command[:3], "nowhere.py"], capture_output=True, text=True)
    assert missing.returncode != 0
    assert "no such script: nowhere.py" in missing.stderr


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("PoissonEncoder", ()), ("LatencyEncoder", (7,)), ("LatencyEncoder", (7, "log")), ("WeightedPhaseEncoder", (6,))],
)
def test_encoders_equal_the_original(name, arguments):
    original = pytest.importorskip("spikingjelly.activation_based.encoding", reason="spikingjelly is not installed")
    x = torch.rand(3, 5, generator=torch.Generator().manual_seed(0)) * 0.98
    mine, theirs = getattr(encoding, name)(*arguments), getattr(original, name)(*arguments)
    torch.manual_seed(4)
    expected = [theirs(x) for _ in range(9)]  # past the last step
    torch.manual_seed(4)
    assert all(torch.equal(mine(x), spikes) for spikes in expected)
    functional.reset_net(mine)
    torch.manual_seed(4)
    assert torch.equal(mine(x), expected[0])


def test_periodic_spikes():
    spikes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    encoder = encoding.PeriodicEncoder(spikes)
    assert torch.equal(torch.stack([encoder() for _ in range(6)]), spikes.repeat(2, 1))
    with pytest.raises(InvalidArgumentError, match="needs the values"):
        encoding.LatencyEncoder(4)()
    with pytest.raises(InvalidArgumentError, match="'linear' or 'log'"):
        encoding.LatencyEncoder(4, "exp")


X = torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(2)) * 1.5 + 0.3


def run(node, x=X):
    """In either mode, one step after the other or all at once."""
    return node(x) if node.step_mode == "m" else torch.stack([node(x_t) for x_t in x])


class Charge(neuron.LIFNode):
    def neuronal_charge(self, x):
        self.v = 0.9 * self.v + x


class Fire(neuron.IFNode):
    def neuronal_fire(self):
        return (self.v > 0.5).to(self.v)


class Reset(neuron.IFNode):
    def neuronal_reset(self, spike):
        self.v = self.v * (1 - 0.5 * spike)


class Single(neuron.IFNode):
    def single_step_forward(self, x):
        return 1 - super().single_step_forward(x)


class Scratch(neuron.BaseNode):
    def neuronal_charge(self, x):
        self.v = self.v + 0.5 * x


def by_hand(charge, fire=lambda v: v >= 1, reset=lambda v, s: v * (1 - s), start=0.0):
    v, out = torch.zeros_like(X[0]) + start, []
    for x in X:
        v = charge(v, x)
        s = fire(v).to(v)
        v = reset(v, s)
        out.append(s)
    return torch.stack(out)


OVERRIDES = {
    "charge": (Charge, lambda: by_hand(lambda v, x: 0.9 * v + x)),
    "fire": (Fire, lambda: by_hand(torch.add, fire=lambda v: v > 0.5)),
    "reset": (Reset, lambda: by_hand(torch.add, reset=lambda v, s: v * (1 - 0.5 * s))),
    "single": (Single, lambda: 1 - by_hand(torch.add)),
    "from scratch": (Scratch, lambda: by_hand(lambda v, x: v + 0.5 * x)),
}


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize("case", OVERRIDES)
def test_what_a_subclass_overrides_is_what_runs(case, mode):
    cls, expected = OVERRIDES[case]
    node = cls(step_mode=mode)
    assert torch.equal(run(node), expected())
    with pytest.raises(InvalidArgumentError, match="as it is written"):
        node.neuron  # noqa: B018


def test_ten_times_point_four():
    assert run(Charge(), torch.full((10, 1, 1), 0.4)).sum() == 3


def test_plain_subclasses_run_on_the_operator():
    class Named(neuron.LIFNode):
        def __init__(self):
            super().__init__(tau=3.0)

    node = Named()
    assert type(node.neuron).__name__ == "LIF"
    assert torch.equal(run(node), run(neuron.LIFNode(tau=3.0)))


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize("cls", [neuron.IFNode, Scratch])
@pytest.mark.parametrize("start", [0.75, torch.tensor([0.0, 0.4, 0.9]), torch.full((4, 3), 0.3)])
def test_a_membrane_set_by_hand_is_where_it_starts(start, cls, mode):
    node = cls(step_mode=mode)
    node.v = start
    factor = 0.5 if cls is Scratch else 1.0
    assert torch.equal(run(node), by_hand(lambda v, x: v + factor * x, start=start))
    node.reset()
    assert node.v == 0.0


@pytest.mark.parametrize("cls", [neuron.IFNode, neuron.MultiStepLIFNode, Charge])
def test_another_batch_size_without_reset_is_refused(cls):
    node = cls()
    run(node)
    for x in (X[:, :2], X[:, :1]):
        with pytest.raises(InvalidArgumentError, match=r"\(4, 3\).*reset_net"):
            run(node, x)
    functional.reset_net(node)
    run(node, X[:, :2])
    functional.reset_net(node)
    run(node, X[:, :1])
    with pytest.raises(InvalidArgumentError, match=r"\(1, 3\).*reset_net"):
        run(node)


def test_thresholds_that_are_trained_or_infinite():
    node = neuron.IFNode(v_threshold=float("inf"))
    assert run(node).sum() == 0
    torch.testing.assert_close(node.v, X.sum(0))
    node = neuron.LIFNode(surrogate_function=surrogate.ATan())
    node.v_threshold = torch.nn.Parameter(torch.tensor(0.6))
    plain = neuron.LIFNode(v_threshold=0.6, surrogate_function=surrogate.ATan())
    out = run(node)
    assert torch.equal(out, run(plain))
    out.sum().backward()
    assert node.v_threshold.grad.abs() > 0


def test_positional_arguments_of_both_generations():
    old = neuron.MultiStepLIFNode(2.0, True, 1.0, None, surrogate.ATan(), True, "torch")
    assert (old.v_reset, old.detach_reset, old.backend, old.step_mode) == (None, True, "torch", "m")
    assert neuron.MultiStepIFNode(1.0, None, surrogate.ATan(), True, "cupy").backend == "cupy"
    assert neuron.MultiStepParametricLIFNode(3.0, True, 1.0, 0.0, None, False, "cupy").backend == "cupy"
    newer = neuron.LIFNode(2.0, True, 1.0, None, surrogate.ATan(), True, "m", "cupy", True)
    assert (newer.step_mode, newer.backend, newer.store_v_seq) == ("m", "cupy", True)
    assert torch.equal(old(X), newer(X))
    assert torch.equal(old.v_seq, newer.v_seq)
    assert torch.equal(old.v_seq[-1], old.v)
    assert dict(newer.named_memories())["v"] is newer.v
    with pytest.raises(InvalidArgumentError, match="backend='gpu'"):
        neuron.LIFNode(backend="gpu")


def test_membranes_of_a_sequence_have_gradients():
    node = neuron.MultiStepIFNode(v_threshold=100.0)
    x = X.clone().requires_grad_()
    node(x)
    torch.testing.assert_close(node.v_seq, x.cumsum(0))
    node.v_seq[2].sum().backward()
    assert x.grad[:3].sum() == 36
    assert x.grad[3:].sum() == 0


@pytest.mark.parametrize("name", ["Sigmoid", "ATan", "SoftSign", "Erf", "PiecewiseQuadratic", "S2NN", "LeakyKReLU"])
def test_surrogates_are_callable_classes_and_modules(name):
    """The modules of the installed package have the same gradients, except for one (below)."""
    original = pytest.importorskip("spikingjelly.activation_based.surrogate", reason="spikingjelly is not installed")
    made, theirs = getattr(surrogate, name)(), getattr(original, name)()
    assert isinstance(made, getattr(surrogate, name))
    assert isinstance(made, torch.nn.Module)
    assert isinstance(made, (surrogate.SurrogateFunctionBase, surrogate.MultiArgsSurrogateFunctionBase))
    for spiking in (True, False) if name in surrogate._PRIMITIVE else (True,):
        results = []
        for function in (made, theirs):
            function.set_spiking_mode(spiking)
            x = (X * 0.5).requires_grad_()
            function(x).sum().backward()
            results.append((function(x).detach(), x.grad))
        torch.testing.assert_close(results[0], results[1])


def test_functions_of_one_s_own_are_surrogates():
    class Half(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return surrogate.heaviside(x)

        @staticmethod
        def backward(ctx, grad):
            return 0.5 * grad

    class Module(surrogate.SurrogateFunctionBase):
        @staticmethod
        def spiking_function(x, alpha):
            return Half.apply(x) * alpha / alpha

        @staticmethod
        def primitive_function(x, alpha):
            return alpha * x

    for made in (Half.apply, Module(2.0)):
        x = X.clone().requires_grad_()
        out = run(neuron.IFNode(surrogate_function=made, detach_reset=True), x)
        assert torch.equal(out, run(neuron.IFNode()))
        out[0].sum().backward()
        assert torch.equal(x.grad[0], torch.full_like(x[0], 0.5))
    assert torch.equal(Module(2.0, spiking=False)(X), 2 * X)
    assert torch.equal(surrogate.atan.apply(X, 2.0), surrogate.ATan(2.0)(X))
    annealed = surrogate.Sigmoid()
    node = neuron.IFNode(surrogate_function=annealed)
    annealed.alpha = 1.0
    assert node.neuron.surrogate == surrogates.Sigmoid(1.0)


def test_a_gradient_that_later_versions_halved():
    x = torch.tensor([-3.0, -0.5, 0.5, 3.0], requires_grad=True)
    surrogate.PiecewiseLeakyReLU(2.0, 0.1)(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([0.1, 0.5, 0.5, 0.1]))


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize(
    "name", ["SynapseFilter", "ElementWiseRecurrentContainer", "LinearRecurrentContainer", "Delay"]
)
def test_layers_with_memory_equal_the_installed_ones(name, mode):
    pytest.importorskip("spikingjelly.activation_based.layer", reason="spikingjelly is not installed")
    from spikingjelly.activation_based import layer as theirs
    from spikingjelly.activation_based import neuron as nodes

    made = []
    for layers, cells in ((layer, neuron), (theirs, nodes)):
        arguments = {
            "SynapseFilter": (3.0, True),
            "ElementWiseRecurrentContainer": (cells.IFNode(), lambda a, b: 0.4 * a + b),
            "LinearRecurrentContainer": (cells.IFNode(v_threshold=0.2), 3, 3),
            "Delay": (2,),
        }[name]
        made.append(getattr(layers, name)(*arguments, step_mode=mode))
    made[0].load_state_dict(made[1].state_dict())
    assert torch.equal(run(made[0]), run(made[1]))
    assert torch.equal(run(made[0]), run(made[1])), "state is kept"
    functional.reset_net(made[0])
    made[1].reset()
    functional.reset_net(made[1])
    assert torch.equal(run(made[0]), run(made[1]))


def test_a_norm_by_what_all_channels_sent():
    norm = layer.NeuNorm(2, 1, 1, k=0.5)
    x = torch.ones(1, 2, 1, 1)
    torch.testing.assert_close(norm(x), 1 - norm.w[None] * 0.125 * 2)
    torch.testing.assert_close(norm(x), 1 - norm.w[None] * 0.125 * 3)
    assert torch.equal(layer.VotingLayer(2)(torch.tensor([[1.0, 0.0, 1.0, 1.0]])), torch.tensor([[0.5, 1.0]]))


def test_temporal_efficient_training():
    logits, classes = torch.randn(5, 3, 7), torch.tensor([1, 4, 6])
    expected = torch.stack([torch.nn.functional.cross_entropy(step, classes) for step in logits]).mean()
    torch.testing.assert_close(functional.temporal_efficient_training_cross_entropy(logits, classes), expected)
    with pytest.raises(InvalidArgumentError, match="record"):
        functional.set_monitor(layer.Linear(2, 2))


def test_other_parts_of_an_installed_package_are_found_under_the_old_names():
    code = (
        "from snnkit.importers import clock_driven\nclock_driven.install()\n"
        "from spikingjelly.clock_driven.model import spiking_resnet\n"
        "from spikingjelly.clock_driven import monitor, rnn, learning, ann2snn, neuron, functional\n"
        "from spikingjelly.clock_driven.model import sew_resnet\n"
        "assert neuron.__name__.startswith('snnkit')\n"
        "assert spiking_resnet.layer is sew_resnet.layer and 'snnkit' not in spiking_resnet.layer.__file__\n"
        "import torch\n"
        "net = spiking_resnet.spiking_resnet18(spiking_neuron=neuron.IFNode, num_classes=3)\n"
        "functional.set_step_mode(net, 'm')\n"
        "x = torch.rand(2, 1, 3, 32, 32)\n"
        "assert net(x).shape == (2, 1, 3)\n"
        "functional.reset_net(net)\n"
        "for part in ('cext', 'accelerating'):\n"
        "    try:\n        __import__(f'spikingjelly.clock_driven.{part}')\n"
        "    except ModuleNotFoundError as error:\n        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "'spikingjelly.clock_driven.cext': of SpikingJelly's old names" in done.stdout
    assert len(done.stdout.strip().splitlines()) == 2
