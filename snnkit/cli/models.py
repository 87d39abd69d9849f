"""``snnkit models``: what can be created by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from snnkit.models import ModelInfo


def models(pattern: str = "*", *, kind: Literal["snn", "ann"] | None = None) -> None:
    """List the models.

    Parameters
    ----------
    pattern
        Shell pattern for names; a full name shows one model in detail.
    kind
        Only spiking (snn) or ordinary (ann) models.
    """
    from rich.table import Table

    from snnkit.engine.progress import console
    from snnkit.errors import unknown_name
    from snnkit.models import list_models, model_info

    names = list_models(pattern, kind)
    if not names:
        raise unknown_name("model", pattern, list_models(), "`snnkit models` lists all.")
    if names == [pattern]:
        _card(model_info(pattern))
        return
    table = Table("name", "kind", "parameters", "summary", box=None)
    for name in names:
        if name.startswith("timm:"):
            table.add_row(name, "ann", "", "")
            continue
        info = model_info(name)
        table.add_row(info.name, info.kind, f"{info.params:,}", info.summary)
    console.print(table)


def _card(info: ModelInfo) -> None:
    """Print what is known of one model and its family."""
    from rich.table import Column, Table

    from snnkit.engine.progress import console, say

    say(f"{info.name} ({info.kind}): {info.summary}")
    facts = [("parameters", f"{info.params:,} at its default sizes"), ("paper", info.paper), ("source", info.source)]
    family = info.family
    if family is not None:
        facts += [("weights", link) for link in family.checkpoints]
        facts += [("open", note) for note in family.unconfirmed]
    for what, text in facts:
        say(f"{what:10} {text}", " " * 11)
    if family is None or not family.published:
        return
    columns = {
        "published": [result.model for result in family.published],
        "top-1 %": [_shown(result.top1) for result in family.published],
        "params M": [_shown(result.params_m) for result in family.published],
        "energy mJ": [_shown(result.energy_mj) for result in family.published],
        "T": [_shown(result.timesteps) for result in family.published],
        "pixels": [str(result.img_size) for result in family.published],
        "note": [result.note for result in family.published],
    }
    columns = {head: cells for head, cells in columns.items() if any(cells)}
    named, *others = columns
    # A name that was cut short would be no name: other columns give way.
    first = Column(named, no_wrap=True, min_width=max(map(len, columns[named])))
    table = Table(first, *(Column(name, overflow="fold") for name in others), box=None, pad_edge=False)
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    console.print(table)


def _shown(number: float | None) -> str:
    return "" if number is None else f"{number:g}"
