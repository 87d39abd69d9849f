"""What the verbs share: from a word on the command line to a network, its graph, its run folder and test images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.progress import track
from torch import Tensor, nn

from compiler.capturing import capture
from compiler.errors import CaptureError, Violation
from compiler.fitting import misfit
from compiler.front import Front, front
from compiler.graph import Graph, SignalType
from compiler.graph.file import check_numbers
from compiler.parts import Parts, has_parts, parts
from hw import get_chip
from snnkit.checkpoints import build_model
from snnkit.data import DataConfig, load_images
from snnkit.data.loaders import ImageData
from snnkit.data.order import Skipped
from snnkit.data.parts import stratified
from snnkit.engine import find_checkpoint
from snnkit.engine.feeding import fed_as, fed_in
from snnkit.engine.own_classes import check_classes, own_classes
from snnkit.engine.progress import console
from snnkit.errors import CorruptFileError, InvalidArgumentError, SnnkitError, unknown_name
from snnkit.models import create_model, list_models
from snnkit.models.detector import Detector
from snnkit.models.masked import MaskedModel
from snnkit.models.two_towers import TwoTowers

if TYPE_CHECKING:
    from compiler.program import Program

GRAPH = ".graph"
PROGRAM = ".program"
ONNX = ".onnx"
DEFAULT_CHIP = "loihi1"


def _of_nir(path: Path) -> Graph:
    from compiler.exchange import nir

    return nir.read(path)


def _of_onnx(path: Path) -> Graph:
    from compiler.exchange import onnx

    return onnx.read(path)


_GRAPHS: dict[str, Callable[[Path], Graph]] = {
    GRAPH: Graph.load,
    ".nir": _of_nir,
    ONNX: _of_onnx,
}
_PLAIN: dict[str, Any] = {
    "shift_pixels": 0,
    "flip": False,
    "crop_scale": 1.0,
    "rand_augment": "",
    "erase": 0.0,
    "repeats": 1,
    "mixup": 0.0,
    "cutmix": 0.0,
    "test_clips": 1,
    "test_crops": 1,
}
"""Settings of data without augmentation."""
_FILES = (*_GRAPHS, PROGRAM, ".safetensors", ".pth", ".pt")


@dataclass(frozen=True)
class Source:
    """A model in eval mode, a graph that was saved, or the path of an ONNX file, captured when its graph is asked for.

    ``folder`` is the run folder (None where there is none).
    ``kind`` is what the input consists of: real numbers or, for recordings of events, "binary", "integer[low,high]" …
    ``program`` is what a .program file holds, whose network is the one that it was compiled from.
    """

    text: str
    network: nn.Module | Graph | Path
    config: dict[str, Any]
    folder: Path | None
    data: DataConfig
    kind: str = "real"
    program: Program | None = None

    @cached_property
    def captured(self) -> Graph:
        """The graph as it was saved, or as it is captured.

        Raises:
            CaptureError: the model holds what graphs do not have; ``reasons`` says all of it.
        """
        if isinstance(self.network, Graph):
            return self.network
        if isinstance(self.network, Path):
            return _of_onnx(self.network)
        if self.parts is not None:
            return self.parts.whole
        return capture(self.network, self.example, self.kind)

    @cached_property
    def parts(self) -> Parts | None:
        """What a detector or a captioner is made of, which is no graph as a whole; None for all other networks.

        Raises:
            CaptureError: as ``captured``.
            InvalidArgumentError: an input that is not of real numbers.
        """
        if not isinstance(self.network, nn.Module) or not has_parts(self.network):
            return None
        if self.kind != "real":
            raise InvalidArgumentError(f"--input-type {self.kind}: {self.text} reads images, which are real.")
        return parts(self.network, self.example)  # type: ignore[arg-type]

    @cached_property
    def graph(self) -> Graph:
        """``captured`` as most verbs want it: simplified; what keeps it from being captured in one line.

        Raises:
            CaptureError: as ``captured``, naming the first reason and where the others are listed.
        """
        from compiler.passes import simplify

        try:
            return simplify(self.captured)
        except CaptureError as error:
            others = len(error.reasons) - 1
            more = f" (and {others} more; `snnkit check {self.text}` lists them)" if others else ""
            raise CaptureError(f"{error.reasons[0]}{more}", error.reasons) from None

    @cached_property
    def front(self) -> Front | None:
        """Backbone and neck of a detector, whose heads stay on the host; None for all other networks.

        Raises:
            CaptureError: they hold what graphs do not have.
        """
        return front(self.network, self.example) if isinstance(self.network, Detector) else None

    @property
    def on_chip(self) -> Graph:
        """What a chip is to run: the ``graph``, of a detector that of its ``front``.

        Raises:
            InvalidArgumentError: a captioner, or a detector without spikes.
            CaptureError: as ``graph``.
        """
        if self.front is not None:
            if not self.front.model.backbone.spiking:
                raise InvalidArgumentError(
                    f"{self.text} stands on an image model without spikes, and chips here run spikes; give a detector "
                    "on a spiking one, such as mask_rcnn:ms_resnet18, or convert it: `snnkit convert`."
                )
            return self.front.graph
        self.check_one_network("compile")
        return self.graph

    @property
    def example(self) -> Tensor:
        """A blank input of the right shape: (1, C, H, W), a clip (1, C, F, H, W) or a sequence (T, 1, C, H, W)."""
        assert isinstance(self.network, nn.Module)
        channels, *sides = input_size(self.network, self.config)
        if not self.data.frames:
            return torch.zeros(1, channels, *sides)
        if hasattr(self.network, "forward_sequence"):
            return torch.zeros(self.data.frames, 1, channels, *sides[-2:])
        return torch.zeros(1, channels, self.data.frames, *sides[-2:])

    def check_classes(self, verb: str, dense: bool = False) -> None:
        """Refuse a run whose samples have no class, for a verb that tells how many answers are right.

        Args:
            verb: its name.
            dense: whether it takes the classes of pixels and key points too.

        Raises:
            InvalidArgumentError: it learned maps or key points (unless ``dense``), things, or captions.
        """
        if self.program is not None and self.data.targets == "objects":
            raise InvalidArgumentError(
                f"{self.text} is backbone and neck alone, and boxes are found by the heads of the run; give its folder."
            )
        if self.data.targets not in ("", "labels", *(["maps", "keypoints"] if dense else [])):
            raise InvalidArgumentError(
                f"snnkit {verb} compares classes, and {self.text} learned {self.data.targets}; `snnkit energy`, "
                "`capture`, `check` and `eval` take it."
            )

    def check_one_network(self, verb: str) -> None:
        """Refuse what consists of several networks, for a verb that writes one.

        Raises:
            InvalidArgumentError: a detector or a captioner.
        """
        if isinstance(self.network, nn.Module) and has_parts(self.network):
            raise InvalidArgumentError(
                f"snnkit {verb} writes one fixed network, and what {self.text} computes hangs on what it finds. Its "
                "image model as a classifier, and networks that segment, are such."
            )

    def training_images(self, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Return ``count`` training samples chosen by ``seed``, without augmentation, and their labels (B,).

        Raises:
            InvalidArgumentError: count < 1, more than memory holds, or samples that the network does not take.
            CorruptFileError: none can be read.
        """
        if count < 1:
            raise InvalidArgumentError(f"{count} training samples: must be ≥ 1.")
        data = load_images(replace(self.data, **_PLAIN), seed)
        dataset: Any = data.train.dataset
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))[:count].tolist()
        x, labels = _read(dataset, order, data, "training")
        self._check(x)
        return x, labels

    def test_images(self, count: int) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        """Return ``count`` test samples, of every class its share, their labels (B,) and the class names.

        Where the class of every pixel is known, labels are (B, H, W), with 255 where it is not.

        Images are (B, C, H, W), clips (B, C, F, H, W), sequences such as recordings of events (T, B, C, H, W). Which of
        a class, ``data.sample_seed`` decides: the same for every verb. They come in the order of the data set.

        Raises:
            InvalidArgumentError: count < 1, more than memory holds, or samples that the network does not take.
            CorruptFileError: none can be read.
        """
        if count < 1:
            raise InvalidArgumentError(f"--images {count}: must be ≥ 1.")
        x, labels, classes = self._tested(count)
        self._check(x)
        return x, labels, classes

    def test_things(self, count: int) -> tuple[Tensor, list[dict[str, Tensor]]]:
        """Return ``count`` test samples as ``test_images`` does, and what is on each (``data.object_transforms``).

        Raises:
            InvalidArgumentError: as ``test_images``, or what is on the samples is not known.
            CorruptFileError: none can be read.
        """
        if self.data.targets != "objects":
            raise InvalidArgumentError(
                f"{self.text} finds things, and what is on the samples of {self.data.dataset} is not known; give the "
                "folder of a run."
            )
        return self.test_pairs(count)

    def test_pairs(self, count: int) -> tuple[Tensor, list[Any]]:
        """Return ``count`` test samples as ``test_images`` does, and what the data set says of each.

        Raises:
            InvalidArgumentError: as ``test_images``.
            CorruptFileError: none can be read.
        """
        if count < 1:
            raise InvalidArgumentError(f"--images {count}: must be ≥ 1.")
        dataset, chosen, data = self._chosen(count)
        x, pairs = _stacked(dataset, chosen, data, "test")
        self._check(x)
        return x, [pair[1] for pair in pairs]

    def test_batches(self, count: int | None, size: int = 100) -> Iterator[Tensor]:
        """Yield the samples of ``test_images``, all of them for None, in batches of which one is held at a time.

        Raises:
            InvalidArgumentError: count < 1, or samples that the network does not take.
            CorruptFileError: a batch of which none can be read.
        """
        if count is not None and count < 1:
            raise InvalidArgumentError(f"--images {count}: must be ≥ 1.")
        data = load_images(replace(self.data, test_clips=1, test_crops=1), seed=0)
        dataset: Any = data.test.dataset
        chosen = stratified(dataset.labels, len(dataset) if count is None else count, self.data.sample_seed).tolist()
        parts = [chosen[start : start + size] for start in range(0, len(chosen), size)]
        for part in track(parts, "test samples", console=console, transient=True, disable=not console.is_terminal):
            x, _ = _read(dataset, part, data, "test")
            self._check(x)
            yield x

    def _tested(self, count: int) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        dataset, chosen, data = self._chosen(count)
        return *_read(dataset, chosen, data, "test"), data.classes

    def _chosen(self, count: int) -> tuple[Any, list[int], ImageData]:
        """Return the test samples, which of them are meant by so many, and the data that they are of."""
        data = load_images(replace(self.data, test_clips=1, test_crops=1), seed=0)
        if self.folder is not None:
            check_classes(own_classes(self.folder), data)
        dataset: Any = data.test.dataset
        return dataset, stratified(dataset.labels, count, self.data.sample_seed).tolist(), data

    def misfits(self, count: int = 1000) -> list[Violation]:
        """Return in what the test samples of a run are not of the type that its input was said to have.

        Only types of events ask for it: any numbers are real. ``count`` is the most samples that are read.
        """
        if self.folder is None or not self.graph.type(self.graph.inputs[0]).is_event:
            return []
        try:
            x, _, _ = self._tested(count)
        except SnnkitError as error:
            console.print(f"note: whether its test samples are {self.kind} is not known: {error}")
            return []
        wrong = self._values(x)
        return [Violation("the input", f"to be {self.kind}", f"but the test samples {wrong}")] if wrong else []

    def _check(self, x: Tensor) -> None:
        """Raise InvalidArgumentError unless the network takes such samples."""
        if self.parts is not None:
            return  # whoever counts parts scales images first, and checks them then
        graph = self.graph
        if len(graph.inputs) != 1:
            raise InvalidArgumentError(f"{graph.name} has {len(graph.inputs)} inputs; test images are one.")
        shape = graph.shape(graph.inputs[0])
        if x.shape[batch_axis(graph, x) + 1 :] != shape:
            own = f" Give the folder of a run, or audit it on other data or noise: `snnkit audit {self.text}`."
            raise InvalidArgumentError(
                f"{self.text} takes samples of shape {tuple(shape)}; those of {self.data.dataset} are "
                f"{tuple(x.shape[-len(shape) :])}.{'' if self.folder else own}"
            )
        wrong = self._values(x)
        if wrong:
            kind = graph.type(graph.inputs[0])
            raise InvalidArgumentError(f"the input of {self.text} is {kind}; the test samples {wrong}.")

    def _values(self, x: Tensor) -> str:
        """What samples hold that the type of the input does not allow; "" if nothing."""
        return misfit(self.graph.type(self.graph.inputs[0]), x)


