"""``snnkit check``: would this network fit a chip, and is it spike-driven?"""

from __future__ import annotations

import sys


def check(source: str, *, chip: str = "loihi1", input_type: str = "real") -> None:
    """Say whether a network is spike-driven and list everything that keeps it off a chip (exit code 3 if anything).

    What keeps it from being a graph in the first place is listed the same way.

    Parameters
    ----------
    source
        Folder of a run, a checkpoint, a model's name, or a .graph file.
    chip
        Name of a chip.
    input_type
        What the input consists of: real, binary, signed, or integer[low,high].
    """
    from hw import get_chip

    get_chip(chip)
    from compiler.analysis.spike_driven import spike_driven
    from compiler.commands.show import captured_or_reasons
    from compiler.commands.source import resolve
    from compiler.compiling import check as find_violations
    from snnkit.engine.progress import console

    given = resolve(source, input_type)
    captured_or_reasons(given)
    console.print(f"{given.graph.name}: {spike_driven(given.graph)}")
    violations = [*given.misfits(), *find_violations(given.graph, chip)]
    for violation in violations:
        console.print(f"  {violation}")
    console.print(f"{len(violations)} violation(s) of {chip}" if violations else f"fits {chip}")
    if violations:
        sys.exit(3)
