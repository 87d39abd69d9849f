"""What ``snnkit chips`` prints: the list, one chip, two chips side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import fields

from rich.table import Column, Table

from compiler.targets import TARGETS
from hw import get_chip, list_chips
from hw.chip import Chip
from hw.chips.design import PARAMETERS
from hw.describing import dumps
from hw.layers import LayerLimits
from hw.numbers import MEMORIES, NUMBERS
from hw.quantity import Quantity
from snnkit.engine.progress import console, say

_RANGE = " … "
_UNCHECKED = "? not checked against its source, or assumed"
_PROMISE = (
    "Energies of a synaptic operation hold what each measurement held, up to 45 times apart for one chip: they tell "
    "orders of magnitude, not which chip is better."
)


def listed() -> None:
    """Print all chips, a line each."""
    columns: list[Column | str] = [
        Column("name", no_wrap=True),
        "chip",
        *(Column(c, justify="right") for c in ("cores", "neurons", "weights")),
    ]
    table = Table(*columns, Column("programs", no_wrap=True), box=None)
    for chip in map(get_chip, list_chips()):
        cores, neurons, weights = (_short(chip, key) for key in ("cores", "neurons_per_core", "weight_bits"))
        title = chip.title.split(",")[0].removeprefix("Design study").strip() or "of your own"
        table.add_row(chip.name, title, cores, neurons, weights, "compile" if _compiles(chip) else "check")
    console.print(table)
    console.print()
    say("neurons: of a core; weights: bits; " + _UNCHECKED)
    say("compile: programs are made and simulated in the chip's integers; check: networks are held against its limits")


def _compiles(chip: Chip) -> bool:
    return chip.semantics in TARGETS


def _short(chip: Chip, key: str) -> str:
    number = chip.numbers.get(key)
    return "" if number is None else f"{_mark(number)}{number.value:,.0f}"


def _mark(number: Quantity | None) -> str:
    return "?" if number is not None and not number.confirmed else ""


def as_toml(chip: Chip) -> None:
    """Print a chip as a file that ``get_chip`` reads."""
    console.out(dumps(chip), end="", highlight=False)


def card(chip: Chip) -> None:
    """Print everything that is known of a chip."""
    say(f"{chip.name}: {chip.title}")
    console.print()
    _facts(_words(chip))
    sources: dict[str, int] = {}
    table = Table(Column("number", no_wrap=True), "value", Column("source", justify="right"), box=None)
    for key, number in chip.numbers.items():
        note = sources.setdefault(number.source, len(sources) + 1)
        table.add_row(key, _text(key, number), f"{_mark(number)}[{note}]")
    console.print()
    console.print(table)
    if chip.layers is not None:
        console.print("\nlimits of a layer")
        _facts(dict(_limits(chip.layers, sources)))
    console.print()
    for source, note in sources.items():
        _hanging(f"[{note}]", source, 5)
    if not all(number.confirmed for number in chip.numbers.values()):
        say(_UNCHECKED)
    if chip.name.split(":")[0] == "mesh":
        console.print("\nparameters, as in mesh:width=16,height=16")
        _facts({name: f"{p.text}{'' if p.default is None else f' ({p.default:g})'}" for name, p in PARAMETERS.items()})
    console.print()
    say(chip.notes, other="")


def _words(chip: Chip) -> dict[str, str]:
    if _compiles(chip):
        programs = f"{chip.semantics} (compile, simulate, check)"
    else:
        programs = f"{chip.semantics or 'none'} (check only)"
    value = "" if chip.reset_value is None else f", to {chip.reset_value:g}"
    unknown = "any, or not described"
    resets = f"{', '.join(chip.resets)}{value}" if chip.resets else "not described"
    formats = {}
    if chip.build is not None:
        a = chip.build.arithmetic
        events = f"graded, {a.payload_bits} bits" if a.payload_bits else "spikes, 0 or 1"
        products = "; products of two signals" if a.products else ""
        formats = {"events": f"{events}{products}", "weights": f"{', '.join(map(str, a.weight_bits))} bits"}
    return {"programs": programs, "neurons": ", ".join(chip.neurons) or unknown, "resets": resets, **formats}


def _limits(layers: LayerLimits, sources: dict[str, int]) -> Iterable[tuple[str, str]]:
    """Yield the limits that are known, as names and texts."""
    plain = sources.setdefault(layers.source, len(sources) + 1)
    for field in fields(layers):
        limit = getattr(layers, field.name)
        if field.name in ("source", "confirmed") or limit is None or limit == () or limit == {}:
            continue
        if isinstance(limit, Quantity):
            note = sources.setdefault(limit.source, len(sources) + 1)
            yield field.name, f"{value(limit)} {_mark(limit)}[{note}]"
        else:
            yield field.name, f"{_listed(limit)} {'' if layers.confirmed else '?'}[{plain}]"


def _listed(limit: tuple[int, ...] | Mapping[int, tuple[int, ...]] | bool) -> str:
    if isinstance(limit, bool):
        return "yes" if limit else "no"
    if isinstance(limit, Mapping):
        return "; ".join(f"{key} with {', '.join(map(str, values))}" for key, values in limit.items())
    if all(one % 1024 == 0 for one in limit):
        return f"{', '.join(str(one // 1024) for one in limit)} Ki words of each core"
    return ", ".join(map(str, limit))


def value(number: Quantity) -> str:
    """Return a number with its range and unit: ``128 (120 … 152) cores``; its ends alone where it is one of them."""
    ends = number.interval
    low, middle, high = map(_digits, (ends.low, ends.nominal, ends.high))
    if low == high:
        return f"{middle} {number.unit}"
    if middle in (low, high):
        return f"{low}{_RANGE}{high} {number.unit}"
    return f"{middle} ({low}{_RANGE}{high}) {number.unit}"


def _text(key: str, number: Quantity) -> str:
    return f"{value(number)}{_memory(key, number)}"


def _digits(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) or abs(number) >= 1e4 else f"{number:g}"


def _memory(key: str, number: Quantity) -> str:
    """Return a memory's size in KiB or MiB, behind its bits."""
    bits = number.value
    if number.unit != "bits" or key not in MEMORIES:
        return ""
    kib = bits / 8192
    return f" ({kib:,.4g} KiB)" if kib < 10_000 else f" ({kib / 1024:,.4g} MiB)"


