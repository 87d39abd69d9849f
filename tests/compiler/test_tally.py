"""Counts over samples: intervals, conventions, memory, and several processes.

Would break it: a spread taken over batches or time steps instead of samples, batches of other sizes that change a sum,
a process that is forgotten, a convention that is said and not used, padding or zeros that are skipped where they count.
"""

import math
import statistics as plain
import subprocess
import sys

import pytest
import torch
from torch import nn

import compiler
from compiler.conventions import Conventions
from compiler.counting import Tally
from compiler.passes import simplify
from hw.statistics import student_t
from snnkit.encoders import Direct
from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.layers.sequence import over_time
from snnkit.neurons import IF
from snnkit.readouts import Mean


class Net(nn.Module):
    """A layer of real numbers, spikes, a depthwise and a full layer in a row, spikes, a classifier; T = 3."""

    timesteps = 3

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.norm = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.first, self.second = IF(0.3), IF(0.15)
        self.depthwise, self.mix = nn.Conv2d(4, 4, 3, groups=4, bias=False), nn.Conv2d(4, 6, 1)
        self.head = nn.Linear(6 * 16, 5)
        self.norm.running_mean.normal_(0, 0.1)
        self.norm.running_var.uniform_(0.5, 1.5)

        self.encoder, self.readout = Direct(3), Mean()

    def forward(self, x):
        return self.readout(self.forward_sequence(self.encoder(x)))

    def forward_sequence(self, x):
        x = over_time(lambda y: self.norm(self.stem(y)), x)
        x = over_time(lambda y: self.mix(self.depthwise(y)), self.first(x))
        return over_time(lambda y: self.head(y.flatten(1)), self.second(x))


@pytest.fixture(scope="module")
def net():
    return Net().eval()


