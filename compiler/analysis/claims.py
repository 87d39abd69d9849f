"""Which known error explains a claimed number: energies, operations, firing rates and gains of published work.

The literature repeats a handful of mistakes, which ``known_errors`` writes down once each. Given exact counts, or the
few numbers that a paper prints, and a claimed value, ``explain`` names those under which the claim comes out, and
``must_hold`` what would have to be true. That a number comes out is a hint, not a proof: two errors can give the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from compiler.analysis.known_errors import (
    CHARGINGS,
    CHIP,
    EIGHT,
    FP32,
    PRICINGS,
    RIGHT,
    Charging,
    Numbers,
    Pricing,
    Row,
    accumulates,
    charged,
    numbers_of,
)
from hw.counts import Counts
from snnkit.errors import InvalidArgumentError, unknown_name

_OPERATIONS = ("SOP", "SOPs", "AC", "ACs", "MAC", "MACs")
_PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_KINDS: dict[str, dict[str, float]] = {
    "energy": {"pJ": 1e-12, "nJ": 1e-9, "uJ": 1e-6, "µJ": 1e-6, "μJ": 1e-6, "mJ": 1e-3, "J": 1.0},
    "operations": {
        prefix + name: by for name in ("SOP", "SOPs", "AC", "ACs", "MAC", "MACs") for prefix, by in _PREFIXES.items()
    },
    "rate": {"%": 0.01, "spikes/step": 1.0},
    "gain": {"x": 1.0, "×": 1.0},
}
_UNITS = {unit: by for units in _KINDS.values() for unit, by in units.items()}
_ALLOWED = "give an energy (pJ, nJ, uJ, mJ, J), operations (GSOP, MAC, …), a firing rate (%) or a gain (x)"
_PRINTED = 0.005
"""What three printed digits leave open: as near as this, what needs no error comes first."""
TOLERANCE = 0.02
"""How far from the claim, relative to it, an explanation may lie: papers print two or three digits."""


@dataclass(frozen=True)
class Claim:
    """A number somebody published, with its unit: an energy, operations, a firing rate, or a gain over an ordinary
    network ("x" times less energy), all per sample.

    Raises:
        InvalidArgumentError: no such unit, or a number that is not positive.
    """

    value: float
    unit: str

    def __post_init__(self) -> None:
        if self.unit not in _UNITS:
            raise InvalidArgumentError(
                f"claimed {self.value:g} {self.unit}: no unit is called {self.unit!r}; {_ALLOWED}."
            )
        if not 0 < self.value < math.inf:
            raise InvalidArgumentError(f"claimed {self.value:g} {self.unit}: the number must be positive and finite.")

    @property
    def kind(self) -> str:
        """What it is a number of: "energy", "operations", "rate" or "gain"."""
        return next(kind for kind, units in _KINDS.items() if self.unit in units)

    @property
    def base(self) -> float:
        """The value in J, in operations, in spikes per neuron and step, or in times."""
        return self.value * _UNITS[self.unit]

    def __str__(self) -> str:
        return f"{self.value:.4g} {self.unit}" if self.unit not in ("x", "×", "%") else f"{self.value:.4g}{self.unit}"


def read_claim(text: str) -> Claim:
    """Read "7.46 mJ", "5.9 GSOP", "12 %" or "37x".

    Raises:
        InvalidArgumentError: no number, or no unit.
    """
    found = re.fullmatch(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S*)\s*", text)
    if not found:
        raise InvalidArgumentError(f"claimed {text!r} is no number with a unit; {_ALLOWED}, such as '7.46 mJ'.")
    if not found[2]:
        raise InvalidArgumentError(f"claimed {text!r} has no unit; {_ALLOWED}, such as '{found[1]} mJ'.")
    return Claim(float(found[1]), found[2])


@dataclass(frozen=True)
class Reported:
    """The few numbers that a paper prints of a whole network, where there is no network to count.

    ``dense`` operations of one time step (those of the ordinary network) and the firing ``rate`` by which they are
    multiplied; with a rate that is summed over the time steps, ``timesteps`` is 1.
    """

    dense: float
    rate: float
    timesteps: int = 1


@dataclass(frozen=True)
class Explanation:
    """A way to the claimed number: its ``value`` in the claim's unit, ``difference`` = value/claim − 1, a sentence."""

    name: str
    value: float
    unit: str
    difference: float
    sentence: str

    @property
    def is_error(self) -> bool:
        """Whether it is an error that leads there; if not, the claim is what was counted."""
        return self.name not in _RIGHT


