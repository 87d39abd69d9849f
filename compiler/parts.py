"""Parts: a detector as the fixed graphs that it is made of, and what it does on images, added up.

Which boxes are kept (top-k, overlap, matching) is no graph: its order of operations hangs on data. All else of a
detector is one:

    image     image → backbone → neck → head of proposals, or the towers of RetinaNet
    regions   one region (C, 7, 7), cut out of the pyramid by RoIAlign → box head → classes and offsets
    masks     one found thing (C, 14, 14) → mask head → its mask

An image takes the first once, and the others as often as the detector itself asks for them: it runs beside, and the
regions that its proposals give are what is counted, image by image. RoIAlign is counted by hand; the selection of boxes
is not, and named in ``Counts.uncounted``.

A captioner has its image model as the only part; what it writes is named as not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from compiler.analysis.types import infer_signals
from compiler.capturing import capture
from compiler.conventions import Conventions
from compiler.graph import Graph, Node, Signal, State
from compiler.passes import simplify
from compiler.tally import Tally
from hw.counts import Counts, LayerCounts
from hw.statistics import Statistic
from snnkit.errors import InvalidArgumentError
from snnkit.models.captioner import Captioner
from snnkit.models.detector import Detector
from snnkit.models.mask_rcnn import MaskRCNN
from snnkit.models.retinanet import RetinaNet

IMAGE, REGIONS, MASKS = "image", "regions", "masks"
_SELECTION = "selection of boxes"
_CORNERS = 4  # values that one sample of RoIAlign lies between


class _Image(nn.Module):
    """What a detector does to every image, up to what boxes are selected by."""

    def __init__(self, detector: Detector):
        super().__init__()
        for name, module in detector.named_children():
            if name in ("backbone", "neck", "coarser", "rpn", "retina"):
                self.add_module(name, module)
        self._whole = (detector,)  # in a tuple: its modules are those above
        take_time(self, detector)

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Return what the head of proposals, or of all boxes, says of every level."""
        (detector,) = self._whole
        levels = detector.levels(images_BCHW)
        if isinstance(detector, MaskRCNN):
            scores, offsets = detector.rpn.head(levels)
            return [*scores, *offsets]
        assert isinstance(detector, RetinaNet)
        head: Any = detector.retina.head
        if not detector.backbone.spiking:
            return list(head(levels).values())
        return [tower.conv(x) for tower in (head.classification_head, head.regression_head) for x in levels]


