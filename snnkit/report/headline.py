"""The first screen of the page: what the run found, in one sentence and a few numbers."""

from __future__ import annotations

from typing import Any

from snnkit.report import priced
from snnkit.report.found import section
from snnkit.report.read import Run, is_ordinary
from snnkit.report.values import joules, number, obj, percent, plural, ratio, rows, si, text, times, whole

FINDS = {"box AP": "boxes", "AP of key points": "key points"}
"""What is measured of networks that find things and decide for no classes, and what they find; a page imports no
measures, it reads their words in a run's files."""


def model_name(run: Run) -> str:
    """The name the page carries: of the model, else of the recipe, else of the folder."""
    return text(obj(run.config, "model").get("name") or run.config.get("recipe") or run.name)


def measure(run: Run) -> tuple[str, str, bool]:
    """What the run's score is: its key in the metrics, what people call it, and whether it is a share."""
    found = obj(run.summary, "measure")
    key = text(found.get("key"))
    return (key, text(found.get("words")) or key, found.get("share") is True) if key else ("accuracy", "accuracy", True)


def accuracy(run: Run) -> float | int | None:
    """The score in the test of the last epoch, whose weights the run goes on with: accuracy, unless it says another."""
    name = measure(run)[0]
    for key in ("final", "best"):
        value = number(obj(run.summary, key).get(name))
        if value is not None:
            return value
    measured = [number(obj(line, "test").get(name)) for line in run.metrics]
    return next((value for value in reversed(measured) if value is not None), None)


def _score(run: Run, value: float | int) -> str:
    return percent(value) if measure(run)[2] else f"{value:.3f}"


def chip_size(run: Run) -> float | int | None:
    """How many cores the whole chip has."""
    mesh = obj(run.mapping, "mesh")
    sides = [number(mesh.get(key)) for key in ("width", "height", "cores_per_tile")]
    return None if None in sides else sides[0] * sides[1] * sides[2]


def compared(run: Run) -> tuple[str, str]:
    """How the energy stands beside the ordinary twin's: `6.5 times less`, and whether the intervals overlap."""
    own, twin = _price(run, "network"), _price(run, "twin")
    words = times(ratio(number(twin.get("nominal")), number(own.get("nominal"))))
    if not words:
        return "", ""
    ends = [number(side.get(key)) for side in (own, twin) for key in ("low", "high")]
    overlap = None not in ends and ends[0] <= ends[3] and ends[2] <= ends[1]
    return words, "intervals overlap" if overlap else ""


def skipping(run: Run) -> str:
    """How it stands beside the twin on a machine that skips zeros, which is the harder comparison."""
    own, twin = _price(run, "network"), _price(run, "twin_skipping")
    return times(ratio(number(twin.get("nominal")), number(own.get("nominal"))))


def _price(run: Run, entry: str) -> dict[str, Any]:
    """What the first of the energy models says of a network."""
    found = priced.models(run)
    return priced.result(found[0], entry) if found else {}


def _unit(run: Run) -> str:
    found = priced.models(run)
    return text(found[0].get("unit")) if found else ""


def sentence(run: Run) -> str:
    """The run in words made from its numbers; only what was measured is said."""
    clauses = [clause for clause in (_learned(run), _spends(run), _becomes(run), _fits(run)) if clause]
    return " ".join(f"{clause[0].upper()}{clause[1:]}." for clause in clauses)


def _learned(run: Run) -> str:
    reached = accuracy(run)
    if reached is None:
        return ""
    images, steps = number(run.summary.get("test_images")), number(obj(run.config, "model").get("timesteps"))
    of = f"of {whole(images)} test images" if images else "of the test images"
    if _of_texts(run):
        return f"it names {percent(reached)} of the labelled test images correctly by the texts of their classes"
    within = f" in {plural(steps, 'time step')}" if steps else ""
    if (name := measure(run)[1]) != "accuracy":
        article = "an" if name[:1].lower() in "aeiou" else "a"
        return f"it reaches {article} {name} of {_score(run, reached)} on {of.removeprefix('of ')}{within}"
    return f"it names {percent(reached)} {of} correctly{within}"


def _spends(run: Run) -> str:
    spikes = number(obj(run.counts, "network", "totals").get("spikes"))
    parts = [] if spikes is None or is_ordinary(run) else [f"{si(spikes)} spikes"]
    cost, unit = number(_price(run, "network").get("nominal")), _unit(run)
    if cost is not None:
        words, overlap = compared(run)
        twin = joules(_price(run, "twin").get("nominal"), unit)
        fairer = skipping(run)
        beside = f", {words} than the {twin} of its ordinary twin" if words else ""
        beside += f" (the {overlap})" if overlap else ""
        beside += f" and {fairer} than that twin with its zeros skipped" if beside and fairer else ""
        dearer, models = priced.dearer(run)
        other = f"; under {len(dearer)} of {models} energy models it costs more than the cheapest ordinary network"
        parts.append(f"an estimated {joules(cost, unit)}{beside}{other if dearer and models > 1 else ''}")
    return f"an image costs {' and '.join(parts)}" if parts else ""