_FORMULA, _COUNTED = "papers' formula", "exact count"
_RIGHT = (_COUNTED, _FORMULA)
_BASES = {True: "measured operations", False: "rate × dense operations"}


def explain(
    claim: Claim,
    source: Counts | Reported,
    *,
    twin: Counts | None = None,
    others: Mapping[str, Counts] | None = None,
    tolerance: float = TOLERANCE,
) -> list[Explanation]:
    """Return what leads to the claimed number, nearest first; what needs no error comes before errors as near.

    Args:
        claim: the published number, per sample.
        source: what the network did, or what the paper says of it.
        twin: counts of the ordinary network that a gain is over; without it, one with the same dense operations.
        others: counts under other circumstances by their name, such as {"the first batch": …, "training mode": …}.
        tolerance: largest difference, relative to the claim; ``math.inf`` for all.

    Raises:
        InvalidArgumentError: a gain without operations to compare.
    """
    numbers, exact = _numbers(source), isinstance(source, Counts)
    found: dict[str, Explanation] = {}
    effects: dict[str, float] = {}
    for name, what, value, right in _candidates(claim, numbers, exact, twin, others or {}):
        if not value > 0 or (name not in _RIGHT and math.isclose(value, right, rel_tol=1e-6)):
            continue  # an error that changes nothing here
        difference = value / claim.base - 1
        if abs(difference) > tolerance or (name in found and abs(found[name].difference) <= abs(difference)):
            continue
        shown, instead = (Claim(number / _UNITS[claim.unit], claim.unit) for number in (value, right))
        rest = "" if name == _COUNTED else f"; {'exactly counted' if name == _FORMULA else 'without that'} {instead}"
        rest = rest if exact or name != _FORMULA else ""
        found[name] = Explanation(name, shown.value, claim.unit, difference, f"{what}: {shown}{rest}.")
        effects[name] = abs(value / right - 1) if right else math.inf
    if any(not one.is_error for one in found.values()):  # an error that hardly shows is none to suspect then
        found = {name: one for name, one in found.items() if not one.is_error or effects[name] > _PRINTED}
    return sorted(
        found.values(), key=lambda one: (max(abs(one.difference), _PRINTED), one.is_error, abs(one.difference))
    )


_Candidate = tuple[str, str, float, float]
"""Name, sentence without an end, value, and what it is without the error (of the formula: exactly), in base units."""


def _numbers(source: Counts | Reported) -> Numbers:
    if isinstance(source, Counts):
        return numbers_of(source)
    dense = source.dense * source.timesteps
    row = Row("network", dense, source.rate, synaptic=dense * source.rate)
    return Numbers((row,), source.timesteps, source.rate)


def _candidates(
    claim: Claim, numbers: Numbers, exact: bool, twin: Counts | None, others: Mapping[str, Counts]
) -> Iterator[_Candidate]:
    of_kind = {"energy": _energies, "operations": _operations, "rate": _rates}
    if claim.kind == "gain":
        yield from _gains(numbers, exact, twin)
        return
    yield from of_kind[claim.kind](numbers, exact, claim.unit)
    right = next(of_kind[claim.kind](numbers, exact, claim.unit))[2]
    for where, counts in others.items():
        for name, what, value, _ in of_kind[claim.kind](numbers_of(counts), True, claim.unit):
            if name in _RIGHT:
                yield f"counts of {where}", f"{what} of {where} instead of all the data in eval mode", value, right


def joules(macs: float, acs: float, pricing: Pricing = FP32, updates: float = 0.0) -> float:
    """Return the energy in J."""
    return (macs * pricing.mac + acs * pricing.ac + updates * pricing.update) * 1e-12


def _bases(exact: bool) -> tuple[bool, ...]:
    return (True, False) if exact else (False,)


def _rights(numbers: Numbers, exact: bool) -> Iterator[tuple[str, str, tuple[float, float], bool]]:
    for measured in _bases(exact):
        name = _COUNTED if measured else _FORMULA
        yield name, f"{name}, {_BASES[measured]}", charged(RIGHT, numbers, measured), measured


