"""A person uses the page: on a phone, without a mouse, without colours, with a screen reader."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from support.browser import CHROMIUM, Browser

from snnkit.report import write_report

from .conftest import FILES, converted, write_invented_run

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
WIDTHS = (420, 1280)
ENERGY = ("energy", "energy-drivers", "energy-layers", "energy-rates")

# What sticks out of the page, charts without a size or without room for what they plot, and words in a chart that
# cross each other or its edge.
FAULTS = """(() => {
  const found = [], box = (node) => node.getBoundingClientRect(), wide = document.documentElement.clientWidth;
  const reach = document.documentElement.scrollWidth;
  if (reach > wide) found.push(`the page is ${reach} wide`);
  document.querySelectorAll("main *").forEach((node) => {
    const { width, left, right } = box(node);
    if (width && (right > wide + 1 || left < -1) && !node.closest(".scroll, svg, .unseen, .tile"))
      found.push(`${node.tagName}.${node.className} sticks out`);
  });
  Report.charts.forEach(({ chart, element }, id) => {
    if (element.closest("[hidden]")) return;
    const { width, height } = box(element);
    if (width < 100 || height < 60) found.push(`${id} is ${width} × ${height}`);
    const plot = chart.getModel().getComponent("grid")?.coordinateSystem.getRect();
    if (plot && (plot.width < width * 0.4 || plot.height < 20)) found.push(`${id} leaves ${plot.width} for its plot`);
    const words = [...element.querySelectorAll("svg text")].filter((text) => text.textContent.trim())
      .map((text) => [text.textContent, box(text)]);
    words.forEach(([one, a], index) => {
      if (a.left < box(element).left - 1 || a.right > box(element).right + 1) found.push(`${id}: ${one} is cut off`);
      words.slice(index + 1).forEach(([other, b]) => {
        const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        if (across > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3)
          found.push(`${id}: ${one} crosses ${other}`);
      });
    });
  });
  return found;
})()"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A run with everything, compared with two others."""
    folder = tmp_path_factory.mktemp("compared")
    energy = FILES["energy.json"]()
    for model in energy["models"]:
        for result in model["results"].values():
            result |= {end: result[end] * 0.4 for end in ("low", "nominal", "high")}
    run = write_invented_run(folder / "a", conversion=converted())
    return write_report(run, write_invented_run(folder / "b", energy=energy), write_invented_run(folder / "c"))


@pytest.fixture(scope="module")
def deep_page(tmp_path_factory):
    """Energy of a network of 120 layers with long names, under ten models, beside four networks."""
    energy = FILES["energy.json"]()
    names = [f"model.stages.{i // 10}.blocks.{i % 10}.attention.query_projection" for i in range(120)]
    for model in energy["models"]:
        results = model["results"]
        results |= {"qnn": results["twin_skipping"], "teacher": results["twin"]}
        for result in results.values():
            rows = result["per_layer"]
            result["per_layer"] = [rows[(i * 2) % 12] | {"name": name} for i, name in enumerate(names)]
        rates = [{"name": name, "rate": 0.01 + i / 400, "break_even": 0.25} for i, name in enumerate(names)]
        model["break_even"]["per_layer"] = rates
    energy["models"] = [
        model | {"model": f"{model['model']}-{copy}"} for copy in range(4) for model in energy["models"]
    ][:10]
    return write_report(write_invented_run(tmp_path_factory.mktemp("deep") / "run", energy=energy))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as found:
        yield found
    assert found.errors == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("which", ["page", "deep_page"])
def test_everything_fits(which, width, dark, browser, request):
    """Breaks when something is wider than a phone, a chart has no size, or words lie on each other."""
    browser.open(request.getfixturevalue(which), width, dark=dark)
    assert browser.run(FAULTS) == []
    for model in range(1, 3):
        browser.run(f"document.querySelectorAll('[name=energy-model]')[{model}].click()")
        assert browser.run(FAULTS) == []
    assert browser.errors == []


def test_keys_choose_the_model(page, browser):
    """Breaks when the models can be chosen with a mouse alone, or when words of one stand beside another's charts."""
    browser.open(page, 1280)
    browser.run("document.querySelector('[name=energy-model]').focus()")
    shown = (
        "[...document.querySelectorAll('#energy .model-words:not([hidden]) p:first-child')]"
        ".map((node) => node.textContent)"
    )
    bars = "Report.charts.get('energy').chart.getOption().yAxis[0].axisLabel.formatter('Teacher', 0)"
    assert browser.run(shown) == ["operations in 45 nm CMOS at 0.9 V. arithmetic; no memory, no wires"]
    assert "4.33" in browser.run(bars)
    browser.press("ArrowRight")
    assert browser.run(shown) == ["operations and memory in 45 nm CMOS. arithmetic and SRAM; no wires, no DRAM"]
    assert "13.2" in browser.run(bars)
    tables = "[...document.querySelectorAll('[data-model]:not([hidden])')].map((node) => node.dataset.model)"
    assert set(browser.run(tables)) == {"1"}


