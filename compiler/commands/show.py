"""Tables that several verbs print."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rich.table import Table

from compiler.analysis.readings import Reading, readings
from compiler.analysis.spike_driven import spike_driven
from compiler.errors import CaptureError
from compiler.graph import Graph, is_neuron
from hw.counts import Counts
from hw.energy import Energy
from snnkit.engine.progress import console

if TYPE_CHECKING:
    from compiler.commands.source import Source


def captured_or_reasons(given: Source) -> Graph:
    """Return the captured graph, or print everything that keeps it from being captured and exit with code 3."""
    try:
        return given.captured
    except CaptureError as error:
        found = error.reasons
        console.print(f"{given.text}: {_plural(len(found), 'thing')} that graphs do not have")
        for reason in found:
            console.print(f"  {reason}")
        sys.exit(3)


def graph(description: dict[str, Any], captured: int) -> None:
    """Print what ``stages.describe_graph`` says of a graph, ``captured`` nodes before it was simplified."""
    static = ", the same input at every step" if description["static_input"] else ""
    console.print(f"{description['name']}, T={description['timesteps']}{static}")
    for what in ("input", "output"):
        for signal in description[f"{what}s"]:
            console.print(f"{what:9} {signal['name']} {tuple(signal['shape'])} {signal['type']}")
    states, nodes = description["states"], description["nodes"]
    if states["count"]:
        console.print(f"states    {states['count']:,} with {states['values']:,} values in each sample")
    before = f" ({captured:,} before simplifying)" if captured != nodes else ""
    console.print(f"nodes     {nodes:,}{before}, {_plural(description['stored'], 'stored number')}")
    console.print()
    _blocks(description["blocks"])
    console.print()
    table = Table("operations", "", box=None)
    for kind, found in description["kinds"].items():
        table.add_row(kind, _counted(found))
    console.print(table, soft_wrap=False)
    console.print()
    types = sorted(description["types"].items(), key=lambda pair: -pair[1])
    console.print(f"signals   {', '.join(f'{count:,} {kind}' for kind, count in types)}", soft_wrap=False)
    console.print(f"verdict   {description['verdict']}", soft_wrap=False)
    if description["breaks"] > 1:
        console.print(f"          and {description['breaks'] - 1:,} more: `snnkit capture … --types` lists them")


def _blocks(blocks: list[dict[str, Any]]) -> None:
    table = Table("block", "nodes", "states", "what it does", box=None)
    for column in table.columns[1:3]:
        column.justify = "right"
    for block in blocks:
        row = (block["label"], f"{block['nodes']:,}", f"{block['states']:,}" if block["states"] else "")
        table.add_row(*row, _counted(block["operations"]))
    console.print(table, soft_wrap=False)


def _counted(found: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" if count > 1 else name for name, count in found.items())


def types(graph: Graph) -> None:
    """Print every signal that a weight, a product or a norm reads, marked where it breaks a spike-driven claim."""
    found, spiking = readings(graph), any(is_neuron(node) for node in graph)
    width = max((len(str(reading.type)) for reading in found), default=0)
    for reading in found:
        reader = _below(reading.node.name, reading.signal)
        console.print(f"{_mark(reading)} {reading.type!s:{width}}  {reading.signal} → {reader} ({reading.node.op})")
    broken = sum(reading.breaks for reading in found)
    if broken:
        console.print(f"✗ {broken:,} of {_plural(len(found), 'signal')} read are real where spikes should be")
    if any(reading.encodes for reading in found):
        console.print("○ the real input, which encoding layers may read")
    if not spiking:
        console.print("an ordinary network: it has no neurons and claims nothing")
    console.print(f"verdict   {spike_driven(graph)}", soft_wrap=False)


def _mark(reading: Reading) -> str:
    return "✗" if reading.breaks else "○" if reading.encodes else " "


def _below(name: str, beside: str) -> str:
    """A name without the modules it shares with another, which leaves a dot in front."""
    parts, others = name.split("."), beside.split(".")
    shared = 0
    while shared < min(len(parts), len(others)) - 1 and parts[shared] == others[shared]:
        shared += 1
    return f".{'.'.join(parts[shared:])}" if shared else name


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def counts(network: Counts, twin: Counts) -> None:
    """Print what each layer did per image, the twin's multiply-accumulates beside it."""
    dense = {layer.name: layer.mac for layer in twin.per_layer}
    table = Table("layer", "reads", "spikes", "rate", "AC", "MAC", "twin's MAC", box=None, title="per image")
    for column in table.columns[:2]:
        column.overflow = "fold"
    for column in table.columns[2:]:
        column.justify = "right"
    for layer in network.per_layer:
        if layer.kind not in ("synapse", "product", "neuron"):
            continue
        spikes = "" if layer.spikes is None else f"{layer.spikes:,.0f}"
        rate = "" if layer.rate is None else f"{layer.rate:.3f}"
        work = [f"{value:,.0f}" if value else "" for value in (layer.ac, layer.mac, dense.get(layer.name, 0.0))]
        table.add_row(layer.name, layer.input_type, spikes, rate, *work)
    totals = [network.total("ac"), network.total("mac"), twin.total("mac")]
    table.add_row(
        "total", "", f"{network.total('spikes'):,.0f}", "", *(f"{value:,.0f}" for value in totals), style="bold"
    )
    console.print(table)
    static = [layer.name for layer in network.per_layer if layer.static and layer.mac]
    if static:
        repeats = f"a run that repeats it at every step multiplies its MACs by {network.timesteps}"
        console.print(
            f"{', '.join(static)} reads the same pixels at every step and is counted once; {repeats}.", soft_wrap=False
        )