def _energies(numbers: Numbers, exact: bool, unit: str) -> Iterator[_Candidate]:
    for name, what, done, measured in _rights(numbers, exact):
        right = joules(*done)
        yield name, f"{what} × 4.6 and 0.9 pJ", right, joules(*charged(RIGHT, numbers, exact))
        for charging in CHARGINGS:
            yield charging.name, _worded(charging, measured), joules(*charged(charging, numbers, measured)), right
        for pricing in PRICINGS:
            yield pricing.name, pricing.what, joules(*done, pricing, numbers.updates), right


def _worded(charging: Charging, measured: bool) -> str:
    return f"{charging.what} (from {_BASES[measured]})"


def _operations(numbers: Numbers, exact: bool, unit: str) -> Iterator[_Candidate]:
    place = 0 if "MAC" in unit else 1
    for name, what, done, measured in _rights(numbers, exact):
        yield name, what, done[place], charged(RIGHT, numbers, exact)[place]
        for charging in CHARGINGS:
            value = charged(charging, numbers, measured)[place]
            yield charging.name, _worded(charging, measured), value, done[place]
        if place and done[0]:
            yield (
                "multiplications among them",
                "multiply-accumulates counted as synaptic operations",
                sum(done),
                done[1],
            )


def _rates(numbers: Numbers, exact: bool, unit: str) -> Iterator[_Candidate]:
    """Mean firing rates: of neurons, of layers, of what layers read; per step or added up over steps."""
    right, rates, steps = numbers.mean_rate, numbers.layer_rates, numbers.timesteps
    yield _COUNTED if exact else _FORMULA, "spikes per neuron and step", right, right
    events = [row for row in numbers.rows if not row.real]
    dense = sum(row.dense for row in events)
    if rates:
        yield (
            "mean over layers",
            "every layer's rate with the same weight, whatever its size",
            sum(rates) / len(rates),
            right,
        )
    if dense:
        share = sum(row.synaptic for row in events) / dense
        yield "share of operations", "synaptic operations per dense operation, which is no firing rate", share, right
    yield "added up over steps", "spikes per neuron and sample, not per step", right * steps, right
    yield "divided by the steps twice", "spikes per neuron and step, divided by the steps again", right / steps, right
    yield "rate twice", "the square of the rate", right**2, right


_NOTHING = 1e-300
"""J: a network that does nothing is infinitely better, not a division by zero."""
_MIXED = (
    ("32 against 8 bit", "a 32-bit ordinary network against an 8-bit spiking one", FP32, EIGHT),
    ("8 bit on both sides", "8-bit constants on both sides", EIGHT, EIGHT),
    ("mixed nodes", "45 nm arithmetic against 14 nm Loihi (23.6 pJ)", FP32, CHIP),
)
"""Constants of the two sides of a gain."""


def _gains(numbers: Numbers, exact: bool, twin: Counts | None) -> Iterator[_Candidate]:
    """Energy of the ordinary network over that of the spiking one."""
    ordinary = numbers_of(twin) if twin is not None else None
    dense = sum(row.dense for row in ordinary.rows) if ordinary else numbers.dense
    done = twin.total("effective_macs") or dense if twin is not None else dense
    if not dense or not any(row.dense for row in numbers.rows):
        raise InvalidArgumentError("a gain needs operations on both sides, and there are none.")
    fp32, skipping = joules(dense, 0), joules(done, 0)
    for name, what, pair, measured in _rights(numbers, exact):
        spiking = max(joules(*pair), _NOTHING)
        right = skipping / spiking
        zeros = "; the ordinary network skips its zeros too" if done < dense else ""
        yield name, f"{what}{zeros}", right, skipping / max(joules(*charged(RIGHT, numbers, exact)), _NOTHING)
        yield "zeros not skipped", "an ordinary network that multiplies with its zeros too", fp32 / spiking, right
        for charging in CHARGINGS:
            value = fp32 / max(joules(*charged(charging, numbers, measured)), _NOTHING)
            yield charging.name, f"{_worded(charging, measured)}, against all dense operations", value, fp32 / spiking
        for which, why, ordinary_pj, spiking_pj in _MIXED:
            yield which, why, joules(dense, 0, ordinary_pj) / max(joules(*pair, spiking_pj), _NOTHING), right


@dataclass(frozen=True)
class TableLine:
    """One layer of a claimed table: claimed and counted value in the table's unit, and what explains the difference."""

    layer: str
    claimed: float | None
    counted: float
    explanation: Explanation | None