def side_by_side(a: Chip, b: Chip) -> None:
    """Print what two chips have in common, with ratios, and what only one has."""
    columns: list[Column | str] = [Column("", no_wrap=True), a.name, b.name]
    words = Table(*columns, box=None)
    one, other = _words(a), _words(b)
    for name in dict.fromkeys((*one, *other)):
        words.add_row(name, one.get(name, "–"), other.get(name, "–"))
    console.print(words)
    both = [key for key in NUMBERS if key in a.numbers and key in b.numbers]
    if both:
        table = Table(
            Column("number", no_wrap=True), a.name, b.name, Column("ratio", justify="right", no_wrap=True), box=None
        )
        for key in both:
            x, y = a.numbers[key], b.numbers[key]
            table.add_row(key, f"{value(x)}{_mark(x)}", f"{value(y)}{_mark(y)}", ratio(x, y, NUMBERS[key].formats))
        console.print()
        console.print(table)
    for chip, rest in ((a, b), (b, a)):
        only = [key for key in chip.numbers if key not in rest.numbers]
        if only:
            console.print(f"\nonly {chip.name}")
            _facts({key: f"{_text(key, chip.numbers[key])}{_mark(chip.numbers[key])}" for key in only})
        if chip.layers is not None:
            console.print(f"\nlimits of a layer of {chip.name}")
            _facts({name: text.rpartition(" ")[0] for name, text in _limits(chip.layers, {})})
    console.print()
    say(_UNCHECKED)
    say(f"ratio: {b.name} by {a.name}, and what it can be by their ranges")
    if "pj_per_synop" in both:
        say(_PROMISE)


def ratio(a: Quantity, b: Quantity, formats: bool = False) -> str:
    """Return b / a, with its range where either has one that is no choice of formats."""
    x, y = a.interval, b.interval
    middle = f"×{_three(y.nominal / x.nominal)}"
    if formats or (x.low == x.high and y.low == y.high):
        return middle
    high = _three(y.high / x.low) if x.low > 0 else "∞"
    return f"{middle} ({_three(y.low / x.high)}–{high})"


def _three(number: float) -> str:
    return f"{float(f'{number:.3g}'):,g}"


def _facts(facts: Mapping[str, str]) -> None:
    width = max(map(len, facts), default=0) + 2
    for name, text in facts.items():
        _hanging(name, text, width)


def _hanging(name: str, text: str, width: int) -> None:
    """Print a text beside its name, its further lines below the first."""
    lines = textwrap.wrap(text, max(console.width - width, 20), break_on_hyphens=False) or [""]
    console.print(f"{name:{width}}" + f"\n{'':{width}}".join(lines))
