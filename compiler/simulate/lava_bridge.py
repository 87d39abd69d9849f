"""Run an integer artifact in lava-nc, in an interpreter of its own, and compare the result with ours.

lava-nc 0.10 needs Python 3.10 and numpy 1, so it is never imported here: ``lava_runner.py`` is run as a script.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from snnkit.archives import read_npz

RUNNER = Path(__file__).with_name("lava_runner.py")
"""The script that the other interpreter runs."""

_ENVIRONMENT_VARIABLE = "SNNKIT_LAVA_PYTHON"
# Where `make lava` puts it: beside this package, never in the working folder, whose programs are anybody's.
_LOCAL = Path(__file__).resolve().parents[2] / ".venv-lava" / "bin" / "python"
_QUESTION = "import importlib.metadata as m; print(m.version('lava-nc'))"


class LavaNotFound(RuntimeError):  # noqa: N818  the name says it
    """No interpreter with lava-nc; the message lists what was tried and how to get one."""

    user_error = True


class LavaFailed(RuntimeError):  # noqa: N818
    """lava did not finish; the message holds the last lines it printed."""

    user_error = True


@dataclass(frozen=True)
class Difference:
    """One entry that differs: quantity ``u``, ``v`` or ``s`` of a neuron of a population at a step (from 0)."""

    population: int
    neuron: int
    step: int
    quantity: str
    ours: int
    lavas: int

    def __str__(self) -> str:
        where = f"population {self.population}, neuron {self.neuron}, step {self.step}"
        return f"{self.quantity} of {where}: ours {self.ours}, lava's {self.lavas}"


@dataclass(frozen=True)
class Comparison:
    """How two records of one network differ.

    ``counts``: per population the number of differing entries ``{"u": …, "v": …, "s": …}``; ``entries``: how many
    were compared in all; ``first``: the earliest difference in time (then by population, u before v before s).
    """

    counts: tuple[dict[str, int], ...]
    entries: int
    first: Difference | None

    @property
    def differing(self) -> int:
        """Number of differing entries in all."""
        return sum(sum(count.values()) for count in self.counts)

    @property
    def exact(self) -> bool:
        """Whether every u, v and s is equal."""
        return self.first is None

    def __str__(self) -> str:
        if self.first is None:
            return f"exact: all {self.entries} entries of u, v and s are equal"
        return f"{self.differing} of {self.entries} entries of u, v and s differ; the first is {self.first}"


def find_lava_python(given: str | None = None) -> Path:
    """Return an interpreter that has lava-nc.

    ``given`` is the only candidate if there is one; otherwise the environment variable SNNKIT_LAVA_PYTHON,
    ``.venv-lava/bin/python`` of this project's checkout and ``python3.10`` on PATH are tried in this order. Nothing of
    the working folder is run unless it is named.
    Raises :class:`LavaNotFound` with what was tried.
    """
    candidates: list[tuple[str, str | None]]
    if given is not None:
        candidates = [("--lava-python", given)]
    else:
        candidates = [
            (_ENVIRONMENT_VARIABLE, os.environ.get(_ENVIRONMENT_VARIABLE) or None),
            (str(_LOCAL), str(_LOCAL) if _LOCAL.exists() else None),
            ("python3.10 on PATH", _on_path("python3.10")),
        ]
    tried = []
    for origin, candidate in candidates:
        if candidate is not None:
            # Not resolved: a venv's python is a link out of the venv.
            candidate = os.path.abspath(candidate) if os.sep in candidate else _on_path(candidate) or candidate
        problem = _why_not(candidate)
        if candidate is not None and problem is None:
            return Path(candidate)
        tried.append(f"{origin} ({problem})")
    raise LavaNotFound(
        f"no Python with lava-nc found; tried {', '.join(tried)}. "
        "Run `make lava` to install one, or name it with --lava-python."
    )


def _on_path(name: str) -> str | None:
    """Return a program on PATH; places that depend on the working folder ("." on PATH) are passed over."""
    places = [place for place in os.environ.get("PATH", "").split(os.pathsep) if os.path.isabs(place)]
    return shutil.which(name, path=os.pathsep.join(places)) if places else None


def _why_not(candidate: str | None) -> str | None:
    """Return why ``candidate`` cannot run lava, or None if it can."""
    if candidate is None:
        return "not there"
    try:
        # In a folder of its own: Python looks for modules in the working folder first.
        with tempfile.TemporaryDirectory(prefix="snnkit-lava-") as folder:
            asked = subprocess.run(
                [candidate, "-c", _QUESTION], cwd=folder, capture_output=True, text=True, timeout=60, check=False
            )
    except FileNotFoundError:
        return f"{candidate} does not exist"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{candidate} cannot be run: {type(error).__name__}"
    return None if asked.returncode == 0 else f"{candidate} has no lava-nc"


def run_lava(artifact_path: str | Path, python: str | Path, timeout_s: float = 900) -> dict[str, NDArray[Any]]:
    """Run the artifact in lava with the interpreter ``python``; returns ``u{l}, v{l}, s{l}`` of shape (N, T).

    Raises :class:`LavaFailed` if it fails or takes longer than ``timeout_s`` seconds.
    """
    with tempfile.TemporaryDirectory(prefix="snnkit-lava-") as folder:
        result, log = Path(folder) / "out.npz", Path(folder) / "log"
        command = [str(python), str(RUNNER), str(Path(artifact_path).absolute()), str(result)]
        with open(log, "wb") as output:
            status = _run_group(command, folder, output, timeout_s)
        if status is None:
            raise LavaFailed(f"lava did not finish {artifact_path} within {timeout_s:g} s. {_last_lines(log)}")
        if status != 0 or not result.exists():
            raise LavaFailed(f"lava failed on {artifact_path} (exit status {status}). {_last_lines(log)}")
        return read_npz(result)


def _run_group(command: list[str], folder: str, output: Any, timeout_s: float) -> int | None:
    """Run ``command`` in ``folder``; the exit status, or None after ``timeout_s``.

    lava starts one system process per process model, and they outlive a parent that is killed: hence a session of its
    own, ended as a whole.
    """
    child = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )
    status = None
    try:
        with suppress(subprocess.TimeoutExpired):
            status = child.wait(timeout=timeout_s)
        return status
    finally:
        if status != 0:  # also when interrupted from the keyboard
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _last_lines(log: Path, count: int = 3) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"Its last lines: {' | '.join(lines[-count:])}" if lines else "It printed nothing."


def compare(ours: Mapping[str, NDArray[Any]], lavas: Mapping[str, NDArray[Any]]) -> Comparison:
    """Compare two records ``u{l}, v{l}, s{l}``, each (N, T), entry by entry.

    Raises ValueError if they do not hold the same populations in the same shapes. Other keys are ignored.
    """
    total = sum(key.startswith("s") and key[1:].isdigit() for key in ours)
    counts, entries, found = [], 0, []
    extra = f"s{total}" in lavas
    for population in range(total):
        count = {}
        for order, quantity in enumerate("uvs"):
            key = f"{quantity}{population}"
            if extra or key not in ours or key not in lavas or ours[key].shape != lavas[key].shape:
                raise ValueError(f"the two records do not describe the same network (population {population}, {key!r})")
            differs = ours[key] != lavas[key]
            entries += differs.size
            count[quantity] = int(differs.sum())
            if count[quantity]:
                step = int(differs.any(axis=0).argmax())
                neuron = int(differs[:, step].argmax())
                values = int(ours[key][neuron, step]), int(lavas[key][neuron, step])
                found.append((step, population, order, Difference(population, neuron, step, quantity, *values)))
        counts.append(count)
    return Comparison(tuple(counts), entries, min(found, key=lambda item: item[:3])[3] if found else None)
