"""``snnkit audit`` as a user meets it: every kind of network, every form, and one clear line for every mistake.

Would break it: a rate of noise that is not marked as one, a document without a part that it promises, a claim judged
against rates that are not the network's own, a strict audit that passes what is not counted, a traceback.
"""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.data import recordings
from torch import nn

import compiler
import snnkit
from compiler.auditing import elsewhere, measuring, terminal, writing
from compiler.auditing.document import SCHEMA
from compiler.auditing.running import build, place_of, published_names
from compiler.conventions import Conventions
from compiler.counting import count
from compiler.exchange import nir
from compiler.passes import simplify
from snnkit.cli import main

PUBLISHED = Path(__file__).parents[2] / "published"
SDT = f"{PUBLISHED / 'sdt_v1.py'}:sdt_published"
SMALL = ("--input", "3,16,16", "--set", "embed_dims=16", "--set", "num_heads=2", "--set", "depths=1", "--set", "T=2")


@pytest.fixture
def call(capfd, monkeypatch):
    """Run the command in this process; return (exit code, output, errors)."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words):
        code = 0
        try:
            main(["audit", *(str(word) for word in words)])
        except SystemExit as stop:
            code = stop.code or 0
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def folder(tmp_path):
    """A folder of twelve images in two classes."""
    draw = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("cat", "dog"):
            (tmp_path / "data" / split / kind).mkdir(parents=True)
            for index in range(3):
                pixels = draw.integers(0, 255, (20, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / split / kind / f"{index}.png")
    return tmp_path / "data"


@pytest.fixture
def network(tmp_path):
    """A file with a spiking network, an ordinary one and mistakes; its trained weights."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "from spikingjelly.clock_driven.neuron import MultiStepLIFNode\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.T = 4\n"
        "        self.conv, self.bn = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)\n"
        "        self.lif, self.head = MultiStepLIFNode(tau=2.0), nn.Linear(6 * 256, 5)\n"
        "    def forward(self, x):\n"
        "        x = self.bn(self.conv(x)).unsqueeze(0).repeat(self.T, 1, 1, 1, 1)\n"
        "        return self.head(self.lif(x).flatten(2)).mean(0)\n"
        "def number():\n"
        "    return 3\n"
        "def broken():\n"
        "    raise ValueError('no such luck')\n"
        "def leaves():\n"
        "    raise SystemExit(0)\n"
        "def drops(): return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Dropout(0.5))\n"
    )
    model = nn.ModuleDict({"conv": nn.Conv2d(3, 6, 3, padding=1), "bn": nn.BatchNorm2d(6), "head": nn.Linear(1536, 5)})
    model["bn"](model["conv"](torch.randn(50, 3, 16, 16)))
    model["bn"].bias.data.fill_(0.8)
    torch.save(model.state_dict(), tmp_path / "net.pth")
    return tmp_path / "net.py"


def trained(network, folder):
    return (f"{network}:Net", "--input", "3,16,16", "--weights", network.with_suffix(".pth"), "--data", folder)


def document(call, *words):
    code, out, err = call(*words, "--format", "json")
    assert code == 0, err
    return json.loads(out)


def test_noise_is_marked_everywhere(call, tmp_path):
    files = [tmp_path / f"a.{end}" for end in ("json", "md", "html")]
    code, out, err = call(SDT, *SMALL, *(word for path in files for word in ("--output", path)), "--claimed", "3 mJ")
    assert code == 0, err
    assert f"!! {terminal.NOISE}" in out
    assert "not judged" in out
    assert json.loads(files[0].read_text())["subject"]["measured"] is False
    assert all(terminal.NOISE in path.read_text() for path in files[1:])
    assert all(len(line.rstrip()) <= 80 for line in out.splitlines() if not line.startswith("written"))


