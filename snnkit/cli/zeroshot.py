"""``snnkit zeroshot``: classify by texts, and find texts of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def zeroshot(
    run: Path,
    *,
    dataset: str | None = None,
    source: str | None = None,
    classes: Path | None = None,
    templates: Path | None = None,
    images: int = 0,
    retrieval: bool = False,
    output: Path | None = None,
) -> None:
    """Test two towers (task pairs) on images of classes that only texts name, or on finding each other's pairs.

    Parameters
    ----------
    run
        Folder of a run of task pairs, or a checkpoint.
    dataset
        Name of a labelled data set (with --retrieval one of pairs); by default that of the run.
    source
        Where it lies.
    classes
        Text file with a name a line, in the order of the labels; by default the data set's names.
    templates
        Text file with a template a line, {} where the name goes. Without names and templates a data set of pairs
        has texts of its own for its classes.
    images
        Use only so many test images, of every class its share.
    retrieval
        Recall@1, 5, 10 among the test pairs, in place of classification.
    output
        JSON file for the results; by default zeroshot.json or retrieval.json in the run's folder.
    """
    from snnkit.data.captioned_folder import read_templates
    from snnkit.engine.progress import say
    from snnkit.errors import InvalidArgumentError
    from snnkit.files import read_lines, write_json
    from snnkit.zeroshot import classify, load_towers, retrieve

    if images < 0:
        raise InvalidArgumentError(f"--images {images}: must be ≥ 0; 0 for all.")
    for name, path in (("--classes", classes), ("--templates", templates)):
        if path is not None and not path.is_file():
            raise InvalidArgumentError(f"{name} {path}: there is no such file.")
    trained = load_towers(run)
    if retrieval:
        result, _ = retrieve(trained, dataset, source, images)
        _show_recall(trained.folder or run, result)
    else:
        names = [] if classes is None else read_lines(classes)
        texts = () if templates is None else read_templates(templates)
        result = classify(trained, dataset, source, names, texts, images)
        _show_accuracy(trained.folder or run, result)
    path = output or (trained.folder and trained.folder / ("retrieval.json" if retrieval else "zeroshot.json"))
    if path:
        write_json(path, result)
        say(f"written: {path}")


def _show_recall(run: Path, result: dict[str, Any]) -> None:
    from snnkit.engine.progress import console, say

    say(
        f"{run}: {result['pairs']:,} test pairs, {result['images']:,} different images, {result['texts']:,} different "
        "texts"
    )
    console.print("                 @1      @5     @10")
    for way, title in (("image_recall", "text of image"), ("text_recall", "image of text")):
        shares = [result.get(f"{way}_{k}") for k in (1, 5, 10)]
        console.print(f"{title:14}" + "".join(f"{'–':>8}" if one is None else f"{one:8.2%}" for one in shares))
    _show_noticed(result)


def _show_noticed(result: dict[str, Any]) -> None:
    """Say what was left out of the test, or cut."""
    from snnkit.engine.progress import say

    noticed = result["noticed"]
    if noticed:
        say(f"{len(noticed):,} test samples were left out or cut; the last: {noticed[-1]}")


def _show_accuracy(run: Path, result: dict[str, Any]) -> None:
    from snnkit.engine.progress import say

    say(
        f"{run}: zero-shot accuracy {result['accuracy']:.2%} (top 5 {result['top5']:.2%}) on {result['images']:,} test "
        f"images of {len(result['classes'])} classes, {len(result['templates'])} "
        f"{'texts of the data set for each' if result['of_the_data'] else 'templates'} ({result['origin']})"
    )
    _show_noticed(result)
