"""Fine-tune: the quantised form learns from the float network it was made of, by the loop that trains everything.

What trains is the form with quantised values and real weights (``trained_form``): straight-through gradients, learned
scales, and the float network as teacher (KL divergence of the logits, beside the labels). What comes out are weights
and scales, of which the two executables are made anew: they agree in every integer as before.

Source: learned step size quantisation, arXiv 1902.08153; distillation into a quantised student, arXiv 1802.05668.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from compiler.converting.conversion import Converted, assembled
from compiler.converting.forms import trained_form
from compiler.converting.quantisers import Quantiser
from compiler.converting.trainable import GraphModule
from compiler.graph import Graph, Node
from compiler.graph.builder import stored_dtype
from snnkit.checkpoints import load_weights
from snnkit.data import DataConfig, ImageData, load_images
from snnkit.engine import Run, RunConfig, train_task
from snnkit.errors import InvalidArgumentError
from snnkit.tasks import build_task

TEACHER_SHARE = 0.9
"""Weight of the float network against the labels."""
LEARNING_RATE = 1e-3

Module = TypeVar("Module", bound=nn.Module)

_PRECISION = {torch.float32: "32-true", torch.float64: "64-true"}


def fine_tuning(epochs: int) -> RunConfig:
    """Return the settings of a fine-tuning: AdamW without decay, a cosine from 1e-3, gradients of norm 1 at most.

    Raises:
        InvalidArgumentError: epochs < 1, or no whole number.
    """
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise InvalidArgumentError(f"epochs={epochs!r}: fine-tuning needs a whole number of epochs ≥ 1.")
    config = RunConfig(recipe="fine_tuning", epochs=epochs)
    config.task.name = "distillation"
    config.task.options = {"soft": True, "alpha": TEACHER_SHARE, "tau": 1.0}
    config.optim.lr, config.optim.weight_decay, config.optim.clip = LEARNING_RATE, 0.0, 1.0
    config.schedule.name = "cosine"
    return config


def fine_tuned(
    converted: Converted,
    data: DataConfig | ImageData,
    epochs: int = 10,
    *,
    config: RunConfig | None = None,
    teacher: nn.Module | Graph | None = None,
    folder: str | Path | None = None,
    runs: str | Path = "runs",
    go_on: bool = False,
) -> Converted:
    """Return a converted classifier whose quantised form has learned from its float network.

    Args:
        converted: of ``convert``; it stays as it is.
        data: what to learn on: settings of a data set, or its batches. Images as the network takes them.
        epochs: N ≥ 1, where no ``config`` is given.
        config: all settings, as ``fine_tuning`` returns them; its task may be any that takes teachers.
        teacher: a network with the same classes to learn from; by default the float network that was converted.
        folder, runs: where the run is written: its folder, or the folder of run folders.
        go_on: take up the run in ``folder``.

    Raises:
        InvalidArgumentError: epochs < 1, settings out of range, images or classes that do not fit the network.
        DivergedError: the loss became infinite or NaN.
    """
    form = trained_form(converted.places, converted.quantisers, converted.dtype)
    settings = config or fine_tuning(epochs)
    found, run = distilled(
        form, teacher or converted.source, data, config=settings, folder=folder, runs=runs, go_on=go_on
    )
    made = assembled(
        _with_numbers(converted.source, found),
        _with_scales(converted.quantisers, found),
        converted.levels,
        converted.max_exponent,
        converted.spike_input,
        (*converted.notes, f"fine-tuned for {settings.epochs} epochs ({run.folder})"),
        converted.activation_codes,
    )
    # The codes that were usual before are near those that are usual now.
    return made.started_with(converted.start)


def distilled(
    graph: Graph,
    teacher: nn.Module | Graph,
    data: DataConfig | ImageData,
    epochs: int = 10,
    *,
    config: RunConfig | None = None,
    batch_statistics: bool = False,
    folder: str | Path | None = None,
    runs: str | Path = "runs",
    go_on: bool = False,
) -> tuple[Graph, Run]:
    """Train any graph without state that classifies images, (C, H, W) → (K,), to say what a teacher says.

    Args:
        graph: it stays as it is.
        teacher: a network that takes the same images and has the same classes.
        data, epochs, config, folder, runs, go_on: as for ``fine_tuned``.
        batch_statistics: whether batch norms take the statistics of the batch while training.

    Returns:
        The graph with what was learned, and the run.

    Raises:
        As ``fine_tuned``.
    """
    made, run = learned(
        lambda: GraphModule(graph, batch_statistics),
        graph,
        teacher,
        data,
        config or fine_tuning(epochs),
        folder=folder,
        runs=runs,
        go_on=go_on,
    )
    return made.graph(), run


def learned(
    make: Callable[[], Module],
    graph: Graph,
    teacher: nn.Module | Graph,
    data: DataConfig | ImageData,
    config: RunConfig,
    *,
    folder: str | Path | None = None,
    runs: str | Path = "runs",
    go_on: bool = False,
) -> tuple[Module, Run]:
    """Train a module that is made of a classifier's graph, and return another with what was learned, and the run.

    Args:
        make: returns the module, of the numbers of ``graph``; called twice.
        graph, teacher, data, config, folder, runs, go_on: as for ``distilled``.

    Raises:
        As ``fine_tuned``.
    """
    config = replace(config, runtime=replace(config.runtime, precision=_precision(graph)))
    if isinstance(data, DataConfig):
        config = replace(config, data=data)
        data = load_images(data, config.seed)
    _check_fit(graph, data)
    torch.manual_seed(config.seed)
    module = make()
    options = {**config.task.options, "teachers": _module(teacher)}
    if config.task.label_smoothing:
        options["label_smoothing"] = config.task.label_smoothing
    task = build_task(config.task.name, module, len(data.classes), options)
    run = train_task(task, config, data, folder, runs=runs, go_on=go_on)
    # From the file: what was trained may be shards of it, on another device, or the weights before their average.
    found = make()
    load_weights(found, run.checkpoint)
    return found, run


def _module(network: nn.Module | Graph) -> nn.Module:
    return GraphModule(network) if isinstance(network, Graph) else network


def _precision(graph: Graph) -> str:
    """Return the precision that a graph's own numbers have."""
    dtype = stored_dtype(graph)
    if dtype not in _PRECISION:
        raise InvalidArgumentError(f"{graph.name} has weights of {dtype}; fine-tune it in float32 or float64.")
    return _PRECISION[dtype]


