"""What is audited: from the words on the command line to a graph, the samples it is fed, and what is known of both."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from compiler.auditing import running
from compiler.auditing.stepped import Alone, Stepped
from compiler.auditing.stepping import in_steps
from compiler.capturing import capture
from compiler.commands.source import Source, batch_axis, resolve
from compiler.graph import Graph, is_neuron
from snnkit.checkpoints.formats import unwrap
from snnkit.checkpoints.read import read_any
from snnkit.data import DataConfig
from snnkit.data.events import READERS
from snnkit.errors import InvalidArgumentError, nearest, unknown_name
from snnkit.importers.loops import OneStep, OverSteps
from snnkit.importers.snntorch import Handed
from snnkit.models import list_models

_NOISE_SAMPLES = 4
_RATE = 0.2
_FILES = (".graph", ".program", ".nir", ".onnx")


@dataclass(frozen=True)
class Asked:
    """What the command line says of a network.

    Attributes:
        what: FILE.py:FACTORY, a folder, a run, a checkpoint, a file with a graph, a model's name.
        model: MODULE:FACTORY within a folder.
        options: KEY=VALUE for the factory.
        weights: a checkpoint for what the factory makes.
        sample: shape of one sample (C, H, W) for what a factory makes.
        timesteps: T where the network does not say.
        time_axis: 0 or 1, where code takes (T, B, …) or (B, T, …).
        input_type: what the input consists of.
        data: a data set's name or a folder of images.
        data_source: where the data set lies.
        images: how many samples.
    """

    what: str
    model: str | None = None
    options: tuple[str, ...] = ()
    weights: Path | None = None
    sample: tuple[int, ...] = (3, 224, 224)
    timesteps: int | None = None
    input_type: str = "real"
    data: str | None = None
    data_source: str = ""
    images: int | None = None
    time_axis: int | None = None

    @property
    def is_code(self) -> bool:
        """Whether someone's code is to be run."""
        return running.is_python(self.what) or self.model is not None


