"""``snnkit probe``: how good the features of an encoder are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from snnkit.probing import Report, Result


def probe(
    target: str,
    *,
    method: str = "linear,knn",
    labels: str = "1",
    k: Annotated[int, Parameter(help="Neighbours that vote.")] = 20,
    temperature: Annotated[float, Parameter(help="How much nearer ones count more.")] = 0.07,
    l2: Annotated[float | None, Parameter(help="Decay λ; by default chosen on a fifth of the labelled images.")] = None,
    seeds: Annotated[int, Parameter(help="Draws of a share of the labels; mean and deviation are shown.")] = 1,
    random: Annotated[bool, Parameter(help="Probe the same network at random start beside it.")] = False,
    dataset: str | None = None,
    source: Annotated[str | None, Parameter(help="Where it lies.")] = None,
    img_size: int | None = None,
    at_head: bool = False,
    cache: Annotated[Path | None, Parameter(help="Folder for features; by default in the run's folder.")] = None,
    output: Path | None = None,
) -> None:
    """Probe the features of a run: linear classifiers and nearest neighbours of images it was not trained for.

    Features are computed once, without augmentation, and kept in the run's folder, as are the results (probe.json).

    Parameters
    ----------
    target
        Folder of a run, a checkpoint, NAME@weights, or a name such as timm:NAME (random weights).
    method
        linear (L-BFGS), sgd, knn, or several with commas between.
    labels
        Shares of the training labels, such as 0.01,0.1,1: a stratified draw of each seed.
    dataset
        Labelled data set to probe on; by default the run's own.
    img_size
        Side in pixels of what the encoder gets; by default as the run was fed.
    at_head
        Take what a spiking network's classifier reads, in place of the mean of its last map.
    output
        JSON file for the results; by default probe.json in the run's folder.
    """
    from snnkit.engine.progress import console, told
    from snnkit.probing import Settings, probe_target

    report = probe_target(
        target,
        *_asked(method, labels),
        Settings(k, temperature, l2, seeds),
        dataset=dataset,
        source=source,
        img_size=img_size,
        at_head=at_head,
        random=random,
        cache=cache,
        watch=lambda items, title, count: told(items, f"features, {title}", count, "batches"),
    )
    _show(report)
    path = output or (report.folder / "probe.json" if report.folder else None)
    if path is not None:
        moved = report.save(path)
        if moved is not None:
            console.print(f"{moved}: what stood in {path.name}, of other features")
        console.print(str(path))


def _asked(method: str, labels: str) -> tuple[list[str], list[float]]:
    """Read the names of probes and the shares of labels, before anything slow begins."""
    from snnkit.errors import InvalidArgumentError, unknown_name
    from snnkit.probing import METHODS

    methods = [name.strip() for name in method.split(",")]
    for name in methods:
        if name not in METHODS:
            raise unknown_name("probe", name, METHODS)
    try:
        return methods, [float(text) for text in labels.split(",")]
    except ValueError:
        raise InvalidArgumentError(f"--labels {labels}: give shares with commas between, such as 0.01,0.1,1.") from None


def _show(report: Report) -> None:
    """Print what was probed, and the table of results."""
    from rich.table import Table

    from snnkit.engine.progress import console, say

    for line in report.lines():
        say(line)
    table = Table("encoder", "probe", "labels", "images", "accuracy", "with", box=None)
    for row in report.rows:
        found = row.result
        if found is None:
            table.add_row(row.encoder, "", "", "", "", row.why)
            continue
        spread = "" if found.deviation is None else f" ± {found.deviation:.1%}"
        images, accuracy = f"{found.images:,}", f"{found.mean:.1%}{spread}"
        table.add_row(row.encoder, found.method, f"{found.labels:.4g}", images, accuracy, _how(found))
    console.print(table)


def _how(found: Result) -> str:
    """What a probe was fitted with, in a few words."""
    settings = found.settings
    if "k" in settings[0]:
        return f"k {settings[0]['k']}, T {settings[0]['temperature']:g}"
    decays = "/".join(dict.fromkeys(f"{one['l2']:g}" for one in settings))
    return f"λ {decays}" + ("" if all(one.get("converged", True) for one in settings) else ", not converged")
