"""Progress: one live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import resource
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from snnkit.measures import MEASURES

T = TypeVar("T")
# No markup: what is printed holds names of files, and brackets in them are theirs.
# Of several processes that train together, the first speaks; launchers number the others in their environment.
console = Console(
    highlight=False,
    soft_wrap=True,
    markup=False,
    quiet=any(os.environ.get(name, "0") != "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK")),
)


def wrapped(text: str, first: str = "", other: str = "  ") -> list[str]:
    """Return a sentence in lines of 80 columns, of fewer in a narrower terminal; names and paths stay whole."""
    indents = {"initial_indent": first, "subsequent_indent": other}
    return textwrap.wrap(text, min(console.width, 80), **indents, break_long_words=False, break_on_hyphens=False)


def say(text: str, other: str = "  ") -> None:
    """Print a sentence; its further lines are indented."""
    for line in wrapped(text, other=other):
        console.print(line)


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


def told(items: Iterable[T], title: str, total: int, what: str, every: float = 60.0) -> Iterator[T]:
    """Yield the items under a bar, or with a plain line every so many seconds where the output is not a terminal."""
    began = last = time.monotonic()
    with bar(title, total) as progress:
        for done, item in enumerate(track(items, progress), 1):
            yield item
            now = time.monotonic()
            if progress is None and now - last >= every:
                last = now
                left = (total - done) * (now - began) / done
                console.print(f"{title}: {done:,} of {total:,} {what}, {left:,.0f} s left")


class Live:
    """A training as it is watched: one live line in a terminal, plain lines (one an epoch, one a minute) elsewhere.

    Args:
        total: steps of the whole run.
        done: steps that an earlier part of it has taken.
        quiet: show nothing, in all processes but one.
    """

    _EVERY_SECONDS = 60.0

    def __init__(self, total: int, done: int = 0, quiet: bool = False):
        self._quiet, self._total, self._done, self._start = quiet, total, done, done
        self._began = self._told = time.monotonic()
        self._images = 0
        self._rate = ""
        self._progress: Progress | None = None
        if console.is_terminal and not quiet:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
            self._progress = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
            self._progress.add_task("training", total=total, completed=done, note="")

    def __enter__(self) -> Live:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._progress is not None:
            self._progress.stop()

    def step(self, epoch: int, epochs: int, loss: float, images: int, learning_rate: float) -> None:
        """Tell of one step over so many images."""
        self._done += 1
        self._images += images
        if self._quiet:
            return
        now = time.monotonic()
        speed = self._images / max(now - self._began, 1e-9)
        note = f"epoch {epoch}/{epochs}  loss {loss:.3f}  {speed:,.0f} images/s  {_memory()}{self._rate}"
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], advance=1, note=note)
        elif now - self._told > self._EVERY_SECONDS:
            self._told = now
            left = (self._total - self._done) * (now - self._began) / max(self._done - self._start, 1)
            console.print(f"step {self._done}/{self._total}  {note}  lr {learning_rate:.2e}  {left:,.0f} s left")

    def epoch(
        self, epoch: int, epochs: int, results: dict[str, Any], images_per_second: float, measure: str = "accuracy"
    ) -> None:
        """Tell of a finished epoch: metrics of the splits by name, whose score is ``measure``."""
        self._told = time.monotonic()
        train, test = results["train"], results["test"]
        if "firing_rate" in test:
            self._rate = f"  firing {test['firing_rate']:.3f}"
        if self._quiet:
            return
        if measure == "loss":
            shown = "  ".join(f"{split} loss {found['loss']:.4f}" for split, found in results.items())
        else:
            name = "" if measure == "accuracy" else f" {MEASURES[measure].words}"
            told = {split: f for split, f in results.items() if measure in f or split != "train"}
            scores = "  ".join(f"{split}{name} {MEASURES[measure].shown(f['score'])}" for split, f in told.items())
            shown = f"loss {train['loss']:.3f}  {scores}"
        console.print(f"epoch {epoch:>3}/{epochs}  {shown}  {images_per_second:,.0f} images/s")

    @staticmethod
    def warn(text: str) -> None:
        """Say what went wrong without stopping."""
        say(text)


def _memory() -> str:
    """Most memory taken so far, of the GPU where there is one, else of the process."""
    if torch.cuda.is_available():
        size = float(torch.cuda.max_memory_allocated())
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        size = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
    return f"{size / 2**30:.1f} GiB"
