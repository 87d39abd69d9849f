"""An audit for a terminal of 80 columns, or for a pipe."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from snnkit.report.values import GAP, joules, percent, plural, si

_ROWS = 24
_WORK = ("synaptic_events", "mac", "dense_macs", "divisions", "exponentials", "roots")
NOISE = "RATES ARE NOT THOSE OF THE PUBLISHED NETWORK"


def show(found: dict[str, Any], console: Console, all_layers: bool = False) -> None:
    """Print an audit."""
    _subject(found, console)
    _verdict(found["verdict"], console)
    console.print()
    _layers(found, console, all_layers)
    console.print()
    _energies(found, console)
    for claim in found["claims"]:
        console.print()
        _claim(claim, console)
    _ends(found, console)


def plain(words: str) -> str:
    """Text without the narrow spaces that web pages want between numbers and units."""
    return words.replace(GAP, " ")


def warning(subject: dict[str, Any]) -> str:
    """Return what makes the rates worthless, in one sentence; "" where they are measured."""
    if subject["measured"]:
        return ""
    reasons = [words for words, is_so in (("noise as input", subject["noise"]),) if is_so]
    reasons += ["untrained weights"] if subject["trained"] is False else []
    missing = [words for words, is_so in (("--data", subject["noise"]),) if is_so]
    missing += ["--weights"] if subject["trained"] is False and subject["kind"] == "published code" else []
    way = f" Give {' and '.join(missing)} for its own." if missing else ""
    return f"{NOISE}: {' and '.join(reasons)}.{way}"


def facts(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what is known of the network and its samples, as pairs."""
    about = found["subject"]
    shape = "×".join(map(str, about["input"]))
    same = ", the same at every step" if about["static_input"] and about["timesteps"] > 1 else ""
    rows = [
        ("network", f"{about['name']}, {about['kind']}" + (f", T={about['timesteps']}" if about["spiking"] else "")),
        ("input", f"{shape} {about['input_type']}{same}"),
        ("samples", f"{about['samples']:,} of {about['data']}"),
        ("weights", about["weights"]),
    ]
    if about["steps_equal"] is not None:
        error = about["steps_equal"]
        how = "equal to its own forward" if error == 0 else f"as its own forward, to {error:.1g} of the largest output"
        rows.append(("steps", f"{how}, in float64 on random samples"))
    rows += [("counted", ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in about["conventions"].items()))]
    return [(name, words) for name, words in [*rows, *(("note", note) for note in about["notes"])] if words]


def verdict_lines(verdict: dict[str, Any]) -> list[str]:
    """Return the verdict in words: the first edge that breaks it, how many others there are, graded events."""
    lines = [verdict["words"]]
    if verdict["breaks"] > 1:
        lines.append(f"and {verdict['breaks'] - 1:,} more edges")
    graded = verdict["graded"]
    if graded["layers"]:
        lines.append(
            f"{graded['layers']:,} layers read events other than 0 and 1, first {graded['first']}: an event of level "
            "k is k additions, and hardware of binary spikes does not run it"
        )
    return lines


