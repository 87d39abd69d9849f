"""What is far too large is refused at once, and synapses are counted without being unrolled.

Would break it: a size that is looked at when a network has been quantised or unrolled (which takes minutes, or all
memory), a count that forgets borders, zeros, groups or what is selected, a limit that refuses what fits.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from support.clock import timed
from torch import nn

import compiler
from compiler.errors import CompileError
from compiler.graph import is_neuron, operation
from compiler.mapping.axons import axon_bits, group
from compiler.mapping.partition import _Fits
from compiler.network import INPUT, Projection
from compiler.passes import simplify
from compiler.targets import Options
from compiler.targets.loihi.constants import neuron_of
from compiler.targets.loihi.formats import Formats
from compiler.targets.loihi.legal import _reads, legal, planned
from compiler.targets.loihi.links import Link, everything, links
from compiler.targets.loihi.quantise import quantise
from compiler.targets.loihi.sizes import _least_scale, _share, synapses_beyond
from compiler.targets.loihi.synapses import count, most, synapses
from hw import get_chip
from snnkit import create_model
from snnkit.encoders import Direct
from snnkit.layers import over_time
from snnkit.neurons import IF, LIF
from snnkit.readouts import Mean


class Wide(nn.Module):
    """65,536 neurons, which each read 16,384 others: a thousand million synapses."""

    def __init__(self, width=64, kernel=31, size=16):
        super().__init__()
        self.in_chans, self.img_size = 1, size
        self.encoder, self.readout = Direct(4), Mean()
        self.a, self.first = nn.Conv2d(1, width, 3, padding=1), LIF()
        self.b, self.second = nn.Conv2d(width, 4 * width, kernel, padding=kernel // 2), LIF()
        self.head = nn.Linear(4 * width * size**2, 10)

    def forward_sequence(self, x):
        y = self.second(over_time(self.b, self.first(over_time(self.a, x))))
        return over_time(lambda z: self.head(z.flatten(1)), y)

    def forward(self, x):
        return self.readout(self.forward_sequence(x if x.ndim == 5 else self.encoder(x)))


HUGE = {
    "neurons": (
        lambda: create_model("spiking_cnn_small", num_classes=10, in_chans=1, img_size=100),
        100,
        "mesh:width=2,height=2,neurons=64",
    ),
    "synapses": (Wide, 16, "mesh:width=9,height=9,neurons=1024,synapse_kib=8"),
}


@pytest.mark.parametrize("case", HUGE)
def test_a_network_a_thousand_times_too_large_is_refused_in_two_seconds(case):
    make, side, chip = HUGE[case]
    example = torch.zeros(1, 1, side, side).double()
    compiler.capture(nn.Sequential(nn.Linear(2, 2), LIF()), torch.zeros(2, 1, 2), "binary")  # what loads once

    def refused(model):
        with pytest.raises(CompileError) as error:
            compiler.compile(model, example, chip)
        return error.value

    seconds, error = timed(refused, lambda: make().double(), enough=2)
    assert seconds < 2
    (violation,) = error.violations
    need, unit = violation.need.split()
    assert unit == case
    assert int(need.replace(",", "")) > 1000 * int(violation.limit.split(";")[0].split()[-1].replace(",", ""))


def test_a_network_that_just_fits_is_not_called_too_large():
    """Memory for every synapse, and one core's worth less than that."""
    model = nn.Sequential(nn.Linear(60, 64), LIF(), nn.Linear(64, 4))
    graph = compiler.capture(model, torch.zeros(3, 1, 60), "binary")
    program = compiler.compile(graph, chip="mesh:width=2,height=2")
    lowered, chip = program.mapping.lowered, program.chip
    bits = sum(core.synapse_bits for core in program.mapping.cores)
    for share, refused in ((1.0, False), (0.2, True)):
        room = replace(chip.core.synapse_bits, value=int(bits * share / chip.cores.value))
        small = chip.rebuilt(core=replace(chip.core, synapse_bits=room))
        graph = program.image.graph
        found = {node.name: links(graph, node.inputs[0], node.name) for node in graph if is_neuron(node)}
        told = synapses_beyond(graph, [(name, link) for name, read in found.items() for link in read], small)
        assert bool(told) == refused
        assert sum(p.weights.nnz for p in lowered.projections) > 0


def reads_of(graph, chip):
    """What legal looks at: the populations of a graph with what spikes bring them."""
    neurons = [node for node in graph if is_neuron(node)]
    return _reads(graph, neurons, chip, planned(graph, chip, Options()), True)