class _Regions(nn.Module):
    """What Mask R-CNN does to every region."""

    def __init__(self, detector: MaskRCNN):
        super().__init__()
        heads: Any = detector.roi_heads
        self.box_head, self.box_predictor = heads.box_head, heads.box_predictor

    def forward(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Return classes and offsets."""
        return self.box_predictor(self.box_head(regions))  # type: ignore[no-any-return]


class _Masks(nn.Module):
    """What Mask R-CNN does to every thing that it found."""

    def __init__(self, detector: MaskRCNN):
        super().__init__()
        heads: Any = detector.roi_heads
        self.mask_head, self.mask_predictor = heads.mask_head, heads.mask_predictor

    def forward(self, regions: Tensor) -> Tensor:
        """Return the masks of every class."""
        return self.mask_predictor(self.mask_head(regions))  # type: ignore[no-any-return]


class _Seen(nn.Module):
    """The image model of a captioner, and what makes tokens of its map where that happens without time."""

    def __init__(self, captioner: Captioner):
        super().__init__()
        self.backbone = captioner.backbone
        if not captioner.backbone.spiking:
            self.norm, self.project = captioner.norm, captioner.project
        self._whole = (captioner,)
        take_time(self, captioner)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return tokens, or the last map of a spiking image model."""
        (captioner,) = self._whole
        if captioner.backbone.spiking:
            return captioner.backbone(images_BCHW)[-1]  # type: ignore[no-any-return]
        return captioner.forward_images(images_BCHW)


def take_time(module: nn.Module, whole: Any) -> None:
    """Have a part read images as the whole does: T of its encoder, and the encoder itself stays outside."""
    if whole.backbone.spiking:
        module.timesteps = whole.timesteps
        module.__dict__["encoder"] = whole.backbone.encoder.encoder  # not as a module: it runs outside


@contextmanager
def _without_readouts(model: nn.Module) -> Iterator[None]:
    """Leave out the means over time inside the block, which stay outside of graphs."""
    found = [module for module in model.modules() if isinstance(getattr(module, "readout", None), nn.Module)]
    kept = [module.readout for module in found]
    try:
        for module in found:
            module.readout = nn.Identity()
        yield
    finally:
        for module, readout in zip(found, kept, strict=True):
            module.readout = readout


@dataclass(frozen=True)
class Parts:
    """A detector or captioner, and its parts as simplified graphs by name, the image's first.

    ``uncounted`` names in words what no graph holds.
    """

    model: Detector | Captioner
    graphs: Mapping[str, Graph]
    uncounted: tuple[str, ...]

    @cached_property
    def whole(self) -> Graph:
        """All parts as one graph, to be read and judged: an input and outputs for each."""
        return joined(list(self.graphs.items()), type(self.model).__name__)

    def with_conventions(self, conventions: Conventions) -> Parts:
        """Return the parts as these conventions have them."""
        return replace(self, graphs={name: conventions.of_graph(graph) for name, graph in self.graphs.items()})

    def prepared(self, images_BCHW: Tensor) -> Tensor:
        """Return images as the network sees them: scaled and filled up as the detector says."""
        if not isinstance(self.model, Detector):
            return images_BCHW
        return self.model.transform(list(images_BCHW))[0].tensors  # type: ignore[no-any-return]


def has_parts(model: Any) -> bool:
    """Whether a model is no graph as a whole, but made of parts that are."""
    return isinstance(model, (Detector, Captioner))


def parts(model: Detector | Captioner, images_BCHW: Tensor) -> Parts:
    """Return the parts of a detector or a captioner for images of this size.

    Raises:
        CaptureError: a part holds what graphs do not have.
    """
    model.eval()
    with _without_readouts(model):
        if isinstance(model, Captioner):
            texts = "the decoder, which writes one word after another"
            between = ("norm and project, behind the mean over time",) if model.backbone.spiking else ()
            return Parts(model, {IMAGE: _graph(_Seen(model), images_BCHW)}, (*between, texts))
        images = model.transform(list(images_BCHW))[0].tensors
        found = {IMAGE: _graph(_Image(model), images)}
        if isinstance(model, MaskRCNN):
            heads: Any = model.roi_heads
            sides: dict[str, tuple[nn.Module, Any]] = {REGIONS: (_Regions(model), heads.box_roi_pool)}
            if heads.has_mask():
                sides[MASKS] = (_Masks(model), heads.mask_roi_pool)
            lead = (model.timesteps,) if model.backbone.spiking else ()
            width = _width(model)
            for name, (part, pool) in sides.items():
                found[name] = _graph(part, images.new_zeros(*lead, 1, width, *pool.output_size))
    return Parts(model, found, (_SELECTION,))


def _graph(module: nn.Module, example: Tensor) -> Graph:
    return simplify(capture(module.eval(), example))


def _width(model: MaskRCNN) -> int:
    """Channels of the pyramid."""
    neck: Any = model.neck
    layers = neck.pyramid if model.backbone.spiking else neck.layer_blocks
    return int(next(m for m in layers[0].modules() if isinstance(m, nn.Conv2d)).out_channels)


def joined(graphs: list[tuple[str, Graph]], name: str) -> Graph:
    """Return several graphs of as many time steps side by side as one; what they call alike gets its part's name."""
    steps = {graph.timesteps for _, graph in graphs}
    if len(steps) > 1:
        raise InvalidArgumentError(f"parts of {sorted(steps)} time steps are not one graph.")
    inputs: list[str] = []
    outputs: list[str] = []
    nodes: list[Node] = []
    signals: dict[str, Signal] = {}
    states: list[State] = []
    for part, graph in graphs:
        taken = {*signals, *(node.name for node in nodes)}
        own = {*graph.signals, *(node.name for node in graph)}
        new = {old: f"{part}.{old}" if old in taken or (nodes and old in graph.inputs) else old for old in own}
        inputs += [new[one] for one in graph.inputs]
        outputs += [new[one] for one in graph.outputs]
        for node in graph:
            reads, writes = (tuple(new[one] for one in ends) for ends in (node.inputs, node.outputs))
            nodes.append(replace(node, name=new[node.name], inputs=reads, outputs=writes))
        signals |= {new[old]: replace(signal, name=new[old]) for old, signal in graph.signals.items()}
        states += [replace(state, read=new[state.read], written=new[state.written]) for state in graph.states]
    first = graphs[0][1]
    still = first.static_input and len(graphs) == 1
    return infer_signals(
        Graph(tuple(inputs), tuple(outputs), tuple(nodes), signals, tuple(states), first.timesteps, still, name)
    )


@dataclass
class _Asked:
    """Regions that a detector cut out of the levels of one batch."""

    regions: Tensor
    owners: list[int]


@contextmanager
def _overheard(model: MaskRCNN) -> Iterator[dict[str, list[_Asked]]]:
    """Note inside the block what RoIAlign is asked for, and of which image."""
    heads: Any = model.roi_heads
    noted: dict[str, list[_Asked]] = {REGIONS: [], MASKS: []}
    hooks = []

    def listener(name: str) -> Callable[..., None]:
        def note(_: nn.Module, given: Any, made: Tensor) -> None:
            owners = [image for image, boxes in enumerate(given[1]) for _ in range(len(boxes))]
            noted[name].append(_Asked(made.detach(), owners))

        return note

    for name, pool in ((REGIONS, heads.box_roi_pool), (MASKS, heads.mask_roi_pool)):
        if pool is not None:
            hooks.append(pool.register_forward_hook(listener(name)))
    try:
        yield noted
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class PartCounts:
    """What all parts together did, mean per image, and how often each ran for one."""

    network: Counts
    twin: Counts | None
    runs: Mapping[str, float] = field(default_factory=dict)


@torch.no_grad()
def count_parts(
    given: Parts,
    batches: Iterable[Tensor],
    conventions: Conventions | None = None,
    twin: Callable[[Graph], Graph] | None = None,
    twin_images: int = 100,
    twin_conventions: Conventions | None = None,
) -> PartCounts:
    """Count a detector on images (B, C, H, W), and beside it the twin that ``twin`` makes of each part.

    The twin's dense operations are exact; its zeros are those of the first ``twin_images`` images, and of the regions
    that the network itself found there, of a spiking one their mean over time.

    Raises:
        InvalidArgumentError: no images, or of another size than the parts were made for.
    """
    own = {name: Tally(graph, conventions) for name, graph in given.graphs.items()}
    other = {} if twin is None else {name: Tally(twin(graph), twin_conventions) for name, graph in given.graphs.items()}
    for images in batches:
        _check_size(given, images)
        beside = other if other and other[IMAGE].samples < twin_images else {}
        fed = given.prepared(images)
        own[IMAGE].add(fed)
        if beside:
            beside[IMAGE].add(fed)
        for name, asked in _regions(given, images).items():
            own[name].add_groups(asked.regions, asked.owners, len(images))
            if beside:
                still = asked.regions.mean(0) if given.graphs[name].states else asked.regions
                beside[name].add_groups(still, asked.owners, len(images))
    if not own[IMAGE].samples:
        raise InvalidArgumentError("count needs at least one batch of images.")
    runs = {name: tally.runs / tally.samples for name, tally in own.items()}
    network = _added_up(given, own)
    return PartCounts(network, _added_up(given, other) if other else None, runs)


def _regions(given: Parts, images: Tensor) -> dict[str, _Asked]:
    """Run a Mask R-CNN and return what its heads are fed, by part."""
    model = given.model
    if not isinstance(model, MaskRCNN):
        return {}
    with _overheard(model) as noted:
        model(images)
    found = {}
    for name, graph in given.graphs.items():
        if name != IMAGE:
            lead = (graph.timesteps,) if model.backbone.spiking else ()
            none = _Asked(images.new_zeros(*lead, 0, *graph.shape(graph.inputs[0])), [])
            found[name] = noted[name][0] if noted[name] else none
    return found


def _check_size(given: Parts, images: Tensor) -> None:
    graph, fed = given.graphs[IMAGE], given.prepared(images[:1])
    if images.ndim != 4 or tuple(fed.shape[1:]) != graph.shape(graph.inputs[0]):
        raise InvalidArgumentError(
            f"{type(given.model).__name__} was captured for images that become {graph.shape(graph.inputs[0])}, and "
            f"these are {tuple(images.shape[1:])}; all must be of one size, as data.img_size makes them."
        )


def _added_up(given: Parts, tallies: Mapping[str, Tally]) -> Counts:
    """Return the counts of all parts as those of one network; layers that parts call alike get the part's name."""
    found = {name: tally.counts() for name, tally in tallies.items()}
    first = found[IMAGE]
    layers: list[LayerCounts] = []
    for name, counts in found.items():
        taken = {layer.name for layer in layers}
        if name != IMAGE:
            layers.append(_aligned(tallies[name], name))
        layers += [replace(one, name=f"{name}.{one.name}") if one.name in taken else one for one in counts.per_layer]
    costs = {neuron: ops for counts in found.values() for neuron, ops in counts.neuron_operations.items()}
    # Totals over parts vary together; only of a single part is their spread over images known.
    spread: Mapping[str, Statistic] = first.statistics if len(found) == 1 else {}
    return replace(
        first, per_layer=tuple(layers), neuron_operations=costs, statistics=spread, uncounted=given.uncounted
    )


def _aligned(tally: Tally, name: str) -> LayerCounts:
    """What RoIAlign does for one image: each value is the mean of 2 × 2 samples, each between four values of a map."""
    graph = tally.graph
    size = graph.signals[graph.inputs[0]].size
    runs = tally.runs / tally.samples
    often = runs * max(tally.steps, graph.timesteps)
    read = _CORNERS * 4
    return LayerCounts(
        name={REGIONS: "box_roi_pool", MASKS: "mask_roi_pool"}[name],
        op="roi_align",
        kind="pool",
        input_type="real",
        output_type="real",
        adds=(read - 1) * size * often,
        multiplies=(read + 1) * size * often,
        activation_reads=read * size * often,
        activation_writes=size * often,
        inputs=size,
        outputs=size,
        evaluations=often,
    )
