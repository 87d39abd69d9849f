"""Tables that several verbs print."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rich.table import Table

from compiler.analysis.readings import Reading, readings
from compiler.analysis.spike_driven import spike_driven
from compiler.decisions import MEASURES
from compiler.errors import CaptureError
from compiler.graph import Graph, is_neuron
from compiler.parts import IMAGE, PartCounts
from compiler.pricing import ModelResult, Priced, sections
from hw.counts import Counts
from hw.energy import Energy
from hw.quantity import Interval
from snnkit.engine.progress import console, say

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


def counts(priced: Priced) -> None:
    """Print what each layer did per sample, the twin's multiply-accumulates beside it."""
    network, twin = priced.counts["network"], priced.counts.get("twin")
    dense = {layer.name: layer.mac for layer in twin.per_layer} if twin else {}
    shifts = network.total("shift_adds") > 0
    heads = ["layer", "reads", "spikes", "rate", "AC", *["shifted"] * shifts, "MAC", *["twin's MAC"] * bool(twin)]
    table = Table(*heads, box=None, title="per sample")
    for column in table.columns[:2]:
        column.overflow = "fold"
    for column in table.columns[2:]:
        column.justify = "right"
    for layer in network.per_layer:
        if layer.kind not in ("synapse", "product", "neuron"):
            continue
        spikes = "" if layer.spikes is None else f"{layer.spikes:,.0f}"
        rate = "" if layer.rate is None else f"{layer.rate:.3f}"
        work = [layer.ac, *[layer.shift_adds] * shifts, layer.mac, *[dense.get(layer.name, 0.0)] * bool(twin)]
        table.add_row(layer.name, layer.input_type, spikes, rate, *(f"{value:,.0f}" if value else "" for value in work))
    names = ["spikes", "", "ac", *["shift_adds"] * shifts, "mac"]
    totals = [f"{network.total(name):,.0f}" if name else "" for name in names]
    table.add_row("total", "", *totals, *([f"{twin.total('mac'):,.0f}"] if twin else []), style="bold")
    console.print(table)
    _spread(network)
    static = [layer.name for layer in network.per_layer if layer.static and layer.mac]
    if static:
        repeats = f"a run that repeats it at every step multiplies its MACs by {network.timesteps}"
        console.print(
            f"{', '.join(static)} reads the same pixels at every step and is counted once; {repeats}.", soft_wrap=False
        )
    said = network.conventions
    console.print(
        f"counted with batch norms {said['batch_norm']}, layers in a row {said['repconv']}, padding {said['padding']}, "
        f"T = {said['timesteps']}",
        soft_wrap=False,
    )
    if not network.complete:
        console.print(f"incomplete: not counted are {', '.join(network.uncounted)}", soft_wrap=False)


def _spread(network: Counts) -> None:
    found = network.statistics.get("synaptic_events")
    if found is not None and found.mean:
        share = f"± {found.half_width / found.mean:.1%}"
        console.print(
            f"synaptic operations {found.mean:,.0f} {share} (95 % of means over {found.n:,} samples)", soft_wrap=False
        )


_TITLES = {
    "network": "spiking network",
    "twin": "ordinary twin",
    "twin_skipping": "  skipping zeros",
    "qnn": "quantised twin",
    "teacher": "given network",
    "teacher_skipping": "  skipping zeros",
}