@pytest.mark.parametrize("seed", range(24))
def test_no_scale_is_smaller_than_the_least_that_is_told(seed):
    """Large and small weights, biases, thresholds and fan-ins, with leak and without; on both kinds of arithmetic."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    width, size = int(rng.choice([4, 60, 3000])), 10.0 ** rng.uniform(-3, 2)
    lif = LIF(tau=float(rng.choice([2.0, 8.0])), decay_input=bool(rng.integers(2)))
    neuron = (lif, IF(v_threshold=10.0 ** rng.uniform(-1, 1)))[int(rng.integers(2))]
    model = nn.Sequential(nn.Linear(width, 20, bias=bool(rng.integers(2))), neuron, nn.Linear(20, 4)).double()
    for parameter in model[0].parameters():
        parameter.data *= size
    x = torch.zeros(int(rng.choice([1, 4, 32])), 1, width).double()
    graph, chip = simplify(compiler.capture(model, x, "binary")), get_chip(("loihi1", "loihi2")[seed % 2])
    formats, made, told = Formats.of(chip), quantise(graph, chip, Options()), 0
    scales = {node.attributes["layer"]: node.attributes["scale"] for node in made if "scale" in node.attributes}
    for read in reads_of(graph, chip):
        least = _least_scale(graph, read, formats, frozenset())
        output = "" if read.node is None else read.node.output
        gain = 1.0 if read.node is None else neuron_of(read.node, formats).gain
        assert least <= scales[output] * gain * (1 + 1e-9)
        told += least > 0
        (link,) = read.links
        share = max(formats.weight_step / formats.weight_limit, _share(link, least, formats))
        left = int((made.node(_weighs(made, output)).parameters["weight"] != 0).sum())
        assert least == 0 or count(link, math.prod(graph.shape(link.source)), min(share, 1.0)) <= left
    assert told


def _weighs(graph, output):
    """The layer before the population of a layer's output."""
    neuron = next(node for node in graph if node.attributes.get("layer") == output and "scale" in node.attributes)
    signal = neuron.inputs[0]
    while "weight" not in graph.producer(signal).parameters:
        signal = graph.producer(signal).inputs[0]
    return graph.producer(signal).name


@pytest.mark.parametrize(("kib", "refused"), [(80, True), (200, False)])
def test_twice_too_many_synapses_are_told_before_numbers_are_chosen(kib, refused):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(200, 200), IF(), nn.Linear(200, 200), IF(), nn.Linear(200, 4))
    graph = simplify(compiler.capture(model, torch.zeros(4, 1, 200), "binary"))
    found = legal(graph, get_chip(f"mesh:width=1,height=1,synapse_kib={kib}"))
    assert [v.kind for v in found] == ["synapses"] * refused
    assert [v.need for v in found] == ["80,800 synapses"] * refused


def test_a_network_whose_weights_round_to_0_is_not_called_too_large():
    """Beside a threshold of 1 a weight of 10^-6 is nothing: what would be too many synapses are none."""
    model = nn.Sequential(nn.Linear(200, 200, bias=False), IF(), nn.Linear(200, 4)).double()
    nn.init.constant_(model[0].weight, 1e-6)
    graph = compiler.capture(model, torch.zeros(4, 1, 200).double(), "binary")
    compiler.compile(graph, chip="mesh:width=2,height=2,synapse_kib=4")


def random_link(rng, op, rank=2):
    """A layer with groups, stride, padding, dilation and zeros among its weights, and its input's shape."""

    def draw(low, high, size=None):
        return rng.integers(low, high, size)

    lead = tuple(draw(1, 3, draw(0, 2)))
    if op == "linear":
        width, height = draw(1, 7, 2)
        weight, source, target, a = draw(-2, 3, (height, width)), (*lead, width), (*lead, height), {}
    elif op == "scale":
        source = target = tuple(draw(1, 5, 3))
        weight, a = draw(-2, 3, [(), (source[0], 1, 1), source][draw(0, 3)]), {}
    else:
        groups, ins, outs = draw(1, 3, 3)
        kernel, stride, padding, dilation = (
            tuple(draw(low, high, rank)) for low, high in ((1, 4), (1, 3), (0, 3), (1, 3))
        )
        inside = tuple(draw(5, 8, rank))
        outside = tuple(
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(inside, padding, dilation, kernel, stride, strict=True)
        )
        weight = draw(-2, 3, (groups * outs, ins, *kernel))
        source, target = (*lead, groups * ins, *inside), (*lead, groups * outs, *outside)
        a = {"stride": stride, "padding": padding, "dilation": dilation, "groups": int(groups)}
        if op == "conv_transpose":
            source, target, a = target, source, a | {"output_padding": (0,) * rank}
    weight = torch.from_numpy(np.asarray(weight, np.float64))
    return source, Link("link", "x", everything(source), op, weight, target, everything(target), a)


