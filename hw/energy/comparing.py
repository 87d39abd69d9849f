"""Compare estimates: only what can stand side by side does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hw.energy.model import Energy, EstimateError
from hw.quantity import Interval


@dataclass(frozen=True)
class Ratio:
    """How often the first estimate fits into another: at the nominal values, and between the far ends.

    ``lower_bound`` names those of the two that are lower bounds, since some operations have no price there: then the
    ratio says little.
    """

    low: float
    nominal: float
    high: float
    lower_bound: tuple[str, ...] = ()

    @property
    def decided(self) -> bool:
        """Whether one takes less than the other wherever in their intervals both lie; never of lower bounds."""
        return not self.lower_bound and (self.low > 1 or self.high < 1)


def compare(energies: Mapping[str, Energy] | Sequence[Energy], allow_mixed_nodes: bool = False) -> dict[str, Ratio]:
    """Return, for every estimate but the first, its ratio to the first.

    Args:
        energies: by name; a sequence is named by its models.
        allow_mixed_nodes: compare processes of different nm, such as 45 nm arithmetic with a 14 nm chip. Such a ratio
            is mostly that of the processes.

    Raises:
        EstimateError: fewer than two, one that is nothing, or processes that differ.
    """
    named = dict(energies) if isinstance(energies, Mapping) else {one.model: one for one in energies}
    if len(named) < 2:
        raise EstimateError(f"to compare takes two estimates of different names; given: {', '.join(named) or 'none'}.")
    nodes = {name: one.technology_nm for name, one in named.items()}
    if len(set(nodes.values())) > 1 and not allow_mixed_nodes:
        said = ", ".join(f"{name} {'of no one node' if nm is None else f'{nm:g} nm'}" for name, nm in nodes.items())
        raise EstimateError(
            f"processes differ ({said}): their ratio says more of the process than of the networks. Price both by one "
            "model, or allow mixed nodes."
        )
    first, *others = named
    own = named[first].total
    if own.low <= 0:
        raise EstimateError(f"{first} may take nothing at all: nothing can be compared with it.")
    return {name: _ratio(named[name].total.to(own.unit), own, _bounds(named, (first, name))) for name in others}


def _bounds(named: Mapping[str, Energy], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if named[name].uncounted)


def _ratio(other: Interval, own: Interval, lower_bound: tuple[str, ...]) -> Ratio:
    return Ratio(other.low / own.high, other.nominal / own.nominal, other.high / own.low, lower_bound)
