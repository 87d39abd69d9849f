"""The verbs on chips that have no axons: what is printed, and what is left in a run's folder."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import compiler
from compiler.commands import show
from compiler.commands.compile import compile_
from compiler.commands.stages import describe_mapping, run_on_chip
from compiler.commands.tested import Labelled
from snnkit.neurons import IF


@pytest.fixture
def graph(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 24, bias=False), IF(v_threshold=0.5), nn.Linear(24, 5))
    x = (torch.rand(10, 4, 30) < 0.3).float()
    captured = compiler.capture(model, x, input_type="binary")
    captured.save(tmp_path / "net.graph")
    return captured, x, tmp_path


@pytest.mark.parametrize(("chip", "neurons"), [("odin", 34), ("tinyodin", 29)])
def test_compile(graph, chip, neurons, capsys):
    _, _, folder = graph
    compile_(str(folder / "net.graph"), chip=chip, output=folder / "net.program", explain=True)
    said = capsys.readouterr().out
    assert f"neurons: {neurons} of 256" in said
    assert f"1 of 1 cores of {chip}" in said
    assert all(len(line) <= 80 for line in said.splitlines() if not line.startswith("program:"))
    assert compiler.program.Program.load(folder / "net.program").chip.name == chip


def test_simulate_leaves_the_comparison_and_the_counters(graph, capsys):
    captured, x, folder = graph
    program = compiler.compile(captured, chip="odin")
    # A run's folder names its weights.
    (folder / "model.safetensors").write_bytes(b"")
    described = describe_mapping(program, None)
    (folder / "mapping.json").write_text(json.dumps(described))
    labels = torch.zeros(4, dtype=torch.long)
    result = run_on_chip(program, Labelled(x, labels, ("a", "b", "c", "d", "e")), folder)
    show.equality(result)
    assert "quantised graph → integer program: 0 of 960 spikes differ" in capsys.readouterr().out
    kept = json.loads((folder / "mapping.json").read_text())
    assert kept["equality"]["verdict"] == "exact"
    assert kept["counters"]["synaptic_operations"] == 256 * kept["counters"]["host_events"]
    raster = json.loads((folder / "raster.json").read_text())
    assert [(one["name"], one["neurons"]) for one in raster["populations"]] == [("1", 24)]
