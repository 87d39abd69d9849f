"""Progress: one live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
console = Console(highlight=False, soft_wrap=True)


@contextmanager
def bar(title: str, total: int) -> Iterator[Progress | None]:
    """Show a bar while the block runs; yields None where the output is not a terminal."""
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(title, total=total, note="")
        yield progress


def track(items: Iterable[T], progress: Progress | None, note: str = "") -> Iterator[T]:
    """Yield the items, advancing the bar by one after each."""
    for item in items:
        yield item
        if progress is not None:
            progress.update(progress.task_ids[0], advance=1, note=note)
