"""``snnkit convert``: an ordinary network becomes a spiking one; with ``--plan``, what it would become."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

from cyclopts import Parameter

from snnkit.files import made_folder, of_file

QANN = "qann.graph"

if TYPE_CHECKING:
    from torch import Tensor

    from compiler.commands.source import Source
    from compiler.commands.tested import Samples
    from compiler.converting import Converted
    from compiler.graph import Graph
    from compiler.program import Program


@dataclass
class Settings:
    """How a network is converted, and on what it is compared.

    Parameters
    ----------
    data
        A data set's name, or a folder of images; by default what the run was trained on.
    data_source
        Where the data set lies, as for training.
    levels
        L, how many whole numbers a signal may become.
    max_exponent
        K: events are ±1 … ±2^K levels; "none" for events of any size.
    calibration
        How many training samples scales are found from.
    images
        How many test samples the forms are compared on.
    per_channel
        One scale a channel for signals that only layers with weights read.
    finetune
        Epochs of fine-tuning in which the quantised network learns from the float one, on the training data.
    chip_clean
        First replace what chips do not have: softmax, norms over channels, smooth activations. Needs --finetune.
    start
        What neurons begin with: the mean codes of the calibration samples, which saves steps and events, or zero.
    activation_codes
        What leaves a ReLU is its codes for sums and pools too, so that events are all that layers hand on.
    chip
        Then put the network on this chip too, in one time step of whole codes, and compare; means --activation-codes.
    output
        Folder for qann.graph, snn.graph, source.graph, convert.json and, with --chip, events.graph and
        network.program; by default converted/ in the run's folder.
    """

    data: str | None = None
    data_source: str = ""
    levels: int = 16
    max_exponent: Annotated[str, Parameter(name=["--max-exponent", "-K"])] = "2"
    calibration: int = 256
    images: int = 500
    per_channel: bool = False
    finetune: int = 0
    chip_clean: bool = False
    start: Literal["mean", "zero"] = "mean"
    activation_codes: bool = False
    chip: str | None = None
    output: Path | None = None


def convert(
    source: str,
    *,
    plan: bool = False,
    nodes: bool = False,
    spike_input: bool = False,
    settings: Annotated[Settings | None, Parameter(name="*")] = None,
) -> None:
    """Turn an ordinary network into a quantised and a spiking one, equal in every integer at rest, and compare them.

    With --plan nothing is run: every operation with what it becomes and which machine can run it; exit code 3 if
    something cannot be converted.

    Parameters
    ----------
    source
        Folder of a run, a checkpoint, a model's name (timm's are called timm:NAME), or a file that holds a graph
        (.graph, .onnx).
    plan
        Only say what every operation would become.
    nodes
        With --plan: a line for every operation instead of one for each kind.
    spike_input
        Send the input as events too, instead of computing the first layer from real numbers once.
    """
    from compiler.commands.source import resolve
    from compiler.converting.calibrating import check_levels
    from compiler.targets import target_of
    from hw import get_chip
    from snnkit.errors import InvalidArgumentError

    chosen = settings or Settings()
    exponent = _exponent(chosen.max_exponent)
    check_levels(chosen.levels)
    for name in ("calibration", "images"):
        if getattr(chosen, name) < 1:
            raise InvalidArgumentError(f"--{name} {getattr(chosen, name)}: must be ≥ 1.")
    if chosen.chip is not None:
        target_of(get_chip(chosen.chip))
        if plan:
            raise InvalidArgumentError("--plan maps nothing onto a chip; leave out --chip, or --plan.")
        if spike_input:
            raise InvalidArgumentError("--chip has the host compute the first layers; leave out --spike-input.")
        chosen.activation_codes = True
    given = resolve(source)
    if plan:
        _plan(given, spike_input, nodes, chosen.activation_codes)
        return
    if chosen.finetune:
        if given.front is not None:
            raise InvalidArgumentError("--finetune learns classes, and this finds things; convert it without.")
        given.check_classes("convert --finetune")
    if given.front is None:
        given.check_classes("convert", dense=True)
    if nodes:
        raise InvalidArgumentError("--nodes goes with --plan.")
    _convert(_with_data(given, chosen.data, chosen.data_source), chosen, exponent, spike_input)


def _exponent(text: str) -> int | None:
    from compiler.converting.conversion import check_exponent
    from snnkit.errors import InvalidArgumentError

    if text.lower() in ("none", "inf", "graded"):
        return None
    if not text.lstrip("-").isdigit():
        raise InvalidArgumentError(f'--max-exponent {text}: a whole number from 0 to 30, or "none" for graded events.')
    check_exponent(int(text))
    return int(text)


def _plan(given: Source, spike_input: bool, nodes: bool, activation_codes: bool) -> None:
    from compiler.commands import show_conversion
    from compiler.commands.show import captured_or_reasons
    from compiler.converting.conversion import prepared_graph
    from compiler.converting.planning import plan as planned
    from compiler.errors import CaptureError
    from compiler.front import WHAT
    from snnkit.engine.progress import console

    captured = captured_or_reasons(given) if given.front is None else given.front.captured
    if given.front is not None:
        console.print(f"{given.text}: {WHAT}; the heads and the selection of boxes stay as they are", soft_wrap=False)
    try:
        graph = prepared_graph(captured)
    except CaptureError as error:
        show_conversion.refused(given.text, error.reasons)
    found = planned(graph, spike_input, activation_codes)
    show_conversion.plan(found, nodes)


def _with_data(given: Source, data: str | None, source: str) -> Source:
    """Return the source with the data that was asked for, in the size that the network takes."""
    from dataclasses import replace

    from compiler.graph import Graph
    from snnkit.data import DataConfig
    from snnkit.errors import InvalidArgumentError

    if data is None:
        if given.folder is None:
            raise InvalidArgumentError(
                f"{given.text} is no run, so nothing says which images it takes: give --data with a data set's name or "
                "a folder of images, or --plan to see what it would become."
            )
        return given
    shape = given.graph.shape(given.graph.inputs[0]) if isinstance(given.network, Graph) else given.example.shape[1:]
    name, place = ("image_folder", data) if Path(data).is_dir() else (data, source or "auto")
    side = int(shape[-1]) if shape[-1] == shape[-2] else 0
    return replace(given, data=DataConfig(dataset=name, source=place, img_size=side))


def _convert(given: Source, chosen: Settings, exponent: int | None, spike_input: bool) -> None:
    from compiler.commands import show_conversion
    from compiler.commands.stages import batches
    from compiler.commands.tested import test_samples
    from compiler.compiling import compile
    from compiler.converting.comparing import compare
    from compiler.converting.conversion import prepared_graph
    from compiler.converting.planning import plan as planned
    from compiler.front import WHAT
    from snnkit.engine.progress import console

    folder = chosen.output or (given.folder / "converted" if given.folder is not None else None)
    if chosen.finetune < 0 or (chosen.finetune and folder is None) or (chosen.chip_clean and not chosen.finetune):
        _refuse_tuning(chosen)
    if folder is not None:
        made_folder(folder)  # before anything is computed that could not be written
    front = given.front
    floating = prepared_graph(given.captured if front is None else front.captured)
    samples, _ = given.training_images(chosen.calibration)
    if front is not None:
        samples = front.prepared(samples)
        console.print(f"{given.text}: {WHAT}; the heads and the selection of boxes stay as they are", soft_wrap=False)
    if chosen.chip_clean:
        show_conversion.before(planned(floating, spike_input, chosen.activation_codes))
    converted = _made(given, floating, batches(floating, samples), chosen, exponent, spike_input, folder)
    # Before anything is measured or written: what a chip does not take is known now.
    program = None if chosen.chip is None else compile(converted.events_graph, chip=chosen.chip)
    show_conversion.summary(planned(converted.source, spike_input, chosen.activation_codes), converted)
    tested = test_samples(given, chosen.images)
    pairs, measure = tested.pairs(batches(floating, tested.x)), tested.measure
    comparison = compare(converted, pairs, floating=floating, judge=tested.judge)
    show_conversion.comparison(comparison, measure)
    if folder is not None:
        kept = ("levels", "per_channel", "start", "finetune", "chip_clean", "activation_codes")
        options = {name: getattr(chosen, name) for name in kept} | {"measure": measure}
        options |= {"max_exponent": exponent, "spike_input": spike_input}
        _save(converted, comparison.to_dict() | options, folder)
    if program is not None:
        _onto_chip(converted, program, tested, given.folder, folder)


def _onto_chip(converted: Converted, program: Program, tested: Samples, run: Path | None, folder: Path | None) -> None:
    """Run the samples in integers and compare; ``run`` gets mapping.json, which says of which conversion it is."""
    from compiler.commands import show
    from compiler.commands.stages import run_on_chip
    from compiler.converting.comparing import codes_that_differ
    from snnkit.engine.progress import console

    console.print(f"\non {program.chip.name}, in one time step of whole codes:", soft_wrap=False)
    differ, codes = codes_that_differ(converted, program.source_graph, tested.x)
    console.print(f"quantised → form for the chip: {differ:,} of {codes:,} codes differ")
    marks = {"converted": of_file(folder / QANN)} if folder is not None else {}
    show.equality(run_on_chip(program, tested, run, marks), converted=True)
    if folder is not None:
        program.source_graph.save(folder / "events.graph")
        program.save(folder / "network.program")
        console.print(f"program: {folder / 'network.program'}")


def _refuse_tuning(chosen: Settings) -> NoReturn:
    from snnkit.errors import InvalidArgumentError

    if chosen.finetune < 0:
        raise InvalidArgumentError(f"--finetune {chosen.finetune}: must be ≥ 0.")
    if chosen.chip_clean and not chosen.finetune:
        raise InvalidArgumentError("--chip-clean replaces what the network was trained with; give --finetune N too.")
    raise InvalidArgumentError("--finetune writes a run: give --output with a folder.")


def _made(
    given: Source,
    floating: Graph,
    samples: list[Tensor],
    chosen: Settings,
    exponent: int | None,
    spike_input: bool,
    folder: Path | None,
) -> Converted:
    """Return the converted network: made chip-clean, converted, fine-tuned, and started where that is asked for."""
    from compiler.converting import chip_clean, distilled, fine_tuned
    from compiler.converting import convert as to_spiking

    graph = floating
    if chosen.chip_clean:
        clean = chip_clean(floating, samples)
        graph, _ = distilled(
            clean, floating, given.data, chosen.finetune, batch_statistics=True, folder=_within(folder, "chip_clean")
        )
    options: dict[str, Any] = {"per_channel": chosen.per_channel, "spike_input": spike_input}
    options["activation_codes"] = chosen.activation_codes
    converted = to_spiking(graph, samples, chosen.levels, exponent, **options)
    if chosen.finetune:
        place = _within(folder, "finetune")
        converted = fine_tuned(converted, given.data, chosen.finetune, teacher=floating, folder=place)
    return converted.started_at(samples) if chosen.start == "mean" else converted


def _without_chip(folder: Path) -> None:
    """Remove what an earlier conversion into a folder left of a chip."""
    for name in ("events.graph", "network.program"):
        (folder / name).unlink(missing_ok=True)


def _within(folder: Path | None, name: str) -> Path:
    assert folder is not None
    return folder / name


def _save(converted: Converted, found: dict[str, object], folder: Path) -> None:
    from snnkit.engine.progress import console
    from snnkit.files import write_json

    _without_chip(folder)
    converted.save(folder)
    write_json(folder / "convert.json", found | {"network": of_file(folder / QANN)})
    console.print(f"written to {folder}: source.graph, qann.graph, snn.graph, convert.json")
