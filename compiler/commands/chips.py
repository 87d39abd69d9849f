"""``snnkit chips``: the chips that are described, with their limits and sources."""

from __future__ import annotations


def chips(name: str | None = None) -> None:
    """List the chips, or show one with all its numbers and their sources.

    Parameters
    ----------
    name
        Name of a chip.
    """
    from rich.table import Table

    from hw import get_chip, list_chips
    from snnkit.engine.progress import console

    if name is None:
        table = Table("name", "chip", "cores", "neurons a core", "synapse memory a core", "arithmetic", box=None)
        for chip in map(get_chip, list_chips()):
            bits = int(chip.core.synapse_bits.value)
            neurons = f"{int(chip.core.neurons.value):,}"
            row = (chip.name, chip.title, f"{int(chip.cores.value)}", neurons, f"{bits // 8192} KiB")
            table.add_row(*row, chip.semantics)
        console.print(table)
        return
    chip = get_chip(name)
    console.print(f"{chip.name}: {chip.title}")
    table = Table("number", "value", "source", "confirmed", box=None)
    table.add_row("cores", f"{chip.cores.value:,.0f} {chip.cores.unit}", chip.cores.source, str(chip.cores.confirmed))
    for group in (chip.core, chip.arithmetic):
        for field, value in vars(group).items():
            if hasattr(value, "source"):
                table.add_row(field, f"{value.value:,.0f} {value.unit}", value.source, str(value.confirmed))
    table.add_row(
        "mesh", f"{chip.mesh.width}×{chip.mesh.height} tiles × {chip.mesh.cores_per_tile}", chip.mesh.source, ""
    )
    table.add_row("synapse packing", f"words of {chip.synapses.word_bits} bits", chip.synapses.source, "")
    console.print(table)
    console.print(f"neurons: {', '.join(chip.neurons)}; resets: {', '.join(chip.resets)}. {chip.notes}")
