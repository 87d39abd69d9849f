"""``snnkit audit``: what a network does and costs, in whatever form it was published, beside what is claimed of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from compiler.auditing.subject import Asked, Subject


@dataclass
class Options:
    """What is fed, what is priced, and what comes out.

    Parameters
    ----------
    model
        MODULE:FACTORY within a folder of Python files. The folder's code is run.
    set_
        KEY=VALUE for the factory; may be given several times.
    weights
        A checkpoint for what the factory makes.
    input_
        Shape of one sample for what a factory makes, such as 3,32,32.
    timesteps
        T of a network that does not say it itself.
    time_axis
        0 or 1 for code that takes sequences (T, B, …) or (B, T, …); found out by default.
    input_type
        What the input consists of: real, binary, signed, or integer[low,high].
    data
        A data set's name, or a folder of images; a run's own by default. Without any, noise, and the result says so.
    data_source
        Where the data set lies, as for training.
    images
        How many samples are counted: by default 100, of noise 4.
    models
        Energy models, such as 45nm,loihi1; all by default.
    claimed
        A published number with its unit, such as "13.6 mJ", "6.5 GAC", "18 %", "37x"; may be given several times.
    repconv
        Layers in a row without a neuron between them: literal, or merged into one.
    first_layer
        A layer whose input is the same at every step counts once, or "each step".
    padding
        Multiply-accumulates with zeros of padding: counted or skipped.
    strict
        Exit with 3 if anything is not counted, not priced, or priced with constants that were not checked.
    layers
        Print all layers, not only those that do most.
    format_
        What is printed: table, json or md.
    output
        A file for the audit: .json, .md or .html; may be given several times.
    """

    model: str | None = None
    set_: Annotated[list[str], Parameter(name="--set", negative="")] = field(default_factory=list)
    weights: Path | None = None
    input_: Annotated[str, Parameter(name="--input")] = "3,224,224"
    timesteps: int | None = None
    time_axis: int | None = None
    input_type: str = "real"
    data: str | None = None
    data_source: str = ""
    images: int | None = None
    models: str = ""
    claimed: Annotated[list[str], Parameter(negative="")] = field(default_factory=list)
    repconv: str = "literal"
    first_layer: str = "once"
    padding: str = "counted"
    strict: bool = False
    layers: bool = False
    format_: Annotated[Literal["table", "json", "md"], Parameter(name="--format")] = "table"
    output: Annotated[list[Path], Parameter(negative="")] = field(default_factory=list)


def audit(what: str, *, options: Annotated[Options | None, Parameter(name="*")] = None) -> None:
    """Say whether a network is spike-driven, what it does layer by layer, and what that costs by every energy model.

    WHAT is FILE.py:FACTORY, or a folder with --model MODULE:FACTORY (their code is run, SpikingJelly's old names are
    found); a run, a checkpoint, a model's name (timm's are called timm:NAME), a .nir, .onnx, .graph or .program file.
    What cannot be a graph is listed, all of it, with exit code 3.

    Parameters
    ----------
    what
        The network.
    """
    import sys
    from contextlib import nullcontext, redirect_stdout

    from compiler.analysis.claims import read_claim
    from compiler.auditing import writing

    chosen = options or Options()
    claims = [read_claim(text) for text in map(_claim_text, chosen.claimed)]
    for path in chosen.output:
        writing.check_suffix(path)
    asked = _asked(what, chosen)
    # What is printed while counting would stand in the middle of a document.
    with redirect_stdout(sys.stderr) if chosen.format_ != "table" else nullcontext():
        found = _found(asked, chosen, claims)
        for path in chosen.output:
            writing.write(found, path)
    _print(found, chosen)
    if found["strict"]:
        sys.exit(3)


def _claim_text(text: str) -> str:
    """Rates are written "rate 0.18" in papers and "18 %" elsewhere."""
    word, _, number = text.strip().partition(" ")
    return f"{number} spikes/step" if word.lower() == "rate" and number else text


def _asked(what: str, chosen: Options) -> Asked:
    from compiler.auditing.subject import Asked
    from snnkit.errors import InvalidArgumentError

    try:
        sample = tuple(int(size) for size in chosen.input_.replace("x", ",").split(","))
    except ValueError:
        raise InvalidArgumentError(f"--input {chosen.input_}: must be whole numbers such as 3,224,224.") from None
    return Asked(
        what,
        chosen.model,
        tuple(chosen.set_),
        chosen.weights,
        sample,
        chosen.timesteps,
        chosen.input_type,
        chosen.data,
        chosen.data_source,
        chosen.images,
        chosen.time_axis,
    )


def _found(asked: Asked, chosen: Options, claims: list[Any]) -> dict[str, Any]:
    from compiler.auditing.document import document
    from compiler.auditing.measuring import check_models, judge, measure
    from compiler.conventions import Conventions
    from snnkit.engine.progress import bar

    conventions = Conventions(chosen.repconv, "folded", chosen.first_layer, chosen.padding)
    models = tuple(name.strip() for name in chosen.models.split(",") if name.strip())
    check_models(models)
    given = _subject(asked)
    with bar("counting", given.images) as progress:

        def told(done: int) -> None:
            if progress is not None:
                progress.update(progress.task_ids[0], completed=done)

        measured = measure(given, models, chosen.strict, conventions, told)
    return document(given, measured, [judge(claim, measured) for claim in claims], chosen.strict)


def _subject(asked: Asked) -> Subject:
    """Return the subject, or list everything that keeps it from being a graph and exit with 3."""
    import sys

    from compiler.auditing.subject import subject
    from compiler.errors import CaptureError
    from snnkit.engine.progress import console

    try:
        return subject(asked)
    except CaptureError as error:
        things = f"{len(error.reasons)} things that graphs do not have"
        console.print(f"{asked.what}: {things if len(error.reasons) > 1 else 'cannot be a graph'}")
        for reason in error.reasons:
            console.print(f"  {reason}")
        sys.exit(3)


def _print(found: dict[str, Any], chosen: Options) -> None:
    from compiler.auditing import terminal, writing
    from snnkit.engine.progress import console

    if chosen.format_ == "table":
        terminal.show(found, console, chosen.layers)
        for path in chosen.output:
            console.print(f"written: {path}")
    else:
        print(writing.text_of(found, f".{chosen.format_}"))