@dataclass(frozen=True)
class Subject:
    """A network as a graph, with its samples.

    Attributes:
        title, kind: what it is called and what it is, in words.
        source: the graph and where its data are.
        weights: where the weights come from, in words; ``trained`` is None where that is not known.
        data: what the samples are, in words; ``noise`` where they are random.
        notes: what was found on the way.
        steps_equal: largest difference between published code and its steps, relative to the output.
        unrolled: how many time steps one step of the graph holds.
    """

    title: str
    kind: str
    source: Source
    weights: str
    trained: bool | None
    data: str = ""
    noise: bool = True
    images: int = _NOISE_SAMPLES
    notes: tuple[str, ...] = ()
    steps_equal: float | None = None
    unrolled: int = 1
    _samples: dict[str, Tensor] = field(default_factory=dict, compare=False, repr=False)

    @property
    def graph(self) -> Graph:
        """The simplified graph."""
        return self.source.graph

    @property
    def spiking(self) -> bool:
        """Whether it has neurons, or states that are written out."""
        return bool(self.graph.states) or any(is_neuron(node) for node in self.graph)

    @property
    def measured(self) -> bool:
        """Whether its firing rates say anything: real samples and weights that are not known to be untrained."""
        return not self.noise and self.trained is not False

    @property
    def samples(self) -> Tensor:
        """The samples, (B, …) or sequences (T, B, …).

        Raises:
            InvalidArgumentError: the network does not take them, or there are none.
        """
        if "x" not in self._samples:
            self._samples["x"] = (
                _noise(self.graph, self.images) if self.noise else self.source.test_images(self.images)[0]
            )
        return self._samples["x"]

    def parts(self, values: int = 20_000_000) -> list[Tensor]:
        """Return the samples in parts of as many as keep a layer below so many values."""
        largest = max((signal.size for signal in self.graph.signals.values()), default=1) * max(self.graph.timesteps, 1)
        axis = batch_axis(self.graph, self.samples)
        return list(torch.split(self.samples, max(1, min(100, values // max(largest, 1))), axis))


def subject(asked: Asked) -> Subject:
    """Return what is meant.

    Raises:
        CaptureError: it has no form as a graph; ``reasons`` says all of it.
        SnnkitError: there is no such thing, or it does not fit the data.
    """
    if asked.images is not None and asked.images < 1:
        raise InvalidArgumentError(f"--images {asked.images}: must be ≥ 1.")
    if len(asked.sample) < 1 or any(size < 1 for size in asked.sample):
        raise InvalidArgumentError(f"--input {','.join(map(str, asked.sample))}: sizes must be ≥ 1, such as 3,224,224.")
    if asked.timesteps is not None and asked.timesteps < 1:
        raise InvalidArgumentError(f"--timesteps {asked.timesteps}: must be ≥ 1.")
    if asked.time_axis not in (None, 0, 1):
        raise InvalidArgumentError(f"--time-axis {asked.time_axis}: must be 0 for (T, B, …) or 1 for (B, T, …).")
    found = _of_code(asked) if asked.is_code else _of_name(asked)
    return _with_samples(found, asked)


def _of_code(asked: Asked) -> Subject:
    """Run someone's file and take what its factory makes."""
    place, options = running.place_of(asked.what, asked.model), running.options_of(asked.options)
    first: Exception | None = None
    for old in running.wants_old_names(place):
        with running.published_names(old):
            try:
                module = running.build(place, options)
            except InvalidArgumentError as error:
                cause = error.__cause__
                first = first or error
                if not isinstance(cause, (ImportError, TypeError, AttributeError)):
                    raise
                continue
            return _of_module(asked, place, module)
    assert first is not None
    raise first


def _of_module(asked: Asked, place: running.Place, module: nn.Module) -> Subject:
    notes = []
    if not _all_eval(module):
        notes.append("was in training mode: put into eval mode (no dropout, stored statistics)")
    module.eval()
    weights, trained = _weights(asked, module)
    found = in_steps(module, asked.sample, asked.timesteps, asked.time_axis)
    model, kind = found.model, "published code"
    captured = capture(model, torch.zeros(1, *asked.sample), asked.input_type)
    graph = _under_own_names(replace(captured, name=type(module).__name__), _own_names(model))
    given = f"({', '.join(asked.options)})" if asked.options else ""
    title = f"{place.module.replace('.', '/')}.py:{place.factory}{given}"
    source = Source(asked.what, graph, {}, None, DataConfig(), asked.input_type)
    return Subject(
        title,
        kind,
        source,
        weights,
        trained,
        notes=(*notes, *found.notes),
        steps_equal=found.difference,
        unrolled=found.unrolled,
    )


def _all_eval(module: nn.Module) -> bool:
    return not any(part.training for part in module.modules())


def _weights(asked: Asked, module: nn.Module) -> tuple[str, bool | None]:
    """Load the weights that were given; else say what can be known of those that are there."""
    if asked.weights is not None:
        _load(module, asked.weights)
        return str(asked.weights), True
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    counted = [part.num_batches_tracked for part in norms if part.num_batches_tracked is not None]
    if counted and not any(int(one) for one in counted):
        return "as the factory makes them: no batch norm has seen any data, so they are untrained", False
    return "as the factory makes them", None


def _load(module: nn.Module, path: Path) -> None:
    content, _ = read_any(path)
    own = module.state_dict()
    given = unwrap(content, own)
    missing, unknown = [key for key in own if key not in given], [key for key in given if key not in own]
    if missing or unknown:
        first = (missing or unknown)[0]
        what = f"{len(missing)} of the network's are missing" if missing else f"{len(unknown)} are not the network's"
        near = nearest(first, given if missing else own)
        raise InvalidArgumentError(f"{path}: {what}, first {first!r}.{near} Give the checkpoint of this definition.")
    wrong = [key for key in own if own[key].shape != given[key].shape]
    if wrong:
        shapes = f"{tuple(given[wrong[0]].shape)}, the network {tuple(own[wrong[0]].shape)}"
        raise InvalidArgumentError(f"{path}: {wrong[0]} has shape {shapes}; set the sizes with --set KEY=VALUE.")
    module.load_state_dict(given)


def _of_name(asked: Asked) -> Subject:
    """A run, a checkpoint, a file that holds a graph, or a model's name."""
    given = (("--set", asked.options), ("--weights", asked.weights), ("--time-axis", asked.time_axis))
    for name, value in given:
        if value not in (None, ()):
            raise InvalidArgumentError(f"{name} is for what a factory makes: give FILE.py:FACTORY.")
    path, text = Path(asked.what), asked.what
    if path.is_dir() and not (path / "config.json").exists() and any(path.glob("*.py")):
        raise InvalidArgumentError(
            f"{text} holds Python files: which function or class builds the network? Give --model MODULE:FACTORY."
        )
    if not path.exists() and not text.startswith("timm:") and text not in list_models() and "/" not in text:
        raise unknown_name(
            "network", text, list_models(), "Give FILE.py:FACTORY, a run, a checkpoint, a graph or a model's name."
        )
    source = resolve(text, asked.input_type)
    if asked.timesteps is not None:
        source = replace(source, network=replace(source.captured, timesteps=asked.timesteps))
    kind, weights, trained = _kind(text, path)
    return Subject(text, kind, source, weights, trained)


def _kind(text: str, path: Path) -> tuple[str, str, bool | None]:
    """Return what a name means, where its weights come from, and whether they are trained."""
    if not path.exists():
        return ("timm model" if text.startswith("timm:") else "snnkit model"), "none given: untrained", False
    if path.suffix in _FILES:
        return f"{path.suffix[1:]} file" if path.suffix != ".nir" else "NIR file", "those of the file", None
    return ("run", "of the run", True) if path.is_dir() else ("checkpoint", str(path), True)


def _with_samples(found: Subject, asked: Asked) -> Subject:
    source, graph = found.source, found.graph
    if len(graph.inputs) != 1:
        raise InvalidArgumentError(f"{found.title} has {len(graph.inputs)} inputs; an audit feeds one.")
    if asked.data is not None:
        shape = graph.shape(graph.inputs[0])
        side = int(shape[-1]) if len(shape) > 1 and shape[-1] == shape[-2] else 0
        folder = Path(asked.data).is_dir()
        name, place = (_kind_of(Path(asked.data)), asked.data) if folder else (asked.data, asked.data_source or "auto")
        frames = graph.timesteps if name in _IN_TIME else 0
        source = replace(source, data=DataConfig(dataset=name, source=place, img_size=side, frames=frames))
    elif source.folder is None:
        count = asked.images or _NOISE_SAMPLES
        return replace(found, data=_noise_words(graph), noise=True, images=count)
    name = asked.data or source.data.dataset
    return replace(found, source=source, data=f"test samples of {name}", noise=False, images=asked.images or 100)


_IN_TIME = ("event_folder", "video_folder")
"""Data of which a sample is a sequence: one frame for each of the network's steps."""


def _kind_of(folder: Path) -> str:
    """Whether a folder holds recordings of event cameras, told by the first of its files that has a known ending."""
    names = (name for _, _, files in os.walk(folder) for name in files)
    return "event_folder" if any(Path(name).suffix.lower() in READERS for name in names) else "image_folder"


def _noise_words(graph: Graph) -> str:
    kind = graph.type(graph.inputs[0])
    return "noise, mean 0 and deviation 1" if not kind.is_event else f"noise: events at a rate of {_RATE:g}"


def _noise(graph: Graph, count: int) -> Tensor:
    """Return random samples of the type and shape of the input."""
    kind, generator = graph.type(graph.inputs[0]), torch.Generator().manual_seed(0)
    steps = (graph.timesteps,) if not graph.static_input and graph.timesteps > 1 else ()
    shape = (*steps, count, *graph.shape(graph.inputs[0]))
    if not kind.is_event:
        return torch.randn(shape, generator=generator)
    levels = torch.randint(int(kind.low), int(kind.high) + 1, shape, generator=generator)
    fires = torch.rand(shape, generator=generator) < _RATE
    return (levels if kind.low < 0 or kind.high > 1 else torch.ones(shape)) * fires * float(kind.scale)


def _own_names(model: nn.Module) -> list[tuple[str, str]]:
    """Return (path here, path in the published code) of what stands around its modules, innermost first."""
    around = [("network.", "")] if isinstance(model, Stepped) else []
    for name, part in model.named_modules():
        inner = {Alone: "neuron", Handed: "neuron", OneStep: "module", OverSteps: "module"}.get(type(part))
        if inner is not None:
            around.append((f"{name}.{inner}".lstrip("."), name))
    return sorted(around, key=lambda pair: -len(pair[0]))


def _under_own_names(graph: Graph, around: list[tuple[str, str]]) -> Graph:
    """Return a graph whose nodes are called as the published code calls its modules, where that tells them apart.

    What stands outside of the published code keeps its name, and whatever would be called alike inside keeps its own.
    """

    names = {*graph.signals, *(node.name for node in graph)}
    taken = {name for name in names if not any(name.startswith(here) for here, _ in around)}

    def own(name: str) -> str:
        found = name
        for here, there in around:
            rest = found.removeprefix(here)
            if found.startswith(here) and (here.endswith(".") or rest[:1] in ("", ".", "#")):
                found = f"{there}{rest}".lstrip(".") or found
        return name if found in taken else found

    def all_(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(map(own, names))

    if len(set(map(own, names))) < len(names):
        return graph
    nodes = tuple(
        replace(node, name=own(node.name), inputs=all_(node.inputs), outputs=all_(node.outputs), scope=own(node.scope))
        for node in graph
    )
    signals = {own(name): replace(one, name=own(name)) for name, one in graph.signals.items()}
    states = tuple(replace(one, read=own(one.read), written=own(one.written)) for one in graph.states)
    ends = replace(graph, inputs=all_(graph.inputs), outputs=all_(graph.outputs), states=states)
    return ends.with_nodes(nodes, signals)
