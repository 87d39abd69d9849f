"""The chain from the float network to the chip: what is compared with what, and with which outcome."""

from __future__ import annotations

import re

import pytest

from snnkit.report import write_report
from snnkit.report.conversion import conversion
from snnkit.report.palette import Palette
from snnkit.report.read import read_run

CHIP = ("mapping.json", "raster.json")


def made(make_run, leave_out=CHIP, **changed):
    run = read_run(make_run(leave_out=leave_out, **changed))
    return conversion(run, Palette(run))


def test_chain_says_what_every_arrow_loses(make_run, invented):
    """Breaks when a stage or a word is missing, or when a network that no chip runs looks as if one did."""
    found = made(make_run, conversion=invented["convert.json"]())
    assert [(stage["title"], stage["value"]) for stage in found["stages"]] == [
        ("Float", "91.5\u202f%"),
        ("Quantised", "90.5\u202f%"),
        ("Spiking", "90.5\u202f%"),
        ("Chip", "–"),
    ]
    assert [link["verdict"] for link in found["links"]] == ["approximate", "exact", "not compiled"]
    assert found["links"][0]["detail"] == "outputs by up to 2.3; −1.0 points"
    assert found["links"][1]["detail"] == "0 of 1.97\u202fM codes differ at rest"
    assert found["stages"][1]["note"] == "16 levels, fine-tuned for 2 epochs"
    assert found["stages"][2]["note"] == "events of ±1 … ±4, at rest after 6 steps at the latest"
    assert found["stages"][3]["note"] == "not compiled for a chip"


def test_codes_that_differ_are_not_exact(make_run, invented):
    content = invented["convert.json"]() | {"codes_differ": 60, "logit_error": 0.0312, "verdict": "approximate"}
    page = write_report(make_run(conversion=content)).read_text(encoding="utf-8")
    link = made(make_run, conversion=content)["links"][1]
    assert (link["verdict"], link["style"]) == ("approximate", "approximate")
    assert link["detail"] == "60 of 1.97\u202fM codes differ at rest; outputs by up to 0.031"
    assert "60 of its 1.97\u202fM codes differ at rest" in page


def test_a_chip_of_another_conversion_is_left_out(make_run, invented):
    import json

    content = invented["convert.json"]() | {"network": "aa"}
    for mark, title in (("aa", "87.5\u202f%"), ("bb", "–")):
        run = make_run(leave_out=CHIP, conversion=content)
        (run / "mapping.json").write_text(json.dumps(invented["mapping.json"]() | {"converted": mark}))
        read = read_run(run)
        assert conversion(read, Palette(read))["stages"][3]["value"] == title
        assert bool(read.mapping) == (mark == "aa")


@pytest.mark.parametrize("place", ["converted/mapping.json", "mapping.json"])
def test_mapping_of_the_spiking_form_is_the_last_stage(place, make_run, invented, tmp_path):
    import json

    run = make_run(leave_out=CHIP, conversion=invented["convert.json"]())
    content = invented["mapping.json"]()
    (run / place).write_text(json.dumps(content))
    read = read_run(run)
    found = conversion(read, Palette(read))
    detail = "its registers change 0.2\u202f% of the codes; 0 of 32.6\u202fM events differ from what they then are"
    assert found["links"][2] == {"verdict": "approximate", "style": "approximate", "detail": detail}
    assert found["stages"][3]["value"] == "87.5\u202f%"
    assert found["stages"][3]["note"] == "loihi1, 45 cores"
    content["equality"]["float_mismatches"] = 0
    (run / place).write_text(json.dumps(content))
    read = read_run(run)
    found = conversion(read, Palette(read))
    assert found["links"][2] == {"verdict": "exact", "style": "exact", "detail": "0 of 32.6\u202fM events differ"}
    content = invented["mapping.json"]() | {"equality": None}
    (run / place).write_text(json.dumps(content))
    read = read_run(run)
    assert conversion(read, Palette(read))["links"][2]["verdict"] == "not compared"


def test_operations_of_every_form(make_run, invented):
    """Events of powers of two are accumulates too; float and quantised forms run every multiply-accumulate."""
    table = {row["name"]: row for row in made(make_run, conversion=invented["convert.json"]())["operations"]}
    assert table["Float"]["macs"] == table["Quantised"]["macs"] == 3029248
    assert table["Spiking"] == {"name": "Spiking", "macs": 614656, "accumulates": 1770953, "updates": 56752}


def test_samples_without_labels_are_compared_by_decisions(make_run, invented):
    content = invented["convert.json"]()
    for form in content["forms"]:
        form["accuracy"] = None
    found = made(make_run, conversion=content)
    assert found["measure"] == "agreement"
    assert [stage["value"] for stage in found["stages"]] == ["96.0\u202f%", "100.0\u202f%", "100.0\u202f%", "–"]
    assert found["data"]["lines"] == [{"name": "Quantised", "value": 1.0}]


@pytest.mark.parametrize("content", [{}, {"forms": None}, {"forms": [{}]}, {"forms": [{"name": "float"}], "totals": 3}])
def test_poor_files_leave_no_empty_words(content, make_run):
    page = write_report(make_run(leave_out=CHIP, conversion=content)).read_text(encoding="utf-8")
    text = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.S)
    assert not re.search(r"\b(None|NaN|nan|undefined)\b", re.sub(r"<[^>]*>", " ", text))


def test_command_is_named_for_ordinary_networks_alone(make_run, invented):
    """A spiking network cannot be converted, so its page does not speak of it."""
    command = "snnkit convert invented-run"
    assert command not in write_report(make_run()).read_text(encoding="utf-8")
    graph = invented["graph.json"]() | {"kinds": {"synapse": {"conv": 3}}}
    run = make_run(graph=graph)
    for name in ("counts.json", *CHIP):
        (run / name).unlink()
    page = write_report(run).read_text(encoding="utf-8")
    assert command in page
    assert "snnkit compile" not in page, "no chip takes an ordinary network"


def test_page_of_an_ordinary_network_speaks_of_no_spikes(make_run, invented):
    counts = invented["counts.json"]()
    counts["network"] = counts["twin"]
    content = invented["convert.json"]()
    page = write_report(make_run(leave_out=(*CHIP, "graph.json"), counts=counts, conversion=content))
    text = re.sub(r"[\s\u202f]+", " ", re.sub(r"<[^>]*>", " ", page.read_text(encoding="utf-8")))
    assert "An image costs an estimated 4.33 µJ" in text
    assert "Spikes per image" not in text.split("Learning")[1].split("Energy")[0]
    assert "Converted to spikes it names 90.5 % of 200 samples correctly, 91.5 % before" in text


def test_what_segments_is_right_about_pixels(make_run, invented):
    content = invented["convert.json"]() | {"measure": "pixel accuracy"}
    page = write_report(make_run(leave_out=(*CHIP, "graph.json"), conversion=content))
    text = re.sub(r"[\s\u202f]+", " ", re.sub(r"<[^>]*>", " ", page.read_text(encoding="utf-8")))
    assert "Converted to spikes it names 90.5 % of the pixels of 200 samples correctly" in text
    assert "as trained, accuracy of pixels" in text
