"""What the section about energy says: every model, every interval, every source, and nothing on a shared axis."""

from __future__ import annotations

import json
import re

import pytest

from snnkit.report import priced, write_report
from snnkit.report.read import read_run


def words(page, start, end):
    """The text of the page between two words, without markup."""
    text = re.sub(r"<(script|style)\b.*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.S)
    plain = re.sub(r"[\s\u202f]+", " ", re.sub(r"<[^>]*>", " ", text))
    return plain[plain.index(start) : plain.index(end)]


def section(page):
    """What the section about energy says."""
    return words(page, "What a sample costs", "Per image, as a mean")


def data(page):
    found = re.search(r'id="run-data">(.*?)</script>', page.read_text(encoding="utf-8"), re.S)[1]
    return json.loads(found)["energy"]


def test_invented_numbers_add_up(invented):
    """What the other tests rest on: parts and layers sum to the total, and no driver leaves the interval."""
    for model in invented["energy.json"]()["models"]:
        for result in model["results"].values():
            for end in ("low", "nominal", "high"):
                assert sum(part[end] for part in result["parts"]) == pytest.approx(result[end])
            assert sum(layer["nominal"] for layer in result["per_layer"]) == pytest.approx(result["nominal"])
            for driver in result["drivers"]:
                if driver["kind"] != "samples":
                    assert result["low"] <= driver["low"] <= driver["high"] <= result["high"]


def test_every_model_can_be_chosen_and_says_what_it_prices(make_run):
    """Breaks when a model, its interval, its technology, its scope or an unconfirmed constant is left out."""
    shown = section(write_report(make_run()))
    for said in (
        "45nm 4.33 µJ 1.04 µJ – 4.33 µJ 6.42 times less than the twin 45 nm fp32",
        "45nm-memory 13.2 µJ 1.77 µJ – 21.7 µJ 3.24 times less than the twin 45 nm fp32",
        "loihi 124 µJ 81.1 µJ – 126 µJ 1.73 times less than the twin 14 nm int8",
        "arithmetic and SRAM; no wires, no DRAM",
        "Rests on values that no source confirms: E_SRAM",
        "Models of different technologies are not comparable",
        "(4 time steps, mean of 1 k samples of fashion_mnist)",
        "first layer once",
    ):
        assert said in shown


def test_every_chart_has_its_numbers_formulas_and_sources_in_tables(make_run):
    """Breaks when a number can be read only by pointing at a chart."""
    shown = section(write_report(make_run()))
    for said in (
        "Ordinary twin ± 278 nJ from the samples 19.4 µJ 27.8 µJ 27.8 µJ 6.42",
        "E_AC constant 1.74 µJ 4.33 µJ 2.59 µJ Horowitz, ISSCC 2014, figure 1.1.9",
        "update share what is counted 3.88 µJ 4.33 µJ 454 nJ share of the neuron updates that is charged",
        "block1.conv synapse 1.07 µJ 8.31 µJ 4.15 µJ 16.40 % 128.00 % 7.8 × below",
        "block4.conv synapse 283 nJ 4.15 µJ 2.08 µJ 8.70 % 7.00 % ▲ 1.2 × above",
        "neuron updates 454 nJ 0 J – 454 nJ",
        "updates × share × (E_MAC + E_AC)",
        "E_SRAM 5 pJ 1.25 – 5 Horowitz, ISSCC 2014, figure 1.1.9, 8 kB, 32 bit not confirmed",
        "reads a weight 0.5 0.125 – 1",
    ):
        assert said in shown
    assert "fires at 12.8 % , and costs as much as its twin at 128.0 % : 10 × below ." in shown


def test_kind_of_a_layer_comes_from_the_counts_where_the_prices_have_none(make_run, invented):
    energy = invented["energy.json"]()
    for model in energy["models"]:
        for result in model["results"].values():
            for layer in result["per_layer"]:
                del layer["kind"]
    assert "block1.conv synapse 1.07 µJ" in section(write_report(make_run(energy=energy)))


def test_a_network_above_its_line_is_said_to_be(make_run, invented):
    """Breaks when the direction of the comparison is lost."""
    energy = invented["energy.json"]()
    energy["models"] = energy["models"][:1]
    energy["models"][0]["break_even"]["total"] = {"rate": 0.1, "measured_rate": 0.104, "note": None}
    shown = section(write_report(make_run(energy=energy)))
    assert "fires at 10.4 % , and costs as much as its twin at 10.0 % : 1.04 × above ." in shown


def test_models_under_which_the_network_costs_more_are_named(make_run, invented):
    """Breaks when a reader can take the one model that suits: Loihi's price is above that of the twin without zeros."""
    page = write_report(make_run())
    assert "this network costs more than the cheapest of those: loihi." in section(page)
    assert "Under 1 of 3 models with an ordinary network beside" in section(page)
    head = words(page, "An image costs", "Test accuracy")
    assert "; under 1 of 3 energy models it costs more than the cheapest ordinary network." in head
    energy = invented["energy.json"]()
    energy["models"] = energy["models"][:2]
    assert "Under every one of 2 models with" in section(write_report(make_run(energy=energy)))
    for model in energy["models"]:
        model["results"] = {"network": model["results"]["network"]}
    assert "the cheapest of those" not in section(write_report(make_run(energy=energy)))


def test_backbone_neck_and_head_are_shown_where_there_are_some(make_run, invented):
    energy = invented["energy.json"]()
    assert "Energy of backbone, neck and head" not in section(write_report(make_run()))
    for model in energy["models"]:
        result = model["results"]["network"]
        parts = {"backbone": 0.5, "neck": 0.2, "head": 0.3}
        result["sections"] = [{"name": n, "nominal": share * result["nominal"]} for n, share in parts.items()]
    shown = section(write_report(make_run(energy=energy)))
    assert shown.count("Energy of backbone, neck and head") == len(energy["models"])
    first = shown[shown.index("Energy of backbone, neck and head") :]
    assert re.search(r"backbone .*? 50\.0 % .*neck .*? 20\.0 % .*head .*? 30\.0 %", first)


def test_charts_hold_one_model_each(make_run):
    """Breaks when models are put together: each has its own bars, drivers and layers, of the same entries."""
    found = data(write_report(make_run()))
    assert [model["name"] for model in found["models"]] == ["45nm", "45nm-memory", "loihi"]
    for model in found["models"]:
        assert model["entries"] == ["network", "twin", "twin_skipping"]
        assert len(model["bars"]) == len(model["parts"]) == 3
        assert all(len(layer["sums"]) == 3 for layer in model["layers"])
    assert found["parts"] == {"synapse accumulates": 0, "MACs": 1, "neuron updates": 2, "memory": 3, "other": 4}


def test_parts_of_a_model_look_different_and_keep_their_look(make_run, invented):
    """Breaks when two parts of one model share colour and pattern, or when one changes them with the model."""
    energy = invented["energy.json"]()
    for index, model in enumerate(energy["models"]):
        parts = model["results"]["network"]["parts"]
        parts += [parts[0] | {"name": f"part {index}-{number}"} for number in range(8)]
    found = data(write_report(make_run(energy=energy)))
    fills, models = found["parts"], energy["models"]
    for model in models:
        own = [fills[part["name"]] for part in model["results"]["network"]["parts"]]
        assert len(set(own)) == len(own)
    assert max(fills.values()) < 13, "no more looks than one model has parts"


def test_model_without_a_price_is_named_not_drawn(make_run, invented):
    energy = invented["energy.json"]()
    energy["models"][1]["results"] = {}
    page = write_report(make_run(energy=energy))
    assert [model["name"] for model in data(page)["models"]] == ["45nm", "loihi"]
    assert "Without a price for this network (1): 45nm-memory" in section(page)


def test_refused_models_say_why(make_run, invented):
    energy = invented["energy.json"]() | {"refused": {"loihi1-mapped": "it needs a network mapped on loihi1"}}
    page = section(write_report(make_run(energy=energy)))
    assert "Without a price for this network (1): loihi1-mapped loihi1-mapped it needs a network mapped on" in page


def test_many_incomplete_models_are_folded_away(make_run, invented):
    """Breaks when numbers of chips that leave operations out crowd out what holds everything, or get lost."""
    energy = invented["energy.json"]()
    first = energy["models"][0]
    energy["models"] += [first | {"model": f"chip-{index}", "uncounted": ["pool"]} for index in range(4)]
    page = write_report(make_run(energy=energy))
    assert "4 more, each a lower bound: chip-0, chip-1, chip-2, chip-3" in section(page)
    values = re.findall(r'<input type="radio" name="energy-model" value="(\d+)"', page.read_text(encoding="utf-8"))
    assert sorted(map(int, values)) == list(range(7))


def test_fair_baseline_is_named_where_there_is_no_twin(make_run, invented):
    energy = invented["energy.json"]()
    results = energy["models"][1]["results"]
    results["qnn"] = {"nominal": results["network"]["nominal"] / 2}
    del results["twin"], results["twin_skipping"]
    assert "2 times more than the quantised twin" in section(write_report(make_run(energy=energy)))


def test_incomplete_counts_are_a_lower_bound(make_run, invented):
    energy = invented["energy.json"]()
    energy["models"][0]["uncounted"] = ["head.custom"]
    page = section(write_report(make_run(energy=energy)))
    assert "A lower bound. Not counted: head.custom" in page
    assert page.count("incomplete") == 1


def test_what_moves_nothing_is_counted_not_drawn(make_run, invented):
    """Breaks when a constant with two ends that moves nothing is left out without a word."""
    energy = invented["energy.json"]()
    assert "nothing here" not in section(write_report(make_run(energy=energy)))
    energy["models"][0]["results"]["network"]["unmoved"] = ["E_root", "first layer"]
    energy["models"][1]["results"]["network"]["unmoved"] = ["E_AC"]
    page = section(write_report(make_run(energy=energy)))
    assert "2 more with two ends move nothing here: E_root, first layer." in page
    assert "1 more with two ends moves nothing here: E_AC." in page


def test_files_of_the_first_schema_still_show(make_run, invented):
    """Breaks when an old folder loses its section, its numbers, or the word how to renew it."""
    old = invented["old energy.json"]()
    run = make_run(energy=old)
    page = write_report(run)
    shown = section(page)
    assert "snnkit energy invented-run counts again" in shown
    assert "Ordinary twin 19.4 µJ 27.8 µJ 27.8 µJ 6.42" in shown
    assert "AC × E_AC" in shown
    (model,) = data(page)["models"]
    assert model["drivers"] == []
    block1 = next(layer for layer in model["layers"] if layer["name"] == "block1.conv")
    assert block1["parts"][0] == {priced.WHOLE: block1["sums"][0]}
    assert "an estimated 4.33 µJ, 6.42 times less than the 27.8 µJ" in words(page, "It names", "Test accuracy")


def test_ordinary_network_is_not_called_spiking(make_run, invented):
    counts = invented["counts.json"]()
    counts["network"] = counts["twin"]
    assert priced.label(read_run(make_run()), "network") == "Spiking network"
    run = make_run(counts=counts)
    (run / "graph.json").unlink()
    assert priced.label(read_run(run), "network") == "Network"
