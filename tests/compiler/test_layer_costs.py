"""What a spike costs on its way, from a mapping: packets are those that crossed the chip, and training reads the file.

Would break it: relays left out, axons counted for another layer, names that the network does not have, costs that no
gradient follows.
"""

import copy
import json

import pytest
import torch
from torch import nn

import compiler
from compiler.traffic import layer_costs
from snnkit.engine.config import override
from snnkit.errors import InvalidArgumentError
from snnkit.models import create_model
from snnkit.recipes import get_recipe
from snnkit.tasks import EnergyPenalty, build_task


@pytest.fixture(scope="module")
def case():
    torch.manual_seed(0)
    model = create_model("spiking_cnn_small", width=4).eval()
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.bias.data.fill_(0.6)
    x = torch.rand(8, 1, 28, 28)
    return model, x, compiler.compile(model, x, "loihi1")


def test_packets_are_the_cores_that_a_neuron_reaches(case):
    """Brute force over synapses; with the network's own spikes most of what crossed: layers run on after an image."""
    _, x, program = case
    mapping, reached = program.mapping, {}
    for one in mapping.lowered.projections:
        if one.source >= 0:
            synapses = one.weights.tocoo()
            cores = mapping.core_of[one.target][synapses.row]
            name = mapping.lowered.placed[one.source].population.name.partition(".relay")[0]
            reached[name] = reached.get(name, 0) + len(set(zip(synapses.col[synapses.data != 0], cores, strict=True)))
    sizes = {one.population.name: one.population.size for one in mapping.lowered.placed}
    packets = layer_costs(program, packets=True)
    assert packets == pytest.approx({name: count / sizes[name] for name, count in reached.items()})
    assert packets["down_lif"] > 2  # its spikes go on a shortcut too
    trace = program.simulate(x)
    sent = sum(packets[name] * spikes.sum() for name, spikes in trace.spikes.items() if name in packets)
    assert 0.8 * trace.packets.sum() < sent <= 1.02 * trace.packets.sum()


def test_costs_lie_between_no_way_and_the_longest(case):
    model, _, program = case
    costs, packets = layer_costs(program), layer_costs(program, packets=True)
    assert set(costs) == set(packets) == {name for name, _ in model.named_modules() if name.endswith("_lif")}
    mesh = program.chip.mesh
    for name, cost in costs.items():
        longest = 111 + 3 * mesh.width + 4.2 * mesh.height
        assert packets[name] * 111 / 33.6 <= cost <= packets[name] * longest / 33.6


def test_training_follows_the_file(case, tmp_path):
    """Above a target the gradient is that of S + Σ c·messages: what the file adds to it is linear in its costs."""
    model, x, program = case
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(layer_costs(program)))
    config = get_recipe("demo")
    override(config, "task.energy.per_layer", str(path))
    assert config.task.energy.per_layer == layer_costs(program)

    def gradient(times):
        torch.manual_seed(1)
        task = build_task("classification", copy.deepcopy(model), 10, {}).train()
        costs = {name: times * cost for name, cost in config.task.energy.per_layer.items()}
        task.energy = EnergyPenalty(task.model, 1.0, "1 kSOP", per_layer=costs)
        task((x, torch.arange(len(x)) % 10)).backward()
        return torch.cat([weight.grad.flatten() for weight in task.model.parameters() if weight.grad is not None])

    none, once, twice = gradient(0.0), gradient(1.0), gradient(2.0)
    assert (once - none).norm() > 0.1 * none.norm()
    torch.testing.assert_close(twice - none, 2 * (once - none), rtol=1e-3, atol=1e-3 * float(once.abs().max()))


@pytest.mark.parametrize(("content", "said"), [(None, "No such file"), ("[1]", "one JSON object"), ("{", "one JSON")])
def test_files_that_hold_no_costs(content, said, tmp_path):
    path = tmp_path / "costs.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidArgumentError, match=said) as caught:
        override(get_recipe("demo"), "task.energy.per_layer", str(path))
    assert "\n" not in str(caught.value)
