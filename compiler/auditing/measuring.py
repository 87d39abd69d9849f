"""What an audit counts and prices: the one place that knows how counts and prices are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from torch import Tensor

from compiler.analysis.claims import Claim, Explanation, explain, must_hold
from compiler.auditing.elsewhere import counts_elsewhere
from compiler.auditing.subject import Subject
from compiler.commands.source import batch_axis, first
from compiler.conventions import Conventions
from compiler.counting import count
from compiler.pricing import ModelResult, companions, price
from hw.counts import Counts
from hw.energy import MODELS, estimate
from hw.energy.model import EnergyModel, EstimateError
from hw.energy.published_formula import FIRST_LAYER, PaperEnergy, implied_rate, paper_layers, published_formula
from hw.lookup import lookup

_WITH_MEMORY = "45nm-memory"
_TWIN_SAMPLES = 8
"""On so many the zeros of the ordinary twin are counted."""

Progress = Callable[[int], None]
"""Told the number of samples so far."""


@dataclass(frozen=True)
class Estimates:
    """What one energy model says of a network and of those beside it; ``refused`` says why it says nothing.

    ``applies``: it was asked for by name, or would say something were the audit not strict.
    """

    model: EnergyModel
    result: ModelResult | None
    refused: str = ""
    applies: bool = True

    def nominal(self, entry: str) -> float | None:
        """Return the nominal energy of an entry."""
        found = None if self.result is None else self.result.results.get(entry)
        return None if found is None else found.total.nominal

    def ratios(self) -> dict[str, float]:
        """Return the energy of what stands beside the network over that of the network, by this same model."""
        own = self.nominal("network")
        if not own or self.result is None:
            return {}
        return {name: one.total.nominal / own for name, one in self.result.results.items() if name != "network"}


@dataclass(frozen=True)
class Measured:
    """Counts by entry ("network", and where it spikes its twin), priced, and the papers' formula on them.

    ``count_elsewhere`` counts again, under other circumstances that a claim may come from: see ``others``.
    """

    counts: Mapping[str, Counts]
    estimates: tuple[Estimates, ...]
    formula: Mapping[str, PaperEnergy] = field(default_factory=dict)
    count_elsewhere: Callable[[], Mapping[str, Counts]] = dict

    @cached_property
    def others(self) -> Mapping[str, Counts]:
        """Counts of the first batch alone and of training mode, by these names: made when they are first asked for."""
        return self.count_elsewhere()

    @property
    def network(self) -> Counts:
        """What the network did."""
        return self.counts["network"]

    @property
    def twin(self) -> Counts | None:
        """What its ordinary twin does."""
        return self.counts.get("twin")


def check_models(names: Sequence[str]) -> None:
    """Raise UnknownNameError for a name that is no energy model's (names the nearest)."""
    for name in names:
        lookup("energy model", name, MODELS)


def measure(
    subject: Subject,
    models: Sequence[str] = (),
    strict: bool = False,
    conventions: Conventions | None = None,
    progress: Progress | None = None,
) -> Measured:
    """Count a network on its samples, beside its twin, and price both by every named model (all by default).

    Raises:
        UnknownNameError: no such model.
        InvalidArgumentError: the samples do not fit.
    """
    check_models(models)
    chosen = conventions or Conventions()
    graph = chosen.of_graph(subject.graph)
    counts = {"network": count(graph, _fed(subject), conventions=chosen, progress=progress)}
    if subject.unrolled == 1:
        counts |= companions(graph, [_one_step(subject)], conventions=chosen)
    name = subject.title
    estimates = tuple(_estimates(name, counts, model, strict, bool(models)) for model in (models or MODELS))
    formula = {way: published_formula(paper_layers(counts["network"], way)) for way in FIRST_LAYER}
    return Measured(counts, estimates, formula, lambda: counts_elsewhere(subject, chosen))


def _fed(subject: Subject) -> Iterator[Tensor]:
    yield from subject.parts()


def _one_step(subject: Subject) -> Tensor:
    """Samples as an ordinary network takes them, (B, …): of sequences the first step."""
    x = first(subject.graph, subject.samples, _TWIN_SAMPLES)
    return x[0] if batch_axis(subject.graph, x) else x


def _estimates(name: str, counts: Mapping[str, Counts], model: str, strict: bool, named: bool) -> Estimates:
    """Return what a model says, or why it says nothing."""
    try:
        return Estimates(MODELS[model], price(name, counts, (model,), strict).models[0])
    except EstimateError as error:
        why = str(error).removeprefix(f"energy model {model!r}: ").rstrip(".")
    applies = named or (strict and _estimates(name, counts, model, False, False).result is not None)
    return Estimates(MODELS[model], None, why, applies)


@dataclass(frozen=True)
class Judged:
    """A claimed number beside what was counted: the nearest explanations, and what would have to hold.

    ``implied_rate``: the firing rate, alike in all layers, by which the papers' formula gives a claimed energy.
    ``left_out``: of an energy that holds, what it leaves out; "" of all else.
    """

    claim: Claim
    counted: float
    explanations: tuple[Explanation, ...]
    must_hold: str
    other: str
    implied_rate: Mapping[str, float] = field(default_factory=dict)
    left_out: str = ""

    @property
    def holds(self) -> bool:
        """Whether the claim is what was counted, or what the papers' formula gives, without any error."""
        return any(not one.is_error for one in self.explanations)


def judge(claim: Claim, measured: Measured) -> Judged:
    """Compare a claim with the counts.

    Raises:
        InvalidArgumentError: a gain of a network that has no operations.
    """
    counts, twin = measured.network, measured.twin
    others = {} if claim.kind == "gain" else measured.others
    found = explain(claim, counts, twin=twin, others=others)
    exact = [one for one in explain(claim, counts, twin=twin, tolerance=float("inf")) if one.name == "exact count"]
    counted = exact[0].value if exact else 0.0
    rates = _implied(claim, measured)
    judged = Judged(claim, counted, tuple(found), must_hold(claim, counts, twin), _constant(claim, counts), rates)
    return replace(judged, left_out=_left_out(counts)) if claim.kind == "energy" and judged.holds else judged


def _left_out(counts: Counts) -> str:
    """What an energy of arithmetic alone leaves out, in words: the same counts with memories, at 45 nm as well."""
    try:
        whole = estimate(counts, _WITH_MEMORY).total
    except EstimateError:
        return ""
    low, nominal, high = (f"{value:.3g}" for value in (whole.low, whole.nominal, whole.high))
    return (
        f"arithmetic alone: no weights, states or activations from memory, with which {_WITH_MEMORY} says {nominal} "
        f"{whole.unit} ({low} to {high}); and no cores, idle or busy, and no packets between them."
    )


def _implied(claim: Claim, measured: Measured) -> dict[str, float]:
    """The mean firing rate by which the papers' formula gives a claimed energy, for both ways with the first layer."""
    spikes = any(not row.real and row.operations for one in measured.formula.values() for row in one.layers)
    if claim.kind != "energy" or not spikes:
        return {}
    return {way: implied_rate(claim.base * 1e3, one.layers) for way, one in measured.formula.items()}


def _constant(claim: Claim, counts: Counts) -> str:
    """What an accumulate would have to cost for a claimed energy to be true, in words; "" for other claims."""
    acs = counts.total("synaptic_events")
    if claim.kind != "energy" or not acs:
        return ""
    needed = (claim.base * 1e12 - 4.6 * counts.total("mac")) / acs
    if needed <= 0:
        return ""
    return f"or, at the counted operations, an accumulate would have to cost {needed:.3g} pJ (45 nm, 32 bit: 0.9 pJ)."
