"""Train what a configuration describes, go on with a run that stopped, test a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from snnkit import allocator
from snnkit.checkpoints import unreadable
from snnkit.data import DataConfig, ImageData, attribution, load_images
from snnkit.engine.checkpoint import find_states, load_state
from snnkit.engine.config import ModelConfig, RunConfig
from snnkit.engine.fabric import TRUE_DTYPES, make_fabric
from snnkit.engine.framed import check_frames
from snnkit.engine.guard import told_in_a_line
from snnkit.engine.lock import locked
from snnkit.engine.loop import Loop
from snnkit.engine.own_classes import check_classes, keep_classes, own_classes, run_classes
from snnkit.engine.progress import bar, console, track
from snnkit.engine.run_folder import ENDED, Run, cut_metrics, new_run_folder, own_tokenizer, write_provenance
from snnkit.engine.stages import run_stages, stage_configs
from snnkit.engine.start import check_unlabelled, recorded_form, start_from
from snnkit.errors import CorruptFileError, InvalidArgumentError, unknown_name
from snnkit.files import read_json, write_json
from snnkit.layers.memory_order import channels_innermost
from snnkit.measures import MEASURES
from snnkit.memory import parse_bytes, show_bytes, within_budget
from snnkit.models import create_model
from snnkit.models.captioner import Captioner
from snnkit.models.detector import Detector
from snnkit.models.masked import MaskedModel
from snnkit.models.registry import accepts
from snnkit.models.two_towers import TwoTowers
from snnkit.optim import optimizer_bytes
from snnkit.tasks import TASKS, Classification, EnergyPenalty, Task, build_task
from snnkit.tasks.classification import channels_last
from snnkit.tasks.pairs.losses import CHUNK
from snnkit.tasks.pairs.predicted import predict
from snnkit.tasks.pretraining import Pretraining
from snnkit.tasks.teachers import located


def train(
    config: RunConfig, folder: str | Path | None = None, command: str | None = None, runs: str | Path = "runs"
) -> Run:
    """Train what ``config`` describes and return the run; the same seed on the same machine gives the same numbers.

    Args:
        config: a complete configuration, as recipes return it.
        folder: where the run is written; by default a new folder under ``runs``.
        command: how the run was started, for its record; by default this process's command line.
        runs: folder of run folders.

    Raises:
        InvalidArgumentError, UnknownNameError: a setting is out of range or a name unknown; nothing was written.
        DivergedError: the loss became infinite or NaN; names step, layer and batch.
        StoppedError: a SIGTERM came; the state is saved.
        DiskError: a file could not be written; everything before is kept.
        LockedError: another training writes into ``folder``.
    """
    config.check()
    if config.stages:
        return _in_stages(config, folder, command, runs)
    fabric = make_fabric(config.runtime)
    with _as_configured(config), _printing(fabric):
        return _begin(_prepare(config, fabric), folder, command, runs)


def _in_stages(config: RunConfig, folder: str | Path | None, command: str | None, runs: str | Path) -> Run:
    """Begin a run in stages; what its configurations say is checked before anything is written."""
    stage_configs(config)
    fabric = make_fabric(config.runtime)
    with _printing(fabric):
        if folder is None:
            folder = fabric.broadcast(new_run_folder(config.recipe, runs) if fabric.is_global_zero else None)
        if fabric.is_global_zero:
            Path(folder).mkdir(parents=True, exist_ok=True)
            write_provenance(Path(folder), config, command)
        fabric.barrier()
        return _stages(config, Path(folder), command)


def _stages(config: RunConfig, folder: Path, command: str | None) -> Run:
    return run_stages(config, folder, lambda own, part: train(own, part, command), resume, finished)


def train_task(
    task: Task,
    config: RunConfig,
    data: ImageData,
    folder: str | Path | None = None,
    command: str | None = None,
    runs: str | Path = "runs",
    go_on: bool = False,
) -> Run:
    """Train a task whose network is at hand, by the loop that trains what a configuration describes.

    Args:
        task: with its network, which is trained in place; ``config.model`` and ``config.task`` are not asked.
        config: optimizer, schedule, epochs, and the rest of a run.
        data: what it is trained and tested on; ``config.data`` says how many a batch has.
        folder, command, runs: as for ``train``.
        go_on: take up the newest whole state in ``folder``; the task must be as it was when that run began.

    Raises:
        As ``train``, and with ``go_on`` as ``resume``.
    """
    config.check()
    if go_on and folder is None:
        raise InvalidArgumentError("go_on=True: give the folder of the run to go on with.")
    if config.runtime.memory_budget:
        raise InvalidArgumentError(
            "runtime.memory_budget: is for networks by name; plan this one by snnkit.memory.within_budget, or leave it "
            "empty."
        )
    if config.runtime.grad_checkpointing and not hasattr(task.model, "set_grad_checkpointing"):
        raise InvalidArgumentError(
            f"runtime.grad_checkpointing: {type(task.model).__name__} has no blocks that it could keep the inputs of; "
            "set it to false."
        )
    config = replace(config, model=ModelConfig(name=""))
    fabric = make_fabric(config.runtime)
    with _as_configured(config), _printing(fabric):
        allocator.prepare()
        loop = _loop(config, fabric, task, data, {})
        return _go_on(loop, Path(folder)) if go_on and folder is not None else _begin(loop, folder, command, runs)


def _begin(loop: Loop, folder: str | Path | None, command: str | None, runs: str | Path) -> Run:
    """Run from the start, in a new folder unless one is given."""
    config, fabric = loop.config, loop.fabric
    if folder is None:
        folder = fabric.broadcast(new_run_folder(config.recipe, runs) if fabric.is_global_zero else None)
    folder = Path(folder)
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    with locked(fabric, folder):
        if fabric.is_global_zero:
            write_provenance(folder, config, command)
            cut_metrics(folder, 0)  # of a run that was killed before its first state
        return _run(loop, folder, None)


def resume(folder: str | Path, changes: RunConfig | None = None) -> Run:
    """Go on with the run in ``folder`` from its newest state that is whole; the numbers are those it would have had.

    Args:
        folder: of a run.
        changes: a configuration to go on with instead of the saved one (more epochs, other devices …); it takes the
            place of the saved one.

    Raises:
        CorruptFileError: there is no run, or no whole state in it.
        InvalidArgumentError: the model is another one than that which was saved (names the keys that differ), or the
            optimizer is, or a step has another number of images.
        LockedError: another training writes into the folder.
    """
    folder = Path(folder)
    saved = RunConfig.load(folder / "config.json")
    config = changes or saved
    config.check()
    if config.stages or saved.stages:
        if [stage.get("stage") for stage in config.stages] != [stage.get("stage") for stage in saved.stages]:
            raise InvalidArgumentError(f"stages: the run in {folder} has others; go on with its own, or start anew.")
        write_json(folder / "config.json", config.to_dict())
        return _stages(config, folder, None)
    if config.optim.name != saved.optim.name:
        raise InvalidArgumentError(
            f"optim.name={config.optim.name!r}: the state in {folder} is that of {saved.optim.name!r}; go on with it, "
            f"or start a new run from its weights (model.weights={folder / 'checkpoints' / 'last.safetensors'})."
        )
    config.data.tokenizer = own_tokenizer(folder, config.data.tokenizer)
    fabric = make_fabric(config.runtime)
    with _as_configured(config), _printing(fabric), locked(fabric, folder):
        state = _newest(folder)
        return _run(_prepare(config, fabric, folder), folder, state)


def finished(folder: Path) -> Run:
    """Return the run that ended in a folder.

    Raises:
        CorruptFileError: its files cannot be read.
    """
    config, summary = RunConfig.load(folder / "config.json"), read_json(folder / ENDED)
    try:
        best, final = summary["best"], summary["final"]
        measure = next(key for key in MEASURES if key in final)
        sign = -1 if measure == "loss" else 1
        scores = sign * float(final[measure]), sign * float(best[measure])
        return Run(folder, config, *scores, int(best["epoch"]), str(best["split"]), measure)
    except (KeyError, TypeError, ValueError, StopIteration):
        raise CorruptFileError(f"{folder / ENDED} does not say how the run ended; remove it to go on.") from None


def _go_on(loop: Loop, folder: Path) -> Run:
    with locked(loop.fabric, folder):
        return _run(loop, folder, _newest(folder))


def _newest(folder: Path) -> Path:
    states = find_states(folder / "checkpoints")
    if not states:
        raise CorruptFileError(
            f"{folder} holds no whole training state (checkpoints/step-…); start anew, or from its weights with "
            f"model.weights={folder / 'checkpoints' / 'last.safetensors'}."
        )
    return states[0]


def _take_up(loop: Loop, folder: Path, state: Path) -> None:
    """Fill the loop with a saved state, and make the folder that of the run as it goes on."""
    if loop.task.labels:
        check_classes(own_classes(folder), loop.data)
    load_state(loop.fabric, state, loop.state)
    progress = loop.state.progress
    saved = {key: progress.get(key, value) for key, value in loop.steps.items()}
    if saved != loop.steps:
        raise InvalidArgumentError(
            f"{state} counts steps of {saved['images_per_step']} images, {saved['steps_per_epoch']} an epoch; now they "
            f"are {loop.steps['images_per_step']} and {loop.steps['steps_per_epoch']}. Keep data.batch_size · "
            "optim.accumulate · processes and the data, or start a new run from its weights (model.weights=…)."
        )
    planned = loop.config.epochs * loop.steps["steps_per_epoch"]
    if progress["step"] > planned:
        raise InvalidArgumentError(
            f"epochs={loop.config.epochs}: the run in {folder} has made {progress['step']:,} steps, and these are "
            f"{planned:,}; give at least {-(-progress['step'] // loop.steps['steps_per_epoch'])}."
        )
    # The same steps may be made of other batches now.
    done = progress["step"] - (progress["epoch"] - 1) * loop.steps["steps_per_epoch"]
    progress["batch"] = done * loop.config.optim.accumulate
    loop.results = progress.get("results", {})
    if loop.fabric.is_global_zero:
        cut_metrics(folder, progress["step"])
        write_json(folder / "config.json", loop.config.to_dict())
        console.print(f"going on from {state}")


def _prepare(config: RunConfig, fabric: Fabric, begun_in: Path | None = None) -> Loop:
    """Make data, network, task and loop; nothing is written.

    Of a run that goes on, ``begun_in`` its folder, the weights that it began with may be gone: its own come over them.
    """
    if not config.model.name:
        raise InvalidArgumentError(
            "model.name='': the network of this run was at hand when it began, and is told by no name; give it to "
            "snnkit.engine.train_task(…, go_on=True)."
        )
    allocator.prepare()
    torch.manual_seed(config.seed)
    data = load_images(asked(config), config.seed)
    given = config.model
    check_frames(given.name, data)
    # An encoder that learns without labels gets no head: it would stay as it was drawn, and pass for a trained one.
    classes = 0 if issubclass(TASKS[config.task.name], Pretraining) else len(data.classes)
    arguments: dict[str, Any] = {"num_classes": classes} if accepts(given.name, "num_classes") else {}
    channels, height, width = data.image_shape
    # Tests see whole images as they are; key points are found on crops, in tests too.
    if data.targets not in ("labels", "keypoints") and config.data.img_size:
        height = width = config.data.img_size
    if accepts(given.name, "in_chans"):
        arguments["in_chans"] = channels
    if accepts(given.name, "img_size"):
        arguments["img_size"] = height if height == width else (height, width)
    if data.frames and not data.time_first and accepts(given.name, "num_frames"):
        arguments["num_frames"] = data.frames
    if data.time_first and accepts(given.name, "timesteps"):
        arguments["timesteps"] = data.frames
    if data.tokens is not None and accepts(given.name, "vocabulary"):
        arguments |= {"vocabulary": data.tokens.vocabulary, "context": config.data.context}
    if given.timesteps:
        arguments["timesteps"] = given.timesteps
    arguments |= given.sizes
    known = recorded_form(begun_in) if begun_in is not None and not Path(given.weights).exists() else None
    arguments |= known or {}
    model = create_model(given.name, **arguments)
    if given.weights and known is None:
        arguments |= start_from(model, given.weights, given.strict).form
    _say_unreadable(given.name, arguments)
    model = _within_budget(model, config, data.batch_shape(config.data.batch_size), fabric.world_size)
    options = dict(config.task.options)
    if config.task.label_smoothing:
        options["label_smoothing"] = config.task.label_smoothing
    task = build_task(config.task.name, model, len(data.classes), options)
    _check_teachers(task, options, data)
    energy = config.task.energy
    if energy.wanted:
        task.energy = EnergyPenalty(task.model, energy.weight, energy.target, energy.per_layer, energy.input_type)
    return _loop(config, fabric, task, data, {"name": given.name, **arguments, "trained_size": (height, width)})


def _check_teachers(task: Task, options: Mapping[str, Any], data: ImageData) -> None:
    """Refuse a teacher whose classes have other numbers than those of the data."""
    given = options.get("teachers") or options.get("teacher") or ()
    for text in (given,) if isinstance(given, str) else given:
        if task.labels and isinstance(text, str):
            check_classes(run_classes(located(text)[1]), data, who=f"teacher {text}")


def _say_unreadable(name: str, arguments: dict[str, Any]) -> None:
    """Say before a training what will keep its checkpoints from being read without the code that made the network."""
    key = unreadable(name, arguments)
    if key is not None:
        console.print(
            f"note: model.sizes.{key}={arguments[key]!r} is not taken from files: eval, probe and predict will refuse "
            "this run's checkpoints; snnkit.load_weights(snnkit.create_model(…), path) reads them.",
            soft_wrap=False,
        )


def asked(config: RunConfig) -> DataConfig:
    """Return what is fed to a run: with each image what its task learns from, unless the configuration says it.

    Raises:
        UnknownNameError: no such task.
        InvalidArgumentError: other targets than the task's.
    """
    name, data = config.task.name, config.data
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    if data.targets not in ("", TASKS[name].takes):
        raise InvalidArgumentError(
            f"data.targets={data.targets}: task {name} learns from {TASKS[name].takes}; leave it empty."
        )
    return replace(data, targets=TASKS[name].takes)


def _loop(config: RunConfig, fabric: Fabric, task: Task, data: ImageData, model_config: dict[str, Any]) -> Loop:
    """Share out the data and return the loop."""
    aside = 0 if data.validation is None else len(data.validation.dataset)  # type: ignore[arg-type]
    sizes = len(data.train.dataset), len(data.test.dataset), aside  # type: ignore[arg-type]
    if not task.labels:
        check_unlabelled(config, len(data.train.dataset), fabric.world_size)  # type: ignore[arg-type]
    data.share(fabric.global_rank, fabric.world_size)
    # Each process draws its own noise (dropout, stochastic depth); the weights above are the same in all.
    torch.manual_seed(config.seed + fabric.global_rank)
    return Loop(config, fabric, task, data, model_config, sizes)


def _within_budget(
    model: torch.nn.Module, config: RunConfig, batch: tuple[int, ...], processes: int
) -> torch.nn.Module:
    """Return what trains in place of ``model`` within ``runtime.memory_budget``, and say what was planned."""
    budget = config.runtime.memory_budget
    if not budget:
        return model
    if isinstance(model, MaskedModel):
        raise InvalidArgumentError(
            f"runtime.memory_budget={budget!r}: no plan is made for masked models, whose masks are drawn anew; leave "
            "it empty, and set runtime.grad_checkpointing=true or a smaller data.batch_size."
        )
    if isinstance(model, (Detector, Captioner)):
        raise InvalidArgumentError(
            f"runtime.memory_budget={budget!r}: no plan is made for {config.model.name}, which learns from images and "
            "targets together; leave it empty, and set runtime.grad_checkpointing=true or a smaller data.batch_size."
        )
    if isinstance(model, TwoTowers):
        _check_towers(model, config, batch, processes)
        return model
    dtype = TRUE_DTYPES.get(config.runtime.precision, torch.float32)
    channels_innermost(model.train().to(dtype=dtype))
    example = channels_last(torch.zeros(batch, dtype=dtype))
    planned, plan = within_budget(model, example, budget, accumulated=config.optim.accumulate > 1)
    console.print(
        f"memory of a step: {show_bytes(plan.plain_peak)} plain, {show_bytes(plan.peak)} as planned ({plan.choice}), "
        f"{budget} allowed"
    )
    return planned


def _check_towers(model: TwoTowers, config: RunConfig, batch: tuple[int, ...], processes: int) -> None:
    """Say how much memory a step of two towers takes; refuse one that takes more than is allowed."""
    model.set_selective_checkpointing(config.runtime.selective_checkpointing)
    options, parts = config.task.options, config.optim.accumulate
    frozen = {"image": model.encoder, "text": model.text}.get(str(options.get("freeze", "")))
    if frozen is not None:
        frozen.requires_grad_(False)
    model.train().to(dtype=TRUE_DTYPES.get(config.runtime.precision, torch.float32))
    reread, chunk = bool(options.get("reread", False)), int(options.get("chunk", CHUNK))
    found = predict(model, batch, config.data.context, parts, processes, chunk, kept=not reread)
    console.print(f"memory of a step: {found}", soft_wrap=False)
    if found.peak > parse_bytes(config.runtime.memory_budget):
        raise InvalidArgumentError(
            f"runtime.memory_budget={config.runtime.memory_budget!r}: a step of {parts} parts of "
            f"{batch[0]} pairs takes {show_bytes(found.peak)}; make parts smaller (data.batch_size, with more of "
            "optim.accumulate), or set task.options.reread=true."
        )


def _run(loop: Loop, folder: Path, state: Path | None) -> Run:
    config, fabric = loop.config, loop.fabric
    if state is not None:
        _take_up(loop, folder, state)
    with told_in_a_line(fabric.global_rank, fabric.world_size, folder):
        if fabric.is_global_zero:
            keep_classes(folder, loop.data.classes)
        _keep_attribution(loop, folder)
        loop.run(folder)
    test = loop.results["test"]
    kept, full = optimizer_bytes(loop.state.optimizer)
    summary = {
        "parameters": sum(p.numel() for p in loop.task.model.parameters()),
        "optimizer_bytes": kept,
        "optimizer_bytes_fp32": full,
        "train_images": loop.sizes[0],
        "validation_images": loop.sizes[2],
        "test_images": loop.sizes[1],
        "origin": loop.data.origin,
        **({"notes": list(loop.data.notes)} if loop.data.notes else {}),
        **_scores(loop),
        "classes": list(loop.data.classes),
    }
    if fabric.is_global_zero:
        write_json(folder / ENDED, summary)
    fabric.barrier()
    best = loop.best
    return Run(folder, config, test["score"], best["accuracy"], best["epoch"], best["split"], loop.task.measure)


def _scores(loop: Loop) -> dict[str, Any]:
    """Best and last results under the name of what they are."""
    test, measure = loop.results["test"], loop.task.measure
    spent = {name: test[name] for name in ("synaptic_operations", "energy") if name in test}
    last = {"epoch": loop.config.epochs, measure: test["score"], **spent}
    if measure == "accuracy":
        return {"best": loop.best, "final": last}
    best = {"epoch": loop.best["epoch"], measure: loop.best["accuracy"], "split": loop.best["split"]}
    if measure == "loss":
        last, best["loss"] = {"epoch": loop.config.epochs, "loss": -test["score"]}, -best["loss"]
        return {"task": loop.task.name, "best": best, "final": last}
    words = asdict(MEASURES[measure]) | {"key": measure}
    return {"task": loop.task.name, "measure": words, "best": best, "final": last}


def _keep_attribution(loop: Loop, folder: Path) -> None:
    """Say in the run's folder who is to be named for what it is made of; print what was said when data were loaded."""
    config, data = loop.config, loop.data
    for note in data.notes:
        console.print(note)
    options = [value for value in config.task.options.values() if isinstance(value, (str, list, tuple))]
    texts = [text for value in options for text in ([value] if isinstance(value, str) else value)]
    began_with = [text for text in (config.model.weights, *texts) if isinstance(text, str)]
    splits = [split.dataset for split in (data.train, data.test, data.validation) if split is not None]
    if loop.fabric.is_global_zero:
        attribution.keep(folder, splits, began_with)