def test_real_rates_are_those_of_the_data(call, network, folder):
    found = document(call, *trained(network, folder), "--models", "45nm")
    about = found["subject"]
    assert (about["measured"], about["noise"], about["trained"], about["samples"]) == (True, False, True, 6)
    (lif,) = [row for row in found["layers"] if row["op"] == "lif"]
    assert lif["rate"] == lif["spikes"] / (6 * 256 * 4) == found["totals"]["mean_rate"] > 0.01
    (head,) = [row for row in found["layers"] if row["name"] == "head"]
    assert head["ac"] == pytest.approx(5 * lif["spikes"]), "every spike reaches five weights"
    (conv,) = [row for row in found["layers"] if row["name"] == "conv"]
    assert conv["mac"] == conv["twin_mac"] > 0
    assert conv["static"]


def test_recordings_of_event_cameras_are_frames_of_the_networks_steps(call, tmp_path):
    """The weights of the channel of "on" events are 0 but for one neuron's: it fires for the second class alone."""
    (tmp_path / "net.py").write_text(
        "import torch, snntorch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc, self.lif = torch.nn.Linear(800, 2), snntorch.Leaky(beta=0.9, threshold=0.5)\n"
        "        self.fc.weight.data.zero_(), self.fc.bias.data.zero_()\n"
        "        self.fc.weight.data[1, 400:] = 1.0\n"
        "    def forward(self, x):\n"
        "        mem, out = self.lif.init_leaky(), []\n"
        "        for step in range(x.size(0)):\n"
        "            spikes, mem = self.lif(self.fc(x[step].flatten(1)), mem)\n"
        "            out.append(spikes)\n"
        "        return torch.stack(out)\n"
    )
    data = recordings(tmp_path / "data", side=20)
    given = (f"{tmp_path / 'net.py'}:Net", "--input", "2,20,20", "--timesteps", 3, "--data", data, "--images", 4)
    found = document(call, *given, "--models", "45nm")
    assert (found["subject"]["timesteps"], found["subject"]["noise"], found["subject"]["samples"]) == (3, False, 4)
    (lif,) = [row for row in found["layers"] if row["name"] == "lif"]
    assert lif["spikes"] == 3 / 2, "one neuron of two, in half of the samples, at each of three steps"


def test_a_document_has_every_part(call, network, folder):
    found = document(call, *trained(network, folder), "--claimed", "3 mJ")
    assert found["schema"] == SCHEMA == "snnkit.audit/1"
    assert list(found) == [
        *("schema", "subject", "verdict", "totals", "layers", "entries", "energy", "formula", "claims", "uncounted"),
        *("complete", "strict"),
    ]
    assert found["verdict"]["encoding_layers"] == ["conv"]
    assert found["verdict"]["spike_driven"]
    for one in found["energy"]:
        assert (one["refused"] is None) == ("network" in one["results"])
        assert one["unit"]
        assert one["constants"] or one["refused"]
    nm45 = found["energy"][0]
    own, twin = (nm45["results"][name]["nominal"] for name in ("network", "twin"))
    assert nm45["ratios"]["twin"] == twin / own
    assert nm45["results"]["twin_skipping"]["nominal"] <= twin
    even = nm45["break_even"]["total"]
    assert (even["rate"] > even["measured_rate"]) == (own < twin)
    acs, macs = (found["totals"]["network"][name] for name in ("ac", "mac"))
    assert nm45["results"]["network"]["low"] == pytest.approx((4.6 * macs + 0.9 * acs) * 1e-6), "uJ"
    formula = found["formula"]["once"]
    rate = found["totals"]["mean_rate"]
    assert formula["mj"] == pytest.approx((4.6 * macs + 0.9 * rate * 4 * 5 * 1536) * 1e-9)
    assert found["formula"]["each_step"]["macs"] == 4 * macs


def test_claims(call, network, folder):
    counted = document(call, *trained(network, folder), "--models", "45nm")
    right = (4.6 * counted["totals"]["network"]["mac"] + 0.9 * counted["totals"]["network"]["ac"]) * 1e-3  # nJ
    claims = (f"{right:.6g} nJ", f"{100 * right:.6g} nJ", f"rate {counted['totals']['mean_rate']:.6f}")
    found = document(call, *trained(network, folder), *(w for claim in claims for w in ("--claimed", claim)))
    assert [one["holds"] for one in found["claims"]] == [True, False, True]
    assert found["claims"][0]["counted"] == pytest.approx(right)
    assert "more than all" in found["claims"][1]["must_hold"]
    assert "an accumulate would have to cost" in found["claims"][1]["or"]
    dense, macs = 4 * 5 * 1536, counted["totals"]["network"]["mac"]
    implied = found["claims"][1]["implied_rate"]
    assert implied["once"] == pytest.approx((100 * right * 1e3 - 4.6 * macs) / (0.9 * dense), rel=1e-5)
    assert implied["each_step"] == pytest.approx((100 * right * 1e3 - 4 * 4.6 * macs) / (0.9 * dense), rel=1e-5)


