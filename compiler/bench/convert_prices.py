"""What the forms of a converted network cost: arithmetic at 45 nm, in 32-bit floating point and in 8-bit integers.

    E = E_MAC · MACs + E_AC · ACs

| | MAC | AC |
|---|---|---|
| 32-bit floating point | 4.6 pJ | 0.9 pJ |
| 8-bit integers | 0.23 pJ | 0.03 pJ |

The published formula of spiking networks (``low`` of the model "45nm"): layers with weights and products of signals, no
neurons, norms, memory or routing. Float and quantised form are charged for every MAC of an accelerator that skips
nothing, the quantised one also for those alone whose code is not 0, as an accelerator that looks at it does. Codes have
4 bits at L = 16, for which the source has no price: 8-bit arithmetic is more than they need.

Source of the constants: M. Horowitz, ISSCC 2014 (addition 0.03 pJ, multiplication 0.2 pJ in 8 bits).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from torch import Tensor

from compiler.counting import Tally
from compiler.graph import Graph, Node
from compiler.graph.facts import Facts
from hw.counts import Counts
from hw.energy.arithmetic_45nm import AC, MAC
from hw.quantity import Quantity

_SOURCE = "Horowitz, ISSCC 2014 (45 nm, 0.9 V)"
MAC_INT8 = Quantity(0.23, "pJ", _SOURCE)
AC_INT8 = Quantity(0.03, "pJ", _SOURCE)

NUMBERS = {"32-bit floats": (MAC, AC), "8-bit integers": (MAC_INT8, AC_INT8)}


def energy_uj(macs: float, acs: float, numbers: str) -> float:
    """Return microjoules of so many multiply-accumulates and accumulates in "32-bit floats" or "8-bit integers"."""
    mac, ac = NUMBERS[numbers]
    return (macs * mac.value + acs * ac.value) / 1e6


def operations(counts: dict[str, Counts], nonzero: float) -> dict[str, tuple[float, float]]:
    """Return (MACs, ACs) of a sample by form: what is executed, and of accelerators that skip nothing all MACs.

    Args:
        counts: "float", "quantised" and "spiking", as ``compare`` counts them.
        nonzero: MACs of the quantised form whose codes are not 0.
    """
    return {
        "float": (counts["float"].total("dense_macs"), 0.0),
        "quantised": (counts["quantised"].total("dense_macs"), 0.0),
        "quantised, zeros skipped": (nonzero, 0.0),
        "spiking until rest": (counts["spiking"].total("mac"), counts["spiking"].total("ac")),
    }


def price_rows(case: str, counts: dict[str, Counts], nonzero: float, images: int) -> list[dict[str, Any]]:
    """Return a row for each form and kind of numbers; ``images``: on how many samples the counts are means."""
    rows = []
    for form, (macs, acs) in operations(counts, nonzero).items():
        for numbers in NUMBERS:
            row: dict[str, Any] = {"case": case, "variant": f"{form}, energy in {numbers}"}
            row |= {"value": round(energy_uj(macs, acs, numbers), 4), "unit": "uJ"}
            rows.append(row | {"macs": round(macs, 1), "acs": round(acs, 1), "images": images})
    return rows


class _NonZero(Tally):
    """Counts every code that is not 0 as one, whatever it is."""

    def watch(self, node: Node, facts: Facts) -> None:
        """Add what one node did to codes of −1, 0 and 1."""
        pairs = zip(facts.inputs, facts.values, strict=True)
        values = [x.sign() * float(s.type.scale) if s.type.is_event else x for s, x in pairs]
        super().watch(node, replace(facts, values=values))


def nonzero_macs(quantised: Graph, x: Tensor) -> float:
    """Return the multiply-accumulates of a sample, mean over x (B, …), that remain where a code of 0 is skipped."""
    tally = _NonZero(quantised)
    tally.add(x)
    return tally.counts().total("mac") + tally.counts().total("ac")


def fair_bits(timesteps: int) -> int:
    """Return ⌈log2(T + 1)⌉: as many bits as activations need that tell apart what T steps of spikes can."""
    return math.ceil(math.log2(timesteps + 1))