def dense(link, sources):
    """The matrix of a link, one source at a time through torch."""
    columns = [link.run(link.weight, row) for row in torch.eye(sources, dtype=torch.float64)]
    return torch.stack([column.reshape(-1) for column in columns], 1).numpy()


@pytest.mark.parametrize("op", ["conv", "conv_transpose", "linear", "scale"])
@pytest.mark.parametrize("moved", [False, True])
def test_synapses_are_the_layer_and_are_counted_without_unrolling(op, moved):
    rng, counted = np.random.default_rng(len(op) + 10 * moved), 0
    for _ in range(25):
        source, link = random_link(rng, op)
        sources = math.prod(source)
        if op == "conv_transpose" and tuple(_output(link)) != link.middle:
            continue  # a stride that leaves a rest: torch makes a smaller map
        if moved:
            before = (
                rng.integers(-1, sources, source) if rng.random() < 0.5 else rng.permutation(sources).reshape(source)
            )
            link = replace(link, before=before, after=rng.integers(-1, math.prod(link.middle), (7,)))
        matrix, expected = synapses(link, sources), dense(link, sources)
        assert np.array_equal(matrix.toarray(), expected)
        assert matrix.data.all()
        assert csr_array((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape).has_canonical_format
        assert count(link, sources) in (0, np.count_nonzero(expected))
        counted += count(link, sources)
        assert moved or count(link, sources) == matrix.nnz <= most(link)
    assert counted > 50


def _output(link):
    """Shape that torch makes of a link's input."""
    node = link.node(link.weight)
    (y,) = operation(link.op).run(node, torch.zeros(1, *link.before.shape, dtype=torch.float64))
    return y.shape[1:]


@pytest.mark.parametrize("seed", range(4))
def test_cuts_that_are_told_without_counting_axons_are_right(seed):
    """Every number of slices, against the needs of each slice counted out; limits around what slices need."""
    rng, chip = np.random.default_rng(seed), get_chip("loihi1")
    size, order = 60, np.random.default_rng(seed + 100).permutation(60)
    matrices = [sparse(rng, size, sources) for sources in (9, 300)]
    incoming = [Projection(INPUT, 0, weights, 0, 8) for weights in matrices]
    told = set()
    for parts in range(1, size + 1):
        slices = np.array_split(order, parts)
        needs = [counted(part, matrices, chip) for part in slices]
        for axons, bits in {
            (max(n[0] for n in needs) + a, max(n[1] for n in needs) + b) for a in (-1, 0) for b in (-1, 0)
        }:
            core = chip.core
            core = replace(core, in_axons=replace(core.in_axons, value=axons, low=None, high=None))
            core = replace(core, synapse_bits=replace(core.synapse_bits, value=bits, low=None, high=None))
            fits = _Fits(order, incoming, chip.rebuilt(core=core)).cut(parts)
            assert fits == all(n[0] <= axons and n[1] <= bits for n in needs)
            told.add(fits)
    assert told == {True, False}


def sparse(rng, size, sources):
    return csr_array((rng.integers(1, 9, (size, sources)) * (rng.random((size, sources)) < 0.2)).astype(np.int32))


def counted(part, matrices, chip):
    """Axons and bits of some neurons."""
    lengths = [np.count_nonzero(weights.toarray()[part], axis=0) for weights in matrices]
    axons = sum(int((length > 0).sum()) for length in lengths)
    bits = sum(chip.synapses.axon_bits(int(n), 8, len(part)) for length in lengths for n in length if n)
    return axons, bits


def test_axons_hold_every_synapse_once_by_source_and_core():
    rng = np.random.default_rng(3)
    weights, core = sparse(rng, 50, 40), rng.integers(0, 5, 50)
    axons, seen = group(weights, core), np.zeros((50, 40), np.int64)
    keys = list(zip(axons.source, axons.core, strict=True))
    assert keys == sorted(set(keys))
    for k, (source, where) in enumerate(keys):
        targets = axons.target[axons.start[k] : axons.start[k + 1]]
        assert list(targets) == sorted(targets)
        assert set(core[targets]) == {where}
        seen[targets, source] += axons.weight[axons.start[k] : axons.start[k + 1]]
    assert np.array_equal(seen, weights.toarray())


def test_memory_of_axons_is_the_chip_s():
    f, lengths = get_chip("loihi1").synapses, np.array([1, 63, 64, 65, 700, 3000])
    for neurons in (1, 64, 65, 1000):
        assert list(axon_bits(lengths, 6, neurons, f)) == [f.axon_bits(int(n), 6, neurons) for n in lengths]