@pytest.fixture
def uneven(tmp_path):
    """A folder of forty images whose last eight are far brighter than a first batch of 32."""
    draw = np.random.default_rng(0)
    for kind, images, low, high in (("cat", 32, 0, 90), ("dog", 8, 160, 255)):
        for split, number in (("train", 1), ("val", images)):
            (tmp_path / "uneven" / split / kind).mkdir(parents=True)
            for index in range(number):
                pixels = draw.integers(low, high, (20, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "uneven" / split / kind / f"{index:02}.png")
    return tmp_path / "uneven"


def rates_elsewhere(network, x):
    """Firing rates of the network on all of x, on its first batch, and with the statistics of x: by torch alone."""
    own = torch.load(network.with_suffix(".pth"))
    conv, norm, lif = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), snnkit.neurons.LIF()
    conv.load_state_dict({k[5:]: v for k, v in own.items() if k.startswith("conv.")})
    norm.load_state_dict({k[3:]: v for k, v in own.items() if k.startswith("bn.")})
    with torch.no_grad():
        stored, batch = (norm.train(mode)(conv(x)) for mode in (False, True))
        all_, training = (lif(y.expand(4, *y.shape)).mean(dim=(0, 2, 3, 4)) for y in (stored, batch))
    return float(all_.mean()), float(all_[:32].mean()), float(training.mean())


def test_rates_of_the_first_batch_and_of_training_mode_are_recognised(call, network, uneven):
    words = (*trained(network, uneven), "--models", "45nm")
    x = compiler.auditing.subject.subject(asked(network, uneven)).samples
    right, first, training = rates_elsewhere(network, x)
    assert min(abs(first / right - 1), abs(training / right - 1), abs(training / first - 1)) > 0.05
    counted = document(call, *words)["totals"]
    assert counted["mean_rate"] == pytest.approx(right, rel=1e-6)
    steps = 5 * 4 * 1536
    for rate, name in ((first, "counts of the first batch of 32"), (training, "counts of training mode")):
        claims = (f"rate {rate:.8f}", f"{rate * steps:.8f} AC")
        for found in document(call, *words, *(w for one in claims for w in ("--claimed", one)))["claims"]:
            why = {one["name"]: one for one in found["explanations"]}
            assert abs(why[name]["difference"]) < 1e-5, found["claim"]
            assert why[name]["error"]
            assert "instead of all the data in eval mode" in why[name]["words"]
    code, out, _ = call(*words, "--claimed", f"rate {training:.8f}")
    assert code == 0
    assert "training mode instead of all the data" in " ".join(out.split())


def asked(network, data):
    weights = network.with_suffix(".pth")
    return compiler.auditing.subject.Asked(
        f"{network}:Net", weights=weights, sample=(3, 16, 16), data=str(data), images=100
    )


def test_nothing_is_counted_elsewhere_without_a_claim_that_needs_it(call, network, folder, monkeypatch):
    """A gain is over the same rates; noise says nothing of the data; what was counted anew is counted once."""
    told = []
    monkeypatch.setattr(measuring, "counts_elsewhere", lambda *_: told.append(1) or {})
    document(call, *trained(network, folder), "--models", "45nm")
    document(call, *trained(network, folder), "--models", "45nm", "--claimed", "3x")
    assert told == []
    document(call, *trained(network, folder), "--models", "45nm", "--claimed", "3 mJ", "--claimed", "rate 0.1")
    assert told == [1]
    given = elsewhere.counts_elsewhere
    assert given(compiler.auditing.subject.subject(replace(asked(network, folder), data=None)), Conventions()) == {}


