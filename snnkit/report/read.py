"""Read the JSON files of a run folder, and say clearly what is wrong when one cannot be read."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from snnkit.files import weights_of
from snnkit.report.found.kinds import KINDS


class ReportError(ValueError):
    """The folder given is no run folder, or one of its files cannot be read; the message is one line."""

    user_error = True


@dataclass(frozen=True)
class Run:
    """The content of a run folder; an optional file that is not there is an empty dictionary or list.

    ``conversion`` and ``converted_mapping`` are what lies in its folder converted/; ``others`` are the runs that this
    one is compared with.
    """

    name: str
    config: dict[str, Any]
    environment: dict[str, Any]
    summary: dict[str, Any]
    metrics: list[dict[str, Any]]
    graph: dict[str, Any]
    counts: dict[str, Any]
    energy: dict[str, Any]
    mapping: dict[str, Any]
    raster: dict[str, Any]
    conversion: dict[str, Any]
    converted_mapping: dict[str, Any]
    others: tuple[Run, ...] = ()
    stale: tuple[str, ...] = ()
    """Files of results that are of other weights than those that lie in the folder now; they are left out."""
    pairs: dict[str, Any] = field(default_factory=dict)
    pretraining: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    """A line for each step, read of image–text runs alone."""
    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What tasks beyond classes left of the last test, by the name of the file."""
    pictures: dict[str, bytes] = field(default_factory=dict)
    """The PNG files that training drew, by name."""


_PICTURES = ("pairs.png", "predictions.png", "reconstructions.png", "views.png")
_RENEWED_BY = {"counts": "snnkit energy", "energy": "snnkit energy", "mapping": "snnkit simulate"}


def is_ordinary(run: Run) -> bool:
    """Whether the run's network is known to have no neurons; nothing known counts as no, for runs are of spiking ones.

    Where neither graph nor counts lie in the folder, what conversion left says so: it takes ordinary networks alone.
    """
    kinds, counted = run.graph.get("kinds"), run.counts.get("network")
    layers = counted.get("per_layer") if isinstance(counted, dict) else None
    found = set(kinds) if isinstance(kinds, dict) else set()
    found |= {str(layer.get("kind")) for layer in layers or [] if isinstance(layer, dict)}
    return "neuron" not in found and bool(found or run.conversion)


def read_runs(folders: Sequence[Path]) -> Run:
    """Read the first of some run folders, with the rest as its `others`; raises ReportError as `read_run` does."""
    places = [folder.resolve() for folder in folders]
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            raise ReportError(f"{folder}: given twice; a run is compared with other runs")
    first, *others = [read_run(folder) for folder in folders]
    return replace(first, others=tuple(others))


def read_run(folder: Path) -> Run:
    """Read every known file of `folder`; raises ReportError when it is no run folder or a file is damaged."""
    if not folder.is_dir():
        raise ReportError(f"{folder}: no such folder; expected the folder of a run, such as `snnkit demo` writes")
    if not (folder / "config.json").is_file():
        raise ReportError(
            f"{folder}: no config.json in it, so it is no run folder; give the folder that `snnkit demo` "
            "or `snnkit train` wrote"
        )
    weights = weights_of(folder)
    results = {name: _read_object(folder / f"{name}.json") for name in _RENEWED_BY}
    stale = tuple(
        name for name, data in results.items() if data.get("weights") and weights and data["weights"] != weights
    )
    results |= {name: {} for name in stale}
    conversion = _read_object(folder / "converted" / "convert.json")
    mapping = _of_conversion(results["mapping"], conversion)
    return Run(
        name=folder.resolve().name,
        config=_read_object(folder / "config.json"),
        environment=_read_object(folder / "environment.json"),
        summary=_read_object(folder / "summary.json"),
        metrics=_read_lines(folder / "metrics.jsonl"),
        graph=_read_object(folder / "graph.json"),
        counts=results["counts"],
        energy=results["energy"],
        mapping=mapping,
        raster=_read_object(folder / "raster.json") if mapping == results["mapping"] else {},
        conversion=conversion,
        converted_mapping=_of_conversion(_read_object(folder / "converted" / "mapping.json"), conversion),
        pairs=_read_object(folder / "pairs.json"),
        pretraining=_read_object(folder / "pretraining.json"),
        memory=_read_object(folder / "memory.json"),
        steps=_read_lines(folder / "steps.jsonl") if (folder / "pairs.json").is_file() else [],
        found={name: _read_object(folder / f"{name}.json") for name in KINDS},
        pictures={name: (folder / name).read_bytes() for name in _PICTURES if (folder / name).is_file()},
        stale=tuple(f"{name}.json is of other weights: left out; {_RENEWED_BY[name]} {folder}" for name in stale),
    )


def _of_conversion(mapping: dict[str, Any], conversion: dict[str, Any]) -> dict[str, Any]:
    """A mapping, unless it is of another conversion than the one that lies in the folder now."""
    return {} if mapping.get("converted") and mapping["converted"] != conversion.get("network") else mapping


def _read_object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    return _parse(_text(path), path.name, 1)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines = enumerate(_text(path).splitlines(), start=1)
    return [_parse(line, path.name, number) for number, line in lines if line.strip()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise ReportError(
            f"{path.name}, line {line}: not UTF-8 text; write the file again with the command that made the run"
        ) from error


def _parse(text: str, name: str, first_line: int) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_constant=lambda _: None, parse_float=_finite, parse_int=_whole)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise ReportError(
            f"{name}, line {line}: not valid JSON ({error.msg}, column {error.colno}); "
            "write the file again with the command that made the run, or remove it"
        ) from error
    if not isinstance(value, dict):
        raise ReportError(f"{name}, line {first_line}: expected a JSON object {{…}}, found a {type(value).__name__}")
    return value


def _whole(digits: str) -> int | None:
    """A whole number too large for a float becomes null too."""
    return int(digits) if len(digits) < 300 else None


def _finite(digits: str) -> float | None:
    """A number too large for a float says nothing: it becomes null like NaN."""
    value = float(digits)
    return value if math.isfinite(value) else None
