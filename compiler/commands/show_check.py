"""What a check found, in words: every violation with what would fit, and whatever could not be compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.table import Table

from compiler.checking import Report
from compiler.errors import Violation
from compiler.exchange.speck import Configuration
from compiler.exchange.speck.configuration import CAVEAT
from snnkit.engine.progress import console, say, wrapped


def needs(report: Report) -> None:
    """Print what each layer needs."""
    table = Table("layer", "shape", "neurons", "synapses", "fan-in", "fan-out", box=None)
    table.columns[0].overflow = "fold"
    for column in table.columns[2:]:
        column.justify = "right"
    for layer in report.layers:
        shape = "×".join(map(str, layer.shape))
        counts = (layer.size, layer.synapses, layer.fan_in, layer.fan_out)
        table.add_row(layer.name, shape, *(f"{count:,}" for count in counts))
    console.print(table, soft_wrap=False)


def report(found: Report, misfits: Sequence[Violation] = ()) -> None:
    """Print all violations, what was not compared, and the verdict."""
    violations, chip = [*misfits, *found.violations], found.chip.name
    for lines in grouped(violations):
        for line in lines:
            console.print(line)
    for doubt in found.doubtful:
        say(f"note: {doubt}")
    if found.described_only and found.unchecked:
        say(f"not checked: {'; '.join(found.unchecked)}")
    if found.cores:
        _cores(found)
    if violations:
        console.print(f"{len(violations)} violation(s) of {chip}")
    elif found.described_only:
        console.print(f"fits {chip}, as far as its numbers are known (no program is made for it)")
    else:
        console.print(f"fits {chip}")


def grouped(violations: Iterable[Violation]) -> list[list[str]]:
    """Return the lines of each violation, 80 columns wide; layers that lack the same are named together."""
    alike: dict[tuple[str, str, str, bool], list[str]] = {}
    for v in violations:
        alike.setdefault((v.need, v.limit, v.rewrite, v.confirmed), []).append(v.layer)
    found = []
    for (need, limit, rewrite, confirmed), layers in alike.items():
        names = layers[0] if len(layers) == 1 else f"{', '.join(layers[:-1])} and {layers[-1]}"
        doubt = "" if confirmed else " (that number was not checked against its source)"
        verb = "needs" if len(layers) == 1 else "each need"
        lines = wrapped(f"{names} {verb} {need}, {_without(limit, rewrite)}{doubt}", "  ", "    ")
        if rewrite:
            lines += wrapped(f"would fit: {rewrite}", "    ", "      ")
        found.append(lines)
    return found


def _without(limit: str, rewrite: str) -> str:
    """A limit without the advice that is said again below it."""
    for said in (rewrite, rewrite.partition(", or ")[0]):
        for advice in (f"use {said}", said):
            if said and limit.endswith(advice):
                return limit.removesuffix(advice).rstrip(" :;,")
    return limit


def _cores(found: Report) -> None:
    limits, layers = found.chip.layers, {layer.name: layer for layer in found.core_layers}
    if limits is None:
        return
    table = Table("layer", "core", "neuron words", "of", "kernel words", "of", box=None)
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.justify = "right"
    for name, core in found.cores:
        words = layers[name].words()
        neuron = (words["neuron"], limits.neuron_memory[core])
        kernel = (words["kernel"], limits.kernel_memory[core])
        table.add_row(name, str(core), *(f"{count:,}" for count in (*neuron, *kernel)))
    console.print(table, soft_wrap=False)


def exported(made: Configuration, path: Path) -> None:
    """Print what the configuration of a Speck holds and what it does not promise."""
    worst = max(made.cores, key=lambda core: core.rounding)
    rounded = f"rounding of a step's current up to {worst.rounding:.3g} ({worst.name})" if worst.rounding else "exact"
    say(f"{path}: {len(made.cores)} layers on as many cores of {made.chip}, {rounded}")
    clipped = [core.name for core in made.cores if core.clips]
    if clipped:
        say(f"note: membranes of {', '.join(clipped)} could reach their lower limit, where they stay")
    say(f"note: {CAVEAT}")