def test_what_an_energy_that_holds_leaves_out(call, network, folder):
    found = document(call, *trained(network, folder), "--models", "45nm,45nm-memory")
    right, memory = (one["results"]["network"] for one in found["energy"])
    claims = ("--claimed", f"{right['low']:.6g} uJ", "--claimed", f"{100 * right['low']:.6g} uJ", "--claimed", "10 %")
    held, wrong, rate = document(call, *trained(network, folder), *claims, "--models", "45nm")["claims"]
    assert held["holds"]
    says = "{nominal:.3g} {unit} ({low:.3g} to {high:.3g})".format(**memory, unit="uJ")
    assert f"with which 45nm-memory says {says}" in held["left_out"]
    assert wrong["left_out"] is rate["left_out"] is None
    assert document(call, f"{network}:Net", "--input", "3,16,16", *claims)["claims"][0]["left_out"] is None
    code, out, _ = call(*trained(network, folder), *claims[:2], "--models", "45nm")
    assert code == 0
    assert says in " ".join(out.split())


def test_an_unchanging_layer_charged_at_every_step_is_recognised(call, network, folder):
    counted = document(call, *trained(network, folder), "--models", "45nm")
    wrong = 4.6 * 4 * counted["totals"]["network"]["mac"] + 0.9 * counted["totals"]["network"]["ac"]
    (claim,) = document(call, *trained(network, folder), "--claimed", f"{wrong * 1e-3:.6g} nJ")["claims"]
    assert claim["explanations"][0]["name"] == "first layer at every step"
    assert claim["holds"] is False


# Kinds of networks.


def graph_file(path):
    model = snnkit.create_model("spiking_cnn_small", img_size=16).eval()
    graph = simplify(compiler.capture(model, torch.zeros(1, 1, 16, 16)))
    nir.write(graph, path) if path.suffix == ".nir" else graph.save(path)
    return graph


def onnx_file(path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).eval()
    torch.onnx.export(model, (torch.zeros(1, 3, 8, 8),), str(path), dynamo=False, opset_version=17)


@pytest.mark.parametrize("suffix", [".nir", ".graph"])
def test_files_with_graphs(suffix, call, tmp_path):
    graph = graph_file(tmp_path / f"net{suffix}")
    found = document(call, tmp_path / f"net{suffix}", "--models", "45nm")
    rows = [row for row in found["layers"] if row["kind"] == "synapse"]
    assert sum(row["dense_macs"] for row in rows) == sum(
        layer.dense_macs for layer in count(graph, [torch.zeros(1, *graph.shape("input"))]).per_layer
    )


def test_an_onnx_file(call, tmp_path):
    onnx_file(tmp_path / "net.onnx")
    found = document(call, tmp_path / "net.onnx")
    assert found["totals"]["network"]["mac"] == 4 * 27 * 36 + 144 * 5
    assert found["totals"]["twin"] is None
    assert found["verdict"]["spike_driven"] is None


def test_a_timm_model_and_one_of_our_own(call):
    found = document(call, "timm:test_vit", "--models", "45nm")
    assert found["subject"]["kind"] == "timm model"
    assert not found["subject"]["measured"]
    assert found["totals"]["network"]["exponentials"] > 0, "softmax"
    assert document(call, "spiking_cnn_small", "--models", "45nm")["subject"]["trained"] is False


def test_a_run(call, tiny_run, tmp_path):
    run = shutil.copytree(tiny_run.folder, tmp_path / "run")
    found = document(call, run, "--images", 20, "--models", "45nm,loihi1")
    assert (found["subject"]["measured"], found["subject"]["samples"]) == (True, 20)
    assert found["totals"]["mean_rate"] > 0
    checkpoint = next((run / "checkpoints").glob("*.safetensors"))
    assert document(call, checkpoint, "--data", "fashion_mnist", "--images", 5)["subject"]["trained"]


