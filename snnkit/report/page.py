"""Put the page together and write it: templates, style sheet, scripts and data in one file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from snnkit.files import atomic_path
from snnkit.report import (
    chip,
    comparison,
    conversion,
    energy,
    headline,
    network,
    pairs,
    pretraining,
    sections,
    values,
)
from snnkit.report.found import section as found
from snnkit.report.palette import Palette
from snnkit.report.read import Run, is_ordinary, read_runs
from snnkit.report.single_file import ASSETS, allowed, asset, embedded, templates

_STYLES = ("style.css",)
_FIRST = "errors.js"
_SCRIPTS = (
    *("core.js", "walk.js", "charts_training.js", "charts_energy.js", "charts_layers.js"),
    *("curves.js", "squares.js", "charts_pairs.js", "charts_found.js", "charts_pretraining.js"),
    *("charts_forms.js", "charts_chip.js", "page.js"),
)

# key, title, function, and the command that adds what is missing (nothing where most runs have no such section)
_SECTIONS = (
    ("training", "Learning", sections.training, "snnkit train"),
    ("pretraining", "Pre-training", pretraining.pretraining, ""),
    ("pairs", "Images and texts", pairs.pairs, ""),
    ("found", "Predictions", found.found, ""),
    ("network", "Network", network.network, "snnkit capture {run}"),
    ("rates", "Firing rates", sections.rates, "snnkit energy {run}"),
    ("energy", "Energy", energy.energy, "snnkit energy {run}"),
    ("comparison", "Runs compared", comparison.comparison, ""),
    ("operations", "Operations", sections.operations, "snnkit energy {run}"),
    ("conversion", "From float to chip", conversion.conversion, ""),
    ("cores", "Core map", chip.cores, "snnkit compile {run}"),
    ("raster", "Spikes of one image", sections.raster, "snnkit simulate {run}"),
    ("equality", "Equality", chip.equality, "snnkit simulate {run}"),
    ("made", "How this was made", sections.made, ""),
)
_OF_SPIKES = ("rates", "cores", "raster", "equality")  # what no command adds to the run of an ordinary network


def write_report(run_folder: str | Path, *others: str | Path) -> Path:
    """Write `report.html` into `run_folder` and return its path; `others` are folders of runs to compare it with.

    The page is a single file that opens without a network. It is made from the JSON and the pictures in the folders: a
    file that is missing leaves its section out. Raises ReportError when a folder is no run folder, is given twice, or
    one of its files is damaged; an earlier report.html then stays as it was.
    """
    run_folder = Path(run_folder)
    run = read_runs([run_folder, *map(Path, others)])
    for note in (*run.stale, *(note for other in run.others for note in other.stale)):
        print(note, file=sys.stderr)
    html = render(run, ASSETS)
    path = run_folder / "report.html"
    with atomic_path(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return path


def render(run: Run, assets: Path) -> str:
    """The whole page as text."""
    palette = Palette(run)
    first, *scripts = (asset(name, assets) for name in (_FIRST, "echarts.min.js", *_SCRIPTS))
    shown, data = [], {"populations": palette.names}
    without = found.unreached(run)
    for key, title, build, command in _SECTIONS:
        content = build(run, palette)
        if content is not None and "data" in content:
            data[key] = content.pop("data")
        if is_ordinary(run):
            command = "snnkit convert {run}" if key == "conversion" else "" if key in _OF_SPIKES else command
        command = "" if key in without else command
        shown.append({"key": key, "title": title, "content": content, "command": command.format(run=run.name)})
    return (
        templates()
        .get_template("page.html.j2")
        .render(
            title=headline.model_name(run),
            recipe=values.text(run.config.get("recipe")),
            created=values.text(run.environment.get("created")),
            sentence=headline.sentence(run),
            tiles=headline.tiles(run),
            key=_key(run, palette),
            sections=shown,
            colours=palette.css(),
            styles=[asset(name, assets) for name in _STYLES],
            first=first,
            scripts=scripts,
            hashes=allowed((first, *scripts)),
            data=embedded(data),
        )
    )


def _key(run: Run, palette: Palette) -> list[dict[str, Any]]:
    """The populations as a strip: name, colour, and how wide its share of the neurons makes it."""
    known = [*values.rows(values.obj(run.counts, "network").get("per_layer"))]
    known += [*values.rows(run.raster.get("populations")), *values.rows(run.mapping.get("populations"))]
    sizes = {values.text(item.get("name")): values.number(item.get("neurons")) for item in known}
    return [
        {"name": name, "population": index, "neurons": sizes.get(name), "share": (sizes.get(name) or 1) ** 0.5}
        for index, name in enumerate(palette.names)
    ]