def refusals(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (models, why) for those that gave no estimate, alike reasons together."""
    reasons: dict[str, list[str]] = {}
    for one in found["energy"]:
        if one["refused"]:
            reasons.setdefault(one["refused"], []).append(one["model"])
    return [(", ".join(models), why) for why, models in reasons.items()]


def _subject(found: dict[str, Any], console: Console) -> None:
    console.print(found["subject"]["title"], style="bold")
    for name, words in facts(found):
        _line(name, words, console)
    loud = warning(found["subject"])
    if loud:
        console.print()
        console.print(f"!! {loud}", style="bold red", soft_wrap=False)
        console.print()


def _line(name: str, words: str, console: Console) -> None:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=8, style="dim")
    table.add_column(overflow="fold")
    table.add_row(name, words)
    console.print(table, soft_wrap=False)


def _verdict(verdict: dict[str, Any], console: Console) -> None:
    for index, words in enumerate(verdict_lines(verdict)):
        _line("" if index else "verdict", words, console)


def _layers(found: dict[str, Any], console: Console, all_layers: bool) -> None:
    layers = [row for row in found["layers"] if row["rate"] is not None or any(row[name] for name in _WORK)]
    largest = sorted(layers, key=lambda row: -(row["mac"] + row["synaptic_events"] + (row["spikes"] or 0)))
    kept = {row["name"] for row in (layers if all_layers else largest[:_ROWS])}
    twin = found["totals"]["twin"] is not None
    table = Table("layer", "reads", "rate", "AC", "MAC", "dense", box=None, padding=(0, 1, 0, 0))
    if twin:
        table.add_column("twin")
    for column in table.columns[2:]:
        column.justify = "right"
        column.no_wrap = True
    table.columns[0].overflow = table.columns[1].overflow = "fold"
    for row in layers:
        if row["name"] in kept:
            table.add_row(*_row(row, twin))
    totals = found["totals"]
    rate = _percent(totals["mean_rate"])
    own, other = totals["network"], totals["twin"]
    cells = ["total", "", rate, *(_si(own[name]) for name in ("synaptic_events", "mac", "dense_macs"))]
    table.add_row(*cells, *([_si(other["mac"])] if twin else []), style="bold")
    console.print(table, soft_wrap=False)
    if len(kept) < len(layers):
        console.print(f"… the {len(kept)} that do most, of {len(layers)}; --layers for all")
    if totals["silent"]:
        shown = ", ".join(totals["silent"][:3]) + (" …" if len(totals["silent"]) > 3 else "")
        console.print(f"{plural(len(totals['silent']), 'layer')} of neurons never fired: {shown}", soft_wrap=False)


def _row(row: dict[str, Any], twin: bool) -> list[str]:
    mark = " ×1" if row["static"] and row["mac"] else ""
    work = [_si(row[name]) if row[name] else "" for name in ("synaptic_events", "mac", "dense_macs")]
    own = [row["name"], row["reads"] + mark, _percent(row["rate"]), *work]
    return [*own, *([_si(row["twin_mac"]) if row["twin_mac"] else ""] if twin else [])]


def _si(value: Any) -> str:
    return plain(si(value))


def _percent(value: Any) -> str:
    return plain(percent(value)) if value is not None else ""


def ordinary(one: dict[str, Any]) -> str:
    """Return the name of the entry that stands beside the network: its twin, or that in few bits; "" where neither."""
    return next((name for name in ("twin", "qnn") if name in one["results"]), "")


def _energies(found: dict[str, Any], console: Console) -> None:
    table = Table("energy a sample", "node", "low", "nominal", "high", box=None, padding=(0, 1, 0, 0))
    beside = any(ordinary(one) for one in found["energy"])
    for name in ("twin", "twin/net", "no zeros") if beside else ():
        table.add_column(name)
    for column in table.columns[1:]:
        column.justify = "right"
        column.no_wrap = True
    for one in found["energy"]:
        if one["results"]:
            table.add_row(*_energy_row(one, beside))
    formula, rest = found["formula"], [""] * 3 * beside
    table.add_row("papers' formula", "45", "", plain(joules(formula["once"]["mj"], "mJ")), "", *rest)
    if formula["each_step"]["mj"] != formula["once"]["mj"]:
        table.add_row("… first layer × T", "45", "", plain(joules(formula["each_step"]["mj"], "mJ")), "", *rest)
    console.print(table, soft_wrap=False)
    if beside:
        console.print("twin: the ordinary network of the same layers; no zeros: its zeros skipped", style="dim")
    console.print("Models of different processes are not compared with one another.", style="dim")
    marks = {"*": "a lower bound: something has no price", "?": "hangs on constants that were not checked"}
    for sign, words in marks.items():
        if any(sign in _mark(one) for one in found["energy"] if one["results"]):
            console.print(f"{sign} {words}", style="dim")
    for models, why in refusals(found):
        console.print(f"not by {models}: {why}", soft_wrap=False, style="dim")
    for words in break_evens(found):
        console.print(words, soft_wrap=False)


def break_evens(found: dict[str, Any]) -> list[str]:
    """Return the firing rate below which the network takes less than its twin, of the first model that has one."""
    for one in found["energy"]:
        total = (one["break_even"] or {}).get("total") or {}
        if total.get("rate") is not None:
            rate, measured = _percent(total["rate"]), _percent(total["measured_rate"])
            if not total["rate"]:
                return [
                    f"By {one['model']} what hangs on no spike alone takes more than its twin: no rate is low enough."
                ]
            return [f"By {one['model']} it takes less than its twin below a firing rate of {rate}; here {measured}."]
    return []


def _energy_row(one: dict[str, Any], beside: bool) -> list[str]:
    own = [plain(joules(one["results"]["network"][end], one["unit"])) for end in ("low", "nominal", "high")]
    node = "" if one["technology_nm"] is None else f"{one['technology_nm']:g}"
    row = [one["model"] + _mark(one), node, *own]
    if not beside:
        return row
    other = ordinary(one)
    return [*row, *(_nominal(one, other), _ratio(one, other), _nominal(one, "twin_skipping"))]


def _nominal(one: dict[str, Any], entry: str) -> str:
    return plain(joules(one["results"][entry]["nominal"], one["unit"])) if entry in one["results"] else ""


def _ratio(one: dict[str, Any], entry: str) -> str:
    return f"{one['ratios'][entry]:.3g}×" if entry in one["ratios"] else ""


def _mark(one: dict[str, Any]) -> str:
    return " *" * bool(one["uncounted"]) + " ?" * bool(one["assumed"])


def _claim(claim: dict[str, Any], console: Console) -> None:
    verdict = {True: "holds", False: "does not follow", None: "not judged: these rates are not the network's own"}
    counted = f"counted {claim['counted']:.4g} {claim['unit']}"
    console.print(f"claimed {claim['claim']}; {counted}; {verdict[claim['holds']]}", style="bold", soft_wrap=False)
    for words in needed(claim):
        console.print(words, soft_wrap=False)
    if not claim["explanations"]:
        console.print("no known error leads there", soft_wrap=False)
    for one in claim["explanations"][:4]:
        sign = "error" if one["error"] else "holds"
        console.print(f"  {sign}: {one['words']} ({one['difference']:+.1%})", soft_wrap=False)


def needed(claim: dict[str, Any]) -> list[str]:
    """Return what would have to hold for a claim to be true, in sentences."""
    lines = [f"to be true: {claim['must_hold']}"]
    if claim["implied_rate"]:
        once, each = (claim["implied_rate"][way] for way in ("once", "each_step"))
        other = f" ({_percent(each)} with the first layer at every step)" if each != once else ""
        lines.append(f"by the papers' formula: a firing rate of {_percent(once)} in every layer{other}")
    return [*lines, *(claim[key] for key in ("or", "left_out") if claim[key])]


def _ends(found: dict[str, Any], console: Console) -> None:
    if not found["complete"]:
        console.print(f"INCOMPLETE: not counted: {', '.join(found['uncounted'])}", style="bold red", soft_wrap=False)
    if found["strict"]:
        console.print()
        console.print(f"strict: {plural(len(found['strict']), 'reason')} not to let this pass", style="bold")
        for reason in found["strict"]:
            console.print(f"  {reason}", soft_wrap=False)
