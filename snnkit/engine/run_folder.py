"""A run is a folder: configuration, environment, metrics, checkpoints, and later counts, mapping and report."""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from snnkit import allocator
from snnkit.engine.config import RunConfig
from snnkit.errors import CorruptFileError, DiskError
from snnkit.files import atomic_path, read_json, write_json
from snnkit.measures import MEASURES

ENDED = "summary.json"
TOKENIZER = "tokenizer.json"
"""What a run writes last."""

PACKAGES = ("snnkit", "torch", "torchvision", "numpy", "numba", "lightning-fabric", "nir", "safetensors")
_METRICS = ("metrics.jsonl", "steps.jsonl")


@dataclass(frozen=True)
class Run:
    """A finished training: its folder and configuration, the score of the last epoch and that of the best.

    ``best_split`` says on which images the best epoch was chosen and scored: "validation" where ``data.validation`` set
    some aside, else "test", and that score is then optimistic. ``checkpoint`` is the last. ``measure`` is what scores
    are: a key of ``measures``, where those of "loss" are the negative.
    """

    folder: Path
    config: RunConfig
    final_score: float
    best_score: float
    best_epoch: int
    best_split: str = "test"
    measure: str = "accuracy"

    @property
    def checkpoint(self) -> Path:
        """The weights of the last epoch."""
        return self.folder / "checkpoints" / "last.safetensors"

    def told(self) -> str:
        """Return the outcome in a line."""
        chosen = f"best epoch {self.best_epoch}, chosen on the {self.best_split} images"
        if self.best_split == "test":
            chosen += " (its score is optimistic; data.validation sets others aside)"
        if self.measure == "loss":
            return (
                f"test loss {-self.final_score:.4f}; weights {self.checkpoint}; {chosen}. Fine-tune them with "
                f"--set model.weights={self.folder}"
            )
        measure = MEASURES[self.measure]
        return f"test {measure.words} {measure.shown(self.final_score)}; weights {self.checkpoint}; {chosen}"


def new_run_folder(name: str, root: str | Path = "runs") -> Path:
    """Create and return ``root/<time>-<name>``; a number is appended where that exists.

    Raises:
        DiskError: it cannot be created.
    """
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in range(1000):
        folder = Path(root) / (f"{stamp}-{name}" + (f"-{attempt}" if attempt else ""))
        try:
            (folder / "checkpoints").mkdir(parents=True)
            return folder
        except FileExistsError:
            if folder.is_dir():
                continue
            raise DiskError(f"cannot create {folder}: {root} is a file. Choose another folder with --runs.") from None
        except OSError as error:
            raise DiskError(f"cannot create {folder}: {error.strerror}. Choose another folder with --runs.") from error
    raise DiskError(f"cannot create a new folder in {root}.")


def write_provenance(folder: Path, config: RunConfig, command: str | None = None) -> None:
    """Write config.json and environment.json, and a copy of a tokenizer's file, which may change later."""
    write_json(folder / "config.json", config.to_dict())
    write_json(folder / "environment.json", environment(config.seed, command))
    given = Path(config.data.tokenizer)
    if given.is_file() and given.absolute() != (folder / TOKENIZER).absolute():
        with atomic_path(folder / TOKENIZER) as temporary:
            shutil.copyfile(given, temporary)


def own_tokenizer(folder: Path, given: str) -> str:
    """Return the tokenizer that a run was begun with: its copy of the file, or what ``given`` names."""
    return str(folder / TOKENIZER) if given.endswith(".json") and (folder / TOKENIZER).exists() else given


def called() -> str:
    """Return what was typed: ``snnkit …``, or the Python program that uses the library."""
    first, *rest = sys.argv or [""]
    program = Path(first)
    own = program.stem == "snnkit" or program.parts[-2:] == ("snnkit", "__main__.py")
    return " ".join(["snnkit" if own else "python", *map(shlex.quote, rest if own or not first else [first, *rest])])