def _becomes(run: Run) -> str:
    """What conversion made of an ordinary network."""
    found = {text(form.get("name")): number(form.get("accuracy")) for form in rows(run.conversion.get("forms"))}
    codes, differing = number(run.conversion.get("codes")), number(run.conversion.get("codes_differ"))
    if codes is None or differing is None:
        return ""
    reached, before, samples = found.get("spiking, at rest"), found.get("float"), number(run.conversion.get("samples"))
    pixels = " of the pixels" if run.conversion.get("measure") == "pixel accuracy" else ""
    of = f"{pixels} of {plural(samples, 'sample')}" if samples else pixels
    known = None not in (reached, before)
    told = f"names {percent(reached)}{of} correctly"
    if (measure := run.conversion.get("measure")) in FINDS:
        told = f"reaches {percent(reached)} {measure}{of and of.replace(' of', ' on')}"
    kept = f"{told}, {percent(before)} before, and " if known else ""
    none = "none" if differing == 0 else whole(differing)
    differ = "differs" if differing == 1 else "differ"
    codes_of = f"{none} of its {si(codes)} codes {differ} at rest from the quantised network's"
    return f"converted to spikes it {kept}{codes_of}" if known else f"converted to spikes, {codes_of}"


def _fits(run: Run) -> str:
    used, chip = len(rows(run.mapping.get("cores"))), text(run.mapping.get("chip"))
    clause = ""
    if used:
        size = chip_size(run)
        taken = f"{whole(used)} of {plural(size, 'core')}" if size else plural(used, "core")
        part = text(run.mapping.get("part"))
        clause = f"on {chip or 'the chip'} {f'its {part} take' if part else 'it takes'} {taken}"
    differing = number(obj(run.mapping, "equality").get("spike_mismatches"))
    if differing is None:
        return clause
    # What a converted network sends are codes; they are compared one by one, whether something is sent or not.
    key, word = ("compared", "codes") if run.conversion else ("spikes", "spikes")
    count = number(obj(run.mapping, "equality").get(key))
    of = f" of its {si(count)} {word}" if count else f" of its {word}"
    found = f"{whole(differing) if differing else 'none'}{of} {'differ' if differing != 1 else 'differs'} there"
    # A converted network was quantised before: what differs from that is told at the arrow to the chip.
    network = "the network in the chip's integers" if run.conversion else "the quantised network"
    return f"{clause}, and {found} from {network}" if clause else found


def tiles(run: Run) -> list[dict[str, Any]]:
    """The numbers at the head of the page: label, value, and a note below it."""
    found = [_accuracy_tile(run), *section.tiles(run), _spikes_tile(run), _energy_tile(run), _converted_tile(run)]
    found += [_cores_tile(run), _equality_tile(run)]
    return [tile for tile in found if tile]


def _accuracy_tile(run: Run) -> dict[str, str] | None:
    reached = accuracy(run)
    if reached is None:
        return None
    epoch, parameters = number(obj(run.summary, "final").get("epoch")), number(run.summary.get("parameters"))
    notes = [f"epoch {whole(epoch)}"] if epoch is not None else []
    notes += [f"{si(parameters)} parameters"] if parameters is not None else []
    return {"label": _measure(run), "value": _score(run, reached), "note": ", ".join(notes)}


def _measure(run: Run) -> str:
    """What the accuracy of a run is of."""
    return "Zero-shot accuracy" if _of_texts(run) else f"Test {measure(run)[1]}"


def _of_texts(run: Run) -> bool:
    """Whether classes were texts, which not all images of such a test have."""
    return obj(run.config, "task").get("name") == "pairs"


def _spikes_tile(run: Run) -> dict[str, str] | None:
    spikes = number(obj(run.counts, "network", "totals").get("spikes"))
    if spikes is None or is_ordinary(run):
        return None
    steps = number(run.counts.get("timesteps"))
    return {
        "label": "Spikes per image",
        "value": si(spikes),
        "note": f"in {plural(steps, 'time step')}" if steps else "",
    }


def _energy_tile(run: Run) -> dict[str, str] | None:
    cost = _price(run, "network")
    if number(cost.get("nominal")) is None:
        return None
    words, overlap = compared(run)
    fairer = skipping(run)
    notes = [f"{words} than the twin" if words else "", f"{fairer} with its zeros skipped" if fairer else "", overlap]
    return {
        "label": "Energy per image",
        "value": joules(cost["nominal"], _unit(run)),
        "note": "; ".join(note for note in notes if note),
    }


def _converted_tile(run: Run) -> dict[str, str] | None:
    differing, codes = number(run.conversion.get("codes_differ")), number(run.conversion.get("codes"))
    if differing is None:
        return None
    note = f"of {si(codes)}, spiking against quantised" if codes is not None else ""
    return {"label": "Codes that differ at rest", "value": whole(differing), "note": note}


def _cores_tile(run: Run) -> dict[str, str] | None:
    used = len(rows(run.mapping.get("cores")))
    if not used:
        return None
    size = chip_size(run)
    note = f"of {whole(size)} on {text(run.mapping.get('chip'))}" if size else text(run.mapping.get("chip"))
    return {"label": "Cores" if used != 1 else "Core", "value": whole(used), "note": note}


def _equality_tile(run: Run) -> dict[str, str] | None:
    equality = obj(run.mapping, "equality")
    differing = number(equality.get("spike_mismatches"))
    if differing is None:
        return None
    # Every neuron at every step, whether it fired or not: a spike too many differs as well as one that is missing.
    places = number(equality.get("compared"))
    return {
        "label": "Spikes that differ on chip",
        "value": whole(differing),
        "note": f"of {si(places)} compared" if places else text(equality.get("verdict")),
    }