def _read(dataset: Any, chosen: list[int], data: ImageData, split: str) -> tuple[Tensor, Tensor]:
    """Read samples, stacked, and their labels (B,), or (B, H, W) of pixels, as ``_stacked`` does."""
    x, pairs = _stacked(dataset, chosen, data, split)
    if data.targets == "maps":
        return x, torch.stack([pair[1] for pair in pairs])
    # What is learned of an image may be more than a label; −1 is no class, and equal to no answer.
    return x, torch.tensor([pair[1] if isinstance(pair[1], int) else -1 for pair in pairs])


def _stacked(dataset: Any, chosen: list[int], data: ImageData, split: str) -> tuple[Tensor, list[Any]]:
    """Read samples, stacked, beside each with all that is known of it; how many cannot be read is said.

    Raises:
        InvalidArgumentError: they differ in shape, or memory does not hold them.
        CorruptFileError: none can be read.
    """
    pairs: list[Any] = []
    skipped: list[str] = []
    for index in chosen:
        found = dataset[index]
        if isinstance(found, Skipped):
            skipped.append(found.reason)
            continue
        if not pairs:
            _check_room(found[0], len(chosen))
        elif found[0].shape != pairs[0][0].shape:
            sizes = f"{tuple(pairs[0][0].shape)} and {tuple(found[0].shape)}"
            raise InvalidArgumentError(f"{split} samples of {data.origin} differ in shape: {sizes}; set data.img_size.")
        pairs.append(found)
    if not pairs:
        raise CorruptFileError(f"none of {len(chosen)} {split} samples of {data.origin} can be read.")
    if skipped:
        console.print(f"{len(skipped)} of {len(chosen)} {split} samples cannot be read and are left out: {skipped[0]}")
    return torch.stack([pair[0] for pair in pairs], 1 if data.time_first else 0), pairs


