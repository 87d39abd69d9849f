"""Mappings within every limit of a core, counted again by brute force.

Would break it: a neuron on two cores or none, an axon counted once for two cores, memory without its rounding to words,
neurons in channel order, a hop count that ignores tiles.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.nets import Residual, lively
from torch import nn

import compiler
from compiler.errors import CompileError
from compiler.mapping.axons import group
from compiler.mapping.partition import spatial_order
from compiler.network import INPUT
from compiler.targets.loihi.arithmetic import effective_weights
from compiler.targets.loihi.image import DYNAMICS, MappedImage
from hw import get_chip
from hw.quantity import Quantity
from snnkit.neurons import IF


@pytest.fixture(scope="module")
def program():
    return compiler.compile(lively(Residual(width=24, size=24)), torch.zeros(1, 1, 24, 24).double())


def brute_force(program):
    """Loads of every core from the dense matrices, one synapse at a time."""
    mapping, chip = program.mapping, program.chip
    loads = {c.id: {"neurons": 0, "in": set(), "out": set(), "synapses": {}} for c in mapping.cores}
    for index, placed in enumerate(mapping.lowered.placed):
        for neuron in range(placed.population.size):
            loads[int(mapping.core_of[index][neuron])]["neurons"] += 1
    for number, p in enumerate(mapping.lowered.projections):
        entries = p.weights.tocoo()
        for target, source, weight in zip(*entries.coords, entries.data, strict=True):
            if weight == 0:
                continue
            core = int(mapping.core_of[p.target][target])
            axon = (number, int(source))
            loads[core]["in"].add(axon)
            loads[core]["synapses"][axon] = loads[core]["synapses"].get(axon, 0) + 1
            if p.source != INPUT:
                loads[int(mapping.core_of[p.source][source])]["out"].add((*axon, core))
    for load in loads.values():
        index_bits = next(b for b in chip.synapses.index_bits if 2**b >= load["neurons"])
        bits = 0
        for count in load["synapses"].values():
            for start in range(0, count, 64):
                bits += math.ceil((min(64, count - start) * (8 + index_bits) + 10) / 64) * 64
        load["bits"] = bits
    return loads


def test_loads_by_brute_force(program):
    loads = brute_force(program)
    assert len(loads) > 5
    for core in program.mapping.cores:
        load = loads[core.id]
        expected = (load["neurons"], len(load["in"]), len(load["out"]), sum(load["synapses"].values()), load["bits"])
        assert (core.neurons, core.in_axons, core.out_axons, core.synapses, core.synapse_bits) == expected


def test_every_limit_is_kept(program):
    limits = dict(get_chip("loihi1").core.items())
    for core in program.mapping.cores:
        for name, limit in limits.items():
            assert getattr(core, name) <= limit, (core, name)
    assert len(program.mapping.cores) <= 128


def test_every_neuron_lies_on_one_core_of_its_own_population(program):
    seen = {}
    for placed, cores in zip(program.mapping.lowered.placed, program.mapping.core_of, strict=True):
        assert len(cores) == placed.population.size
        for core in np.unique(cores):
            assert seen.setdefault(int(core), placed.population.name) == placed.population.name
    assert sorted(seen) == [core.id for core in program.mapping.cores]


def test_spatial_order_shares_inputs_better_than_channel_order(program):
    """The reason for the order: fewer axons for the same synapses and slices."""
    lowered = program.mapping.lowered
    index = next(i for i, p in enumerate(lowered.placed) if p.signal == "third_lif")
    placed, slices = lowered.placed[index], 12
    weights = next(p.weights for p in lowered.projections if p.target == index and p.source != INPUT)

    def axons(order):
        core = np.empty(placed.population.size, np.int64)
        for number, part in enumerate(np.array_split(order, slices)):
            core[part] = number
        return len(group(weights, core).source)

    assert axons(spatial_order(placed)) < 0.7 * axons(np.arange(placed.population.size))


def test_out_axons_that_overflow_spread_their_source():
    """4,000 input neurons that each reach many cores: the source layer is spread until its cores can address them."""
    chip = get_chip("loihi1")
    small = chip.rebuilt(core=replace(chip.core, out_axons=Quantity(300, "axons", "test")))
    program = compiler.compile(lively(Residual(width=24, size=24)), torch.zeros(1, 1, 24, 24).double())
    mapping = compiler.mapping.place(program.mapping.lowered, small, effective_weights)
    assert max(core.out_axons for core in mapping.cores) <= 300
    assert len(mapping.cores) > len(program.mapping.cores)


def test_neurons_that_reach_too_many_cores_are_there_several_times():
    """Each of 12 neurons reaches six cores and a core may address four: two copies of each fire the same spikes."""
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(6, 12), IF(), nn.Linear(12, 24), IF(v_threshold=0.3), nn.Linear(24, 3)).double()
    x = (torch.rand(5, 7, 6) < 0.6).double()
    program = compiler.compile(net, x, input_type="binary")
    chip = program.chip
    limits = replace(chip.core, neurons=Quantity(4, "neurons", "test"), out_axons=Quantity(4, "axons", "test"))
    mapping = compiler.mapping.place(program.mapping.lowered, chip.rebuilt(core=limits), effective_weights)
    assert max(core.out_axons for core in mapping.cores) <= 4
    assert [placed.kind for placed in mapping.lowered.placed] == ["neuron", "neuron", "readout", "copy"]
    ours, theirs = (MappedImage(program.graph, m, DYNAMICS).simulate(x) for m in (mapping, program.mapping))
    assert ours.spikes.keys() == theirs.spikes.keys()
    for name, spikes in theirs.spikes.items():
        np.testing.assert_array_equal(ours.spikes[name], spikes)
        assert 0.02 < spikes.mean() < 0.98
    assert torch.equal(ours.membrane, theirs.membrane)
    few = chip.rebuilt(core=limits, cores=Quantity(30, "cores", "test"))
    with pytest.raises(CompileError, match=r"cores, loihi1 has 30"):
        compiler.mapping.place(program.mapping.lowered, few, effective_weights)