def _check_fit(graph: Graph, data: ImageData) -> None:
    """Raise InvalidArgumentError unless the graph classifies these images."""
    inputs, outputs = ([graph.shape(name) for name in names] for names in (graph.inputs, graph.outputs))
    if len(inputs) != 1 or len(outputs) != 1 or len(outputs[0]) != 1:
        raise InvalidArgumentError(
            f"{graph.name} maps {_shown(inputs)} to {_shown(outputs)}; fine-tuning is for classifiers of images, with "
            "one input and logits (K,). Train others as GraphModule(graph) with snnkit.engine.train_task."
        )
    if data.sample_shape != inputs[0]:
        raise InvalidArgumentError(
            f"{graph.name} takes images {inputs[0]}, those of {data.origin} are {data.sample_shape}; give the data it "
            "was trained on, with the same data.img_size."
        )
    if outputs[0] != (len(data.classes),):
        raise InvalidArgumentError(
            f"{graph.name} tells {outputs[0][0]} classes apart, but {data.origin} has {len(data.classes)}; give the "
            "data it was trained on."
        )


def _shown(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes))


def _with_numbers(source: Graph, learned: Graph) -> Graph:
    """Return the float network with the weights, biases and stored tensors that its trained form has learned."""

    def changed(node: Node) -> Node:
        found = learned.producer(node.output)
        if found is None or not node.parameters:
            return node
        new = {name: found.parameters[name].to(value.dtype) for name, value in node.parameters.items()}
        return replace(node, parameters=new)

    return replace(source, nodes=tuple(changed(node) for node in source))


def _with_scales(quantisers: Mapping[str, Quantiser], learned: Graph) -> dict[str, Quantiser]:
    """Return the quantisers with the scales that were learned."""
    found = {}
    for signal, quantiser in quantisers.items():
        node = learned.producer(f"{signal}.code")
        if node is None:  # nothing that the output depends on reads it
            found[signal] = quantiser
            continue
        found[signal] = replace(quantiser, scale=node.parameters["scale"].to(quantiser.scale.dtype))
    return found