def _check_room(sample: Tensor, count: int) -> None:
    """Raise InvalidArgumentError where so many samples, and their stack, are more than memory holds."""
    size, room = sample.numel() * sample.element_size(), _free_memory()
    if 2 * count * size > room:
        raise InvalidArgumentError(
            f"{count:,} samples of {size / 1e6:,.1f} MB each are more than memory holds; {room // (4 * size):,} fit "
            "well: say so with --images."
        )


def _free_memory() -> int:
    """Bytes that can be had without swapping; where the system does not say, those of the machine."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def batch_axis(graph: Graph, x: Tensor) -> int:
    """Return where samples lie in an input: 0 for (B, …), 1 for sequences (T, B, …)."""
    return max(x.ndim - 1 - len(graph.shape(graph.inputs[0])), 0)


def first(graph: Graph, x: Tensor, count: int = 1) -> Tensor:
    """Return the first ``count`` samples of an input."""
    return x.narrow(batch_axis(graph, x), 0, min(count, x.shape[batch_axis(graph, x)]))


def input_size(model: nn.Module, config: dict[str, Any]) -> tuple[int, ...]:
    """Return the shape of one sample of a model: (C, H, W), or (C, F, H, W) where a model of clips says so.

    It is what the model was trained on, else what it says itself, else what timm says of its published weights.
    """
    given = getattr(model, "pretrained_cfg", None) or getattr(getattr(model, "backbone", None), "pretrained_cfg", None)
    channels, *sides = (given or {}).get("input_size") or (3, 224, 224)
    channels = config.get("in_chans", getattr(model, "in_chans", channels))
    size = getattr(model, "trained_size", None) or getattr(model, "img_size", None) or tuple(sides[-2:])
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    return (int(channels), *(int(side) for side in sides[:-2]), int(height), int(width))


def resolve(text: str, kind: str = "real") -> Source:
    """Return what is meant by a run folder (its last weights), a checkpoint, a file with a graph, or a model's name.

    Files with graphs are .graph, .program (the network it was compiled from), .nir and .onnx. A model's name stands for
    an untrained one; timm's models are called timm:NAME. ``kind`` is the input's type.

    Raises:
        UnknownNameError: neither a path nor a model, or no such type.
        CorruptFileError: the path holds no readable weights, or no graph that holds together.
        InvalidArgumentError: a type for a saved graph, which has its own.
    """
    SignalType.parse(kind)
    path = Path(text)
    if not path.exists():
        return Source(text, _untrained(text), {"name": text}, None, DataConfig(), kind)
    if path.suffix in (*_GRAPHS, PROGRAM):
        if kind != "real":
            raise InvalidArgumentError(f"--input-type {kind}: {text} holds a graph, whose input has its type.")
        fed = _fed_beside(path)
        if path.suffix == PROGRAM:
            from compiler.program import Program

            program = Program.load(path)
            return Source(text, program.source_graph, {}, None, fed, program=program)
        network = path if path.suffix == ONNX else check_numbers(_GRAPHS[path.suffix](path), path)
        return Source(text, network, {}, None, fed)
    try:
        model, config = build_model(find_checkpoint(path))
    except SnnkitError:
        raise
    except OSError as error:
        raise CorruptFileError(f"{text} cannot be read: {error.strerror or error}.") from None
    if isinstance(model, MaskedModel):
        raise InvalidArgumentError(
            f"{text} is a pre-training: its network draws masks and tells no classes apart. Fine-tune it first (snnkit "
            f"train RECIPE --set model.weights={text}), or capture its encoder: build_model(path)[0].encoder."
        )
    if isinstance(model, TwoTowers):
        raise InvalidArgumentError(
            f"{text} holds two towers, of images and of texts; count and map that of images by itself: "
            "build_model(path)[0].encoder."
        )
    data, folder = DataConfig(), path if path.is_dir() else None
    if folder is not None and (folder / "config.json").exists():
        data = fed_as(find_checkpoint(path), model)
    return Source(text, model, config, folder, data, kind)


def _fed_beside(path: Path) -> DataConfig:
    """How a file in a run's folder is fed: as that run; a config.json of anything else says nothing of it.

    Raises:
        CorruptFileError: it lies in the folder of a run, whose configuration cannot be read.
    """
    try:
        # What a conversion wrote lies one folder further down.
        return fed_in(path.parent) or fed_in(path.parent.parent) or DataConfig()
    except SnnkitError:
        if (path.parent / "checkpoints").is_dir():
            raise
        return DataConfig()


def program_of(
    given: Source,
    chip: str | None = None,
    host: tuple[str, ...] = (),
    allow: tuple[str, ...] = (),
    headroom: int | None = None,
) -> Program:
    """Return the program that a .program file holds, or compile a network, for loihi1 where no chip is named.

    A file's network is compiled anew where another chip than its own is named, or anything is granted.

    Raises:
        CompileError: it does not fit the chip.
        InvalidArgumentError: a captioner, or a detector without spikes.
    """
    from compiler.compiling import compile
    from compiler.targets import Options

    held = given.program
    same = chip is None or (held is not None and get_chip(chip).name == held.chip.name)
    if held is not None and same and not host and not allow and headroom is None:
        return held
    name = chip or (DEFAULT_CHIP if held is None else held.chip.name)
    spans = Options().headroom if headroom is None else headroom
    return compile(given.on_chip, chip=name, host=host, allow=allow, headroom=spans)


def _untrained(text: str) -> nn.Module:
    if text not in list_models() and not text.startswith("timm:"):
        if Path(text).suffix in _FILES or "/" in text:
            raise CorruptFileError(
                f"{text} does not exist; give a run folder, a checkpoint, a graph or a model's name."
            )
        known = [*list_models(), *_runs()]
        raise unknown_name("run, checkpoint or model", text, known, "Give a path or a model's name.")
    model = create_model(text).eval()
    console.print(f"{text}: no weights given, using untrained ones.")
    return model


def _runs() -> list[str]:
    return [str(folder) for folder in Path("runs").glob("*")] if Path("runs").is_dir() else []