def energies(network: Energy, twin: Energy) -> None:
    """Print both intervals with their parts, and where the constants come from."""
    table = Table("energy per image", "low", "nominal", "high", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for title, priced in (("spiking network", network), ("ordinary twin", twin)):
        i = priced.total
        table.add_row(title, *(f"{v:.3f} {_unit(i.unit)}" for v in (i.low, i.nominal, i.high)), style="bold")
        for part in priced.parts:
            e = part.energy
            if e.high:
                table.add_row(f"  {part.name}", *(f"{v:.3f}" for v in (e.low, e.nominal, e.high)), style="dim")
    console.print(table)
    for title, priced in (("spiking network", network), ("ordinary twin", twin)):
        if priced.uncounted:
            shown = ", ".join(priced.uncounted[:3]) + (
                f" and {len(priced.uncounted) - 3} more" * (len(priced.uncounted) > 3)
            )
            console.print(
                f"{title}: a lower bound; not priced: divisions, exponentials or roots of {shown}", soft_wrap=False
            )
    sources = {quantity.source for quantity in network.constants.values()}
    console.print(f"model {network.model}: {network.title}; {'; '.join(sorted(sources))}", soft_wrap=False)


def mapping(description: dict[str, Any]) -> None:
    """Print the populations and how full the fullest core of each is."""
    limits = description["limits"]
    names = ("neurons", "in_axons", "out_axons", "synapse_bits")
    table = Table("population", "neurons", "depth", "cores", "full:", "in", "out", "synapses", box=None)
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.justify = "right"
    for population in description["populations"]:
        cores = [core for core in description["cores"] if core["id"] in set(population["cores"])]
        fullest = [f"{max(core[name] for core in cores) / limits[name]:.0%}" for name in names]
        row = (population["name"], f"{population['neurons']:,}", str(population["depth"]), str(len(cores)))
        table.add_row(*row, *fullest)
    console.print(table)
    console.print("full: the fullest core of each, in neurons, in axons, out axons and synapse memory", soft_wrap=False)
    used, host = len(description["cores"]), description["host"]
    console.print(
        f"{used} of {limits['cores']} cores of {description['chip']}; a run takes {description['steps']} steps"
    )
    if host["layers"]:
        said = f"on the host: {', '.join(host['layers'])} ({host['macs']:,.0f} MAC per image), {host['note']}"
        console.print(said, soft_wrap=False)


def equality(result: dict[str, Any]) -> None:
    """Print the chain from floating point to the chip."""
    console.print(f"float accuracy      {result['float_accuracy']:.2%}  ({result['images']:,} test images)")
    console.print(f"quantised accuracy  {result['quantised_accuracy']:.2%}")
    console.print(f"chip accuracy       {result['chip_accuracy']:.2%}")
    for line in compared(result):
        console.print(line)


def compared(result: dict[str, Any]) -> list[str]:
    """Return both comparisons in words, each with the two ends that were compared; ``stages.compared`` gives them."""
    differ, all_ = result["float_mismatches"], result["float_compared"]
    lines = [f"float graph → quantised graph: {differ:,} of {all_:,} spikes differ"]
    layers = {name: bad / of for name, (bad, of) in result["float_by_layer"].items() if of}
    if differ:
        worst = max(layers, key=layers.__getitem__)
        lines.append(f"  most in {worst} ({layers[worst]:.2%})")
    error, bound = result["float_logit_error"], result["float_logit_bound"]
    proven = f", at most {bound:.3g} where spikes agree" if bound is not None and error else ""
    measured = ", measured" if result["float_verdict"] == "approximate" else ""
    measured = ", proven: nothing was rounded" if result["float_proven"] else measured
    lines.append(f"  and logits by up to {error:.3g}{proven}: {result['float_verdict']}{measured}")
    lines.append(
        f"quantised graph → integer program: {result['spike_mismatches']:,} of {result['compared']:,} spikes differ"
    )
    lines.append(
        f"  and {result['membrane_mismatches']:,} of {result['membranes']:,} output membranes: {result['verdict']} "
        f"({result['spikes']:,} spikes fired)"
    )
    return lines


def _unit(unit: str) -> str:
    return "µJ" if unit == "uJ" else unit
