"""What stands on the page, what is left out of it, and what stops it from being written."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from snnkit.report import ReportError, write_report
from snnkit.report.read import read_run

SECTIONS = ("training", "network", "rates", "energy", "operations", "cores", "raster", "equality", "made")


class Reader(HTMLParser):
    """Collect the sections, everything a browser would load, the text outside scripts, and the embedded data."""

    def __init__(self, path: Path):
        super().__init__()
        self.sections, self.loads, self.words, self.tags, self.data = [], [], [], [], ""
        self._inside: dict[str, str | None] | None = None
        self.feed(path.read_text(encoding="utf-8"))
        self.text = re.sub(r"[\s\u202f]+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(tag)
        if tag == "section":
            self.sections.append(found["id"])
        self.loads += [found[key] for key in ("src", "href", "srcset") if key in found]
        if tag in ("script", "style"):
            self._inside = found

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._inside = None

    def handle_data(self, data):
        if self._inside is None:
            self.words.append(data)
        elif self._inside.get("id") == "run-data":
            self.data += data


def test_page_is_one_file_that_loads_nothing(make_run):
    """Breaks when a script, style sheet, font or image is linked instead of put into the page."""
    page = write_report(make_run())
    reader = Reader(page)
    assert page.name == "report.html"
    assert all(load.startswith(("#", "data:")) for load in reader.loads), reader.loads
    assert not re.search(r"@import|url\((?!['\"]?data:)", "".join(_styles(page)))
    assert "default-src 'none'" in page.read_text(encoding="utf-8")


def _styles(page: Path) -> list[str]:
    return re.findall(r"<style>(.*?)</style>", page.read_text(encoding="utf-8"), flags=re.S)


def test_every_section_is_there_for_a_full_run(make_run):
    reader = Reader(write_report(make_run()))
    assert tuple(reader.sections) == SECTIONS
    assert "is not part of this run" not in reader.text


@pytest.mark.parametrize(
    ("missing", "gone", "command"),
    [
        ("metrics.jsonl", {"training"}, "snnkit train"),
        ("graph.json", {"network"}, "snnkit capture"),
        ("counts.json", {"rates", "operations"}, "snnkit energy"),
        ("energy.json", {"energy"}, "snnkit energy"),
        ("mapping.json", {"cores", "equality"}, "snnkit compile"),
        ("raster.json", {"raster"}, "snnkit simulate"),
        ("summary.json", set(), ""),
    ],
)
def test_missing_file_leaves_its_section_out(make_run, missing, gone, command):
    """Breaks when a section stays without data, when others go with it, or when no command is named."""
    reader = Reader(write_report(make_run(leave_out=(missing,))))
    assert set(SECTIONS) - set(reader.sections) == gone
    assert reader.text.count("is not part of this run") == len(gone)
    assert command in reader.text
    assert not gone & set(json.loads(reader.data))


def test_configuration_alone_is_enough(make_run, invented):
    rest = tuple(name for name in invented if name != "config.json")
    reader = Reader(write_report(make_run(leave_out=rest)))
    assert reader.sections == ["made"]
    assert "spiking_cnn_small" in reader.text


def test_headline_is_made_from_the_numbers(make_run):
    """The numbers follow from the invented run: 3.16 M AC, 0.23 M MAC and 82,560 updates; 6.05 M MAC of the twin.

    The accuracy is that of the last epoch, not of the best.
    """
    text = Reader(write_report(make_run())).text
    assert "It names 87.4 % of 1,000 test images correctly in 4 time steps." in text
    assert "An image costs 10.9 k spikes and an estimated 4.33 µJ, 6.42 times less than the 27.8 µJ" in text
    assert "of its ordinary twin and 3.21 times less than that twin with its zeros skipped; under" in text
    assert "On loihi1 it takes 45 of 128 cores, and none of its 2.23 M spikes differ there" in text


def test_a_program_of_a_part_is_not_called_the_network(make_run, invented):
    mapping = invented["mapping.json"]() | {"part": "backbone and neck"}
    text = Reader(write_report(make_run(mapping=mapping))).text
    assert "On loihi1 its backbone and neck take 45 of 128 cores, and none" in text


def test_optimizer_states_are_told_beside_what_they_would_take(make_run, invented):
    """Breaks when the bytes are swapped, or told where nothing is known or nothing was saved."""
    assert "208 kB of optimizer states, instead of 819 kB in float32." in Reader(write_report(make_run())).text
    summary = invented["summary.json"]()
    summary["optimizer_bytes"] = summary["optimizer_bytes_fp32"]
    text = Reader(write_report(make_run(summary=summary))).text
    assert "819 kB of optimizer states. The test" in text
    assert "optimizer states" not in Reader(write_report(make_run(summary={}))).text


def test_headline_does_not_hide_bad_news(make_run, invented):
    """Breaks when a network that costs more, or whose chip program differs, still reads like a success."""
    energy, mapping = invented["energy.json"](), invented["mapping.json"]()
    results = energy["models"][0]["results"]
    results["network"], results["twin"] = results["twin"], results["network"]
    results["twin"]["high"] = 100.0
    mapping["equality"] |= {"spike_mismatches": 12, "verdict": "approximate"}
    text = Reader(write_report(make_run(energy=energy, mapping=mapping))).text
    assert "6.42 times more than the 4.33 µJ of its ordinary twin (the intervals overlap)" in text
    assert "12 of its 2.23 M spikes differ there" in text
    assert "of 32.6 M compared" in text


def test_both_ends_of_every_comparison_are_named(make_run, invented):
    """Breaks when "exact" stands beside the program without what quantising did before it."""
    reader = Reader(write_report(make_run()))
    assert re.search(r"Float graph 88.0 % as trained approximate 81.5 k of 32.6 M spikes differ;", reader.text)
    assert "logits by up to 0.021; −0.5 points" in reader.text
    assert re.search(r"exact 0 of 32.6 M spikes differ Integer program", reader.text)
    assert "block1.lif 81,536 5.02 M 1.62 %" in reader.text
    mapping = invented["mapping.json"]()
    mapping["equality"] |= {"float_mismatches": 0, "float_verdict": "bounded"}
    mapping["equality"]["float_by_layer"] = {"stem.lif": [0, 5017600], "x": None, "y": ["a", None]}
    text = Reader(write_report(make_run(mapping=mapping))).text
    assert "bounded 0 of 32.6 M spikes differ" in text
    assert "layer by layer" not in text


def test_counts_come_with_their_spread_and_with_shifts(make_run, invented):
    """Breaks when the interval of a mean, what was not counted, or the shifts of power-of-two events are left out."""
    plain = Reader(write_report(make_run())).text
    assert "Shift and add" not in plain
    assert "half-width" not in plain
    counts = invented["counts.json"]()
    counts["network"]["per_layer"][2] |= {"spread": {"ac": 23581.3}, "shift_adds": 1000.0}
    counts["network"] |= {"uncounted": ["head.custom"]}
    counts["network"]["totals"]["shift_adds"] = 1000.0
    text = Reader(write_report(make_run(counts=counts))).text
    assert "1.18 M ± 23.6 k 1 k" in text
    assert "Shift and add" in text
    assert "Not counted: head.custom" in text
    assert "half-width of the 95 % interval" in text


def test_picture_of_the_network(make_run, invented):
    """Breaks when a block or an arrow is missing, or when an arrow to nowhere is drawn or stops the page."""
    page = write_report(make_run()).read_text(encoding="utf-8")
    (picture,) = re.findall(r'<svg [^>]*class="net".*?</svg>', page, flags=re.S)
    ElementTree.fromstring(picture)
    graph = invented["graph.json"]()
    for block in graph["blocks"]:
        assert f">{block['label']}</text>" in picture
    arrows = re.findall(r'<g class="net-(\w+)( net-later)?"><title>([^<]*)</title>', picture)
    assert len(arrows) == len(graph["edges"])
    assert arrows.count(("real", "", "real · 1×28×28")) == 1
    assert ("spikes", " net-later", "binary · 64×7×7") in arrows
    graph["edges"] += [
        {"from": 0, "to": 99, "signals": []},
        {"from": None, "to": 0.5, "signals": None},
        {"from": 2, "to": 2},
    ]
    graph["blocks"].append({"kinds": {"synapse": "many"}, "operations": None, "nodes": None})
    other = write_report(make_run(graph=graph)).read_text(encoding="utf-8")
    (picture,) = re.findall(r'<svg [^>]*class="net".*?</svg>', other, flags=re.S)
    ElementTree.fromstring(picture)
    assert len(re.findall(r'<g class="net-(?:real|spikes)', picture)) == len(arrows) + 2  # and two in the legend


def test_empty_values_show_as_a_dash(make_run, invented):
    """Breaks when a null or missing field reaches the reader as None, null, NaN or undefined."""
    counts, mapping, energy, graph = (invented[f"{n}.json"]() for n in ("counts", "mapping", "energy", "graph"))
    graph |= dict.fromkeys(("name", "timesteps", "inputs", "outputs", "states", "types", "kinds", "verdict", "breaks"))
    for layer in counts["network"]["per_layer"]:
        layer |= {"mac": None, "rate": None, "op": None, "input_type": None}
    counts["network"]["per_layer"][0] = {"name": "stem.conv"}
    counts["signals"] = None
    mapping |= {"traffic": None, "host": None, "limits": {}, "equality": {"images": None}}
    mapping["populations"][0] = {"name": "stem.lif"}
    mapping["cores"][0] = {"id": 0, "x": 0, "y": 0, "population": "stem.lif"}
    for model in energy["models"]:
        model |= {"ends": None, "constants": [{"name": "E_MAC"}], "uncounted": None, "choices": [{"what": None}]}
        model |= {"formulas": None, "break_even": {"total": None, "per_layer": [{"name": "x", "rate": None}]}}
        model["results"] |= {"twin": None, "teacher": {"nominal": 1.0, "drivers": [{}], "parts": [{}]}}
    run = make_run(counts=counts, mapping=mapping, energy=energy, graph=graph, environment={"git": None}, summary={})
    (run / "metrics.jsonl").write_text(
        '{"epoch": 1, "train": {"loss": NaN}, "test": {"loss": 1e999, "accuracy": 0.5}}\n'
    )
    reader = Reader(write_report(run))
    assert "rates" not in reader.sections
    assert not re.search(r"\b(None|NaN|nan|Infinity|undefined|Undefined)\b", reader.text)
    assert not re.search(r"\b(NaN|Infinity)\b", reader.data)


def test_hostile_names_stay_words(make_run, invented):
    """Breaks when a name is put into the page without escaping: into the text, an attribute, or the data block."""
    name = "</script><script>alert(1)</script><img src=x onerror='alert(2)'>\"&"
    counts, mapping, raster = (invented[f"{part}.json"]() for part in ("counts", "mapping", "raster"))
    counts["network"]["per_layer"][1]["name"] = name
    mapping["populations"][0]["name"] = mapping["chip"] = name
    mapping["cores"][0]["population"] = raster["populations"][0]["name"] = raster["label"] = name
    graph = invented["graph.json"]()
    graph["blocks"][0] |= {"label": name, "operations": {name: 2}, "kinds": {name: 1}}
    graph["edges"][0]["signals"][0] |= {"type": name, "shape": [name]}
    graph |= {"verdict": name, "mermaid": name, "kinds": {name: {name: 1}}, "types": {name: 1}, "name": name}
    config = invented["config.json"]()
    config["model"]["name"] = name
    clean = Reader(write_report(make_run()))
    changed = {"counts": counts, "mapping": mapping, "raster": raster, "config": config, "graph": graph}
    reader = Reader(write_report(make_run(**changed)))
    assert reader.tags.count("script") == clean.tags.count("script")
    assert "img" not in reader.tags
    assert reader.text.count("<img") > clean.text.count("<img")
    assert name in json.loads(reader.data)["populations"]


def test_population_keeps_its_colour(make_run):
    """Every data block names the population by the same number, which is the number of its colour."""
    data = json.loads(Reader(write_report(make_run())).data)
    names = data["populations"]
    assert len(set(names)) == len(names) == 8
    for item in [*data["rates"]["layers"], *data["raster"], *data["cores"]["cores"]]:
        assert names[item["population"]] == item["name"]
    layers = {item["name"]: item["population"] for item in data["energy"]["models"][0]["layers"]}
    assert names[layers["block1.conv"]] == "block1.lif"


def test_folder_without_configuration_is_refused(tmp_path):
    for folder, words in ((tmp_path, "no config.json"), (tmp_path / "nowhere", "no such folder")):
        with pytest.raises(ReportError, match=words) as caught:
            write_report(folder)
        assert caught.value.user_error is True
        assert "\n" not in str(caught.value)
        assert "snnkit demo" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("counts.json", '{\n "images": 3,\n "timesteps": \n}', "counts.json, line 4"),
        ("metrics.jsonl", '{"epoch": 1}\n{"epoch": 2\n', "metrics.jsonl, line 2"),
        ("config.json", "[1, 2]", "config.json, line 1: expected a JSON object"),
        ("energy.json", b'{"a":\n "\xff"}', "energy.json, line 2: not UTF-8"),
    ],
)
def test_damaged_file_is_named_with_its_line(make_run, name, content, words):
    """Breaks when the reader gets a bare decoder error, or when a page is left behind."""
    run = make_run()
    (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ReportError, match=re.escape(words)) as caught:
        write_report(run)
    assert "\n" not in str(caught.value)
    assert not (run / "report.html").exists()


def test_failure_leaves_the_earlier_page_alone(make_run, monkeypatch):
    """Breaks when the page is written in place, or when the file beside it stays after a failure."""
    run = make_run()
    page = write_report(run)
    page.write_text("an earlier page")
    before = list(run.iterdir())

    def refuse(*_):
        raise OSError("disk full")

    monkeypatch.setattr("snnkit.files.os.replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        write_report(run)
    assert page.read_text() == "an earlier page"
    assert sorted(run.iterdir()) == sorted(before)


def test_report_imports_nothing_heavy():
    """Breaks when the report starts to need torch or another package of this project."""
    import sys

    folder = Path(__file__).parents[2] / "snnkit" / "report"
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.split(".")[0]
                assert (
                    name.startswith(("snnkit.report", "snnkit.files"))
                    or top == "jinja2"
                    or top in sys.stdlib_module_names
                ), (
                    path,
                    name,
                )


def test_results_of_other_weights_are_left_out_and_said(make_run, invented, capsys):
    """After more training, counts and energies that lie in the folder are those of an earlier network."""
    folder = make_run()
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.safetensors").write_bytes(b"now")
    energy = {**invented["energy.json"](), "weights": hashlib.sha256(b"before").hexdigest()}
    mapping = {**invented["mapping.json"](), "weights": hashlib.sha256(b"now").hexdigest()}
    (folder / "energy.json").write_text(json.dumps(energy))
    (folder / "mapping.json").write_text(json.dumps(mapping))
    found = read_run(folder)
    assert found.energy == {}
    assert found.mapping
    assert len(found.stale) == 1
    write_report(folder)
    assert "snnkit energy" in capsys.readouterr().err


def test_what_a_chip_needs_beside_a_layer_has_the_colour_of_the_layer(make_run, invented):
    """Breaks when relays, copies and parts stand in the key of the page as if they were layers of the network."""
    mapping = invented["mapping.json"]()
    plain = json.loads(Reader(write_report(make_run(mapping=mapping))).data)
    layer = mapping["populations"][0] | {"kind": "neuron"}
    helper = {**layer, "name": f"{layer['name']}.relay1", "kind": "relay"}
    mapping["populations"] = [layer, *mapping["populations"][1:], helper]
    mapping["cores"][-1]["population"] = helper["name"]
    data = json.loads(Reader(write_report(make_run(mapping=mapping))).data)
    assert data["populations"] == plain["populations"]
    shown = data["cores"]["cores"][-1]
    assert (shown["name"], data["populations"][shown["population"]]) == (helper["name"], layer["name"])
