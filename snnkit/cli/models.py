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
    from rich.table import Table

    from snnkit.engine.progress import console

    console.print(f"{info.name} ({info.kind}): {info.summary}")
    console.print(f"parameters {info.params:,}\npaper      {info.paper}\nsource     {info.source}")
    family = info.family
    if family is None:
        return
    for link in family.checkpoints:
        console.print(f"weights    {link}")
    for note in family.unconfirmed:
        console.print(f"open       {note}")
    if family.published:
        table = Table("published", "top-1 %", "parameters M", "energy mJ", "T", "pixels", "note", box=None)
        for result in family.published:
            numbers = (result.top1, result.params_m, result.energy_mj, result.timesteps, result.img_size)
            table.add_row(result.model, *("" if number is None else f"{number:g}" for number in numbers), result.note)
        console.print(table)
