"""``snnkit simulate``: run a compiled network in integers, here or in lava."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from compiler.commands.source import Source
    from compiler.program import Program


def simulate(
    source: str,
    *,
    chip: str | None = None,
    images: int = 1000,
    runtime: Literal["chip", "lava"] = "chip",
    lava_python: Path | None = None,
    input_type: str = "real",
    host: tuple[str, ...] = (),
    allow: tuple[str, ...] = (),
    headroom: int | None = None,
) -> None:
    """Run test images through the mapped integer program and compare.

    With runtime chip, the float graph is compared with the quantised graph and that with the program, on all images;
    with runtime lava, lava-nc runs the same network on one of them, and every current, voltage and spike is
    compared. Of a spiking detector backbone and neck run on the chip, and boxes are scored that its heads find on the
    host. A .program file is run as it is, on its own chip; with another chip, or with anything granted, its
    network is compiled anew.

    Parameters
    ----------
    source
        Folder of a run, a checkpoint, a model's name, or a .graph file.
    chip
        Name of a chip; by default that of a .program file, else loihi1.
    images
        Number of test images (runtime chip).
    runtime
        Who runs the program.
    lava_python
        A Python interpreter with lava-nc; `make lava` makes one.
    input_type
        What the input consists of: real (images), or binary (spikes).
    host
        Operations that may be left to the host beside the first layers: names, patterns, or auto.
    allow
        Losses of the chip that may happen; they are simulated and counted.
    headroom
        So many thresholds does the register span into which the host writes what it adds to spikes; by default 32.
    """
    from hw import get_chip

    if chip is not None:
        get_chip(chip)
    from compiler.commands.source import program_of, resolve

    if runtime == "lava":
        from compiler.simulate.lava_bridge import find_lava_python

        python = find_lava_python(None if lava_python is None else str(lava_python))
        given = resolve(source, input_type)
        _in_lava(given, program_of(given, chip, host, allow, headroom), python)
        return
    given = resolve(source, input_type)
    _on_chip(given, program_of(given, chip, host, allow, headroom), images)


def _on_chip(given: Source, program: Program, images: int) -> None:
    from compiler.commands import show
    from compiler.commands.stages import run_on_chip
    from compiler.commands.tested import test_samples
    from compiler.front import REST, WHAT
    from snnkit.engine.progress import console

    part = "" if given.front is None else f": {WHAT}; {REST}"
    if given.front is None:
        given.check_classes("simulate", dense=True)
    console.print(f"{given.text} on {program.chip.name}{part}", soft_wrap=False)
    show.equality(run_on_chip(program, test_samples(given, images), given.folder))
    if part:
        console.print("not counted: the heads, the selection of boxes, and what the host computes", soft_wrap=False)


def _in_lava(given: Source, program: Program, python: Path) -> None:
    import tempfile

    from compiler.commands.stages import record_exchange
    from compiler.exchange import lava
    from compiler.simulate import replay
    from compiler.simulate.lava_bridge import compare, run_lava
    from snnkit.engine.progress import console

    x, _, _ = given.test_images(1)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "network.npz"
        lava.write(program, path, x)
        ours, theirs = replay(path), run_lava(path, python)
    comparison = compare(ours, theirs)
    console.print(str(comparison))
    if given.folder is not None and (given.folder / "mapping.json").exists():
        verdict = "exact" if comparison.exact else "approximate"
        row = {"format": "lava-nc", "file": "lava.npz", "verdict": verdict, "detail": str(comparison)}
        record_exchange(given.folder, [row])
