"""``snnkit check``: would this network fit a chip, and is it spike-driven?"""

from __future__ import annotations

import sys


def check(source: str, *, chip: str = "loihi1") -> None:
    """Say whether a network is spike-driven and list everything that keeps it off a chip (exit code 3 if anything).

    Parameters
    ----------
    source
        Folder of a run, a checkpoint, or a model's name.
    chip
        Name of a chip.
    """
    from hw import get_chip

    get_chip(chip)
    from compiler.capture import capture
    from compiler.check import check as find_violations
    from compiler.commands.source import resolve
    from compiler.passes import simplify
    from compiler.passes.infer_signals import spike_driven
    from snnkit.engine.progress import console

    given = resolve(source)
    graph = simplify(capture(given.model, given.example))
    console.print(f"{graph.name}: {spike_driven(graph)}")
    violations = find_violations(graph, chip)
    for violation in violations:
        console.print(f"  {violation}")
    console.print(f"{len(violations)} violation(s) of {chip}" if violations else f"fits {chip}")
    if violations:
        sys.exit(3)
