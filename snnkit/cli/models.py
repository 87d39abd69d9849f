"""``snnkit models``: what can be created by name."""

from __future__ import annotations

from typing import Literal


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
        info = model_info(pattern)
        console.print(f"{info.name} ({info.kind}): {info.summary}")
        console.print(f"parameters {info.params:,}\npaper      {info.paper}\nsource     {info.source}")
        return
    table = Table("name", "kind", "parameters", "summary", box=None)
    for name in names:
        info = model_info(name)
        table.add_row(info.name, info.kind, f"{info.params:,}", info.summary)
    console.print(table)
