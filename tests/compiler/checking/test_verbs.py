"""check, compile --explain and export --format speck as a user meets them: lines that read well, one line for mistakes.

Would break it: a line wider than 80 columns, a violation without a way out, a fate that is not the layer's, a scale of
another population, a traceback.
"""

import json
import re
from pathlib import Path

import pytest
import torch
from support.nets import Residual, lively
from torch import nn

import compiler
from compiler.commands.explain import fates
from compiler.exchange import speck
from compiler.passes import simplify
from compiler.program import Program
from compiler.targets import TARGETS
from hw import get_chip, list_chips
from snnkit.layers import over_time
from snnkit.neurons import IF, LIF

ONE_A_TARGET = {get_chip(n).semantics: n for n in reversed(list_chips()) if get_chip(n).semantics in TARGETS}.values()


@pytest.fixture
def call(call, tmp_path, monkeypatch):
    """Run the command in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return call


def reads_well(out):
    return all(len(line.rstrip()) <= 80 for line in out.splitlines())


class Small(nn.Module):
    """What a Speck holds: convolution, integrate-and-fire, sum pool, linear, integrate-and-fire."""

    def __init__(self, reset=None):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Linear(4 * 16, 5)
        self.one, self.two, self.pool = IF(v_reset=reset), IF(v_reset=reset), nn.AvgPool2d(2)

    def forward(self, x):
        one = self.one(over_time(self.conv, x))
        return self.two(over_time(lambda y: self.fc(self.pool(y).flatten(1)), one))


def small_graph(**settings):
    torch.manual_seed(0)
    return compiler.capture(Small(**settings), torch.zeros(4, 1, 2, 16, 16), "binary")


def test_check_lists_limits_with_what_would_fit(call):
    compiler.capture(Residual(v_reset=None), torch.zeros(1, 1, 12, 12)).save("soft.graph")
    code, out, _ = call("check", "soft.graph")
    assert code == 3
    assert reads_well(out)
    assert "stem_lif, first_lif, second_lif and third_lif each need a soft reset" in out
    assert "would fit: v_reset=0" in out
    assert "4 violation(s) of loihi1" in out


def test_check_of_a_described_chip_says_what_it_does_not_know(call):
    small_graph().save("small.graph")
    code, out, _ = call("check", "small.graph", "--chip", "darwin3")
    assert code == 0
    assert reads_well(out)
    assert "not checked: " in out
    assert "synapses onto one neuron (here up to 256)" in " ".join(out.split())
    assert "fits darwin3, as far as its numbers are known (no program is made for it)" in out


def test_check_of_a_speck_gives_every_layer_a_core(call):
    small_graph().save("small.graph")
    code, out, _ = call("check", "small.graph", "--chip", "speck", "--layers")
    assert code == 0
    assert reads_well(out)
    assert re.search(r"one +4×8×8 +256 +[\d,]+ +18 +5", out)
    assert re.search(r"two +\d +5 +[\d,]+ +512 +[\d,]+", out), out
    assert "fits speck" in out


def test_export_writes_what_read_reads(call):
    small_graph().save("small.graph")
    code, out, _ = call("export", "small.graph", "--format", "speck")
    assert code == 0
    assert reads_well(out)
    assert "speck.json: 2 layers on as many cores of speck" in out
    assert "a simulation in time steps" in " ".join(out.split())
    assert [core.name for core in speck.read("speck.json").cores] == ["one", "two"]
    assert json.loads(Path("speck.json").read_text())["format"] == "snnkit.speck/1"


def test_export_of_what_does_not_fit_is_one_line(call, tmp_path):
    compiler.capture(lively(Residual()), torch.zeros(1, 1, 12, 12).double()).save("residual.graph")
    code, _, err = call("export", "residual.graph", "--format", "speck")
    assert code == 2
    assert "stem_lif needs the neuron lif" in err
    assert "`snnkit check` lists them" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "speck.json").exists()


@pytest.mark.parametrize("format", ["speck", "nir", "lava"])
def test_export_of_an_unknown_chip_is_one_line(call, format):
    small_graph().save("small.graph")
    code, _, err = call("export", "small.graph", "--format", format, "--chip", "spek")
    assert code == 2
    assert err.count("\n") == 1
    assert "speck" in err


def test_export_heeds_the_chip(call, tmp_path):
    small_graph().save("small.graph")
    code, _, err = call("export", "small.graph", "--format", "speck", "--chip", "loihi1")
    assert code == 2
    assert err.count("\n") == 1
    assert "cores of loihi1 are not programmed layer by layer" in err
    assert "`snnkit check --chip speck`" in err
    assert not (tmp_path / "speck.json").exists()
    text = call("chips", "speck", "--toml")[1]
    Path("mine.toml").write_text(text)
    code, out, _ = call("export", "small.graph", "--format", "speck", "--chip", "mine.toml")
    assert code == 0
    assert "on as many cores of mine.toml" in " ".join(out.split())
    assert speck.read("speck.json").chip == "mine.toml"


def test_export_says_what_moves_the_spikes(call):
    b = compiler.GraphBuilder("turned", timesteps=4)
    x = b.input("x", (3,), compiler.graph.BINARY)
    current = b.add("linear", (x,), {}, {"weight": torch.ones(4, 3)}, name="fc")
    constants = {"v_threshold": 1.0, "v_reset": None, "detach_reset": True}
    spikes = b.neuron("integrate_fire", current, constants, states=[("v", 0.0)], name="n")
    b.finish([b.add("roll", (spikes,), {"shifts": (1,), "axes": (-1,)}, name="turn")]).save("turned.graph")
    code, out, err = call("export", "turned.graph", "--format", "speck")
    assert code == 0, err
    assert "note: turn (roll) moves spikes behind the last neurons" in " ".join(out.split())


@pytest.mark.parametrize("text", ['{"model_type": "other", "data": 3}', "[1, 2]", "no json", "3"])
def test_another_program_s_config_beside_a_graph_does_no_harm(call, tmp_path, text):
    """In the folder of a run, which its checkpoints tell, the configuration must be whole."""
    small_graph().save("small.graph")
    Path("config.json").write_text(text)
    code, out, err = call("check", "small.graph", "--chip", "speck")
    assert code == 0, err
    assert "fits speck" in out
    (tmp_path / "checkpoints").mkdir()
    code, _, err = call("check", "small.graph", "--chip", "speck")
    assert code == 2
    assert err.count("\n") == 1
    assert "config.json" in err


class Between(nn.Module):
    """An operation that only a host does, between two layers of spikes."""

    def __init__(self):
        super().__init__()
        self.a, self.h, self.c = nn.Linear(20, 12), nn.Linear(12, 12), nn.Linear(12, 5)
        self.na, self.nb = LIF(), LIF()

    def forward(self, x):
        one = self.na(over_time(self.a, x))
        return over_time(self.c, self.nb(over_time(lambda y: nn.functional.gelu(self.h(y)), one)))


def test_explain_says_what_the_host_does_at_every_step(call):
    torch.manual_seed(0)
    compiler.capture(Between(), torch.zeros(4, 1, 20), "binary").save("between.graph")
    code, out, err = call("compile", "between.graph", "--host", "auto", "--explain")
    assert code == 0, err
    assert reads_well(out)
    for name, op in (("h", "linear"), ("gelu", "gelu"), ("nb", "lif")):
        assert re.search(rf"{name} +{op} +as it is, in floating point, at every step +host", out), out
    assert "once an image" not in out


@pytest.mark.parametrize("verb", ["compile", "simulate", "qat"])
def test_compile_for_a_described_chip_says_what_there_is(call, verb, tiny_run):
    small_graph().save("small.graph")
    code, _, err = call(verb, tiny_run.folder if verb == "qat" else "small.graph", "--chip", "speck")
    assert code == 2
    assert err.count("\n") == 1
    for text in ("described only", "`snnkit check --chip speck`", "`snnkit export --format speck`", "loihi1"):
        assert text in err


def test_a_network_that_is_hopelessly_large_is_refused_by_compile_at_once(call):
    b = compiler.GraphBuilder("large", timesteps=4)
    x = b.input("x", (64, 512, 512), compiler.graph.BINARY)
    a = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    conv = b.add("conv", (x,), a, {"weight": torch.rand(64, 64, 3, 3)}, name="conv")
    constants = {"v_threshold": 1.0, "v_reset": 0.0, "detach_reset": True}
    b.finish([b.neuron("integrate_fire", conv, constants, states=[("v", 0.0)], name="lif")]).save("large.graph")
    code, _, err = call("compile", "large.graph")
    assert code == 2
    assert "the network needs 9,6" in err
    assert "synapses, loihi1 has 16,777,216" in err


def test_explain_says_what_became_of_each_layer(call):
    compiler.capture(lively(Residual()), torch.zeros(1, 1, 12, 12).double()).save("residual.graph")
    code, out, _ = call("compile", "residual.graph", "--explain")
    assert code == 0
    assert reads_well(out)
    for row in (
        r"stem.conv +conv +as it is, in floating point, once an image +host",
        r"stem.bn +batch_norm +folded into stem.conv +host",
        r"first.bn +batch_norm +folded into first.conv +chip",
        r"first.conv +conv +whole weights up to [\d,]+ × 2\^\d",
        r"second_lif +lif +lif_fixed, 1 → [\d,]+ units, τ 2 +chip",
        r"pool +avg_pool +merged with head +chip",
        r"stem_lif.relay1 +relay +1 +8",
        r"third_lif +neuron +3 +8 +\d+ +0\.\d+",
    ):
        assert re.search(row, out), row
    assert "relays: 1 population of 216 neurons" in out
    assert "time: 4 steps of the network take 8 of the chip" in out


@pytest.mark.parametrize("chip", ONE_A_TARGET)
def test_every_target_s_programs_are_explained(call, chip):
    """Spikes come in: every layer is the chip's, with whole weights, a threshold in whole units, and a population."""
    torch.manual_seed(0)
    one, two = (IF(v_threshold=0.5) for _ in range(2))
    net = nn.Sequential(nn.Linear(20, 12), one, nn.Linear(12, 6), two, nn.Linear(6, 3))
    compiler.capture(net, torch.zeros(4, 1, 20), "binary").save("net.graph")
    code, out, err = call("compile", "net.graph", "--chip", chip, "--explain")
    assert code == 0, err
    assert reads_well(out)
    for layer, behind in (("0", "1"), ("2", "3"), ("4", "readout")):
        # ODIN and tinyODIN hold weights with the neurons that they lead to.
        weights = f"in the weights of {behind}" if "odin" in chip else r"whole weights up to [\d,]+( × 2\^\d+)?"
        assert re.search(rf"^ *{layer} +linear +{weights} +chip *$", out, re.M), layer
    program = Program.load(next(Path().rglob("*.program")))
    for layer, size in (("1", 12), ("3", 6)):
        scale = program.graph.node(layer).attributes["scale"]
        assert re.search(rf"^ *{layer} +integrate_fire +\w+, 1 → {re.escape(f'{scale:,.6g}')} units", out, re.M), layer
        assert re.search(rf"^ *{layer} +neuron +\d", out, re.M), layer
        assert re.search(rf"^ *{layer} +{size}( |$)", out, re.M), layer


