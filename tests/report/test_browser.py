"""A browser opens the page from a file: no errors, every chart drawn, views switch, tables sort."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from snnkit.report import write_report
from snnkit.report.single_file import digest

CHROMIUM = shutil.which("chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    *("--window-size=1400,1000", "--virtual-time-budget=5000", "--dump-dom"),
)
ENERGY = ["energy", "energy-drivers", "energy-layers", "energy-rates"]
CHARTS = ["training", "rates", *ENERGY, "cores", *(f"raster-{panel}" for panel in range(8))]
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

# Presses every switch and every heading, points at every chart, and redraws for another theme.
USE = """<script>addEventListener("load", () => setTimeout(() => {
  document.querySelectorAll("[data-switch] button, table.sortable thead th").forEach((item) => item.click());
  document.querySelectorAll("#cores-populations tbody tr").forEach((row) => row.dispatchEvent(new Event("mouseenter")));
  const tips = new Set();
  Report.charts.forEach(({ chart, element }) => chart.getOption().series.forEach((_, seriesIndex) => {
    chart.dispatchAction({ type: "showTip", seriesIndex, dataIndex: 0 });
    tips.add(element.querySelector(".tip")?.textContent ?? "");
  }));
  document.documentElement.dataset.tips = [...tips].join("|");
  document.documentElement.dataset.first = document.querySelector("#operations tbody th").textContent;
  document.getElementById("theme").click();
}, 200));</script></body>"""


def opened(page: Path, profile: Path) -> str:
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", page.resolve().as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def attribute(dom: str, name: str) -> str | None:
    found = re.search(rf'<html[^>]*\sdata-{name}="([^"]*)"', dom)
    return found[1] if found else None


def drawn(dom: str, chart: str) -> bool:
    return re.search(rf'id="chart-{chart}"[^>]*>\s*<div[^>]*>\s*<(svg|canvas)', dom) is not None


def used(page: Path) -> Path:
    head, tail = page.read_text(encoding="utf-8").rsplit("</body>", 1)
    content = re.search(r"<script>(.*)</script>", USE, re.S)[1]
    head = head.replace("script-src ", f"script-src '{digest(content)}' ", 1)  # or the page would not let it run
    page.write_text(head + USE + tail, encoding="utf-8")
    return page


def test_every_chart_is_drawn_without_an_error(make_run, tmp_path):
    """Breaks on any script error, on anything the page tries to load, and on a chart that stays empty."""
    dom = opened(write_report(make_run()), tmp_path / "profile")
    assert attribute(dom, "errors") == "0", attribute(dom, "last-error")
    assert attribute(dom, "ready") == "yes"
    assert attribute(dom, "charts") == str(len(CHARTS))
    assert [chart for chart in CHARTS if not drawn(dom, chart)] == []


def test_page_can_be_used(make_run, tmp_path):
    """Breaks when a switch, a heading, a tooltip or the theme raises an error or shows an empty value."""
    dom = opened(used(write_report(make_run())), tmp_path / "profile")
    assert attribute(dom, "errors") == "0", attribute(dom, "last-error")
    tips = attribute(dom, "tips")
    assert "of 1,048,576" in tips, "a core shows its load against the limit"
    assert "MAC × E_MAC" in tips, "a part of the energy shows its formula"
    assert not re.search(r"undefined|NaN|null", tips)
    assert attribute(dom, "first") == "stem.lif", "the last heading sorts by neuron updates, most first"


def test_hostile_and_empty_values_raise_no_error(make_run, invented, tmp_path):
    """Breaks when a tooltip puts a name into the page as markup, or when a chart cannot bear a missing value."""
    name = "</script><img src=x onerror=alert(1)>"
    counts, mapping, energy, raster = (invented[f"{part}.json"]() for part in ("counts", "mapping", "energy", "raster"))
    counts["network"]["per_layer"][1] |= {"name": name, "neurons": None, "spikes": None}
    energy["models"][0]["formulas"] = {name: name}
    energy["models"][0]["results"]["network"]["parts"][0] |= {"name": name, "low": None}
    energy["models"][0]["results"]["twin"] = {"nominal": 3.0}
    energy["models"][0]["break_even"] = {"per_layer": [{"name": name, "rate": 0, "break_even": 0.1}, {"rate": 0.1}]}
    mapping["cores"][0] = {"id": None, "x": 0, "y": 0, "population": name}
    mapping["limits"] = {}
    raster["populations"][0] |= {"name": name, "neurons": None}
    run = make_run(counts=counts, mapping=mapping, energy=energy, raster=raster)
    (run / "metrics.jsonl").write_text('{"epoch": 1, "test": {"accuracy": 0.5}}\n{"test": {"accuracy": null}}\n')
    dom = opened(used(write_report(run)), tmp_path / "profile")
    assert attribute(dom, "errors") == "0", attribute(dom, "last-error")
    assert attribute(dom, "ready") == "yes"
    assert not re.search(r"<img\b", re.sub(r"<script.*?</script>", "", dom, flags=re.S))
    assert not re.search(r"undefined|NaN|null", attribute(dom, "tips"))


HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def poisoned(value):
    """The same JSON with markup for every word."""
    if isinstance(value, dict):
        return {key: poisoned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return HOSTILE if isinstance(value, str) else value


@pytest.mark.parametrize("parts", [("energy",), ("counts", "mapping", "raster", "graph", "config", "environment")])
def test_markup_in_any_word_of_a_run_stays_words(parts, make_run, invented, tmp_path):
    """Breaks when one word of a file, such as the unit of an energy, gets into the page as markup."""
    run = make_run(**{part: poisoned(invented[f"{part}.json"]()) for part in parts})
    page = used(write_report(run))
    assert not re.search(r"<img\b", re.sub(r"<script.*?</script>", "", page.read_text(encoding="utf-8"), flags=re.S))
    dom = opened(page, tmp_path / "profile")
    assert attribute(dom, "errors") == "0", attribute(dom, "last-error")
    assert not re.search(r"<img\b", re.sub(r"<script.*?</script>", "", dom, flags=re.S))
    if "energy" in parts:
        assert "img src=x" in attribute(dom, "tips"), "the unit is shown, as words"


def test_a_script_that_gets_in_does_not_run(make_run, tmp_path):
    """The content policy names the page's own scripts: neither another one nor a handler runs."""
    page = write_report(make_run())
    evil = "document.documentElement.dataset.evil = 'ran'"
    content = page.read_text(encoding="utf-8")
    assert "'unsafe-inline'" not in re.search(r"script-src ([^;]*);", content)[1]
    page.write_text(content.replace("<main", f'<script>{evil}</script><img src=x onerror="{evil}"><main'), "utf-8")
    dom = opened(page, tmp_path / "profile")
    assert attribute(dom, "ready") == "yes"
    assert attribute(dom, "evil") is None
    assert int(attribute(dom, "errors")) >= 2, "what the policy kept out is counted"