@pytest.mark.parametrize(
    ("chart", "keys", "says"),
    [
        ("energy", ["ArrowRight"], "synapse accumulates · Spiking network; Nominal 2.84"),
        ("energy", ["ArrowRight"], "AC × E_AC; Sources: constants, below."),
        ("energy", ["ArrowRight", "ArrowRight"], "MACs · Spiking network; Nominal 1.04"),
        ("energy", ["End"], "neuron updates · Spiking network"),
        ("energy-drivers", ["ArrowDown"], "E_AC; Lowest total 1.74"),
        ("energy-layers", ["ArrowDown"], "stem.conv · synapse;  Spiking network Ordinary twin; Sum 1.04"),
        ("energy-rates", ["End"], "fc1.linear; Rate 12.10"),
        ("energy-rates", ["End", "ArrowUp"], "The rate is ▲ 1.2 × above"),
        ("conversion", ["Home"], "T = 1; Spiking 78.00"),
        ("comparison", ["ArrowRight", "ArrowRight"], "B · b; Accuracy 87.40"),
    ],
)
def test_keys_go_through_a_chart(chart, keys, says, page, browser):
    """Breaks when a value or a formula is reachable with a mouse alone."""
    browser.open(page, 1280)
    browser.run(f"document.getElementById('chart-{chart}').focus()")
    for key in keys:
        browser.press(key)
    said = "document.getElementById('walk-says').textContent"
    assert says in browser.run(said).replace("\u202f", " ")
    browser.press("Escape")
    assert browser.run(said) == ""


def test_no_keyboard_trap(page, browser):
    """Breaks when Tab stays inside a chart."""
    browser.open(page, 1280)
    browser.run("document.getElementById('chart-energy').focus()")
    browser.press("ArrowRight")
    browser.press("Tab")
    assert browser.run("document.activeElement.id") != "chart-energy"


def test_parts_differ_without_colours(page, browser):
    """Breaks when two parts of a stack can be told apart by their colour alone."""
    browser.open(page, 1280)
    browser.run("document.querySelectorAll('[name=energy-model]')[1].click()")
    patterns = browser.run(
        "Report.charts.get('energy').chart.getOption().series.filter((s) => s.type === 'bar')"
        ".map((s) => { const { color, ...shape } = s.itemStyle.decal; return JSON.stringify(shape); })"
    )
    assert len(patterns) == len(set(patterns)) == 5
    assert browser.run("document.querySelectorAll('#chart-energy svg pattern').length") >= 4


def test_what_a_screen_reader_meets(page, browser):
    """Breaks on a chart or a choice without a name, a skipped heading, or a chart's innards read out as loose words."""
    browser.open(page, 1280)
    nodes = browser.send("Accessibility.getFullAXTree")["nodes"]
    met = [
        (node["role"]["value"], node.get("name", {}).get("value", ""), node)
        for node in nodes
        if not node.get("ignored") and "role" in node
    ]
    figures = [name for role, name, _ in met if role == "figure"]
    assert len([name for name in figures if "table" in name]) == len(ENERGY) + 2
    assert all(name for role, name, _ in met if role in ("figure", "button", "radio", "link", "table", "image"))
    radios = [name for role, name, _ in met if role == "radio"]
    assert [name.split()[0] for name in radios] == ["45nm", "45nm-memory", "loihi"]
    assert all("than the twin" in name for name in radios)
    levels = [
        next(prop["value"]["value"] for prop in node["properties"] if prop["name"] == "level")
        for role, _, node in met
        if role == "heading"
    ]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert not [name for role, name, _ in met if role == "StaticText" and name == "nominal 4.33\u202fµJ"]


def test_switching_the_network_beside(page, browser):
    browser.open(page, 1280)
    assert "ordinary twin" in browser.run("document.getElementById('energy-layers-note').textContent")
    browser.run("document.querySelector('[data-switch=energy-layers] [data-view=twin_skipping]').click()")
    assert "twin, zeros skipped" in browser.run("document.getElementById('energy-layers-note').textContent")
    option = browser.run(
        "JSON.stringify(Report.charts.get('energy-layers').chart.getOption().series.filter((s) => s.stack === 'beside')"
        ".map((s) => s.data))"
    )
    macs = json.loads(option)[1]
    assert macs[2] == pytest.approx(1806336 * 4.6e-6 / 2, rel=1e-4)


def test_compared_models_switch_table_and_chart(page, browser):
    browser.open(page, 1280)
    table = "document.querySelector('[data-comparison]:not([hidden]) caption').textContent"
    assert browser.run(table) == "The runs compared under 45nm"
    browser.run("document.querySelector('[data-select=comparison]').focus()")
    browser.press("End")
    assert browser.run(table) == "The runs compared under loihi"
    assert "loihi" in browser.run("Report.charts.get('comparison').chart.getOption().xAxis[0].name")