NEW = """
from torch import nn
from spikingjelly.activation_based import neuron, layer, functional
import snntorch
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.lif = layer.Conv2d(3, 4, 3), neuron.LIFNode()
        functional.set_step_mode(self, "m")
    def forward(self, x):
        return self.lif(self.conv(x.unsqueeze(0).repeat(5, 1, 1, 1, 1))).mean(0)
def single(): return nn.Sequential(nn.Conv2d(3, 4, 3), neuron.LIFNode())
def torch_net(): return nn.Sequential(nn.Conv2d(3, 4, 3), snntorch.Leaky(beta=0.9, init_hidden=True))
"""


@pytest.mark.parametrize(("factory", "more"), [("Net", 0), ("single", 5), ("torch_net", 5)])
def test_spikingjelly_as_it_is_and_snntorch(factory, more, call, tmp_path):
    (tmp_path / "new.py").write_text(NEW)
    steps = ("--timesteps", more) if more else ()
    found = document(call, f"{tmp_path / 'new.py'}:{factory}", "--input", "3,8,8", *steps, "--models", "45nm")
    assert found["subject"]["timesteps"] == 5
    assert found["totals"]["network"]["neuron_updates"] == 5 * 4 * 36
    if not more:
        return
    code, out, _ = call(f"{tmp_path / 'new.py'}:{factory}", "--input", "3,8,8")
    assert code == 3
    assert "--timesteps" in out


# Mistakes.

MISTAKES = {
    "no unit": ((SDT, "--claimed", "13.6"), "has no unit"),
    "no such unit": ((SDT, "--claimed", "13.6 mW"), "mW"),
    "no number": ((SDT, "--claimed", "a few mJ"), "is no number with a unit"),
    "no such model": (("spikformer_8_383",), "'spikformer_8_384'"),
    "no such energy model": ((SDT, *SMALL, "--models", "45mn"), "'45nm'"),
    "no such factory": ((SDT[:-1],), "'sdt_published'"),
    "no factory": ((SDT.rpartition(":")[0],), "names no factory"),
    "no such file": ((f"{PUBLISHED / 'sdt_v3.py'}:net",), "'sdt_v2.py'"),
    "a folder": ((PUBLISHED,), "--model MODULE:FACTORY"),
    "no such argument": ((SDT, "--set", "embed_dim=16"), "embed_dim"),
    "no option": ((SDT, "--set", "embed_dims"), "KEY=VALUE"),
    "no shape": ((SDT, "--input", "three"), "--input three"),
    "an empty shape": ((SDT, "--input", "3,0,16"), "must be ≥ 1"),
    "no images": ((SDT, "--images", "0"), "--images 0"),
    "no steps": ((SDT, "--timesteps", "0"), "--timesteps 0"),
    "no form": ((SDT, "--output", "audit.pdf"), ".html"),
    "options of a name": (("spiking_cnn_small", "--set", "a=1"), "--set is for what a factory makes"),
    "no such type": ((SDT, *SMALL, "--input-type", "binray"), "binray"),
    "no such data": ((SDT, *SMALL, "--data", "fashion_mnits"), "'fashion_mnist'"),
    "data of another shape": ((SDT, *SMALL, "--data", "fashion_mnist"), "takes samples of shape (3, 16, 16)"),
}


@pytest.mark.parametrize(("words", "said"), MISTAKES.values(), ids=list(MISTAKES))
def test_a_mistake_is_one_line(words, said, call):
    code, out, err = call(*words)
    assert code == 2, out
    assert said in err
    assert err.startswith("snnkit: ")
    assert len(err.strip().splitlines()) == 1


CODE = {
    "number": (2, "made a int"),
    "broken": (2, "(net.py, line 15): ValueError: no such luck"),
    "leaves": (2, "SystemExit"),
    "Nett": (2, "Did you mean 'Net'?"),
}


@pytest.mark.parametrize("factory", CODE)
def test_code_that_makes_no_network(factory, call, network):
    code, said = CODE[factory]
    assert call(f"{network}:{factory}")[::2][0] == code
    assert said in call(f"{network}:{factory}")[2]


def test_a_sample_that_the_network_does_not_take(call, network):
    code, out, _ = call(f"{network}:Net", "--input", "3,20,20")
    assert code == 3
    assert "cannot run on an input of shape" in out
    assert "--input C,H,W" in out