IMAGES = torch.rand(7, 2, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("sizes", [[7], [1] * 7, [3, 4], [2, 2, 2, 1]])
def test_every_sample_counts_once_whatever_the_batch(net, sizes):
    counts = compiler.count(net, torch.split(IMAGES, sizes))
    alone = [compiler.count(net, [image[None]]) for image in IMAGES]
    for what in ("ac", "synaptic_events", "spikes", "resets"):
        each = [one.total(what) for one in alone]
        assert len(set(each)) > 1
        assert round(counts.total(what) * 7, 6) == sum(each)
        found = counts.statistics[what]
        assert found.n == 7
        assert found.mean == pytest.approx(plain.fmean(each), rel=1e-12)
        assert found.std == pytest.approx(plain.stdev(each), rel=1e-12)
        assert found.half_width == pytest.approx(2.446912 * plain.stdev(each) / math.sqrt(7), rel=1e-6)
    for index, layer in enumerate(counts.per_layer):
        each = [one.per_layer[index].ac for one in alone]
        spread = student_t(6) * plain.stdev(each) / math.sqrt(7)
        assert layer.spread.get("ac", 0.0) == pytest.approx(spread, rel=1e-9)


def test_a_single_sample_has_no_interval(net):
    counts = compiler.count(net, [IMAGES[:1]])
    assert counts.statistics == {}
    assert all(layer.spread == {} for layer in counts.per_layer)


def test_what_is_the_same_for_all_samples_has_no_spread(net):
    counts = compiler.count(net, [IMAGES])
    stem = counts.per_layer[0]
    assert stem.mac == 4 * 2 * 9 * 36
    assert "mac" not in stem.spread
    assert stem.spread.keys() <= {"effective_macs"}


def test_parts_counted_apart_add_up(net):
    """What processes do: each counts its own samples, and the sums are those of one that counts all."""
    graph = simplify(compiler.capture(net, IMAGES[:1]))
    whole, parts = Tally(graph), [Tally(graph) for _ in range(3)]
    for x in torch.split(IMAGES, 2):
        whole.add(x)
    for part, x in zip(parts, (IMAGES[:4], IMAGES[4:5], IMAGES[5:]), strict=True):
        part.add(x)
    ours, theirs = whole.counts(), parts[0].with_states([part.state() for part in parts]).counts()
    assert ours.samples == theirs.samples == 7
    for one, other in zip(ours.per_layer, theirs.per_layer, strict=True):
        assert (one.ac, one.mac, one.spikes, one.input_events) == (
            other.ac,
            other.mac,
            other.spikes,
            other.input_events,
        )
        assert one.spread == pytest.approx(other.spread, rel=1e-9)
    for what, one in ours.statistics.items():
        assert one.mean == theirs.statistics[what].mean
        assert one.std == pytest.approx(theirs.statistics[what].std, rel=1e-9)


PROCESSES = """
import sys, torch, torch.distributed as dist
from pathlib import Path
import torch.multiprocessing as mp
sys.path.insert(0, sys.argv[1])
from test_tally import IMAGES, Net
import compiler
from snnkit.engine.fabric import leave_group

def run(rank, meet):
    dist.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    part = [IMAGES[:4], IMAGES[4:]][rank]
    counts = compiler.count(Net().eval(), torch.split(part, 3), gather=True)
    said = f"{counts.samples} {counts.total('ac') * 7!r} {counts.total('spikes') * 7!r}"
    Path(meet).with_name(f"said_{rank}").write_text(said)  # one file each: two who print meet within a line
    leave_group()

if __name__ == "__main__":
    mp.spawn(run, args=(sys.argv[2],), nprocs=2)
"""


@pytest.mark.slow
def test_two_processes_count_what_one_does(net, tmp_path):
    (tmp_path / "run.py").write_text(PROCESSES)
    folder = __file__.rpartition("/")[0]
    command = [sys.executable, str(tmp_path / "run.py"), folder, str(tmp_path / "meet")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    counts = compiler.count(net, [IMAGES])
    said = f"7 {counts.total('ac') * 7!r} {counts.total('spikes') * 7!r}"
    assert [(tmp_path / f"said_{rank}").read_text() for rank in (0, 1)] == [said, said]


def test_progress_is_told(net):
    seen = []
    compiler.count(net, torch.split(IMAGES, 3), progress=seen.append)
    assert seen == [3, 6, 7]


# Conventions.


def counted(net, **conventions):
    return compiler.count(net, [IMAGES], conventions=Conventions(**conventions))


def test_conventions_are_said(net):
    assert counted(net).conventions == {
        "repconv": "literal",
        "batch_norm": "folded",
        "first_layer": "once",
        "padding": "counted",
        "timesteps": "3",
        "input_type": "real",
    }
    assert counted(net, padding="skipped").conventions["padding"] == "skipped"


def test_layers_in_a_row_are_one_when_merged(net):
    """4 spikes reach 9 and then 6 weights, or 54 of one layer: its reals are gone."""
    literal, merged = counted(net), counted(net, repconv="merged")
    assert {layer.name for layer in literal.per_layer} > {layer.name for layer in merged.per_layer}
    by_name = {layer.name: layer for layer in literal.per_layer}
    assert by_name["mix"].mac == 3 * 6 * 4 * 16
    assert merged.total("mac") == by_name["stem"].mac
    assert merged.total("ac") == by_name["depthwise"].ac * 6 + by_name["head"].ac
    assert merged.conventions["repconv"] == "merged"


def test_norms_apart(net):
    apart = counted(net, batch_norm="separate")
    assert [layer.name for layer in apart.per_layer if layer.op == "batch_norm"] == ["norm"]
    assert apart.total("mac") == counted(net).total("mac") + 4 * 36
    assert apart.conventions["batch_norm"] == "separate"
    graph = simplify(compiler.capture(net, IMAGES[:1]))
    with pytest.raises(InvalidArgumentError, match="no batch norms"):
        compiler.count(graph, [IMAGES], conventions=Conventions(batch_norm="separate"))


def test_the_first_layer_at_each_step(net):
    once, each = counted(net), counted(net, first_layer="each step")
    assert once.per_layer[0].static
    assert once.per_layer[0].static_repeats == 3
    assert not each.per_layer[0].static
    assert each.per_layer[0].mac == 3 * once.per_layer[0].mac
    assert each.per_layer[0].evaluations == 3
    assert each.total("ac") == once.total("ac")


def test_padding(net):
    """3×3 on 6×6 with a border of one: of 9 · 36 pairs, 16 · 16 lie inside."""
    stem, skipped = counted(net).per_layer[0], counted(net, padding="skipped").per_layer[0]
    assert stem.padding_macs == 4 * 2 * (9 * 36 - 16 * 16)
    assert stem.dense_macs == skipped.dense_macs == stem.mac
    assert skipped.mac == 4 * 2 * 16 * 16


@pytest.mark.parametrize("name", ["repconv", "batch_norm", "first_layer", "padding"])
def test_an_unknown_convention_names_the_known(name):
    with pytest.raises(UnknownNameError, match=name):
        Conventions(**{name: "oncee"})


# Zeros, memory, geometry.


def test_zeros_of_real_signals_can_be_skipped():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 5)).eval()
    x = torch.rand(3, 1, 4, 4)
    x[0, 0, 0, 0] = x[2, 0, 1, 2] = 0.0
    counts = compiler.count(net, [x])
    conv, _, _, linear = (layer for layer in counts.per_layer)
    inside = 10 * 10  # pairs of kernel offset and output inside
    assert conv.mac == 2 * 9 * 16
    assert conv.effective_macs == 2 * (inside - (4 + 9) / 3)
    hidden = net[:3](x)
    assert linear.effective_macs == pytest.approx(float((hidden != 0).sum()) * 5 / 3, rel=1e-12)
    assert linear.effective_macs < linear.mac == 160


def test_memory_and_geometry(net):
    counts = compiler.count(net, [IMAGES])
    layers = {layer.name: layer for layer in counts.per_layer}
    head, second = layers["head"], layers["second"]
    assert head.weights == 5 * 96 + 5
    assert (head.inputs, head.outputs, head.fan_in, head.evaluations) == (96, 5, 96, 3)
    assert head.weight_reads == 3 * head.weights
    assert head.weight_fetches == head.ac + head.bias_adds
    assert head.spread["weight_fetches"] == head.spread["ac"]
    assert head.input_events == second.output_events == second.resets == second.spikes
    assert head.shape == {"input": (96,), "output": (5,), "weight": (5, 96)}
    assert (second.neurons, second.states) == (96, 96)
    assert second.state_reads == second.state_writes == second.neuron_updates == 3 * 96
    assert second.threshold_tests == 3 * 96
    assert second.activation_reads == second.activation_writes == 3 * 96
    assert layers["depthwise"].settings["groups"] == 4
    assert layers["depthwise"].fan_in == 9


def test_lookups():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(7, 4)

        def forward(self, x):
            return self.table(x.long())

    counts = compiler.count(Table().eval(), [torch.tensor([[1.0, 3.0, 3.0]])], "integer[0,6]")
    assert counts.total("lookups") == 3


@pytest.mark.parametrize(("degrees", "t"), [(1, 12.7062047), (6, 2.4469119), (29, 2.0452296), (5000, 1.9604386)])
def test_students_t_against_tables(degrees, t):
    assert student_t(degrees) == pytest.approx(t, rel=1e-7)
