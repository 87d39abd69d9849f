"""``snnkit compile``: map a network onto a chip."""

from __future__ import annotations

from pathlib import Path


def compile_(source: str, *, chip: str = "loihi1", output: Path | None = None, input_type: str = "real") -> None:
    """Quantise a network for a chip, map it, and write the program.

    With the folder of a run, mapping.json is written there and the program goes to network.program.

    Parameters
    ----------
    source
        Folder of a run, a checkpoint, a model's name, or a .graph file.
    chip
        Name of a chip.
    output
        File for the program.
    input_type
        What the input consists of: real (images; the first layers run on the host), or binary (spikes).
    """
    from hw import get_chip

    get_chip(chip)
    from compiler.commands import show
    from compiler.commands.source import resolve
    from compiler.commands.stages import describe_mapping
    from compiler.compiling import CompileError, compile
    from snnkit.engine.progress import console

    given = resolve(source, input_type)
    misfits = given.misfits()
    if misfits:
        raise CompileError(*misfits)
    program = compile(given.graph, chip=chip)
    show.mapping(describe_mapping(program, given.folder))
    path = output or (given.folder or Path()) / "network.program"
    program.save(path)
    console.print(f"program: {path}")
