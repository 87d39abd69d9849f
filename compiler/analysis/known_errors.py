"""The errors of published energies, each as what it would charge a layer; ``compiler.analysis.claims`` compares.

A network is a list of ``Row``: from exact counts, or from the numbers that a paper prints. A ``Charging`` says how many
multiply-accumulates and accumulates an error makes of a row, a ``Pricing`` what an error makes of both in pJ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hw.counts import Counts, LayerCounts
from hw.energy import constants, loihi1
from hw.energy.published_formula import charged_layers, input_rate


@dataclass(frozen=True)
class Row:
    """One layer: per sample over all time steps, a layer of constant input once (``repeats`` says how often more).

    ``dense`` operations, ``macs`` and ``synaptic`` operations that were done, ``biases`` added; ``rate`` of what it
    reads; whether that is ``real``, ``graded`` (spikes other than 0 and 1), the network's ``first`` real signal; and
    whether it is a ``product`` of two signals.
    """

    name: str
    dense: float
    rate: float
    macs: float = 0.0
    synaptic: float = 0.0
    biases: float = 0.0
    repeats: int = 1
    real: bool = False
    graded: bool = False
    first: bool = False
    product: bool = False


@dataclass(frozen=True)
class Numbers:
    """What claims are compared with: rows, time steps, spikes per neuron and step, and neuron updates per sample.

    ``layer_rates`` are the firing rates of its neurons, layer by layer.
    """

    rows: tuple[Row, ...]
    timesteps: int
    mean_rate: float
    updates: float = 0.0
    layer_rates: tuple[float, ...] = ()

    @property
    def dense(self) -> float:
        """Dense operations of one inference of an ordinary network of these layers: one time step."""
        return sum(row.dense if row.repeats > 1 else row.dense / self.timesteps for row in self.rows)


def numbers_of(counts: Counts) -> Numbers:
    """Return the rows of exact counts."""
    rows: list[Row] = []
    for layer in charged_layers(counts):
        rows.append(_row(layer, first=layer.mac > 0 and not any(row.synaptic for row in rows)))
    neurons = [layer for layer in counts.per_layer if layer.neuron_updates]
    updates = sum(layer.neuron_updates for layer in neurons)
    rates = tuple(layer.rate for layer in neurons if layer.rate is not None)
    mean = sum(layer.spikes or 0.0 for layer in neurons) / updates if updates else 0.0
    return Numbers(tuple(rows), counts.timesteps, mean, updates, rates)


def _row(layer: LayerCounts, first: bool) -> Row:
    return Row(
        layer.name,
        layer.dense_macs,
        1.0 if layer.mac else input_rate(layer),
        layer.mac,
        layer.synaptic_events,
        layer.bias_adds,
        layer.static_repeats if layer.static else 1,
        layer.mac > 0,
        not layer.mac and layer.input_type != "binary",
        first,
        layer.kind == "product",
    )


Charge = Callable[[Row, Numbers, float], tuple[float, float]]
"""(row, the network's numbers, accumulates that are right) → (MACs, ACs)."""


@dataclass(frozen=True)
class Charging:
    """A way to count: ``what`` is a sentence without an end."""

    name: str
    what: str
    charge: Charge


def _right(row: Row, numbers: Numbers, ac: float) -> tuple[float, float]:
    return row.macs, ac


def _events(change: Callable[[Row, Numbers, float], float]) -> Charge:
    """An error in the accumulates of layers that read events."""

    def charge(row: Row, numbers: Numbers, ac: float) -> tuple[float, float]:
        return row.macs, (0.0 if row.real else change(row, numbers, ac))

    return charge


def _only(which: Callable[[Row], bool], macs: Callable[[Row], float], acs: Callable[[Row], float]) -> Charge:
    """An error in some rows alone."""

    def charge(row: Row, numbers: Numbers, ac: float) -> tuple[float, float]:
        return (macs(row), acs(row)) if which(row) else (row.macs, ac)

    return charge


def _nothing(row: Row) -> float:
    return 0.0


def _dense(row: Row) -> float:
    return row.dense


RIGHT = Charging("no error", "every operation that was done, counted once", _right)

CHARGINGS = (
    Charging("rate twice", "the firing rate applied twice", _events(lambda row, n, ac: ac * row.rate)),
    Charging("time steps twice", "the time steps counted twice", _events(lambda row, n, ac: ac * n.timesteps)),
    Charging("time steps left out", "one time step instead of all", _events(lambda row, n, ac: ac / n.timesteps)),
    Charging(
        "rate left out",
        "every dense operation as an accumulate, whether there is a spike or not",
        _events(lambda row, n, ac: row.dense),
    ),
    Charging(
        "one mean rate",
        "dense operations × one mean firing rate of the network instead of what was measured",
        _events(lambda row, n, ac: row.dense * n.mean_rate),
    ),
    Charging(
        "bias by the rate",
        "biases multiplied with the firing rate, as if they were weights",
        _events(lambda row, n, ac: ac + row.biases * row.rate),
    ),
    Charging(
        "first layer at every step",
        "a layer whose input never changes charged at every time step",
        lambda row, n, ac: (row.macs * row.repeats, ac * row.repeats),
    ),
    Charging(
        "first layer free",
        "the first layer, which reads real numbers, left out",
        _only(lambda row: row.first, _nothing, _nothing),
    ),
    Charging(
        "first layer as accumulates",
        "the first layer, which reads real numbers, charged accumulates",
        _only(lambda row: row.first, _nothing, _dense),
    ),
    Charging(
        "real layers as accumulates",
        "every layer that reads real numbers charged accumulates",
        _only(lambda row: row.real, _nothing, _dense),
    ),
    Charging(
        "attention left out",
        "products of two signals left out, as tools do that hook modules",
        _only(lambda row: row.product, _nothing, _nothing),
    ),
    Charging(
        "graded spikes multiply",
        "layers that read sums of spikes or scaled spikes charged all their multiply-accumulates",
        _only(lambda row: row.graded, _dense, _nothing),
    ),
)
"""What published work gets wrong in counting. To add one: a line here and a case in the tests."""


@dataclass(frozen=True)
class Pricing:
    """What operations cost in pJ: MAC, AC, and one update of a neuron; ``what`` is a sentence without an end."""

    name: str
    what: str
    mac: float
    ac: float
    update: float = 0.0


_LOIHI = loihi1.MODEL.constants["E_syn"].value
_TWISTED = _LOIHI + 3.5
"""pJ + ns: 27.1, of no unit."""
_UPDATE = loihi1.MODEL.constants["E_active"].value

FP32 = Pricing("no error", "45 nm, 32-bit floating point", constants.FP32.mac.value, constants.FP32.ac.value)
EIGHT = Pricing(
    "8-bit constants",
    "8-bit integers (0.23 and 0.03 pJ), not 32-bit floating point",
    constants.INT8.mac.value,
    constants.INT8.ac.value,
)
CHIP = Pricing(
    "synaptic operations alone",
    "23.6 pJ a synaptic operation of Loihi and nothing for updates, packets and idle cores",
    _LOIHI,
    _LOIHI,
)
PRICINGS = (
    EIGHT,
    CHIP,
    Pricing(
        "nanoseconds added",
        "27.1 pJ a synaptic operation of Loihi: 23.6 pJ and 3.5 ns added up, as KerasSpiking does",
        _TWISTED,
        _TWISTED,
    ),
    Pricing(
        "nanoseconds added, with updates",
        "27.1 pJ a synaptic operation of Loihi (23.6 pJ and 3.5 ns added up) and 81 pJ a neuron update",
        _TWISTED,
        _TWISTED,
        _UPDATE,
    ),
    Pricing(
        "multiplications for spikes",
        "4.6 pJ, a multiply-accumulate, for what only adds",
        constants.FP32.mac.value,
        constants.FP32.mac.value,
    ),
)
"""What published work gets wrong in pricing."""


def charged(charging: Charging, numbers: Numbers, measured: bool) -> tuple[float, float]:
    """Return (MACs, ACs) of a network under a charging, from measured operations or from rate × dense operations."""
    pairs = [charging.charge(row, numbers, accumulates(row, measured)) for row in numbers.rows]
    return sum(macs for macs, _ in pairs), sum(acs for _, acs in pairs)


def accumulates(row: Row, measured: bool) -> float:
    """Return the accumulates of a row before any error: those measured, or dense operations × rate."""
    if measured:
        return row.synaptic
    return 0.0 if row.real else row.dense * row.rate
