"""``snnkit compile``: map a network onto a chip."""

from __future__ import annotations

from pathlib import Path


def compile_(
    source: str,
    *,
    chip: str = "loihi1",
    output: Path | None = None,
    input_type: str = "real",
    host: tuple[str, ...] = (),
    allow: tuple[str, ...] = (),
    headroom: int = 32,
    explain: bool = False,
) -> None:
    """Quantise a network for a chip, map it, and write the program.

    With the folder of a run, mapping.json is written there and the program goes to network.program. Of a spiking
    detector backbone and neck are compiled; the host runs its heads.

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
    host
        Operations that may be left to the host beside the first layers: names, patterns, or auto.
    allow
        Losses of the chip that may happen; they are simulated and counted.
    headroom
        So many thresholds does the register span into which the host writes what it adds to spikes.
    explain
        Say what became of each layer: folded, merged or kept, on the host or the chip, with its scale and rounding.
    """
    from hw import get_chip

    silicon = get_chip(chip)
    from compiler.commands import show
    from compiler.commands.explain import explain as explained
    from compiler.commands.source import resolve
    from compiler.commands.stages import describe_mapping
    from compiler.compiling import CompileError, compile
    from compiler.front import REST, WHAT
    from compiler.targets import target_of
    from snnkit.engine.progress import console

    target_of(silicon)
    given = resolve(source, input_type)
    if misfits := given.misfits():
        raise CompileError(*misfits)
    program = compile(given.on_chip, chip=chip, host=host, allow=allow, headroom=headroom)
    if part := "" if given.front is None else WHAT:
        console.print(f"{part}: {REST}", soft_wrap=False)
    description = describe_mapping(program, given.folder, part)
    if explain:
        explained((given.front or given).captured, program, description)
    show.mapping(description)
    program.save(path := output or (given.folder or Path()) / "network.program")
    console.print(f"program: {path}")
