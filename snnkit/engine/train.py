"""Train: one loop for every task, on Lightning Fabric."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from snnkit.checkpoints import save_weights
from snnkit.data import ImageData, load_images
from snnkit.engine.config import RunConfig
from snnkit.engine.memory import keep_freed_memory
from snnkit.engine.progress import bar, console, track
from snnkit.engine.run_folder import Run, append_metrics, new_run_folder, write_provenance
from snnkit.errors import InvalidArgumentError, SnnkitError
from snnkit.files import write_json
from snnkit.models import create_model
from snnkit.tasks import Classification, Task


class DivergedError(SnnkitError):
    """The loss stopped being a number."""


def train(config: RunConfig, folder: str | Path | None = None, command: str | None = None) -> Run:
    """Train what ``config`` describes and return the run; the same seed on the same machine gives the same numbers.

    Args:
        config: a complete configuration, as recipes return it.
        folder: where the run is written; by default a new folder under ``runs``.
        command: how the run was started, for its record; by default this process's command line.

    Raises:
        InvalidArgumentError, UnknownNameError: a setting is out of range or a name unknown; nothing was written.
        DivergedError: the loss became infinite or NaN; names the step.
        DiskError: a file could not be written; everything before is kept.
    """
    if config.epochs < 1:
        raise InvalidArgumentError(f"epochs={config.epochs}: must be ≥ 1.")
    if config.threads < 0:
        raise InvalidArgumentError(f"threads={config.threads}: must be ≥ 0.")
    if not config.optim.lr > 0:
        raise InvalidArgumentError(f"optim.lr={config.optim.lr}: must be > 0.")
    torch.manual_seed(config.seed)
    data = load_images(config.data, config.seed)
    arguments = {"timesteps": config.model.timesteps, "num_classes": len(data.classes), **config.model.sizes}
    model = create_model(config.model.name, **arguments)
    folder = new_run_folder(config.recipe) if folder is None else Path(folder)
    write_provenance(folder, config, command)
    task = Classification(model, len(data.classes), config.optim.label_smoothing)
    with torch_threads(config.threads):
        return _loop(config, task, data, folder, {"name": config.model.name, **arguments})


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let torch use so many threads while the block runs; 0 leaves its own choice."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _loop(config: RunConfig, task: Task, data: ImageData, folder: Path, model_config: dict[str, Any]) -> Run:
    keep_freed_memory()
    fabric = Fabric(accelerator="auto", devices=1)
    optimizer = torch.optim.AdamW(task.model.parameters(), config.optim.lr, weight_decay=config.optim.weight_decay)
    steps = config.epochs * len(data.train)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.optim.lr, total_steps=steps)
    model, optimizer = fabric.setup(task.model, optimizer)
    train_batches, test_batches = fabric.setup_dataloaders(data.train, data.test)
    raw, task.model = task.model, model
    best_score, best_epoch, step, results = -math.inf, 0, 0, {}
    with bar("training", steps) as progress:
        for epoch in range(1, config.epochs + 1):
            started = time.perf_counter()
            model.train()
            note = f"epoch {epoch}/{config.epochs}"
            for batch in track(train_batches, progress, note):
                step += 1
                loss = task.loss(batch)
                if not torch.isfinite(loss):
                    raise DivergedError(
                        f"the loss is {loss.item()} at step {step} (epoch {epoch}); lower optim.lr={config.optim.lr}, "
                        f"or set optim.clip. Checkpoints up to epoch {epoch - 1} are in {folder}."
                    )
                optimizer.zero_grad()
                fabric.backward(loss)
                if config.optim.clip:
                    fabric.clip_gradients(model, optimizer, max_norm=config.optim.clip)
                optimizer.step()
                schedule.step()
            results = {"train": task.compute(), "test": _test(task, test_batches)}
            seconds = time.perf_counter() - started
            line = {"epoch": epoch, "step": step, **results, "learning_rate": schedule.get_last_lr()[0]}
            line |= {"seconds": round(seconds, 3), "firing_rate": results["test"].get("firing_rate")}
            append_metrics(folder, line)
            save_weights(raw, folder / "checkpoints" / "last.safetensors", model_config)
            if results["test"]["score"] > best_score:
                best_score, best_epoch = results["test"]["score"], epoch
                save_weights(raw, folder / "checkpoints" / "best.safetensors", model_config)
            images = len(data.train.dataset)  # type: ignore[arg-type]
            console.print(
                f"epoch {epoch:>3}/{config.epochs}  loss {results['train']['loss']:.3f}  "
                f"train {results['train']['accuracy']:.1%}  test {results['test']['accuracy']:.1%}  "
                f"{images / seconds:,.0f} images/s"
            )
    task.model = raw
    summary = {
        "parameters": sum(p.numel() for p in raw.parameters()),
        "train_images": len(data.train.dataset),  # type: ignore[arg-type]
        "test_images": len(data.test.dataset),  # type: ignore[arg-type]
        "origin": data.origin,
        "best": {"epoch": best_epoch, "accuracy": best_score},
        "final": {"epoch": config.epochs, "accuracy": results["test"]["accuracy"]},
        "classes": list(data.classes),
    }
    write_json(folder / "summary.json", summary)
    return Run(folder, config, results["test"]["score"], best_score, best_epoch)


def _test(task: Task, batches: Iterable[Any]) -> dict[str, float]:
    task.model.eval()
    for batch in batches:
        task.evaluate(batch)
    return task.compute()


def evaluate(model: torch.nn.Module, data: ImageData) -> dict[str, float]:
    """Return loss, accuracy and firing rate of a classifier on the test split."""
    task = Classification(model, len(data.classes))
    with bar("evaluating", len(data.test)) as progress:
        return _test(task, track(data.test, progress))