@pytest.mark.parametrize("chip", ["loihi1", "loihi2"])
def test_a_first_layer_of_pixels_is_the_host_s(call, chip):
    graph = compiler.capture(lively(Residual(neuron=IF)), torch.zeros(1, 1, 12, 12).double())
    graph.save("residual.graph")
    code, out, err = call("compile", "residual.graph", "--chip", chip, "--explain")
    assert code == 0, err
    assert reads_well(out)
    assert re.search(r"stem.conv +conv +as it is, in floating point, once an image +host", out)
    assert re.search(r"third.conv +conv +whole weights up to [\d,]+", out)
    assert re.search(r"third_lif +integrate_fire +\w+, 1 → [\d,]+ units", out)


def test_fates_are_those_of_the_graphs():
    """Every operation that weighs or fires has one; scales and rounded zeros are the program's own."""
    captured = compiler.capture(lively(Residual(tau=3.0)), torch.zeros(1, 1, 12, 12).double())
    program = compiler.compile(captured)
    found = {fate.name: fate for fate in fates(captured, program)}
    kinds = ("conv", "linear", "batch_norm", "avg_pool", "lif")
    assert set(found) == {node.name for node in captured if node.op in kinds}
    for node in program.graph:
        if node.op == "lif_fixed" and node.attributes["layer"]:
            scale = node.attributes["scale"]
            assert f"1 → {scale:,.6g} units" in found[node.name].becomes
            assert "τ 3 → 3.0007" in found[node.name].becomes  # 4096 / 1365
    lost = {n.name: int((n.parameters["weight"] == 0).sum()) for n in program.graph if "weight" in n.parameters}
    for name, count in lost.items():
        if name in found and count and found[name].op == "conv" and found[name].where == "chip":
            assert f"{count:,} rounded to 0" in found[name].becomes
    assert simplify(captured).node("stem.conv")