@contextmanager
def _as_configured(config: RunConfig) -> Iterator[None]:
    """Use the configured number of threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _printing(fabric: Fabric) -> Iterator[None]:
    """Let one process speak."""
    before, console.quiet = console.quiet, console.quiet or not fabric.is_global_zero
    try:
        yield
    finally:
        console.quiet = before


def evaluate(model: torch.nn.Module, data: ImageData) -> dict[str, float]:
    """Return loss, accuracy and firing rate of a classifier on the test split.

    Raises:
        InvalidArgumentError: the classifier has other classes than the data.
    """
    if isinstance(model, MaskedModel):
        raise InvalidArgumentError(
            "these weights are of a pre-training: they paint hidden pixels and tell no classes apart. Fine-tune them "
            "first: snnkit train RECIPE --set model.weights=RUN."
        )
    if isinstance(name := getattr(model, "model_name", None), str):
        check_frames(name, data)
    classes = getattr(model, "num_classes", len(data.classes))
    if classes == 0:
        raise InvalidArgumentError(
            "these weights are of an encoder without classes: probe it (snnkit probe RUN), or fine-tune it: snnkit "
            "train RECIPE --set model.weights=RUN."
        )
    if classes != len(data.classes):
        raise InvalidArgumentError(
            f"the network tells {classes} classes apart, but {data.origin} has {len(data.classes)}: give the data it "
            "was trained on."
        )
    task = Classification(model, len(data.classes)).eval()
    with bar("evaluating", len(data.test)) as progress:
        for batch in track(data.test, progress):
            task.evaluate(batch)
    return task.compute()
