"""A network as its chip computes it: what it says in training and in tests is what the compiled program says.

Right values are the simulated program's, spike by spike. Would break it: scales that training chooses and compiling
does not, a float32 step on the way, a layer whose weights never move, gates that differ from the operations they stand
for, a chip without gradients that is trained for without a word.
"""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from support.nets import Residual, SpikesIn, lively

import compiler
from compiler.errors import CompileError
from compiler.training import ChipNetwork, compare
from hw import get_chip
from snnkit.errors import InvalidArgumentError
from snnkit.layers import over_time
from snnkit.models import create_model
from snnkit.neurons import IF, ILIF


def coarse(bits):
    """Loihi 1 with weights of fewer bits."""
    chip = get_chip("loihi1")
    arithmetic = replace(chip.build.arithmetic, weight_bits=tuple(range(1, bits + 1)))
    return replace(chip, build=replace(chip.build, arithmetic=arithmetic))


def residual(**constants):
    return lively(Residual(**constants)).float()


class Beside(Residual):
    """The real currents of the stem reach a second population, beside spikes."""

    def forward_sequence(self, x):
        """Logits of every step."""
        current = self.stem(x)
        both = self.first_lif(self.first(self.stem_lif(current)) + current)
        return over_time(lambda y: self.head(self.pool(y).flatten(1)), self.third_lif(self.third(both)))


def transformer():
    sizes = {"embed_dim": 16, "depth": 1, "num_heads": 2, "mlp_ratio": 1.5, "pools": "0110", "timesteps": 3}
    model = lively(create_model("sdt_v1_8_384", num_classes=5, in_chans=1, img_size=12, **sizes))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.bias.data += 0.5
    return model.float()


def spikes(batch):
    return (torch.rand(4, batch, 20) < 0.4).float()


def images(batch):
    return torch.rand(batch, 1, 12, 12)


CASES = {
    "leaks": (lambda: residual(), images, {}),
    "no leak": (lambda: residual(neuron=IF, v_threshold=1.5), images, {}),
    "a leak that was learned": (lambda: residual(tau=torch.tensor(3.0)), images, {}),
    "spikes in": (lambda: lively(SpikesIn(), gain=5.0).float(), spikes, {"input_type": "binary"}),
    "real currents beside spikes": (lambda: lively(Beside()).float(), images, {}),
    "attention": (transformer, images, {}),
    "soft resets": (lambda: residual(v_reset=None), images, {"chip": "loihi2"}),
    "graded events": (lambda: residual(neuron=ILIF), images, {"chip": "loihi2"}),
    "3 bits": (lambda: residual(), images, {"chip": coarse(3)}),
}


@pytest.fixture(params=CASES, scope="module")
def case(request):
    """A network that has trained for a few steps, how it is fed, and how many classes it has."""
    torch.manual_seed(0)
    make, inputs, options = CASES[request.param]
    network = ChipNetwork(make(), inputs(2), keep_scales=2, **options).train()
    optimizer = torch.optim.SGD(network.parameters(), 1e-3)
    for _ in range(3):
        x = inputs(8)
        loss = F.cross_entropy(network(x), torch.randint(4, (8,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network, inputs


def test_after_training_it_is_the_program(case):
    network, inputs = case
    batches = [(inputs(12), torch.randint(4, (12,))) for _ in range(2)]
    found = compare(network, network.program(), batches)
    assert found.exact, str(found)
    assert found.predictions == 24
    assert found.spikes > 1000
    assert found.training_accuracy == found.chip_accuracy
    # It fires, and not always: equal spikes mean something.
    _, layers = network.run(batches[0][0], spikes=True)
    rates = [float(layer.detach().mean()) for layer in layers.values()]
    assert max(rates) > 0.05
    assert all(layer.detach().unique().numel() > 1 for layer in layers.values())


def test_compiling_the_trained_weights_gives_the_graph_it_was_tested_with(case):
    network, _ = case
    graph = network.eval().quantised()
    made = network.program().graph
    assert [node.name for node in made] == [node.name for node in graph]
    for node, mine in zip(made, graph, strict=True):
        assert dict(node.attributes) == dict(mine.attributes)
        assert all(torch.equal(value, mine.parameters[key].detach()) for key, value in node.parameters.items())
    if network.chip == get_chip("loihi1"):
        again = compiler.compile(network.graph(), chip="loihi1").graph
        assert str(again) == str(made)


def test_a_training_step_sees_what_a_test_sees(case):
    """Just after scales are chosen; gates are operations there."""
    network, inputs = case
    x = inputs(8)
    trained = network.train()(x).detach()
    with torch.no_grad():
        assert torch.equal(trained, network.eval()(x))


def test_scales_stay_for_some_steps(case):
    network = case[0].again(case[0].graph()).train()

    def scales():
        return [n.attributes["scale"] for n in network.quantised() if n.op.startswith("lif_") and n.role != "gate"]

    first = scales()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter *= 1.7
    assert scales() == first  # keep_scales=2
    changed = scales()
    assert changed != first
    network.eval()
    assert scales() == changed
    network.load_state_dict(case[0].state_dict())  # as an average of weights is put in place to be tested
    assert scales() == first


def test_all_that_counts_trains(case):
    network, inputs = case
    network.zero_grad()
    network.train()(inputs(16)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert bool(parameter.grad.any()), name
    # Leaks and thresholds are the chip's: they are kept, and not trained.
    assert not any(name.endswith(("tau", "v_threshold")) for name, _ in network.named_parameters())


def test_what_comes_out_has_the_type_of_the_images():
    network = ChipNetwork(residual(), images(1)).eval()
    assert network(images(2)).dtype == torch.float32
    assert network(images(2).double()).dtype == torch.float64
    logits, layers = network.run(images(2))
    assert logits.dtype == torch.float64
    assert layers == {}


def test_weights_beyond_what_the_chip_can_hold_are_cut_off():
    """A scale that is kept while one weight grows: its mantissa and exponent reach their ends, and stay there."""
    network = ChipNetwork(lively(SpikesIn()).float(), spikes(1), input_type="binary", keep_scales=100).train()
    network.quantised()
    with torch.no_grad():
        next(p for name, p in network.named_parameters() if name == "b.weight")[0, 0] = 1e9
    node = next(node for node in network.quantised() if node.name == "b")
    assert float(node.parameters["weight"].max()) == 254
    assert node.attributes["weight_exponent"] == get_chip("loihi1").arithmetic.weight_exponent[1]


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"keep_scales": 0}, InvalidArgumentError, "keep_scales=0"),
        ({"chip": "odin"}, InvalidArgumentError, "odin: the arithmetic 'odin' has no gradients"),
        ({"chip": "no_chip"}, Exception, "no_chip"),
    ],
)
def test_bad_arguments(arguments, error, says):
    with pytest.raises(error, match=says):
        ChipNetwork(residual(), images(1), **arguments)


def test_what_does_not_fit_the_chip_is_said():
    with pytest.raises(CompileError, match="a soft reset"):
        ChipNetwork(residual(v_reset=None), images(1))