def explain_table(
    claimed: Mapping[str, float], unit: str, counts: Counts, tolerance: float = TOLERANCE
) -> list[TableLine]:
    """Compare a claimed table with counts, layer by layer.

    Args:
        claimed: value by layer, under the names that ``counts`` has; layers it lacks are told as left out.
        unit: of all values, of energy or operations.
        counts: of the network.
        tolerance: largest relative difference of an explanation.

    Raises:
        UnknownNameError: a layer that there is not.
        InvalidArgumentError: a unit of neither energy nor operations.
    """
    numbers = numbers_of(counts)
    known = {row.name: row for row in numbers.rows}
    for name in claimed:
        if name not in known:
            raise unknown_name("layer", name, known)
    kind = Claim(1.0, unit).kind
    if kind not in ("energy", "operations"):
        raise InvalidArgumentError(f"a table of layers holds energies or operations, not {unit!r}.")
    lines = []
    for name, row in known.items():
        counted = _row_value(row, RIGHT, numbers, unit, True)
        value = claimed.get(name)
        if value is None:
            why = "attention left out" if row.product else "layer left out"
            found = Explanation(why, 0.0, unit, -1.0, f"{name} is not in the table; it does {counted:.4g} {unit}.")
            lines.append(TableLine(name, None, counted, found if counted else None))
        else:
            lines.append(TableLine(name, value, counted, _row_explained(row, value, numbers, unit, tolerance)))
    return lines


def _row_value(row: Row, charging: Charging, numbers: Numbers, unit: str, measured: bool) -> float:
    macs, acs = charging.charge(row, numbers, accumulates(row, measured))
    kind = Claim(1.0, unit).kind
    value = joules(macs, acs) if kind == "energy" else macs if "MAC" in unit else acs
    return value / _UNITS[unit]


def _row_explained(row: Row, claimed: float, numbers: Numbers, unit: str, tolerance: float) -> Explanation | None:
    """The nearest explanation of one layer; what needs no error comes first."""
    best: Explanation | None = None
    for measured in (True, False):
        right = _row_value(row, RIGHT, numbers, unit, measured)
        for charging in (RIGHT, *CHARGINGS):
            value = _row_value(row, charging, numbers, unit, measured)
            is_right = charging is RIGHT
            if not claimed or (not is_right and math.isclose(value, right, rel_tol=1e-6)):
                continue
            difference = value / claimed - 1
            if abs(difference) <= tolerance and (best is None or abs(difference) < abs(best.difference) - 1e-3):
                name = (_COUNTED if measured else _FORMULA) if is_right else charging.name
                sentence = f"{row.name}: {_worded(charging, measured)}: {value:.4g} {unit}."
                best = Explanation(name, value, unit, difference, sentence)
    return best


def must_hold(claim: Claim, source: Counts | Reported, twin: Counts | None = None) -> str:
    """Return in one line what would have to hold for the claim to be true, beside what was measured."""
    numbers = _numbers(source)
    known = "measured:" if isinstance(source, Counts) else "stated:"
    events = sum(row.dense for row in numbers.rows if not row.real)
    macs = sum(row.macs for row in numbers.rows)
    if claim.kind == "rate":
        return f"spikes per neuron and step would have to be {claim.base:.2%}; {known} {numbers.mean_rate:.2%}."
    if not events:
        return "no layer reads spikes: no firing rate makes the claim true."
    if claim.kind == "operations":
        needed = claim.base / events if "MAC" not in claim.unit else math.nan
        if math.isnan(needed):
            return f"multiply-accumulates would have to be {claim.base:.4g} a sample; {known} {macs:.4g}."
    else:
        energy = claim.base
        if claim.kind == "gain":
            dense = twin.total("dense_macs") if twin is not None else numbers.dense
            energy = joules(dense, 0) / claim.base
        needed = (energy * 1e12 - FP32.mac * macs) / (FP32.ac * events)
    share = sum(accumulates(row, isinstance(source, Counts)) for row in numbers.rows) / events
    if needed < 0:
        return f"impossible at these prices: multiply-accumulates alone cost {joules(macs, 0) * 1e3:.4g} mJ a sample."
    beyond = ", more than all of them" if needed > 1 else ""
    return f"{needed:.2%} of the dense operations on spikes would have to be done{beyond}; {known} {share:.2%}."
