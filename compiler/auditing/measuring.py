"""What an audit counts and prices: the one place that knows how ``compiler.count`` and ``hw.energy`` are asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from compiler.analysis.claims import Claim, Explanation, explain, must_hold
from compiler.auditing.subject import Subject
from compiler.commands.source import batch_axis, first
from compiler.converting import relu_twin
from compiler.counting import count
from hw import energy
from hw.counts import Counts
from hw.energy import Energy
from hw.energy.published_formula import FIRST_LAYER, PaperEnergy, paper_layers, published_formula
from snnkit.errors import unknown_name

Progress = Callable[[int, int], None]
"""(samples so far, samples in all)."""


@dataclass(frozen=True)
class Priced:
    """One energy model's answers: for the network and its ordinary twin; ``refused`` says why there is none."""

    name: str
    title: str
    network: Energy | None
    twin: Energy | None
    refused: str = ""
    twin_refused: str = ""

    @property
    def ratio(self) -> float | None:
        """Energy of the twin over that of the network, nominal, by the same model."""
        if self.network is None or self.twin is None or not self.network.total.nominal:
            return None
        return self.twin.total.nominal / self.network.total.nominal


@dataclass(frozen=True)
class Measured:
    """Counts of a network and of its ordinary twin (None where the network is ordinary itself), priced."""

    network: Counts
    twin: Counts | None
    priced: tuple[Priced, ...]
    formula: dict[str, PaperEnergy]


def measure(
    subject: Subject, models: Sequence[str] = (), strict: bool = False, progress: Progress | None = None
) -> Measured:
    """Count a network on its samples, beside its twin, and price both by every named model (all by default).

    Raises:
        UnknownNameError: no such model.
        InvalidArgumentError: the samples do not fit.
    """
    for name in models:
        if name not in energy.MODELS:
            raise unknown_name("energy model", name, energy.MODELS)
    network = _counted(subject, progress)
    twin = None
    if subject.spiking and subject.unrolled == 1:
        twin = count(relu_twin(subject.graph), [_one_step(subject, subject.samples)])
    priced = tuple(_priced(name, network, twin, strict) for name in (models or energy.MODELS))
    formula = {way: published_formula(paper_layers(network, way)) for way in FIRST_LAYER}
    return Measured(network, twin, priced, formula)


def _counted(subject: Subject, progress: Progress | None) -> Counts:
    parts, total, done = subject.parts(), subject.samples.shape[batch_axis(subject.graph, subject.samples)], 0

    def fed() -> object:
        nonlocal done
        for part in parts:
            yield part
            done += part.shape[batch_axis(subject.graph, part)]
            if progress is not None:
                progress(done, total)

    return count(subject.graph, fed())  # type: ignore[arg-type]


def _one_step(subject: Subject, x: Tensor) -> Tensor:
    """Samples as an ordinary network takes them, (B, …): of sequences the first step."""
    x = first(subject.graph, x, 8)
    return x[0] if batch_axis(subject.graph, x) else x


def _priced(name: str, network: Counts, twin: Counts | None, strict: bool) -> Priced:
    title = energy.MODELS[name].title
    own, why = _estimate(network, name, strict)
    other, why_not = (None, "") if twin is None else _estimate(twin, name, False)
    return Priced(name, title, own, other, why, why_not)


def _estimate(counts: Counts, name: str, strict: bool) -> tuple[Energy | None, str]:
    """Return an estimate, or why the model cannot give one."""
    try:
        return energy.MODELS[name].estimate(counts, strict=strict), ""
    except Exception as error:
        if not getattr(type(error), "user_error", False):
            raise
        return None, str(error).removeprefix(f"energy model {name!r}: ").rstrip(".")


@dataclass(frozen=True)
class Judged:
    """A claimed number beside what was counted: the nearest explanations, and what would have to hold."""

    claim: Claim
    counted: float
    explanations: tuple[Explanation, ...]
    must_hold: str
    other: str

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
    found = explain(claim, counts, twin=twin)
    exact = [one for one in explain(claim, counts, twin=twin, tolerance=float("inf")) if one.name == "exact count"]
    counted = exact[0].value if exact else 0.0
    return Judged(claim, counted, tuple(found), must_hold(claim, counts, twin), _constant(claim, counts))


def _constant(claim: Claim, counts: Counts) -> str:
    """What an accumulate would have to cost for a claimed energy to be true, in words; "" for other claims."""
    acs = counts.total("synaptic_events")
    if claim.kind != "energy" or not acs:
        return ""
    needed = (claim.base * 1e12 - 4.6 * counts.total("mac")) / acs
    if needed <= 0:
        return ""
    return f"or, at the counted operations, an accumulate would have to cost {needed:.3g} pJ (45 nm, 32 bit: 0.9 pJ)."
