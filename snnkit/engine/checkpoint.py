"""The state of a training on disk: enough to go on as if nothing had happened, readable by any number of processes.

    checkpoints/step-00001234/
        shard-00001-….safetensors   tensors of model, optimizer and average, each process its own share
        rank-0.json …               random generators of each process, and what its metrics have added up
        state.json                  step, epoch, position, numbers of the optimizer
        files.json                  sizes and checksums of the above; written last

Tensors go through ``torch.distributed.checkpoint`` in its safetensors form, so nothing is ever unpickled, and a state
saved by two processes is loaded by one or by four. The folder gets its name when all of it is on disk.
"""

from __future__ import annotations

import base64
import os
import random
import re
import shutil
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
import torch.distributed.checkpoint as dcp
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torchmetrics import Metric

from snnkit.engine.ema import Ema
from snnkit.engine.run_folder import sync_metrics
from snnkit.errors import CorruptFileError, DiskError, InvalidArgumentError
from snnkit.files import read_json, write_json
from snnkit.optim.blockwise import BlockwiseOptimizer

_NAME = re.compile(r"step-(\d{8})$")
_STATE, _FILES = "state.json", "files.json"
# What schedules write into the groups of an optimizer.
_SCHEDULED = ("initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "lr_scale")
# How an optimizer computes is for the process that goes on to decide: shards do not take every implementation.
_IMPLEMENTATION = ("fused", "foreach", "capturable", "differentiable")


@dataclass
class TrainState:
    """What a training consists of.

    Attributes:
        task: the task, as it was set up (its parameters may be sharded).
        optimizer: its optimizer.
        ema: the moving average, or None.
        progress: plain numbers: step, epoch, batch …
    """

    task: nn.Module
    optimizer: torch.optim.Optimizer
    ema: Ema | None = None
    progress: dict[str, Any] = field(default_factory=dict)

    def _names(self) -> dict[Tensor, str]:
        return {parameter: name for name, parameter in self.task.named_parameters()}

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor by key, parameters and states as they lie in this process."""
        found = {f"task.{key}": value for key, value in self.task.state_dict().items()}
        for parameter, name in self._names().items():
            state = self.optimizer.state.get(parameter, {})
            found |= {f"optim.{name}.{key}": value for key, value in state.items() if isinstance(value, Tensor)}
        if self.ema is not None:
            found |= {f"ema.{key}": value for key, value in self.ema.average.items()}
        return found

    def numbers(self) -> dict[str, Any]:
        """Return what is no tensor: progress, settings of parameter groups, plain numbers in optimizer states."""
        groups = [{k: _plain(v) for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        scalars = {
            name: {k: v for k, v in self.optimizer.state.get(parameter, {}).items() if not isinstance(v, Tensor)}
            for parameter, name in self._names().items()
        }
        return {"progress": self.progress, "groups": groups, "scalars": scalars}

    def restore_numbers(self, numbers: Mapping[str, Any]) -> None:
        """Take up what ``numbers`` returned."""
        self.progress = dict(numbers["progress"])
        for group, saved in zip(self.optimizer.param_groups, numbers["groups"], strict=True):
            for key, value in saved.items():
                # Settings, and what the schedule makes of them, are those of the configuration that goes on.
                if key in self.optimizer.defaults or key in _IMPLEMENTATION or key in _SCHEDULED:
                    continue
                value = _unplain(value)
                group[key] = tuple(value) if isinstance(group.get(key), tuple) else value
        for parameter, name in self._names().items():
            self.optimizer.state[parameter].update(numbers["scalars"].get(name, {}))


def save_state(fabric: Fabric, folder: Path, state: TrainState, keep: int) -> Path:
    """Write ``state`` under ``folder``, a run's checkpoints, and return its folder; all but ``keep`` are removed.

    Raises:
        DiskError: it could not be written; nothing half-written is left, and older states are kept.
    """
    step = int(state.progress["step"])
    final = folder / f"step-{step:08d}"
    part = folder / f".step-{step:08d}.part"
    problem = ""
    if fabric.is_global_zero:
        problem = _try(lambda: _fresh(part))
    problem = fabric.broadcast(problem)
    if not problem:
        problem = _try(lambda: _write(fabric, part, state))
        problem = next((p for p in _gather(fabric, problem) if p), "")
    if not problem and fabric.is_global_zero:
        problem = _try(lambda: sync_metrics(folder.parent)) or _try(lambda: _finish(part, final, state))
    problem = fabric.broadcast(problem)
    if problem:
        if fabric.is_global_zero:
            shutil.rmtree(part, ignore_errors=True)
        raise DiskError(f"could not write the checkpoint of step {step}: {problem}.")
    if fabric.is_global_zero:
        for old in _folders(folder)[keep:]:
            shutil.rmtree(old, ignore_errors=True)
    fabric.barrier()
    return final


def _try(action: Any) -> str:
    """Run and return "" or what went wrong with the disk."""
    try:
        action()
    except OSError as error:
        return error.strerror or str(error)
    except safetensors.SafetensorError as error:
        return str(error)
    except dcp.api.CheckpointException as error:
        causes = [failure[0] for failure in error.failures.values()]
        if not all(isinstance(cause, (OSError, safetensors.SafetensorError)) for cause in causes):
            raise
        return str(causes[0])
    return ""


def _fresh(part: Path) -> None:
    if part.exists():
        shutil.rmtree(part)
    part.mkdir(parents=True)


def _write(fabric: Fabric, part: Path, state: TrainState) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        dcp.save(
            {key: value.detach().contiguous() for key, value in state.tensors().items()},
            storage_writer=HuggingFaceStorageWriter(str(part), save_distributed=True),
            no_dist=fabric.world_size == 1,
        )
    write_json(part / f"rank-{fabric.global_rank}.json", _generators() | {"metrics": _metric_sums(state.task)})


def _finish(part: Path, final: Path, state: TrainState) -> None:
    write_json(part / _STATE, state.numbers())
    files = {path.name: [path.stat().st_size, _crc(path)] for path in sorted(part.iterdir())}
    write_json(part / _FILES, files)
    if final.exists():
        shutil.rmtree(final)
    os.replace(part, final)


def find_states(folder: Path) -> list[Path]:
    """Return the states under ``folder`` that are whole, newest first, and say which are not."""
    from snnkit.engine.progress import console

    whole = []
    for path in _folders(folder):
        problem = damage(path)
        if problem:
            console.print(f"{path} is damaged ({problem}); the one before it is taken.")
        else:
            whole.append(path)
    return whole


def damage(path: Path) -> str:
    """Return "" if every file of a state is as it was written, else what is wrong."""
    try:
        files = read_json(path / _FILES)
        missing = {_STATE, "rank-0.json"} - set(files)
        if missing:
            return f"{_FILES} does not list {', '.join(sorted(missing))}"
        for name, (size, crc) in files.items():
            if (path / name).stat().st_size != size:
                return f"{name} has {(path / name).stat().st_size} bytes instead of {size}"
            if _crc(path / name) != crc:
                return f"{name} has changed since it was written"
    except (OSError, CorruptFileError, ValueError, AttributeError, TypeError) as error:
        return str(error)
    return ""


def load_state(fabric: Fabric, path: Path, state: TrainState) -> None:
    """Fill ``state`` from the folder ``path``; any number of processes may read what any number wrote.

    Raises:
        InvalidArgumentError: the model has other keys or shapes than the one saved (names them); nothing was changed.
        CorruptFileError: the folder cannot be read.
    """
    numbers, shapes = read_json(path / _STATE), _shapes(path)
    groups = len(state.optimizer.param_groups), len(numbers["groups"])
    if groups[0] != groups[1]:
        raise InvalidArgumentError(
            f"{path} has {groups[1]} groups of parameters, this run {groups[0]}: resume with the optim.layer_decay and "
            "weight_decay it was started with, or start a new run from its weights (model.weights=)."
        )
    tensors = {f"task.{key}": value for key, value in state.task.state_dict().items()}
    if state.ema is not None:
        tensors |= {f"ema.{key}": value for key, value in state.ema.average.items()}
    _compare(path, tensors, {k: v[0] for k, v in shapes.items() if k.startswith(("task.", "ema."))})
    for parameter, name in state._names().items():
        start = f"optim.{name}."
        for key, (shape, dtype) in shapes.items():
            last = key.removeprefix(start)
            if key.startswith(start) and "." not in last:
                made = _room(state.optimizer, parameter, last, shape, dtype)
                state.optimizer.state[parameter][last] = tensors[key] = made.detach()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        dcp.load(tensors, storage_reader=HuggingFaceStorageReader(str(path)), no_dist=fabric.world_size == 1)
    state.restore_numbers(numbers)
    if isinstance(state.optimizer, BlockwiseOptimizer):
        state.optimizer.settle()
    own = path / f"rank-{fabric.global_rank}.json"
    if own.exists():
        saved = read_json(own)
        _restore_generators(saved)
        _restore_metric_sums(state.task, saved.get("metrics", {}))


def _room(
    optimizer: torch.optim.Optimizer, parameter: Tensor, key: str, shape: tuple[int, ...], dtype: torch.dtype
) -> Tensor:
    """Return a tensor for a saved state: what has the parameter's shape is sharded as the parameter is."""
    if isinstance(optimizer, BlockwiseOptimizer):
        return optimizer.room_for(parameter, key, shape, dtype)
    same = tuple(parameter.shape) == shape
    return torch.zeros_like(parameter, dtype=dtype) if same else torch.zeros(shape, dtype=dtype)


def _shapes(path: Path) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Return shape and dtype of every whole tensor of a state."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        metadata = HuggingFaceStorageReader(str(path)).read_metadata()
    return {
        key: (tuple(value.size), value.properties.dtype)
        for key, value in metadata.state_dict_metadata.items()
        if hasattr(value, "size")
    }


def _compare(path: Path, tensors: Mapping[str, Tensor], saved: Mapping[str, tuple[int, ...]]) -> None:
    missing = [key for key in tensors if key not in saved]
    unused = [key for key in saved if key not in tensors]
    other = [f"{k} {saved[k]} → {tuple(v.shape)}" for k, v in tensors.items() if k in saved and saved[k] != v.shape]
    parts = [
        f"{len(keys)} {what} ({', '.join(keys[:3])}{' …' if len(keys) > 3 else ''})"
        for what, keys in (
            ("only in the model", missing),
            ("only in the checkpoint", unused),
            ("of other shape", other),
        )
        if keys
    ]
    if parts:
        raise InvalidArgumentError(
            f"{path} is of another model: {'; '.join(parts)}. Resume with the configuration it was started with, or "
            "start a new run from its weights (model.weights=)."
        )


def _folders(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if _NAME.match(path.name)] if folder.is_dir() else []
    return sorted(found, reverse=True)


def _gather(fabric: Fabric, text: str) -> list[str]:
    if fabric.world_size == 1:
        return [text]
    found: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(found, text)
    return found


def _crc(path: Path) -> int:
    crc = 0
    with open(path, "rb") as file:
        while chunk := file.read(1 << 22):
            crc = zlib.crc32(chunk, crc)
    return crc


def _plain(value: Any) -> Any:
    """A setting of a parameter group for JSON; some optimizers count their steps in a tensor."""
    if isinstance(value, Tensor):
        return {"tensor": value.tolist(), "dtype": str(value.dtype).removeprefix("torch.")}
    return str(value) if isinstance(value, torch.dtype) else value


def _unplain(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"tensor", "dtype"}:
        return torch.tensor(value["tensor"], dtype=getattr(torch, value["dtype"]))
    return value


def _generators() -> dict[str, Any]:
    """Return the state of every random generator of this process."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    python = random.getstate()
    states = {
        "torch": _text(torch.get_rng_state()),
        "numpy": [kind, keys.tolist(), position, has_gauss, gauss],
        "python": [python[0], list(python[1]), python[2]],
    }
    if torch.cuda.is_available():
        states["cuda"] = [_text(value) for value in torch.cuda.get_rng_state_all()]
    return states


def _restore_generators(states: Mapping[str, Any]) -> None:
    torch.set_rng_state(_tensor(states["torch"]))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), *rest))
    version, keys, gauss = states["python"]
    random.setstate((version, tuple(keys), gauss))
    if torch.cuda.is_available() and len(states.get("cuda", ())) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([_tensor(value) for value in states["cuda"]])


def _metric_sums(task: nn.Module) -> dict[str, Any]:
    """Return what each metric has added up in the epoch so far (metrics that keep every sample are left out)."""
    sums = {}
    for name, metric in _metrics(task).items():
        values = {key: value.tolist() for key, value in metric.metric_state.items() if isinstance(value, Tensor)}
        if metric.update_called and len(values) == len(metric.metric_state):
            sums[name] = {"updates": metric.update_count, "values": values}
    return sums


def _restore_metric_sums(task: nn.Module, sums: Mapping[str, Any]) -> None:
    for name, metric in _metrics(task).items():
        if name in sums:
            metric._update_count = sums[name]["updates"]
            for key, value in sums[name]["values"].items():
                now = metric.metric_state[key]
                setattr(metric, key, torch.tensor(value, dtype=now.dtype, device=now.device))


def _metrics(task: nn.Module) -> dict[str, Metric]:
    return {name: module for name, module in task.named_modules() if isinstance(module, Metric)}


def _text(state: Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode()


def _tensor(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
