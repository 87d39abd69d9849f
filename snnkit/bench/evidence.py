"""Many trainings for one table: some at once, each after the one that it needs, what they found kept as they end."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from snnkit.bench.harness import machine
from snnkit.engine import RunConfig, resume, train
from snnkit.engine.progress import console
from snnkit.engine.run_folder import ENDED, begun
from snnkit.errors import InvalidArgumentError
from snnkit.files import read_json, read_lines, write_json

Found = dict[str, Any]


class Key(NamedTuple):
    """Which table a run is for, its name there, and its seed."""

    table: str
    name: str
    seed: int

    @property
    def folder(self) -> str:
        """A name for the folder of the run."""
        return f"{self.table}-{self.name}-seed-{self.seed}".lower().replace(" ", "-").replace("%", "percent")


@dataclass(frozen=True)
class Job:
    """A run.

    Attributes:
        key: what it is for.
        do: called in a process of its own with ``arguments``; returns what was found, as plain data.
        arguments: what ``do`` is called with; all can be pickled.
        after: the run that has to be there before, if it is among the planned ones.
    """

    key: Key
    do: Callable[..., Found]
    arguments: tuple[Any, ...]
    after: Key | None = None


def ended(jobs: Sequence[Job], at_once: int = 1) -> Iterator[tuple[Key, Found]]:
    """Do the jobs, the first ones first, and yield what was found as they end.

    Args:
        jobs: each after the one that it needs.
        at_once: how many processes.

    Raises:
        Exception: the first of a job that failed, once all have ended that did not need it.
        ValueError: jobs wait for each other.
    """
    waiting, done = list(jobs), set[Key]()
    planned, started = {job.key for job in jobs}, dict[Future[Found], Key]()
    failed: BaseException | None = None
    with ProcessPoolExecutor(at_once, mp_context=multiprocessing.get_context("spawn")) as pool:
        while waiting or started:
            ready = [job for job in waiting if job.after not in planned or job.after in done]
            for job in ready[: at_once - len(started)]:
                waiting.remove(job)
                started[pool.submit(job.do, *job.arguments)] = job.key
            if not started:
                break
            for future in wait(started, return_when=FIRST_COMPLETED).done:
                key = started.pop(future)
                if problem := future.exception():
                    console.print(f"{key.table}, {key.name}, seed {key.seed}: failed, {problem}")
                    failed = failed or problem
                    continue
                done.add(key)
                yield key, future.result()
    if failed is not None:
        raise failed
    if waiting:
        raise ValueError(f"{waiting[0].key.folder} waits for {waiting[0].after}, which waits for it.")


def trained(config: RunConfig, folder: Path) -> Path:
    """Train whatever of a run is missing, and return its folder.

    Raises:
        InvalidArgumentError: the folder holds a run of other settings (names the first).
        CorruptFileError: what is in it cannot be read.
    """
    if (folder / "config.json").exists():
        there, wanted = (
            json.loads(json.dumps(one.to_dict())) for one in (RunConfig.load(folder / "config.json"), config)
        )
        if other := next(_differences(there, wanted), None):
            raise InvalidArgumentError(f"{folder} holds a run with {other}; give other --runs, or remove it.")
    if (folder / ENDED).exists():
        return folder
    if begun(folder) or any(folder.glob(f"*/{ENDED}")):  # the latter of a run in stages
        resume(folder)
    else:
        train(config, folder)
    return folder


def _differences(there: Any, wanted: Any, place: str = "") -> Iterator[str]:
    if isinstance(there, dict) and isinstance(wanted, dict):
        for key in sorted({*there, *wanted}):
            yield from _differences(there.get(key), wanted.get(key), f"{place}.{key}" if place else key)
    elif there != wanted:
        yield f"{place}={there!r}, and {wanted!r} is asked for"


def seen(folder: Path) -> int:
    """Return how many images a run has learned from, each as often as it was seen; only whole steps are made."""
    config, last = RunConfig.load(folder / "config.json"), json.loads(read_lines(folder / "steps.jsonl")[-1])
    return int(last["step"]) * config.data.batch_size * config.optim.accumulate * config.runtime.devices


def at_least_one(text: str) -> int:
    """Return a number of runs or seeds that was given on a command line, for ``argparse``.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number, at least 1")
    return int(text)


def rows_of(path: Path) -> list[Found]:
    """Return the rows that were kept in a file, none where there is no such file."""
    return list(read_json(path)["rows"]) if path.exists() else []


def measured(jobs: Sequence[Job], at_once: int, path: Path | None = None) -> list[Found]:
    """Do the jobs, say when one has ended, and return all rows: those of ``path``, and the new ones in their place.

    Args:
        jobs: as for ``ended``.
        at_once: how many processes.
        path: where rows are kept, after every run; nowhere if None.
    """
    rows = {Key(row["table"], row["name"], row["seed"]): row for row in (rows_of(path) if path else ())}
    for key, found in ended(jobs, at_once):
        rows[key] = {**key._asdict(), **found}
        console.print(f"{key.table}, {key.name}, seed {key.seed}: done")
        if path is not None:
            ordered = [rows[one] for one in sorted(rows)]
            write_json(
                path, {"benchmark": path.stem, "repeats": 1, "threads": 1, "machine": machine(), "rows": ordered}
            )
    return list(rows.values())


def mean(values: Sequence[float | None], digits: int = 1) -> str:
    """Return a mean and, of several values, their sample standard deviation; a dash where nothing was found.

    Where some have no value it says of how many the mean is.
    """
    found = [value for value in values if value is not None]
    if not found:
        return "–"
    spread = f" ± {statistics.stdev(found):.{digits}f}" if len(found) > 1 else ""
    some = f", {len(found)} of {len(values)}" if len(found) < len(values) else ""
    return f"{statistics.mean(found):.{digits}f}{spread}{some}"