def environment(seed: int, command: str | None = None) -> dict[str, Any]:
    """Return versions, git revision, seed and machine."""
    return {
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": command or called(),
        "seed": seed,
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "git": _git(),
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "memory_gib": _memory_gib(),
            "device": "cuda" if torch.cuda.is_available() else "cpu",
        },
        "memory": allocator.describe(),
    }


def append_metrics(folder: Path, line: dict[str, Any], name: str = "metrics.jsonl") -> None:
    """Append one line to a file of metrics: metrics.jsonl has one an epoch, steps.jsonl one a step.

    Raises:
        DiskError: the line could not be written whole; it is then taken back.
    """
    path = folder / name
    before = path.stat().st_size if path.exists() else 0
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
    except OSError as error:
        if path.exists():
            os.truncate(path, before)
        raise DiskError(f"could not write {path}: {error.strerror}. The run so far is kept.") from error


def sync_metrics(folder: Path) -> None:
    """Have the disk hold every line written so far: a state must not be newer than the record of how it came about.

    Raises:
        DiskError: the disk does not take them.
    """
    for name in _METRICS:
        try:
            with open(folder / name, "rb") as file:
                os.fsync(file.fileno())
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DiskError(f"could not write {folder / name}: {error.strerror}. The run so far is kept.") from error


def cut_metrics(folder: Path, step: int) -> None:
    """Take back the lines of steps after ``step``, which a resumed run will write again."""
    for name in _METRICS:
        path = folder / name
        if not path.exists():
            continue
        kept = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):  # a line that a kill cut short, or a hand has spoilt
                break
        with atomic_path(path) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")


def latest_run(root: str | Path, recipe: str) -> Path | None:
    """Return the run of a recipe under ``root`` that was started last, of those with a training state, else None."""
    alone, staged = (Path(root).glob(f"{way}/checkpoints/step-*/files.json") for way in ("*", "*/*"))
    folders = {path.parents[2] for path in alone} | {path.parents[3] for path in staged}
    return max((folder for folder in folders if _recipe_of(folder) == recipe), key=_started, default=None)


def _started(folder: Path) -> tuple[str, float]:
    """When a run was started, in UTC, and when its configuration was written, which parts those of one second."""
    try:
        started = str(read_json(folder / "environment.json")["created"])
    except (CorruptFileError, KeyError, TypeError):
        started = ""
    return started, (folder / "config.json").stat().st_mtime


def _recipe_of(folder: Path) -> str:
    try:
        return str(read_json(folder / "config.json")["recipe"])
    except (CorruptFileError, KeyError, TypeError):
        return ""


def begun(folder: str | Path) -> bool:
    """Whether a run's folder holds a training state to go on from."""
    return any((Path(folder) / "checkpoints").glob("step-*"))


def _stages(folder: Path) -> list[Path]:
    """Return the folders of a run's stages, as its configuration names them; none of anything else."""
    try:
        stages = read_json(folder / "config.json")["stages"]
        return [folder / f"{number}-{stage['stage']}" for number, stage in enumerate(stages, 1)]
    except (CorruptFileError, KeyError, TypeError):
        return []


def find_checkpoint(path: str | Path) -> Path:
    """Return the weights meant by ``path``: a file, or a run folder (its last checkpoint).

    Of a run in stages those of the last stage that has any are meant.

    Raises:
        CorruptFileError: there is nothing of the kind.
    """
    path = Path(path)
    if path.is_dir():
        for folder in (path, *reversed(_stages(path))):
            for name in ("last", "best"):
                candidate = folder / "checkpoints" / f"{name}.safetensors"
                if candidate.exists():
                    return candidate
        raise CorruptFileError(f"{path} holds no checkpoints/last.safetensors; is it the folder of a run?")
    if not path.exists():
        raise CorruptFileError(f"{path} does not exist; give a run folder or a .safetensors file.")
    return path


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git() -> dict[str, Any] | None:
    """Revision of the checkout snnkit runs from, or None outside of one."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", root, *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return {"revision": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None
