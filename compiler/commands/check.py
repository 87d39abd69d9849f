"""``snnkit check``: would this network fit a chip, and is it spike-driven?"""

from __future__ import annotations

import sys


def check(
    source: str,
    *,
    chip: str | None = None,
    input_type: str = "real",
    host: tuple[str, ...] = (),
    allow: tuple[str, ...] = (),
    layers: bool = False,
) -> None:
    """Say whether a network is spike-driven and list everything that keeps it off a chip (exit code 3 if anything).

    Every violated limit is listed by layer, with what would fit. On chips that are described only, what could not be
    compared, since a number of the chip is not known, is said as well. What keeps a network from being a graph in the
    first place is listed the same way.

    Parameters
    ----------
    source
        Folder of a run, a checkpoint, a model's name, or a .graph file.
    chip
        Name of a chip (`snnkit chips` lists them); by default that of a .program file, else loihi1.
    input_type
        What the input consists of: real, binary, signed, or integer[low,high].
    host
        Operations that may be left to the host beside the first layers: names, patterns, or auto.
    allow
        Losses of the chip that may happen.
    layers
        Also list what each layer needs: neurons, synapses, fan-in and fan-out.
    """
    from hw import get_chip

    if chip is not None:
        get_chip(chip)
    from compiler.analysis.spike_driven import spike_driven
    from compiler.checking import examine
    from compiler.commands import show_check
    from compiler.commands.show import captured_or_reasons
    from compiler.commands.source import DEFAULT_CHIP, resolve
    from compiler.front import REST, WHAT
    from snnkit.engine.progress import console

    given = resolve(source, input_type)
    chip = chip or (DEFAULT_CHIP if given.program is None else given.program.chip.name)
    captured_or_reasons(given)
    graph = given.graph
    console.print(f"{graph.name}: {spike_driven(graph)}")
    if given.front is not None and given.front.model.backbone.spiking:
        graph = given.front.graph
        console.print(f"{WHAT}: {REST}", soft_wrap=False)
    misfits = given.misfits()
    report = examine(graph, chip, host=host, allow=allow)
    if layers:
        show_check.needs(report)
    show_check.report(report, misfits)
    if misfits or report.violations:
        sys.exit(3)
