"""``snnkit convert``: what it prints, writes and refuses."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import compiler
from compiler.graph import Graph
from compiler.interpreting import interpret
from snnkit.files import of_file, read_json


@pytest.fixture
def convert(call, place, monkeypatch):
    """Run the verb in the folder of the files, 80 columns wide; return (exit code, output, errors)."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "80")
    return lambda *words: call("--plain-memory", "convert", *words)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A network as a graph file, and a folder of images of three classes."""
    folder = tmp_path_factory.mktemp("convert")
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 6, 3, padding=1), nn.GELU(), nn.Conv2d(6, 6, 3, stride=2), nn.ReLU())
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).eval()
    compiler.capture(model, torch.zeros(1, 3, 16, 16)).save(folder / "net.graph")
    generator = np.random.default_rng(0)
    for part, count in (("train", 6), ("val", 4)):
        for name in ("a", "b", "c"):
            (folder / "images" / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "images" / part / name / f"{index}.png")
    return folder


def test_a_plan_names_every_operation_and_runs_nothing(convert):
    code, out, errors = convert("net.graph", "--plan")
    assert code == 0, errors
    lines = [line.split() for line in out.splitlines()]
    # Conv2d 3 → 6 on 16×16, then 6 → 6 on 7×7, then 6 → 3.
    assert ["real", "input", "conv", "1", "41,472", "host"] in lines
    assert ["accumulate", "conv", "1", "15,876", "static"] in lines
    assert ["accumulate", "linear", "1", "18", "static"] in lines
    assert ["look-up", "gelu", "1", "graded"] in lines
    assert any(line[:2] == ["host", "100.00%"] for line in lines)
    _, each, _ = convert("net.graph", "--plan", "--nodes")
    assert any(line.split()[:3] == ["accumulate", "2", "conv"] for line in each.splitlines())
    _, spikes, _ = convert("net.graph", "--plan", "--spike-input")
    assert spikes
    assert "real input" not in spikes


def test_both_forms_are_written_and_equal(convert, place):
    code, out, errors = convert("net.graph", "--data", "images", "--levels", 8, "--output", "out")
    assert code == 0, errors
    found = read_json(place / "out" / "convert.json")
    assert found["verdict"] == "exact"
    assert found["codes_differ"] == 0 < found["codes"]
    assert found["samples"] == 12
    assert f"0 of {found['codes']:,} codes differ at rest: exact" in " ".join(out.split())
    totals = found["totals"]["spiking"]
    assert totals["shift_adds"] > 0, "events of two and four levels"
    costs = [line.split() for line in out.splitlines() if line.split()[:1] == ["spiking"]]
    added = f"{totals['ac'] + totals['shift_adds']:,.0f}"
    assert [f"{totals['mac']:,.0f}", added, f"{totals['neuron_updates']:,.0f}"] in [line[1:] for line in costs]
    x = torch.rand(2, 3, 16, 16)
    q, _ = interpret(Graph.load(place / "out" / "qann.graph"), x, 1)
    y, _ = interpret(Graph.load(place / "out" / "snn.graph"), x, found["bound"], stepwise=True)
    assert torch.equal(y[-1], q[0])
    assert max(len(line) for line in out.splitlines()) <= 80 + len(str(place))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("net.graph",), 2, "give --data"),
        (("net.graph", "--data", "images", "--levels", "1"), 2, "levels=1"),
        (("net.graph", "--data", "images", "-K", "two"), 2, "--max-exponent two"),
        (("net.graph", "--data", "images", "-K", "31"), 2, "max_exponent=31"),
        (("net.graph", "--data", "images", "--images", "0"), 2, "--images 0"),
        (("net.graph", "--data", "images", "--chip-clean", "--output", "o"), 2, "--finetune"),
        (("net.graph", "--data", "images", "--finetune", "-1"), 2, "--finetune -1"),
        (("net.graph", "--data", "images", "--finetune", "1"), 2, "--output"),
        (("net.graph", "--nodes"), 2, "--plan"),
        (("net.graph", "--data", "imagenet21k"), 2, "imagenet21k"),
        (("net.graph", "--data", "images", "--chip", "loihi3"), 2, "loihi3"),
        (("net.graph", "--data", "images", "--chip", "speck"), 2, "speck"),
        (("net.graph", "--plan", "--chip", "mesh"), 2, "--plan maps nothing"),
        (("net.graph", "--data", "images", "--chip", "mesh", "--spike-input"), 2, "leave out --spike-input"),
        (("net.graph", "--data", "images", "--output", "net.graph"), 2, "could not make the folder net.graph"),
        (("nets.graph", "--plan"), 2, "nets.graph does not exist"),
        (("spiking_cnn_small", "--plan"), 3, "is a spiking one already: "),
    ],
)
def test_bad_input_is_one_line(convert, place, arguments, code, words):
    ended, out, errors = convert(*arguments)
    assert ended == code
    assert words in " ".join((out + errors).split())
    assert "Traceback" not in errors
    assert json.dumps(sorted(p.name for p in place.iterdir())) in (
        json.dumps(["images", "net.graph"]),
        json.dumps(["images", "net.graph", "out"]),
    )


def test_on_a_chip_it_is_compared_again(convert, place):
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, stride=2), nn.ReLU())
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).eval()
    compiler.capture(model, torch.zeros(1, 3, 16, 16)).save(place / "relu.graph")
    try:
        arguments = ("--data", "images", "--chip", "mesh", "--output", "chip")
        code, out, errors = convert("relu.graph", *arguments)
        assert code == 0, errors
        assert {path.name for path in (place / "chip").iterdir()} >= {"events.graph", "network.program", "convert.json"}
        assert read_json(place / "chip" / "convert.json")["activation_codes"] is True
        said = " ".join(out.split())
        assert "on mesh, in one time step of whole codes:" in said
        assert "form for the chip: 0 of " in said
        assert "in registers accuracy" in said
        assert "(12 test images)" in said
        assert " codes differ and 0 of 36 output membranes: exact" in said
        mark = read_json(place / "chip" / "convert.json")["network"]
        assert mark == of_file(place / "chip" / "qann.graph")
        before = {path.name: path.read_bytes() for path in (place / "chip").iterdir()}
        code, out, errors = convert("net.graph", *arguments)
        assert code == 2, "GELU sends codes below 0"
        assert "events on a chip are numbers from 0 on" in " ".join(errors.split())
        assert {path.name: path.read_bytes() for path in (place / "chip").iterdir()} == before, "nothing is lost"
        code, out, errors = convert("relu.graph", "--data", "images", "--output", "chip")
        assert code == 0, errors
        left = {path.name for path in (place / "chip").iterdir()}
        assert not left & {"events.graph", "network.program"}, "of another conversion"
    finally:
        shutil.rmtree(place / "chip", ignore_errors=True)
        (place / "relu.graph").unlink()
