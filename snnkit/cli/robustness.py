"""``snnkit robustness``: how well a trained network does on corrupted images and on natural test sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from snnkit.data import DataConfig, ImageData
    from snnkit.robustness import Predict, Result


def robustness(
    run: Path,
    *,
    corruptions: Annotated[str, Parameter(help="Names with commas between, all, or none.")] = "all",
    severities: Annotated[str, Parameter(help="Of 1…5, with commas between.")] = "1,2,3,4,5",
    images: Annotated[int, Parameter(help="Test images, of every class its share; 0 = all.")] = 0,
    seed: Annotated[int, Parameter(help="Of the corruptions.")] = 0,
    baseline: Annotated[Path | None, Parameter(help="robustness.json of a network that mCE is relative to.")] = None,
    folder: list[str] | None = None,
    mapping: list[str] | None = None,
    on_missing: str = "stop",
    dataset: str | None = None,
    source: Annotated[str | None, Parameter(help="Where it lies.")] = None,
    output: Path | None = None,
) -> None:
    """Count the errors of a run's network on corrupted test images, kind by kind, and on natural test sets.

    Parameters
    ----------
    run
        Folder of a run, or a checkpoint; one inside a run's folder is fed as that run was.
    folder
        A natural test set, NAME=PATH, which holds a folder of images for each class; several times for several.
    mapping
        NAME=FILE: which class each folder of the test set NAME is, lines FOLDER<tab>CLASS.
    on_missing
        stop at a folder that the network has no class for, or skip and count it.
    dataset
        Name of a data set; by default the one the run was trained on, as it was fed then.
    output
        JSON file for the results; by default robustness.json in the run's folder, if it is one's.
    """
    from snnkit import robustness as tools
    from snnkit.checkpoints import build_model
    from snnkit.data import load_images
    from snnkit.engine import find_checkpoint
    from snnkit.engine.feeding import fed_as, on_other_data
    from snnkit.engine.own_classes import run_classes

    names, levels = _asked(corruptions, severities)
    folders, mappings = _folders(folder, mapping)
    _check_count(images, seed)
    compared = _compared(baseline, names, levels)
    checkpoint = find_checkpoint(run)
    model, _ = build_model(checkpoint)
    config = on_other_data(fed_as(checkpoint, model), dataset, source)
    config.test_limit, config.validation = images or config.test_limit, 0.0
    data = load_images(config, seed=0)
    predict = tools.classifier(model, data, run_classes(checkpoint))
    tools.check_images(data.test.dataset, data.origin, data.frames)
    found = {
        name: tools.find_folders(path, data.classes, mappings.get(name), on_missing) for name, path in folders.items()
    }
    result = tools.robustness(
        predict, data.test.dataset, corruptions=names, severities=levels, seed=seed, baseline=compared, **_fed(data)
    )
    result.about = {"network": str(checkpoint), "data": data.origin}
    result.folders = {name: _score(predict, one, data, config, name) for name, one in found.items()}
    _show(result)
    _keep(result, output or _default(checkpoint))


def _asked(corruptions: str, severities: str) -> tuple[list[str], list[int]]:
    """Read the names of corruptions and the severities, before anything slow begins."""
    from snnkit.errors import InvalidArgumentError
    from snnkit.robustness import CORRUPTIONS
    from snnkit.robustness.corruptions import checked

    names = [name.strip() for name in corruptions.split(",") if name.strip()]
    names = list(CORRUPTIONS) if names == ["all"] else [] if names == ["none"] else names
    try:
        levels = [int(text) for text in severities.split(",")]
    except ValueError:
        raise InvalidArgumentError(f"--severities {severities}: give some of 1,2,3,4,5, such as 1,3,5.") from None
    for name in names:
        for level in levels:
            checked(name, level)
    return names, levels


def _compared(baseline: Path | None, names: list[str], levels: list[int]) -> Result | None:
    from snnkit import robustness as tools

    if baseline is None:
        return None
    compared = tools.load(baseline)
    tools.check_baseline(compared, names, levels)
    return compared


def _pairs(texts: list[str] | None, option: str) -> dict[str, Path]:
    """Read NAME=PATH."""
    from snnkit.errors import InvalidArgumentError

    found: dict[str, Path] = {}
    for text in texts or ():
        name, equals, path = text.partition("=")
        if not (equals and name and path) or name in found:
            why = "this name came before" if name in found else "give NAME=PATH, such as imagenet-r=data/imagenet-r"
            raise InvalidArgumentError(f"{option} {text}: {why}.")
        found[name] = Path(path)
    return found


def _folders(folder: list[str] | None, mapping: list[str] | None) -> tuple[dict[str, Path], dict[str, Path]]:
    """Read the test sets, and the mappings of some of them."""
    from snnkit.errors import unknown_name

    folders, mappings = _pairs(folder, "--folder"), _pairs(mapping, "--mapping")
    for name in mappings:
        if name not in folders:
            raise unknown_name("test set of --mapping", name, folders, "Name those of --folder.")
    return folders, mappings


def _check_count(images: int, seed: int) -> None:
    from snnkit.errors import InvalidArgumentError

    for option, value in (("--images", images), ("--seed", seed)):
        if value < 0:
            raise InvalidArgumentError(f"{option} {value}: must be ≥ 0.")


def _fed(data: ImageData) -> dict[str, Any]:
    """How test images are batched, and that they are watched."""
    from snnkit.engine.progress import told

    test = data.test
    fed = {"batch_size": test.batch_size, "workers": test.workers, "views": data.views}
    return {**fed, "watch": lambda items, title, count: told(items, title, count, "batches")}


def _score(predict: Predict, found: Any, data: ImageData, config: DataConfig, name: str) -> dict[str, Any]:
    from snnkit.robustness import score_folder

    skip = config.on_corrupt == "skip"
    return score_folder(predict, found, data.test.dataset, len(data.classes), skip=skip, title=name, **_fed(data))


def _keep(result: Result, place: Path | None) -> None:
    from snnkit.engine.progress import console

    if place is not None:
        result.save(place)
        console.print(str(place))


def _default(checkpoint: Path) -> Path | None:
    """Return robustness.json in the folder of the run that a checkpoint is of; None where it is of none."""
    from snnkit.robustness import FILE

    place = checkpoint.absolute().parent
    in_run = place.name == "checkpoints" and (place.parent / "config.json").exists()
    return place.parent / FILE if in_run else None


def _show(result: Result) -> None:
    """Print the accuracy, the table of errors, and the means."""
    from rich.table import Table

    from snnkit.engine.progress import console, say

    clean = result.clean
    say(f"{result.about['network']} on {result.about['data']}:")
    say(f"accuracy {1 - clean.error:.1%} on {clean.images:,} clean test images")
    if result.scores:
        compared = result.baseline is not None
        table = Table("error, %", *(str(level) for level in result.severities), "mean", box=None)
        if compared:
            table.add_column("CE, %")
            table.add_column("relative")
        for column in table.columns[1:]:
            column.justify = "right"
        for name, scores in result.scores.items():
            row = [f"{100 * score.error:.1f}" for score in scores.values()] + [f"{100 * result.mean_error(name):.1f}"]
            table.add_row(name, *row, *([_percent(result.ce(name)), _percent(result.relative_ce(name))] * compared))
        console.print(table)
    for line in _means(result):
        say(line)
    for name, found in result.folders.items():
        for line in _folder_lines(name, found):
            say(line)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _means(result: Result) -> list[str]:
    """Return sentences with the means over corruptions, and what is to be known of the baseline."""
    mean = result.mean_corruption_error()
    if mean is None:
        return []
    kinds = f"{len(result.scores)} corruption{'s' * (len(result.scores) != 1)}"
    if result.baseline is None:
        return [f"mean corruption error {mean:.1%} over {kinds}, without a baseline (mCE needs one: --baseline)"]
    base = result.baseline
    lines = [f"mean corruption error {mean:.1%} over {kinds}; the baseline is {base.about.get('file')}"]
    for title, value in (("mCE", result.mce()), ("relative mCE", result.relative_mce())):
        if value is not None:
            lines.append(f"{title} {value:.1%} of the baseline's errors")
    lines += result.undefined()
    if base.about.get("data") != result.about["data"] or base.clean.images != result.clean.images:
        lines.append(
            f"the baseline was tested on {base.clean.images:,} images of {base.about.get('data', 'other data')}: other "
            "images than these, so that the quotients compare images as well as networks"
        )
    if base.seed != result.seed:
        lines.append(f"the baseline's corruptions were drawn from seed {base.seed}, these from {result.seed}")
    return lines


def _folder_lines(name: str, found: dict[str, Any]) -> list[str]:
    """Return sentences about a natural test set."""
    left = found["left_out"]
    lines = [
        f"{name}: accuracy {found['accuracy']:.1%} among its {found['classes']:,} classes, "
        f"{found['accuracy_among_all_classes']:.1%} among all {found['classes_of_network']:,}, on {found['images']:,} "
        "images"
    ]
    if left["folders"]:
        lines.append(f"  {left['images']:,} images in {left['folders']:,} folders without a class are left out")
    if found["unreadable"]:
        lines.append(f"  {found['unreadable']:,} images could not be read and are left out")
    if found["by_number"]:
        lines.append("  its folders' names were read as numbers of classes")
    return lines