def test_training_mode_is_said_and_left(call, network):
    found = document(call, f"{network}:drops", "--input", "3,16,16", "--models", "45nm")
    assert any("training mode" in note for note in found["subject"]["notes"])


def test_all_reasons_of_what_is_no_graph(call, tmp_path):
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\nclass Net(nn.Module):\n    def forward(self, x):\n"
        "        return torch.topk(x, 2).values + torch.sort(x).values[..., :2]\n"
    )
    code, out, _ = call(f"{tmp_path / 'net.py'}:Net", "--input", "3,8,8")
    assert code == 3
    assert "2 things" in out
    assert "topk" in out
    assert "sort" in out


def test_empty_data(call, tmp_path):
    (tmp_path / "data" / "val").mkdir(parents=True)
    code, _, err = call(SDT, *SMALL, "--data", tmp_path / "data")
    assert code == 2
    assert len(err.strip().splitlines()) == 1


def test_strict(call, network, folder):
    assert call(*trained(network, folder), "--models", "45nm", "--strict")[0] == 0
    code, out, _ = call(*trained(network, folder), "--models", "45nm,loihi2", "--strict")
    assert code == 3
    assert "loihi2: " in out.rpartition("strict:")[2]
    code, out, _ = call(*trained(network, folder), "--strict")
    assert code == 3
    reasons = out.rpartition("strict:")[2]
    assert "loihi2" not in reasons, "a model that prices nothing is no fault of the network"
    assert "yan2024: " in reasons, "its constants were not checked"
    code, out, _ = call("timm:test_vit", "--models", "45nm", "--strict")
    assert code == 3, "exponentials have no price there"


# Forms.

CHROMIUM = shutil.which("chromium")
HOSTILE = "<img src=x onerror=alert(1)>|x"


def poisoned(value):
    if isinstance(value, dict):
        return {key: poisoned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return HOSTILE if isinstance(value, str) else value


def test_markup_in_names_stays_words(call, network, folder):
    found = poisoned(document(call, *trained(network, folder), "--claimed", "3 mJ"))
    for suffix in (".md", ".html"):
        text = writing.text_of(found, suffix)
        assert "<img" not in re.sub(r"<(script|style).*?</\1>", "", text, flags=re.S)


def test_markdown_has_the_numbers(call, network, folder):
    code, out, _ = call(*trained(network, folder), "--format", "md", "--models", "45nm", "--claimed", "3 mJ")
    assert code == 0
    widths = {}
    for line in out.splitlines():
        if line.startswith("|---"):
            widths[line] = line.count("|")
    assert len(widths) >= 3
    assert "| `45nm` |" in out
    assert "papers' formula" in out


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_page_in_a_browser(call, network, folder, tmp_path):
    page = tmp_path / "audit.html"
    assert call(*trained(network, folder), "--output", page, "--claimed", "3 mJ")[0] == 0
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--window-size=420,900", "--virtual-time-budget=3000", "--dump-dom", f"--user-data-dir={tmp_path / 'p'}"),
        page.as_uri(),
    ]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert re.search(r'<html[^>]*data-errors="0"', dom)
    assert 'data-ready="yes"' in dom, "the scripts ran to their end"
    assert not re.search(r"(src|href)=\"(?!#|data:)", re.sub(r"<(script|style).*?</\1>", "", dom, flags=re.S))


def test_weights_that_are_drawn_are_the_same_each_time_and_nobody_elses(tmp_path):
    """Two audits of one file give the same numbers, and the caller's random numbers go on where they were."""
    (tmp_path / "net.py").write_text("from torch import nn\n\ndef make():\n    return nn.Linear(3, 2)\n")
    place = place_of(f"{tmp_path / 'net.py'}:make", None)
    before = torch.random.get_rng_state()
    with published_names(old=False):
        first = build(place, {}).weight
        torch.rand(5)
        assert torch.equal(build(place, {}).weight, first)
    torch.random.set_rng_state(before)
    with published_names(old=False):
        build(place, {})
    assert torch.equal(torch.random.get_rng_state(), before)
