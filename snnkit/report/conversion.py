"""The section about conversion: from the float network through its quantised and spiking forms to the chip."""

from __future__ import annotations

import re
from typing import Any

from snnkit.report.chip import MEASURED, verdict
from snnkit.report.headline import FINDS
from snnkit.report.palette import Palette
from snnkit.report.read import Run
from snnkit.report.values import names, number, obj, percent, plural, ratio, rows, si, text, whole

_REST = "spiking, at rest"
_STEPS = re.compile(r"spiking, T = (\d+)")


def conversion(run: Run, palette: Palette) -> dict[str, Any] | None:
    """The chain of forms with a verdict at every arrow, the answer after every step, and what each form computes."""
    found = run.conversion
    forms = {text(form.get("name")): form for form in rows(found.get("forms"))}
    if not forms:
        return None
    labelled = any(number(form.get("accuracy")) is not None for form in forms.values())
    samples = number(found.get("samples"))
    measure = "accuracy" if labelled else "agreement"
    mapping = _mapping(run)
    of = MEASURED.get(text(found.get("measure")), "")
    return {
        "samples": plural(samples, "sample") if samples is not None else "",
        "measure": measure,
        "title": _title(found, measure),
        "finds": found.get("measure") in FINDS,
        "stages": [
            _stage("Float", forms.get("float"), measure, f"as trained{of}"),
            _stage("Quantised", forms.get("quantised"), measure, _quantised_note(found)),
            _stage("Spiking", forms.get(_REST), measure, _spiking_note(found)),
            _chip_stage(mapping, measure, samples),
        ],
        "links": [_rounding(found, forms), _resting(found), _on_chip(mapping)],
        "forms": [_form(form) for form in forms.values()],
        "operations": _operations(found),
        "settled": number(found.get("settled")),
        "rest": number(found.get("rest")),
        "bound": number(found.get("bound")),
        "notes": names(found.get("notes")),
        "data": _drawn(forms, measure, found),
    }


def _mapping(run: Run) -> dict[str, Any]:
    """The mapping of the spiking form; a chip takes no ordinary network, so the run's own can only be of that form."""
    return run.converted_mapping or run.mapping


def _stage(title: str, form: dict[str, Any] | None, measure: str, note: str) -> dict[str, str]:
    value = number((form or {}).get(measure))
    shown = percent(value) if value is not None else "–"
    if measure == "agreement" and title == "Float" and value is not None:
        note = f"{note}; decides as the quantised form"
    return {"title": title, "value": shown, "note": note, "style": ""}


def _quantised_note(found: dict[str, Any]) -> str:
    levels, epochs = number(found.get("levels")), number(found.get("finetune"))
    said = [f"{whole(levels)} levels" if levels is not None else "whole numbers"]
    said += ["one scale a channel"] if found.get("per_channel") is True else []
    said += ["chip-clean"] if found.get("chip_clean") is True else []
    said += [f"fine-tuned for {plural(epochs, 'epoch')}"] if epochs else []
    return ", ".join(said)


def _spiking_note(found: dict[str, Any]) -> str:
    said = []
    if "max_exponent" in found and number(found.get("levels")) is not None:
        exponent = number(found["max_exponent"])
        sizes = "events of any size" if exponent is None else "events of ±1"
        said.append(sizes + (f" … ±{2 ** int(exponent)}" if exponent else ""))
    rest = number(found.get("rest"))
    said.append(f"at rest after {plural(rest, 'step')} at the latest" if rest is not None else "at rest")
    return ", ".join(said)