def energies(priced: Priced) -> None:
    """Print the headline model with its parts and what drives it, then every other model in a line."""
    headline = priced.models[0]
    spiking = len(priced.counts) > 1
    table = Table("energy per sample", "low", "nominal", "high", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for entry, one in headline.results.items():
        i, main = one.total, not entry.endswith("_skipping")
        title = _TITLES[entry] if spiking else priced.name
        table.add_row(title, *(_energy(v, i.unit) for v in (i.low, i.nominal, i.high)), style="bold" if main else "")
        for part in one.parts if main else ():
            e = part.energy
            if e.high:
                table.add_row(f"  {part.name}", *(_energy(v, i.unit) for v in (e.low, e.nominal, e.high)), style="dim")
    console.print(table)
    network = headline.results["network"]
    for entry, one in headline.results.items():
        if one.uncounted and not entry.endswith("_skipping"):
            more = f" and {len(one.uncounted) - 3} more" * (len(one.uncounted) > 3)
            console.print(
                f"{_TITLES[entry] if spiking else priced.name}: a lower bound; some of what "
                f"{', '.join(one.uncounted[:3])}{more} do has no price",
                soft_wrap=False,
            )
    _sections(headline)
    _drivers(network)
    _break_even(headline)
    sources = {quantity.source for quantity in network.constants.values()}
    console.print(f"model {network.model}: {network.title}; {'; '.join(sorted(sources))}", soft_wrap=False)
    console.print(f"it prices {network.scope}", soft_wrap=False)
    if len(priced.models) > 1:
        console.print()
        _other_models(priced)


def _sections(headline: ModelResult) -> None:
    """Print what backbone, neck and head each take, beside the twin's."""
    names = [entry for entry in ("network", "twin", "qnn", "teacher") if entry in headline.results]
    split = {entry: sections(headline.results[entry]) for entry in names}
    if not split["network"]:
        return
    table = Table("of it", *(_TITLES[entry] if len(names) > 1 else "nominal" for entry in names), box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for name in split["network"]:
        row = []
        for entry in names:
            energy, value = headline.results[entry].total, split[entry].get(name, 0.0)
            share = f" {value / energy.nominal:4.0%}" if energy.nominal else ""
            row.append(_energy(value, energy.unit) + share if split[entry] else "")
        table.add_row(name, *row)
    console.print(table)


def parts(counted: PartCounts) -> None:
    """Say how often each part ran for an image, and what stands on assumptions."""
    often = [f"{count:,.1f} {name}" for name, count in counted.runs.items() if name != IMAGE]
    if often:
        say(
            f"an image takes backbone, neck and proposals once and the other heads for {' and '.join(often)}, as many "
            "as this network asks for; RoIAlign is counted, weights of heads are read for every region anew."
        )
    if often and counted.twin is not None:
        say("the twin sees the regions that this network found, their mean over time.")


def _drivers(energy: Energy) -> None:
    found = [one for one in energy.drivers if one.high > one.low][:3]
    if found:
        unit = energy.total.unit
        moved = "; ".join(f"{d.name} {_energy(d.low, unit)} to {_energy(d.high, unit)}" for d in found)
        console.print(f"the interval comes from: {moved}", soft_wrap=False)


def _break_even(result: ModelResult) -> None:
    even = result.break_even
    if even is None or even.rate is None or even.measured is None:
        return
    other = "twin" if "twin" in result.results else "qnn"
    side = "below" if even.measured < even.rate else "above"
    console.print(
        f"firing rate {even.measured:.3f} a neuron and step, {side} the {even.rate:.3f} at which the network takes as "
        f"much as the {_TITLES[other]}",
        soft_wrap=False,
    )


def _other_models(priced: Priced) -> None:
    """One line for each model: the network's energy, its interval, the twin's, and how often the twin takes it."""
    table = Table("every model", "nm", "network", "low to high", "twin", "÷", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for model in priced.models:
        own = model.results["network"]
        other = model.results.get("twin") or model.results.get("qnn")
        i, node = own.total, "" if own.technology_nm is None else f"{own.technology_nm:g}"
        twin = _short(other.total.nominal, other.total.unit) if other else ""
        ratio = f"{other.total.nominal / i.nominal:.2f}" if other and i.nominal else ""
        mark = "*" * bool(own.assumed) + "†" * bool(own.uncounted)
        table.add_row(own.model + mark, node, _short(i.nominal, i.unit), _span(i), twin, ratio)
    console.print(table)
    notes = ["÷: the twin's energy by the network's. Rows of different processes (nm) do not compare."]
    if any(model.results["network"].assumed for model in priced.models):
        notes.append("*: with constants that were not checked against their source.")
    if any(model.results["network"].uncounted for model in priced.models):
        notes.append("†: a lower bound, some operations have no price there.")
    console.print(" ".join(notes), soft_wrap=False)
    for name, why in priced.refused.items():
        said = why.removeprefix("energy model ") if name in why else f"{name}: {why}"
        console.print(f"left out: {said}", soft_wrap=False)


def _span(interval: Interval) -> str:
    if interval.low == interval.high:
        return ""
    low, high = (_short(value, interval.unit).split() for value in (interval.low, interval.high))
    return f"{low[0]}{'' if low[1] == high[1] else ' ' + low[1]} – {' '.join(high)}"


_PREFIXES = ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"), (1e-9, "nJ"), (1e-12, "pJ"))


def _scaled(value: float, unit: str) -> tuple[float, str]:
    """An energy in the unit that gives it one to three digits before the point."""
    joules = value * {"pJ": 1e-12, "nJ": 1e-9, "uJ": 1e-6, "mJ": 1e-3, "J": 1.0}[unit]
    factor, name = next(((f, n) for f, n in _PREFIXES if joules >= f), _PREFIXES[-1])
    return joules / factor, name


def _energy(value: float, unit: str) -> str:
    number, name = _scaled(value, unit)
    return f"{number:.3f} {name}" if number else "0"


def _short(value: float, unit: str) -> str:
    number, name = _scaled(value, unit)
    return f"{number:.3g} {name}" if number < 999.5 else f"{number:.0f} {name}"


def mapping(description: dict[str, Any]) -> None:
    """Print the populations and how full the fullest core of each is."""
    limits = description["limits"]
    if "mesh" not in description:
        _loads(description)
        return
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
    _between(host.get("operations", []))


def _between(operations: list[str]) -> None:
    """Say what the host does at every step."""
    if operations:
        named = ", ".join(operations[:3]) + (f" and {len(operations) - 3:,} more" if len(operations) > 3 else "")
        console.print(f"on the host between the chip's steps: {named}", soft_wrap=False)


def _loads(description: dict[str, Any]) -> None:
    """Print the populations of a chip without axons, and how much of each limit its fullest core uses."""
    limits, cores = description["limits"], description["cores"]
    table = Table("population", "neurons", box=None)
    table.columns[0].overflow = "fold"
    table.columns[1].justify = "right"
    for population in description["populations"]:
        table.add_row(population["name"], f"{population['neurons']:,}")
    console.print(table)
    for name, limit in limits.items():
        most = max((core[name] for core in cores if name in core), default=None)
        if most is not None:
            console.print(f"{name.replace('_', ' ')}: {most:,} of {limit:,} ({most / limit:.0%}) on the fullest core")
    console.print(f"{len(cores)} of {limits.get('cores', len(cores))} cores of {description['chip']}")


def equality(result: dict[str, Any], converted: bool = False) -> None:
    """Print the chain from floating point to the chip, or from a converted network, whose events are codes."""
    pixels = ", of their pixels" if result["measure"] == "pixel accuracy" else ""
    name = "accuracy" if result["measure"] in MEASURES else result["measure"]
    ends = ("quantised", "in registers", "chip") if converted else ("float", "quantised", "chip")
    first, second, third = (f"{end} {name}" for end in ends)
    width = max(map(len, (first, second, third, "quantised accuracy")))
    console.print(f"{first:<{width}}  {result['float_accuracy']:.2%}  ({result['images']:,} test images{pixels})")
    console.print(f"{second:<{width}}  {result['quantised_accuracy']:.2%}")
    console.print(f"{third:<{width}}  {result['chip_accuracy']:.2%}")
    for line in compared(result):
        console.print(_in_codes(line) if converted else line)
    if "outputs" in result:
        differ, read = result["output_mismatches"], result["outputs"]
        console.print(f"  of the pyramid, read at every step, {differ:,} of {read:,} values differ")
    for one in result.get("energy", ()):
        unit = one["unit"]
        low, middle, high = (_energy(one[end], unit) for end in ("low", "nominal", "high"))
        console.print(f"energy on the chip {middle} a sample ({low} to {high}; {one['title']})", soft_wrap=False)
    counted = {
        name: value if name.startswith("most_") else value / result["images"]  # the most of all samples, or a sum
        for name, value in result.get("counters", {}).items()
        if value
    }
    if counted:
        said = ", ".join(f"{value:,.4g} {name.replace('_', ' ')}" for name, value in counted.items())
        console.print(f"a sample: {said}", soft_wrap=False)


def _in_codes(line: str) -> str:
    """Say of a converted network what ``compared`` says of a trained one."""
    words = {
        "float graph → quantised graph": "form for the chip → its registers",
        "quantised graph → integer program": "registers → integer program",
        "spikes fired": "levels sent",
        "spikes": "codes",
    }
    for old, new in words.items():
        line = line.replace(old, new)
    return line


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
    what = "logits" if result.get("measure", MEASURES[0]) in MEASURES else "outputs"
    lines.append(f"  and {what} by up to {error:.3g}{proven}: {result['float_verdict']}{measured}")
    lines.append(
        f"quantised graph → integer program: {result['spike_mismatches']:,} of {result['compared']:,} spikes differ"
    )
    lines.append(
        f"  and {result['membrane_mismatches']:,} of {result['membranes']:,} output membranes: {result['verdict']} "
        f"({result['spikes']:,} spikes fired)"
    )
    return lines
