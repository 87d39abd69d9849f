"""What ``snnkit convert`` prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from rich.table import Table

from compiler.converting import Converted
from compiler.converting.comparing import Comparison, FormResult
from compiler.converting.planning import MACHINES, Plan
from snnkit.engine.progress import console, say
from snnkit.measures import MEASURES
from snnkit.report.values import plural

_MACHINES = {
    "static": "signed events, fixed synapses",
    "graded": "also events with a number, and tables",
    "dynamic": "also synapses that are other neurons' sums",
    "host": "also an ordinary processor",
}


def refused(name: str, reasons: Sequence[str]) -> NoReturn:
    """Print everything that keeps a network from being converted and exit with code 3."""
    console.print(f"{name} cannot be converted:")
    for reason in reasons:
        console.print(f"  {reason}", soft_wrap=False)
    sys.exit(3)


def plan(found: Plan, nodes: bool) -> None:
    """Print what every operation becomes, in groups or one by one, and what that says of machines."""
    title = "operation" if nodes else "operations"
    table = Table("becomes", title, "" if nodes else "how many", "MACs", "runs on", box=None)
    table.columns[1].overflow = "fold"
    for column in table.columns[2:4]:
        column.justify = "right"
    if nodes:
        for one in found.operations:
            table.add_row(one.becomes, one.node.name, one.node.op, _number(one.macs), one.machine)
    else:
        for group in found.groups():
            table.add_row(
                group["becomes"], group["op"], f"{group['nodes']:,}", _number(group["macs"]), group["machine"]
            )
    console.print(table)
    console.print()
    shares(found)


def shares(found: Plan) -> None:
    """Print how much of the synaptic operations each kind of machine runs, and how many neurons there would be."""
    say(f"{found.graph.name}: {found.macs:,.0f} multiply-accumulates a sample; of their events run on")
    for machine in MACHINES:
        console.print(f"  {machine:8} {found.share(machine):7.2%}  {_MACHINES[machine]}")
    console.print(f"{plural(found.quantisers, 'layer')} of neurons, {plural(found.neurons, 'neuron')}")


def before(found: Plan) -> None:
    """Print what machines would run of the network as it is, to compare with what is made of it."""
    console.print("before it is made chip-clean:")
    shares(found)
    host = [one for one in found.operations if one.machine == "host"]
    console.print(f"{len(host):,} of {len(found.operations):,} operations need an ordinary processor")
    console.print()


def _number(value: float) -> str:
    return f"{value:,.0f}" if value else ""


def summary(found: Plan, converted: Converted) -> None:
    """Print what was made."""
    size = "any size" if converted.max_exponent is None else f"±1 … ±{2**converted.max_exponent} levels"
    if converted.max_exponent == 0:
        size = "±1 level"
    shares(found)
    host = [one for one in found.operations if one.machine == "host"]
    console.print(f"{len(host):,} of {len(found.operations):,} operations need an ordinary processor")
    console.print(f"{converted.levels} levels, events of {size}; at rest after at most {converted.bound:,} steps")
    for note in converted.notes:
        console.print(f"note: {note}", soft_wrap=False)
    console.print()


_AGREES = {
    MEASURES["box_ap"].words: "box AP where what the quantised form is surer of than one in two is the truth",
    MEASURES["pose_ap"].words: "marked key points no farther from the quantised form's than a tenth of the box",
}
"""What agreement means where networks find things."""


def comparison(found: Comparison, measure: str = "accuracy") -> None:
    """Print how the forms decide, what they send and what that costs, and what was proved."""
    labelled = found.forms[0].accuracy is not None
    table = Table("form", measure if labelled else "", "as quantised", "events per neuron", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for form in found.forms:
        table.add_row(*_row(form))
    console.print(table)
    console.print()
    verdict = "exact"
    if not found.exact:
        verdict = f"NOT exact: {found.codes_differ:,} codes, and outputs by up to {found.logit_error:.3g}"
    if measure in _AGREES:
        console.print(f"as quantised: {_AGREES[measure]}", soft_wrap=False)
        console.print()
    settled = "decides as at rest for 99 %" if measure not in _AGREES else "finds 99 % of what it finds at rest"
    settled += f" from T = {found.settled} on"
    if measure == MEASURES["box_ap"].words:  # boxes are not chosen after every step
        settled += ", of the rows above"
    lines = [
        f"float → quantised: outputs differ by up to {found.float_error:.3g}: approximate, measured",
        f"quantised → spiking: {found.codes_differ:,} of {found.codes:,} codes differ at rest: {verdict}",
        f"at rest after {found.rest:,} step{'s' * (found.rest != 1)} at the latest (bound {found.bound:,}); {settled}",
    ]
    for line in lines:
        console.print(line, soft_wrap=False)
    _counts(found)


def _row(form: FormResult) -> tuple[str, ...]:
    accuracy = "" if form.accuracy is None else f"{form.accuracy:.2%}"
    events = "" if form.events is None else f"{form.events:.2f}"
    return form.name, accuracy, f"{form.agreement:.2%}", events


def _counts(found: Comparison) -> None:
    """Operations of every form; the quantised one multiplies small whole numbers on a machine of today.

    Accumulates are shifted ones too, as the report and the prices have it.
    """
    if not found.counts:
        return
    table = Table("a sample", "multiply-accumulates", "accumulates", "neuron updates", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, counts in found.counts.items():
        if name != "spiking":
            table.add_row(name, _number(counts.total("dense_macs")))
            continue
        added = counts.total("ac") + counts.total("shift_adds")  # an event of 2^k levels adds its weight, shifted
        rest = counts.total("mac"), added, counts.total("neuron_updates")
        table.add_row(name, *(_number(value) for value in rest))
    console.print()
    console.print(table)
    said = (
        "A multiply-accumulate costs 5.1 accumulates in 32-bit floats and 7.7 in 8-bit integers (45 nm, Horowitz 2014)."
    )
    console.print(said, soft_wrap=False)
