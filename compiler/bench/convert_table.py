"""The rows of ``compiler.bench.convert`` as Markdown tables; what was not measured is a dash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Rows = Sequence[dict[str, Any]]
_SPIKING = {"T = 1": "T = 1", "2": "T = 2", "4": "T = 4", "8": "T = 8", "rest": "at rest"}
_ENERGIES = {
    "float, fp32": "float, energy in 32-bit floats",
    "float, int8": "float, energy in 8-bit integers",
    "quantised, int8": "quantised, energy in 8-bit integers",
    "zeros skipped, int8": "quantised, zeros skipped, energy in 8-bit integers",
    "spiking, fp32": "spiking until rest, energy in 32-bit floats",
    "spiking, int8": "spiking until rest, energy in 8-bit integers",
}


def tables(rows: Rows) -> str:
    """Return accuracies, prices, other ways to spikes, and what peers refused."""
    found = [accuracies(rows), energies(rows), fair(rows), others(rows), refusals(rows)]
    return "\n\n".join(one for one in found if one.count("\n") > 1)


def accuracies(rows: Rows) -> str:
    """Float, quantised and spiking forms, events, and whether bars were reached."""
    lines = []
    for case, named in _converted(rows).items():
        spiking = [named.get(f"spiking, K = 2, {t}") for t in _SPIKING.values()]
        rest, differ = spiking[-1] or {}, named.get("codes that differ at rest", {})
        first = named.get("K = 2: first T within a point of the quantised", {})
        plain, tuned = (named.get(f"quantised, L = 16, {how}") for how in ("not fine-tuned", "fine-tuned"))
        cells = [case, f"{named['float']['parameters']:,}"]
        cells += [_percent(one) for one in (named["float"], plain, tuned)]
        cells += [_percent(named.get("quantised, on the images of the spiking form")), *map(_percent, spiking)]
        cells += [str(rest.get("steps", "–")), f"{rest['events_per_neuron']:.2f}" if rest else "–"]
        cells += [f"{differ['value']} {differ['unit']}" if differ else "–", _bar(first)]
        lines.append(cells)
    head = ["network", "parameters", "float", "L = 16", "fine-tuned", "the same, fewer images", *_SPIKING]
    return _markdown([*head, "steps", "events", "codes differ", "within a point"], lines)


def energies(rows: Rows) -> str:
    """Arithmetic of the forms, µJ an image."""
    lines = []
    for case, named in _converted(rows).items():
        values = [named.get(variant) for variant in _ENERGIES.values()]
        lines.append([case, *(f"{one['value']:.2f}" if one else "–" for one in values)])
    return _markdown(["network, µJ", *_ENERGIES], lines)


def fair(rows: Rows) -> str:
    """The quantised network with as many bits as T steps of spikes tell apart."""
    lines = []
    for case, named in _converted(rows).items():
        found = [one for variant, one in named.items() if "(fair for T" in variant]
        lines.append([case, *map(_percent, found)])
    return _markdown(["network", "1 bit (T = 1)", "2 bits (T = 2)", "3 bits (T = 4)", "4 bits (T = 8)"], lines)


def others(rows: Rows) -> str:
    """Rate coding, peers and direct training, by number of steps."""
    steps = (1, 2, 4, 8, 16, 32)
    found: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for row in rows:
        name, mark, step = row["variant"].rpartition(", T = ")
        if mark and step.isdigit() and not name.startswith("spiking"):
            found.setdefault((row["case"], name), {})[int(step)] = row
        elif row["variant"].startswith("taught by"):
            found[row["case"], row["variant"]] = {int(row["case"].rpartition(" = ")[2]): row}
    lines = [[*key, *(_percent(by_step.get(t)) for t in steps)] for key, by_step in found.items()]
    return _markdown(["network", "how", *(f"T = {t}" for t in steps)], lines)


def refusals(rows: Rows) -> str:
    """What peers did not convert, and why."""
    lines = [[row["case"], row["variant"], row["why"].replace("|", "/")] for row in rows if "why" in row]
    return _markdown(["network", "how", "why not"], lines)


def _converted(rows: Rows) -> dict[str, dict[str, dict[str, Any]]]:
    """Return case → variant → row of the networks that were converted."""
    cases: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        cases.setdefault(row["case"], {})[row["variant"]] = row
    return {case: named for case, named in cases.items() if "float" in named}


def _percent(row: dict[str, Any] | None) -> str:
    return "–" if row is None else f"{row['value']:.2f}"


def _bar(row: dict[str, Any]) -> str:
    if not row:
        return "–"
    return f"T = {row['value']} ({'reached' if row['reached'] else 'NOT reached'}: {row['bar']})"


def _markdown(head: list[str], lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines))
