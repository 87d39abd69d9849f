"""Tables that several verbs print."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from hw.counts import Counts
from hw.energy import Energy
from snnkit.engine.progress import console


def counts(network: Counts, twin: Counts) -> None:
    """Print what each layer did per image, the twin's multiply-accumulates beside it."""
    dense = {layer.name: layer.mac for layer in twin.per_layer}
    table = Table("layer", "reads", "spikes", "rate", "AC", "MAC", "twin's MAC", box=None, title="per image")
    for column in table.columns[2:]:
        column.justify = "right"
    for layer in network.per_layer:
        if layer.kind not in ("synapse", "neuron"):
            continue
        spikes = "" if layer.spikes is None else f"{layer.spikes:,.0f}"
        rate = "" if layer.rate is None else f"{layer.rate:.3f}"
        work = [f"{value:,.0f}" if value else "" for value in (layer.ac, layer.mac, dense[layer.name])]
        table.add_row(layer.name, layer.input_type, spikes, rate, *work)
    totals = [network.total("ac"), network.total("mac"), twin.total("mac")]
    table.add_row(
        "total", "", f"{network.total('spikes'):,.0f}", "", *(f"{value:,.0f}" for value in totals), style="bold"
    )
    console.print(table)
    static = [layer.name for layer in network.per_layer if layer.static and layer.mac]
    if static:
        repeats = f"a run that repeats it at every step multiplies its MACs by {network.timesteps}"
        console.print(f"{', '.join(static)} reads the same pixels at every step and is counted once; {repeats}.")


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
    sources = {quantity.source for quantity in network.constants.values()}
    console.print(f"model {network.model}: {network.title}; {'; '.join(sorted(sources))}")


def mapping(description: dict[str, Any]) -> None:
    """Print the populations and how full the fullest core of each is."""
    limits = description["limits"]
    names = ("neurons", "in_axons", "out_axons", "synapse_bits")
    table = Table(
        "population",
        "neurons",
        "depth",
        "cores",
        "fullest core: neurons",
        "in axons",
        "out axons",
        "synapses",
        box=None,
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for population in description["populations"]:
        cores = [core for core in description["cores"] if core["id"] in set(population["cores"])]
        fullest = [f"{max(core[name] for core in cores) / limits[name]:.0%}" for name in names]
        row = (population["name"], f"{population['neurons']:,}", str(population["depth"]), str(len(cores)))
        table.add_row(*row, *fullest)
    console.print(table)
    used, host = len(description["cores"]), description["host"]
    console.print(
        f"{used} of {limits['cores']} cores of {description['chip']}; a run takes {description['steps']} steps"
    )
    if host["layers"]:
        console.print(f"on the host: {', '.join(host['layers'])} ({host['macs']:,.0f} MAC per image), {host['note']}")


def equality(result: dict[str, Any]) -> None:
    """Print the chain from floating point to the chip."""
    console.print(f"float accuracy      {result['float_accuracy']:.2%}  ({result['images']:,} test images)")
    console.print(f"quantised accuracy  {result['quantised_accuracy']:.2%}")
    console.print(f"chip accuracy       {result['chip_accuracy']:.2%}")
    console.print(
        f"spikes that differ between the quantised graph and the integer program: {result['spike_mismatches']} "
        f"of {result['compared']:,} compared ({result['spikes']:,} spikes): {result['verdict']}"
    )


def _unit(unit: str) -> str:
    return "µJ" if unit == "uJ" else unit
