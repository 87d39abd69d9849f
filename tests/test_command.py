"""The command line as a user meets it: every verb on a real (tiny) run, and one clear line for every mistake.

Would break it: torch imported for --help, a traceback for a user's error, a zero exit code for a failure, a verb that
writes another file than it says, a report that lacks what was computed.
"""

import argparse
import json
import re
import resource
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import pytest
import torch
from support.data import recordings

import snnkit
from snnkit.recipes import RECIPES


@pytest.fixture
def run_folder(tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(tiny_run.folder, tmp_path / "run")


def test_help_is_quick_and_light():
    script = (
        "import sys; from snnkit.cli.main import build_app; app = build_app();"
        "heavy = {'torch', 'numba', 'scipy', 'torchvision'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    times = []
    for _ in range(3):  # processor time of the child: the clock on the wall tells of other tests too
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-m", "snnkit", "--help"], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    for verb in [
        "demo",
        "models",
        "chips",
        "train",
        "eval",
        "capture",
        "check",
        "energy",
        "compile",
        "simulate",
        "export",
        "report",
        "doctor",
    ]:
        assert f"│ {verb} " in done.stdout
    assert min(times) < 1.0, times


def test_the_whole_way_verb_by_verb(run_folder, call):
    code, out, _ = call("eval", run_folder)
    assert code == 0
    assert "accuracy" in out
    code, out, _ = call("check", run_folder)
    assert code == 0
    assert "spike-driven but for the encoding layer stem.conv" in out
    assert "fits loihi1" in out
    code, out, _ = call("energy", run_folder, "--images", 40)
    assert code == 0
    assert "Horowitz" in out
    code, out, _ = call("compile", run_folder)
    assert code == 0
    assert (run_folder / "network.program").exists()
    assert "on the host: stem.conv" in out
    code, out, _ = call("simulate", run_folder, "--images", 40)
    assert code == 0
    assert re.search(r"float graph → quantised graph: [\d,]+ of [\d,]+ spikes differ\n", out)
    assert "quantised graph → integer program: 0 of " in out
    assert re.search(r"0 of 400 output membranes: exact \([\d,]+ spikes fired\)", out)
    code, out, _ = call("capture", run_folder, "--types")
    assert code == 0
    assert "○ real" in out
    code, out, _ = call("export", run_folder, "--format", "nir")
    assert code == 0
    assert "exact, 0 of" in out
    for name in ("network.program", "network.nir"):  # both hold the graph that they were made from
        code, out, _ = call("capture", run_folder / name)
        assert code == 0
        assert "spike-driven but for the encoding layer stem" in out
    code, out, _ = call("export", run_folder, "--format", "lava")
    assert code == 0
    assert (run_folder / "lava.npz").exists()
    code, out, _ = call("report", run_folder)
    assert code == 0
    page = (run_folder / "report.html").read_text()
    assert "stem_lif" in page
    assert "loihi1" in page
    assert '<svg xmlns="http://www.w3.org/2000/svg" class="net"' in page

    graph = json.loads((run_folder / "graph.json").read_text())
    assert [block["label"] for block in graph["blocks"]][:2] == ["stem.conv", "stem_lif"]
    assert graph["kinds"]["neuron"] == {"lif": 4}
    assert graph["verdict"] == "spike-driven but for the encoding layer stem.conv"

    counts = json.loads((run_folder / "counts.json").read_text())
    layers = {layer["name"]: layer for layer in counts["network"]["per_layer"]}
    assert counts["images"] == 40
    assert layers["stem.conv"]["mac"] > 0
    assert layers["stem.conv"]["ac"] == 0
    assert layers["down.conv"]["mac"] == 0
    assert counts["network"]["totals"]["mac"] == layers["stem.conv"]["mac"]
    energy = json.loads((run_folder / "energy.json").read_text())
    assert energy["schema"] == "snnkit.energy/2"
    assert energy["models"][0]["model"] == "45nm"
    assert {model["model"] for model in energy["models"]} > {"45nm-int8", "45nm-memory", "lemaire2022", "yan2024"}
    for model in energy["models"]:
        for result in model["results"].values():
            assert 0 < result["low"] <= result["nominal"] <= result["high"]
    mapping = json.loads((run_folder / "mapping.json").read_text())
    assert mapping["equality"]["spike_mismatches"] == 0
    assert mapping["equality"]["spikes"] > 1000
    found = mapping["equality"]
    assert found["float_compared"] == found["compared"] == sum(of for _, of in found["float_by_layer"].values())
    assert found["float_mismatches"] == sum(differ for differ, _ in found["float_by_layer"].values())
    assert found["float_verdict"] == ("approximate" if found["float_mismatches"] else "bounded")
    assert mapping["host"]["macs"] == layers["stem.conv"]["mac"]
    assert [row["format"] for row in mapping["exchange"]] == ["NIR"]
    events = sum(core["events_per_image"] for core in mapping["cores"])
    assert events > 0
    raster = json.loads((run_folder / "raster.json").read_text())
    assert [p["name"] for p in raster["populations"]] == [n for n, row in layers.items() if row["kind"] == "neuron"]


def test_a_file_of_a_run_is_fed_as_the_run_was(run_folder, call):
    """The run was tested on a part of the images; weights of its folder are, too."""
    code, out, _ = call("eval", run_folder)
    assert code == 0
    code, of_file, _ = call("eval", run_folder / "checkpoints" / "last.safetensors")
    assert code == 0
    assert of_file.split(": ", 1)[1] == out.split(": ", 1)[1]


def test_events_and_packets_on_the_chip_are_those_of_its_spikes(run_folder):
    """The engine's counters against the plain simulator's spikes times the fan-out of every source."""
    import compiler
    from compiler.commands.source import resolve
    from compiler.simulate import reference
    from compiler.simulate.artifact import INPUT

    given = resolve(str(run_folder))
    x, _, _ = given.test_images(2)
    program = compiler.compile(given.graph)
    trace = program.simulate(x)
    events = packets = 0
    for b in range(2):
        network = program.network(x[b : b + 1])
        spikes = reference.run(network, record=False)
        for projection, axons in zip(network.projections, program.mapping.axons, strict=True):
            source = network.inputs if projection.source == INPUT else spikes[f"s{projection.source}"]
            # What fires in the last step never arrives.
            fired = source[:, :-1].sum(1).astype(int)
            events += int(fired @ (projection.weights != 0).sum(0))
            packets += int(fired[axons.source].sum())
    assert int(trace.synaptic_events.sum()) == events
    assert int(trace.packets.sum()) == packets
    assert events > 10_000


def test_demo(tmp_path, monkeypatch, call):
    """The command of the README, with one epoch instead of fourteen and few test images."""
    monkeypatch.chdir(tmp_path)
    code, out, err = call("demo", "--epochs", "1", "--images", "20")
    assert code == 0, err
    (folder,) = (tmp_path / "runs").iterdir()
    names = {path.name for path in folder.iterdir()}
    assert names >= {"config.json", "environment.json", "metrics.jsonl", "checkpoints", "counts.json", "energy.json"}
    assert names >= {"mapping.json", "raster.json", "network.graph", "network.program", "network.nir", "lava.npz"}
    assert "report.html" in names
    mapping = json.loads((folder / "mapping.json").read_text())
    assert (mapping["equality"]["images"], mapping["equality"]["spike_mismatches"]) == (20, 0)
    assert mapping["exchange"][0]["verdict"] == "exact"
    assert json.loads((folder / "metrics.jsonl").read_text())["test"]["accuracy"] > 0.6
    assert "quantised graph → integer program: 0 of" in out
    assert "float graph → quantised graph: " in out
    assert "graph.json" in names


def test_train_by_command(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text("epochs = 5\n[data]\ntrain_limit = 64\ntest_limit = 20\n")
    code, out, err = call("train", "demo", "--config", "run.toml", "--set", "epochs=1", "--set", "model.sizes.width=4")
    assert code == 0, err
    (folder,) = (tmp_path / "runs").iterdir()
    config = json.loads((folder / "config.json").read_text())
    assert (config["epochs"], config["data"]["train_limit"], config["model"]["sizes"]) == (1, 64, {"width": 4})
    assert (folder / "report.html").exists()
    assert "epoch   1/1" in out


def test_tables(call):
    code, out, _ = call("models")
    assert code == 0
    assert "spiking_cnn_small" in out
    code, out, _ = call("models", "spiking_cnn_small")
    assert "parameters" in out
    code, out, _ = call("chips")
    assert "loihi1" in out
    code, out, _ = call("chips", "loihi1")
    assert "nengo-loihi" in out
    assert "1,024 compartments" in out
    code, out, _ = call("doctor")
    assert code == 0
    assert torch.__version__.split("+")[0] in out


MISTAKES = {
    "unknown verb": (["trian"], 2, "train"),
    "unknown flag": (["chips", "--verbos"], 2, "--verbos"),
    "unknown model": (["check", "spiking_cnn_smal"], 2, "Did you mean 'spiking_cnn_small'"),
    "unknown model to capture": (["capture", "spiking_cnn_smal"], 2, "Did you mean 'spiking_cnn_small'"),
    "unknown timm model": (["capture", "timm:resnet81"], 2, "Did you mean 'resnet18'"),
    "missing graph": (["capture", "none.graph"], 2, "none.graph does not exist"),
    "picture of another kind": (["capture", "spiking_cnn_small", "--picture", "a.png"], 2, ".svg or .mmd"),
    "graph of another name": (["capture", "spiking_cnn_small", "--output", "a.json"], 2, "NAME.graph"),
    "no such type": (["capture", "spiking_cnn_small", "--input-type", "binar"], 2, "Did you mean 'binary'"),
    "no time": (["capture", "spiking_cnn_small", "--timesteps", "0"], 2, "must be ≥ 1"),
    "unknown model pattern": (["models", "spiking_cn"], 2, "Did you mean 'spiking_cnn_small'"),
    "unknown chip": (["chips", "loihi"], 2, "Did you mean 'loihi1'"),
    "unknown chip for compile": (["compile", "spiking_cnn_small", "--chip", "lohi1"], 2, "Did you mean 'loihi1'"),
    "unknown recipe": (["train", "demoo"], 2, "Did you mean 'demo'"),
    "unknown key": (["train", "--set", "optim.lrate=1"], 2, "Did you mean 'optim.lr'"),
    "no value": (["train", "--set", "epochs"], 2, "give key=value"),
    "unknown model size": (["train", "--set", "model.sizes.wdith=4"], 2, "Did you mean 'width'"),
    "unknown energy model": (["energy", "spiking_cnn_small", "--model", "45mm", "--images", "1"], 2, "'45nm'"),
    "no images": (["energy", "spiking_cnn_small", "--images", "0"], 2, "must be ≥ 1"),
    "a part of an image": (["energy", "spiking_cnn_small", "--images", "2.5"], 2, "--images: must be a whole number"),
    "a part of an audited image": (["audit", "spiking_cnn_small", "--images", "2.5"], 2, "be a whole number, got 2.5"),
    "other data": (["energy", "timm:resnet18", "--images", "1"], 2, "snnkit audit"),
    "demo without images": (["demo", "--images", "0"], 2, "must be ≥ 1"),
    "no such run": (["eval", "runs/none"], 2, "does not exist"),
    "no run folder": (["report", "."], 2, "config.json"),
    "bad choice": (["export", "spiking_cnn_small", "--format", "onnx"], 2, "nir"),
    "one setting for many": (["train", "--set", "optim.options=3"], 2, "optim.options.NAME=VALUE"),
    "folder as config": (["train", "--config", "/"], 2, "cannot be read"),
    "missing config": (["train", "--config", "none.toml"], 2, "none.toml does not exist"),
    "lava missing": (
        ["simulate", "spiking_cnn_small", "--runtime", "lava", "--lava-python", "/no/python"],
        2,
        "/no/python",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_get_one_clear_line(case, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words, expected, hint = MISTAKES[case]
    code, out, err = call(*words)
    assert code == expected, (out, err)
    assert hint in out + err
    assert "Traceback" not in out + err
    if err.startswith("snnkit:"):
        assert len(err.strip().splitlines()) == 1, err
    assert list(tmp_path.iterdir()) == []


def test_capture_shows_writes_and_draws(call, tmp_path, monkeypatch):
    """What is printed fits in 80 columns, a saved graph is read back as the same, pictures are what their names say."""
    monkeypatch.chdir(tmp_path)
    code, out, err = call("capture", "spiking_cnn_small", "--output", "a.graph", "--picture", "a.svg")
    assert code == 0, err
    assert all(len(line) <= 80 for line in out.splitlines()), out
    assert "input     input (1, 28, 28) real" in out
    assert "nodes     12 (16 before simplifying)" in out
    assert "verdict   spike-driven but for the encoding layer stem.conv" in out
    svg = (tmp_path / "a.svg").read_text()
    assert svg.startswith("<svg ")
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    code, out, err = call("capture", "a.graph", "--text", "--picture", "a.mmd", "--timesteps", "2")
    assert code == 0, err
    assert out.startswith("graph SpikingCNN, T=2, the input is the same at every step\n")
    assert "  stem.conv (16, 28, 28) real = conv(input;" in out
    assert (tmp_path / "a.mmd").read_text().startswith("flowchart TD\n")
    code, out, _ = call("check", "a.graph")
    assert code == 0
    assert "fits loihi1" in out


def test_capture_lists_what_weights_read(call):
    """Depthwise outputs of Meta-SpikeFormer go into weights as they are: every one is marked, none beside them."""
    code, out, _ = call("capture", "meta_spikeformer_tiny", "--types")
    assert code == 0
    marked = [line for line in out.splitlines() if line.startswith("✗ real")]
    assert "✗ real                stages.0.blocks.0.mixer.depthwise → .project.conv (conv)" in [
        re.sub(r"^✗ real +", "✗ real                ", line) for line in marked
    ]
    assert "○ real" in out
    listed = re.search(r"✗ (\d+) of \d+ signals", out)
    assert listed is not None
    assert int(listed[1]) == len(marked)
    for line in marked:
        assert "lif →" not in line


class Lottery(torch.nn.Module):
    """Draws numbers and picks the largest, which graphs do not."""

    img_size, in_chans, num_classes = 8, 1, 2

    def forward(self, x):
        return x.flatten(1).topk(2).values + torch.rand_like(x.flatten(1)[:, :2])


def test_everything_that_keeps_a_model_from_being_captured(call, monkeypatch):
    """capture and check list every reason, a line each; the other verbs give the first in one line."""
    from compiler.commands import source

    monkeypatch.setattr(source, "list_models", lambda: ["lottery"])
    monkeypatch.setattr(source, "create_model", lambda name: Lottery())
    for verb in ("capture", "check"):
        code, out, err = call(verb, "lottery")
        assert code == 3, err
        lines = [line for line in out.splitlines() if line.startswith("  ")]
        assert len(lines) == 2
        assert any("picks the largest" in line for line in lines)
        assert any("random" in line for line in lines)
    code, _, err = call("compile", "lottery")
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert "and 1 more; `snnkit check lottery` lists them" in err


@pytest.mark.parametrize("damage", ["text", "truncated", "program", "shape"])
def test_graph_files_that_do_not_hold_together(damage, call, tmp_path, monkeypatch):
    from dataclasses import replace

    from compiler import Signal, capture

    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.graph"
    graph = capture(snnkit.create_model("spiking_cnn_small").eval(), torch.zeros(1, 1, 28, 28))
    if damage == "text":
        path.write_text("no graph")
    elif damage == "shape":
        wrong = {**graph.signals, "stem.conv": Signal("stem.conv", (16, 28, 27))}
        replace(graph, signals=wrong).save(path)
    else:
        graph.save(path)
        path.write_bytes(path.read_bytes()[:1000])
    if damage == "program":
        from compiler.graph.file import write_graphs

        write_graphs(path, {"source": graph, "quantised": graph}, {"chip": "loihi1"})
    code, _, err = call("capture", path)
    assert code == 2
    assert "a.graph" in err
    assert len(err.strip().splitlines()) == 1


EXAMPLES = {
    "spiking_cnn_small": (1, 1, 28, 28),
    "timm:resnet18": (1, 3, 224, 224),
    "timm:inception_v3": (1, 3, 299, 299),
    "swinv2_tiny_window8_256": (1, 3, 256, 256),
    "meta_spikeformer_hardvs": (1, 2, 224, 224),
    "meta_spikeformer_seg_15m": (1, 3, 512, 512),
    "uniformer_video_small": (1, 3, 16, 224, 224),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_have_the_shape_of_the_model(name):
    from compiler.commands.source import Source
    from snnkit.data import DataConfig

    with torch.device("meta"):
        model = snnkit.create_model(name)
    assert Source(name, model, {}, None, DataConfig()).example.shape == EXAMPLES[name]


@pytest.fixture(scope="module")
def event_run(tmp_path_factory):
    """A small network trained for one epoch on recordings of events, three frames each."""
    from snnkit.engine import train
    from snnkit.recipes import get_recipe

    folder = tmp_path_factory.mktemp("events")
    config = get_recipe("demo")
    config.epochs = 1
    config.model.sizes = {"width": 4}
    config.data.dataset, config.data.source = "event_folder", str(recordings(folder / "data", side=20))
    config.data.frames, config.data.batch_size, config.data.shift_pixels = 3, 2, 0
    config.data.sensor_height = config.data.sensor_width = 20
    return train(config, folder / "run").folder


def test_samples_of_events_keep_their_time(event_run, call, tmp_path):
    """(T, B, …): counts are those of each sample alone, and do not depend on how many are counted."""
    import compiler
    from compiler.commands.source import resolve

    given = resolve(str(event_run))
    x, labels, _ = given.test_images(4)
    assert x.shape == (3, 4, 2, 20, 20)
    assert given.example.shape == (3, 1, 2, 20, 20)
    assert len(labels) == 4
    assert x[:, :2, 1].sum() == 0  # the first class has off events only
    assert not given.graph.static_input
    assert given.graph.timesteps == 3
    both = compiler.count(given.graph, [x])
    alone = [compiler.count(given.graph, [x[:, n : n + 1]]) for n in range(4)]
    for key in ("spikes", "ac", "mac"):
        assert both.total(key) == pytest.approx(sum(one.total(key) for one in alone) / 4)
    folder = shutil.copytree(event_run, tmp_path / "run")
    code, _, err = call("energy", folder, "--images", 4)
    assert code == 0, err
    counts = json.loads((folder / "counts.json").read_text())
    assert counts["images"] == 4
    assert counts["network"]["totals"]["spikes"] == pytest.approx(both.total("spikes"))


def test_events_that_change_from_step_to_step_fit_no_bias_register(event_run, call, tmp_path):
    """check, compile and simulate agree, and say what would fit; counts above 1 are no spikes."""
    folder = shutil.copytree(event_run, tmp_path / "run")
    code, out, _ = call("check", folder)
    assert code == 3
    assert "a real input that changes from step to step" in out
    for verb in ("compile", "simulate"):
        code, _, err = call(verb, folder)
        assert code == 2
        assert "a real input that changes from step to step" in err
    assert not (folder / "network.program").exists()
    code, out, err = call("check", folder, "--input-type", "binary")
    assert code == 3, out
    code, _, err = call("simulate", folder, "--input-type", "binary")
    assert code == 2
    assert re.search(r"the input of .* is binary; the test samples hold values from 0 to \d", err)


@pytest.mark.parametrize("damage", ["truncated", "pickle", "foreign"])
def test_corrupt_checkpoints(damage, run_folder, call):
    path = run_folder / "checkpoints" / "last.safetensors"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "pickle":
        torch.save({"weights": torch.zeros(3)}, path)
    else:
        from safetensors.torch import save_file

        save_file({"a": torch.zeros(3)}, path)
    code, _, err = call("eval", run_folder)
    assert code == 2
    assert "last.safetensors" in err
    assert len(err.strip().splitlines()) == 1


def test_corrupt_data_and_wrong_images(run_folder, call, tmp_path):
    config = json.loads((run_folder / "config.json").read_text())
    folder = tmp_path / "idx"
    folder.mkdir()
    config["data"]["source"] = str(folder)
    (run_folder / "config.json").write_text(json.dumps(config))
    code, _, err = call("energy", run_folder)
    assert code == 2
    assert "lacks train-images-idx3-ubyte" in err
    (folder / "train-images-idx3-ubyte").write_bytes(b"\x00\x00\x08\x03 nonsense")
    code, _, err = call("energy", run_folder)
    assert code == 2
    assert "train-images-idx3-ubyte" in err


EDITED = {
    "no JSON": ("{", "is not valid JSON"),
    "no table": ("[]", "configuration=[]: must be a table of keys"),
    "no data": ('{"model": {}}', "there is no 'data' in it"),
    "data is no table": ('{"data": 3}', "data=3: must be a table of keys"),
    "unknown key": ('{"data": {"test_limitt": 3}}', "Did you mean 'data.test_limit'?"),
    "another type": ('{"data": {"test_limit": "many"}}', "data.test_limit='many'"),
}


@pytest.mark.parametrize("verb", ["energy", "eval"])
@pytest.mark.parametrize(("text", "words"), EDITED.values(), ids=EDITED)
def test_an_edited_configuration_is_one_line(run_folder, call, verb, text, words):
    (run_folder / "config.json").write_text(text)
    code, _, err = call(verb, run_folder)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert "config.json" in err
    assert words in err


def test_a_network_that_does_not_fit_says_what_it_needs(call, tmp_path, monkeypatch):
    """check lists it with exit code 3; compile refuses with 2 and leaves nothing."""
    import snnkit

    monkeypatch.chdir(tmp_path)
    model = snnkit.create_model("spiking_cnn_small", width=256)
    snnkit.save_weights(model, tmp_path / "wide.safetensors", {"name": "spiking_cnn_small", "width": 256})
    code, out, _ = call("check", "wide.safetensors")
    assert code == 3
    assert "loihi1 has" in out
    code, _, err = call("compile", "wide.safetensors")
    assert code == 2
    assert "loihi1 has" in err
    assert [p.name for p in tmp_path.iterdir()] == ["wide.safetensors"]


def test_full_disk(run_folder):
    """A process that may write no file above 100 kB: the page cannot be written, and nothing half-written is left."""
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "from snnkit.cli import main; main(['report', sys.argv[1]])"
    )
    before = sorted(p.name for p in run_folder.iterdir())
    done = subprocess.run([sys.executable, "-c", script, str(run_folder)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "could not write" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(p.name for p in run_folder.iterdir()) == before


# Training from the command line: recipes, going on, teachers, published weights.


@pytest.mark.slow
def test_train_stops_and_goes_on(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["--set", "data.train_limit=64", "--set", "data.test_limit=40", "--set", "data.batch_size=16"]
    code, out, _ = call("train", "demo", "--set", "epochs=1", *small)
    assert code == 0
    folder = next((tmp_path / "runs").iterdir())
    assert str(folder.relative_to(tmp_path)) in out
    code, out, _ = call("train", "demo", "--resume", "auto", "--set", "epochs=2")
    assert code == 0
    assert "going on from" in out
    assert [json.loads(line)["epoch"] for line in (folder / "metrics.jsonl").read_text().splitlines()] == [1, 2]
    assert len(list((tmp_path / "runs").iterdir())) == 1
    code, _, err = call("train", "demo", "--resume", "runs/none")
    assert code == 2
    assert "does not exist" in err


@pytest.mark.slow
def test_distill(call, run_folder):
    words = ["--teacher", run_folder, "--method", "soft", "--cache", "outputs", "--set", "epochs=1"]
    small = ["--set", "data.train_limit=64", "--set", "data.test_limit=40", "--set", "data.batch_size=16"]
    code, _, err = call("distill", "demo", *words, *small)
    assert code == 0, err
    made = next(path for path in run_folder.parent.joinpath("runs").iterdir())
    assert "distillation" in json.loads((made / "metrics.jsonl").read_text())["train"]
    assert list((run_folder.parent / "outputs").rglob("*.safetensors"))
    code, _, err = call("distill", "demo", "--teacher", "nobody", *small)
    assert code == 2
    assert "no such run folder" in err


def test_recipes(call):
    code, out, _ = call("recipes")
    assert code == 0
    assert "demo" in out
    assert all(name in out for name in RECIPES)  # however narrow the output is
    code, out, _ = call("recipes", "swinv2_imagenet")
    assert code == 0
    assert "optim.lr=0.0005" in out.splitlines()
    assert "arXiv 2111.09883" in out
    code, _, err = call("recipes", "swinv2_imagnet")
    assert code == 2
    assert "Did you mean 'swinv2_imagenet'" in err


def test_convert_checkpoint(call, tmp_path):
    """Tensors alone are opened as they are; more than that only when asked for."""
    model = snnkit.create_model("spiking_cnn_small", width=4)
    plain, risky = tmp_path / "plain.pth", tmp_path / "risky.pth"
    torch.save({"model": model.state_dict(), "epoch": 3}, plain)
    torch.save({"model": model.state_dict(), "args": argparse.Namespace(lr=1.0)}, risky)
    code, out, _ = call("convert-checkpoint", plain)
    assert code == 0
    assert "plain.safetensors" in out
    other = snnkit.create_model("spiking_cnn_small", width=4)
    assert snnkit.load_weights(other, tmp_path / "plain.safetensors").complete
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))
    code, _, err = call("convert-checkpoint", risky)
    assert code == 2
    assert "--allow-pickle" in err
    assert not (tmp_path / "risky.safetensors").exists()
    code, _, _ = call("convert-checkpoint", risky, "--allow-pickle")
    assert code == 0
    assert snnkit.load_weights(other, tmp_path / "risky.safetensors").complete


@pytest.mark.parametrize("words", [("recipes",), ("recipes", "dino_fashion_mnist"), ("models", "meta_spikeformer_15m")])
def test_cards_fit_in_80_columns(words, call, monkeypatch):
    """Breaks when a table or a sentence runs beyond a pipe's 80 columns, or when a name is cut short to fit."""
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = call(*words)
    assert code == 0
    assert all(len(line.rstrip()) <= 80 for line in out.splitlines()), out
    assert "…" not in out
