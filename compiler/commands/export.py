"""``snnkit export``: a network in someone else's format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from compiler.commands.source import Source


def export(
    source: str,
    *,
    format: Literal["nir", "lava", "speck"] = "nir",
    output: Path | None = None,
    chip: str | None = None,
    input_type: str = "real",
) -> None:
    """Write a network as NIR, as the configuration of a Speck, or its program with one image as an artifact for lava.

    Parameters
    ----------
    source
        Folder of a run, a checkpoint, a model's name, or a .graph file.
    format
        nir (HDF5), lava (npz) or speck (JSON: which core takes which layer).
    output
        File to write; by default network.nir, lava.npz or speck.json in the folder of the run, or here.
    chip
        Name of a chip (lava: by default that of a .program file, else loihi1; speck: by default speck).
    input_type
        What the input consists of: real, binary, signed, or integer[low,high].
    """
    from hw import get_chip

    if chip is not None:
        get_chip(chip)
    from compiler.commands.source import program_of, resolve
    from snnkit.engine.progress import console

    given = resolve(source, input_type)
    given.check_one_network("export")
    names = {"nir": "network.nir", "lava": "lava.npz", "speck": "speck.json"}
    path = output or (given.folder or Path()) / names[format]
    if format == "speck":
        _speck(given, path, chip or "speck")
        return
    if format == "lava":
        from compiler.exchange import lava

        program = program_of(given, chip)
        x, _, _ = given.test_images(1)
        network = lava.write(program, path, x)
        console.print(f"{path}: {len(network.populations)} populations, {network.steps} steps, one test image")
        return
    from compiler.commands.stages import exchange_nir, record_exchange

    x, _, _ = given.test_images(100)
    row = exchange_nir(given.graph, x, path)
    if given.folder is not None and (given.folder / "mapping.json").exists():
        record_exchange(given.folder, [row])
    console.print(f"{path}: {row['verdict']}, {row['detail']}")


def _speck(given: Source, path: Path, chip: str) -> None:
    from compiler.checking import described
    from compiler.commands.show_check import exported
    from compiler.errors import CompileError
    from compiler.exchange import speck
    from hw import get_chip
    from snnkit.engine.progress import say

    misfits = given.misfits()
    if misfits:
        raise CompileError(*misfits)
    made = speck.write(given.graph, path, chip)
    exported(made, path)
    for doubt in described(given.graph, get_chip(made.chip)).doubtful:
        say(f"note: {doubt}")
