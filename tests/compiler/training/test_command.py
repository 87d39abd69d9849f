"""``snnkit qat``: what it prints, writes and refuses.

Would break it: an accuracy that is not the one in the file, a program that is not what was trained, a number out of
range that ends in a traceback or, worse, in a training.
"""

import shutil

import pytest
import torch

from compiler.graph import Graph
from compiler.program import Program
from snnkit.files import read_json


@pytest.fixture
def run_folder(tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return shutil.copytree(tiny_run.folder, tmp_path / "run")


@pytest.fixture
def call(call):
    """Run the command; what it prints comes without its line ends."""

    def run(*words):
        code, out, err = call(*words)
        return code, " ".join(out.split()), " ".join(err.split())

    return run


@pytest.mark.slow
def test_a_run_is_trained_for_its_chip(run_folder, call):
    code, out, err = call("qat", run_folder, "--epochs", 1, "--images", 40, "--lr", 1e-4)
    assert code == 0, err
    folder = run_folder / "qat" / "loihi1"
    found = read_json(folder / "qat.json")
    whole, before, after = (f"{found[key]:.2%}" for key in ("float_accuracy", "chip_before", "chip_after"))
    assert f"before: float network {whole}, loihi1 {before}: a gap of " in out
    assert f"after 1 epoch in the integers of loihi1: float network {whole}, loihi1 {after}: a gap of " in out
    gap = 100 * (found["float_accuracy"] - found["chip_after"])
    assert f"a gap of {gap:.2f} points" in out
    agreement = found["agreement"]
    assert agreement["exact"] is True
    compared = f"0 of {agreement['spikes']:,} spikes differ"
    assert f"training accuracy = chip accuracy: 0 of 40 predictions, 0 of 400 logits, {compared}" in out
    assert agreement["spikes"] > 10**6
    assert (folder / "metrics.jsonl").exists()
    # Graph and program are of the same, new weights.
    graph, program = Graph.load(folder / "network.graph"), Program.load(folder / "network.program")
    for node, mine in zip(program.source_graph, graph, strict=True):
        assert all(torch.equal(value, mine.parameters[key]) for key, value in node.parameters.items())
    code, out, err = call("simulate", folder / "network.program", "--images", 20)
    assert code == 0, err
    assert "0 of" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("spiking_cnn_small",), "is no run"),
        (("RUN", "--epochs", 0), "both must be ≥ 1"),
        (("RUN", "--images", 0), "both must be ≥ 1"),
        (("RUN", "--lr", 0), "--lr 0: must be above 0"),
        (("RUN", "--lr", "nan"), "--lr nan: must be above 0"),
        (("RUN", "--teacher", 1.5), "--teacher 1.5: must be between 0 and 1"),
        (("RUN", "--chip", "loihi3"), "loihi3"),
        (("RUN", "--chip", "odin"), "has no gradients"),
        (("nowhere/run",), "does not exist"),
        (("RUN", "--resume"), "holds no training that was interrupted"),
    ],
)
def test_what_it_cannot_do_is_one_line(run_folder, call, words, says):
    code, _, err = call("qat", *(run_folder if word == "RUN" else word for word in words))
    assert code not in (0, None)
    assert says in err
    assert "Traceback" not in err
    assert not (run_folder / "qat" / "loihi1" / "metrics.jsonl").exists()