def _rounding(found: dict[str, Any], forms: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Float → quantised: always measured, never equal."""
    before, after = (number(forms.get(name, {}).get("accuracy")) for name in ("float", "quantised"))
    error = number(found.get("float_error"))
    said = [f"outputs by up to {error:.2g}"] if error is not None else []
    if before is not None and after is not None:
        change = 100 * (after - before)
        same = "no change" if found.get("measure") in FINDS else "no change in accuracy"
        said.append(same if abs(change) < 0.05 else f"{change:+.1f} points".replace("-", "−"))
    return verdict("exact" if error == 0 else "approximate") | {"detail": "; ".join(said)}


def _resting(found: dict[str, Any]) -> dict[str, str]:
    """Quantised → spiking at rest: every code was compared."""
    codes, differing = number(found.get("codes")), number(found.get("codes_differ"))
    said = f"{whole(differing)} of {si(codes)} codes differ at rest" if differing is not None else ""
    error = number(found.get("logit_error"))
    said += f"; outputs by up to {error:.2g}" if error else ""
    return verdict(found.get("verdict")) | {"detail": said}


def _on_chip(mapping: dict[str, Any]) -> dict[str, str]:
    equality = obj(mapping, "equality")
    differing, places = number(equality.get("spike_mismatches")), number(equality.get("compared"))
    if differing is None:
        return {"verdict": "not compared" if mapping else "not compiled", "style": "unknown", "detail": ""}
    of = f" of {si(places)}" if places else ""
    changed = number(equality.get("float_mismatches"))
    if changed:  # between the two lie what the chip's registers round
        rounded = f"its registers change {percent(ratio(changed, number(equality.get('float_compared'))))} of the codes"
        rest = f"{whole(differing)}{of} events differ from what they then are"
        return verdict(equality.get("float_verdict")) | {"detail": f"{rounded}; {rest}"}
    return verdict(equality.get("verdict")) | {"detail": f"{whole(differing)}{of} events differ"}


def _chip_stage(mapping: dict[str, Any], measure: str, samples: float | int | None) -> dict[str, str]:
    if not mapping:
        return {"title": "Chip", "value": "–", "note": "not compiled for a chip", "style": "absent"}
    reached = number(obj(mapping, "equality").get("chip_accuracy")) if measure == "accuracy" else None
    cores, images = len(rows(mapping.get("cores"))), number(obj(mapping, "equality").get("images"))
    others = plural(images, "sample") if images is not None and images != samples else ""
    said = [text(mapping.get("chip")), plural(cores, "core") if cores else "", f"on {others}" if others else ""]
    note = ", ".join(part for part in said if part)
    return {"title": "Chip", "value": percent(reached) if reached is not None else "–", "note": note, "style": ""}


def _form(form: dict[str, Any]) -> dict[str, Any]:
    name = text(form.get("name"))
    events = number(form.get("events"))
    return {
        "name": name[:1].upper() + name[1:],
        "accuracy": number(form.get("accuracy")),
        "agreement": number(form.get("agreement")),
        "events": None if events is None else round(events, 2),
    }


def _operations(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Multiply-accumulates, accumulates and updates of each form; a machine that skips nothing runs the first two."""
    table = []
    for key, totals in obj(found, "totals").items():
        dense = key != "spiking"
        shifts, added = number(obj(totals).get("shift_adds")), number(obj(totals).get("ac"))
        row = {
            "name": text(key).capitalize(),
            "macs": number(obj(totals).get("dense_macs" if dense else "mac")),
            "accumulates": None if dense or added is None else added + (shifts or 0),
            "updates": None if dense else number(obj(totals).get("neuron_updates")),
        }
        table.append(row)
    return table


def _title(found: dict[str, Any], measure: str) -> str:
    """What is measured of every form, as a heading."""
    named = text(found.get("measure")) or measure
    return named[:1].upper() + named[1:]


def _drawn(forms: dict[str, dict[str, Any]], measure: str, found: dict[str, Any]) -> dict[str, Any] | None:
    """The answer after some numbers of steps, beside the two forms that take one."""
    steps = []
    for name, form in forms.items():
        match = _STEPS.fullmatch(name)
        if match or name == _REST:
            where = f"T = {match[1]}" if match else "rest"
            steps.append({"at": where, "value": number(form.get(measure)), "events": number(form.get("events"))})
    if len(steps) < 2:
        return None
    kept = [("quantised", "Quantised")] + ([("float", "Float")] if measure == "accuracy" else [])
    lines = [{"name": label, "value": number(forms.get(key, {}).get(measure))} for key, label in kept]
    title = _title(found, measure) if measure == "accuracy" else "Decisions equal to the quantised form's"
    return {"steps": steps, "lines": [line for line in lines if line["value"] is not None], "measure": title}
