"""An audit as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from compiler.auditing.terminal import break_evens, facts, needed, ordinary, plain, refusals, verdict_lines, warning
from snnkit.report.values import joules, percent, si


def text(found: dict[str, Any]) -> str:
    """Return an audit as Markdown."""
    return "\n".join(_lines(found))


def _lines(found: dict[str, Any]) -> Iterable[str]:
    yield f"# Audit of {_cell(found['subject']['title'])}"
    yield ""
    loud = warning(found["subject"])
    if loud:
        yield f"> **{loud}**"
        yield ""
    yield from _table(("", ""), facts(found))
    yield "## Verdict"
    yield ""
    for words in verdict_lines(found["verdict"]):
        yield f"- {_cell(words)}"
    yield ""
    if found["claims"]:
        yield from _claims(found["claims"])
    yield from _energy(found)
    yield from _layers(found)
    if not found["complete"]:
        yield f"**Incomplete**: not counted: {', '.join(map(_cell, found['uncounted']))}"
    for reason in found["strict"] or ():
        yield f"- strict: {_cell(reason)}"


_HOLDS = {True: "holds.", False: "does not follow.", None: "not judged: these rates are not its own."}


def _claims(claims: Sequence[dict[str, Any]]) -> Iterable[str]:
    yield "## Claims"
    yield ""
    rows = []
    for one in claims:
        why = "; ".join(
            f"{'error' if e['error'] else 'holds'}: {e['words']} ({e['difference']:+.1%})" for e in one["explanations"]
        )
        true = "; ".join(words.rstrip(".") for words in needed(one)).removeprefix("to be true: ")
        counted = f"{one['counted']:.4g} {one['unit']}"
        rows.append((one["claim"], counted, _HOLDS[one["holds"]], true, why or "no known error leads there"))
    yield from _table(("claimed", "counted", "", "to be true", "what leads there"), rows)


def _energy(found: dict[str, Any]) -> Iterable[str]:
    yield "## Energy of a sample"
    yield ""
    rows = []
    for one in found["energy"]:
        if not one["results"]:
            continue
        ends = (_joules(one, "network", end) for end in ("low", "nominal", "high"))
        other = ordinary(one)
        ratio = f"{one['ratios'][other]:.3g}×" if other in one["ratios"] else ""
        node = "" if one["technology_nm"] is None else f"{one['technology_nm']:g} nm"
        marks = [*(["lower bound"] if one["uncounted"] else []), *(["unchecked constants"] if one["assumed"] else [])]
        beside = (_joules(one, other), ratio, _joules(one, "twin_skipping"))
        rows.append((f"`{one['model']}`", one["title"], node, *ends, *beside, ", ".join(marks)))
    formula = found["formula"]
    none = ("",) * 5
    rows.append(("papers' formula", formula["words"], "45 nm", "", _mj(formula["once"]), *none))
    if formula["each_step"]["mj"] != formula["once"]["mj"]:
        rows.append(("", "first layer charged at every step", "45 nm", "", _mj(formula["each_step"]), *none))
    heads = ("model", "what it prices", "node", "low", "nominal", "high", "twin", "twin/network", "zeros skipped", "")
    yield from _table(heads, rows)
    for models, why in refusals(found):
        yield f"- not by {_cell(models)}: {_cell(why)}"
    yield ""
    yield "The twin is the ordinary network of the same layers. Models of different processes are not compared with"
    yield "one another."
    for words in break_evens(found):
        yield _cell(words)
    yield ""


def _joules(one: dict[str, Any], entry: str, end: str = "nominal") -> str:
    return plain(joules(one["results"][entry][end], one["unit"])) if entry in one["results"] else ""


def _mj(one: dict[str, Any]) -> str:
    return plain(joules(one["mj"], "mJ"))


def _layers(found: dict[str, Any]) -> Iterable[str]:
    yield "## Layers"
    yield ""
    names = ("synaptic_events", "mac", "dense_macs", "spikes")
    rows = [
        (
            row["name"],
            row["op"],
            row["reads"],
            "" if row["rate"] is None else plain(percent(row["rate"], 2)),
            *(plain(si(row[name])) if row[name] else "" for name in names),
            plain(si(row["twin_mac"])) if row["twin_mac"] else "",
        )
        for row in found["layers"]
    ]
    totals = found["totals"]
    rate = "" if totals["mean_rate"] is None else plain(percent(totals["mean_rate"], 2))
    sums = (plain(si(totals["network"][name])) for name in names)
    twin = "" if totals["twin"] is None else plain(si(totals["twin"]["mac"]))
    rows.append(("**total**", "", "", rate, *sums, twin))
    yield from _table(("layer", "operation", "reads", "rate", "AC", "MAC", "dense", "spikes", "twin's MAC"), rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(map(_cell, row))} |"
    yield ""


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
