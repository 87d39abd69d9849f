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
        surrogate.ATan(spiking=False)


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
    assert node.neuron.surrogate == surrogate.ATan()
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
