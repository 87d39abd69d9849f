"""Detectors and dense networks, counted as the graphs that they are made of.

What would break this: a part left out or counted once where an image takes it many times, regions counted for the wrong
image, operations that the network itself does not do, spikes of heads that never saw a real region, or an energy whose
backbone, neck and head do not add up.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from compiler import capture, count, interpret, verify
from compiler.commands.source import Source, program_of
from compiler.conventions import Conventions
from compiler.converting import relu_twin
from compiler.parts import IMAGE, MASKS, REGIONS, count_parts, has_parts, parts
from compiler.passes import simplify
from compiler.pricing import price, sections
from compiler.tally import Tally
from hw.counts import Counts
from snnkit.data import DataConfig
from snnkit.errors import InvalidArgumentError
from snnkit.models import create_model
from snnkit.neurons import LIF

_RESNET = {"stem_type": "", "stem_width": 8, "channels": (8, 16, 16, 16)}
_SPIKING = {"embed_dim": (8, 16, 24, 32), "depths": (1, 1, 1, 1, 1), "num_heads": 2, "timesteps": 2}
_HEADS = {"fpn_channels": 8, "box_channels": 16, "mask_channels": 8, "mask_layers": 1, "proposals": 16}
_FEW = {"anchor_scale": 4.0, "score_threshold": 0.3, "num_classes": 3}


def _model(name: str, **sizes: object) -> nn.Module:
    torch.manual_seed(0)
    return create_model(name, **sizes).eval()


def _images(count: int = 3) -> Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@contextmanager
def _macs(model: nn.Module) -> Iterator[list[float]]:
    """Add up the dense multiply-accumulates of every convolution and linear layer that runs, with their padding."""
    found = [0.0]

    def note(module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        if isinstance(module, nn.ConvTranspose2d):
            found[0] += given[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Conv2d):
            found[0] += made.numel() * module.weight[0].numel()
        else:
            found[0] += made.numel() * module.in_features

    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    hooks = [module.register_forward_hook(note) for module in model.modules() if isinstance(module, kinds)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _weighted(counts: Counts) -> float:
    """Multiply-accumulates where weights meet a signal."""
    return sum(layer.mac for layer in counts.per_layer if layer.kind == "synapse")


@torch.no_grad()
def test_a_segmentation_network_does_what_its_convolutions_do() -> None:
    model = _model("semantic_fpn:timm:resnet10t", num_classes=3, fpn_channels=8, head_channels=8, **_RESNET)
    x = _images(2)
    counts = count(simplify(capture(model, x)), x)
    with _macs(model) as found:
        model(x)
    assert _weighted(counts) == pytest.approx(found[0] / 2)


@torch.no_grad()
def test_an_ordinary_detector_does_what_its_own_layers_do() -> None:
    model = _model("mask_rcnn:timm:resnet10t", **_RESNET, **_HEADS, **_FEW)
    x = _images()
    given = parts(model, x[:1])
    assert list(given.graphs) == [IMAGE, REGIONS, MASKS]
    counted = count_parts(given, [x[:2], x[2:]])
    with _macs(model) as found:
        answers = model(x)
    assert _weighted(counted.network) == pytest.approx(found[0] / 3)
    assert counted.runs[REGIONS] == 16
    assert counted.runs[MASKS] == pytest.approx(sum(len(one["boxes"]) for one in answers) / 3)
    names = {layer.name.partition(".")[0] for layer in counted.network.per_layer}
    assert {"backbone", "neck", "rpn", "box_head", "box_predictor", "mask_head", "box_roi_pool"} <= names
    assert counted.network.uncounted == ("selection of boxes",)


@torch.no_grad()
def test_spikes_of_a_box_head_are_those_of_real_regions() -> None:
    model = _model("mask_rcnn:meta_spikeformer_15m", **_SPIKING, **_HEADS, **_FEW)
    for layer in [*model.neck.modules(), *model.roi_heads.box_head.modules()]:
        if getattr(layer, "bias", None) is not None:
            layer.bias.fill_(1.2)  # untrained heads are silent
    x = _images()
    given = parts(model, x[:1])
    verify(given.whole)
    spikes: list[float] = []
    model.roi_heads.box_head.lif6.register_forward_hook(lambda m, x, y: spikes.append(float(y.sum())))
    counted = count_parts(given, [x[:2], x[2:]], twin=relu_twin)
    found = {layer.name: layer for layer in counted.network.per_layer}
    assert sum(spikes) > 0
    assert found["box_head.lif6"].spikes == pytest.approx(sum(spikes) / 3, rel=1e-3)
    assert 0 < found["box_head.lif6"].rate <= 1
    assert found["box_head.lif6"].neuron_updates == 2 * 16 * 8 * 7 * 7
    assert counted.twin is not None
    twin = {layer.name: layer.mac for layer in counted.twin.per_layer}
    assert twin["box_head.fc6"] == 16 * (8 * 7 * 7) * 16
    assert model.rpn.head.readout.__class__.__name__ == "Mean", "the network is as it was"


@torch.no_grad()
def test_a_retinanet_is_one_part_and_has_the_values_of_the_network() -> None:
    model = _model("retinanet:meta_spikeformer_15m", fpn_channels=8, num_classes=3, **_SPIKING)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            layer.bias.fill_(0.9)
    x = _images(2)
    given = parts(model, x[:1])
    assert list(given.graphs) == [IMAGE]
    made = interpret(given.graphs[IMAGE], given.prepared(x))[0]
    levels = model.see(x).levels
    towers = (model.retina.head.classification_head.conv, model.retina.head.regression_head.conv)
    wanted = [tower(level) for tower in towers for level in levels]
    assert len(made) == len(wanted)
    for one, other in zip(made, wanted, strict=True):
        torch.testing.assert_close(one.mean(0), other, rtol=1e-3, atol=1e-4)
    assert any(float(one.std()) > 0 for one in wanted)


@torch.no_grad()
def test_runs_of_a_graph_are_added_up_by_the_sample_they_belong_to() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(LIF(), nn.Linear(6, 4)).eval()
    x = 4 * torch.rand(2, 5, 6)
    graph = simplify(capture(net, x))
    tally = Tally(graph)
    tally.add_groups(x[:, :3], [0, 0, 2], 3)  # the second sample has none
    tally.add_groups(x[:, :0], [], 1)
    tally.add_groups(x[:, 3:], [0, 0], 1)
    made, alone = tally.counts(), count(graph, x)
    assert (made.samples, tally.runs) == (5, 5)
    assert made.total("ac") == pytest.approx(alone.total("ac"))
    each = [count(graph, x[:, [i]]).total("ac") for i in range(5)]
    owned = torch.tensor([each[0] + each[1], 0.0, each[2], 0.0, each[3] + each[4]], dtype=torch.float64)
    assert made.statistics["ac"].mean == pytest.approx(float(owned.mean()))
    assert made.statistics["ac"].std == pytest.approx(float(owned.std()))


@torch.no_grad()
def test_backbone_neck_and_head_add_up() -> None:
    model = _model("mask_rcnn:timm:resnet10t", **_RESNET, **_HEADS, **_FEW)
    x = _images(2)
    counted = count_parts(parts(model, x[:1]), [x], Conventions())
    energy = price("it", {"network": counted.network}, ["45nm"]).energy("45nm")
    split = sections(energy)
    assert list(split) == ["backbone", "neck", "head"]
    assert all(value > 0 for value in split.values())
    assert sum(split.values()) == pytest.approx(energy.total.nominal)
    classifier = count(simplify(capture(nn.Sequential(nn.Conv2d(3, 2, 3)), x)), x)
    assert sections(price("it", {"network": classifier}, ["45nm"]).energy("45nm")) == {}


@torch.no_grad()
def test_images_of_another_size_are_refused() -> None:
    model = _model("retinanet:timm:resnet10t", fpn_channels=8, num_classes=3, **_RESNET)
    given = parts(model, _images(1))
    with pytest.raises(InvalidArgumentError, match="all must be of one size"):
        count_parts(given, [torch.rand(1, 3, 96, 96)])
    assert has_parts(model)
    assert not has_parts(nn.Linear(1, 1))


@torch.no_grad()
def test_of_a_captioner_the_image_model_is_counted_and_the_decoder_named() -> None:
    model = _model("captioner:timm:resnet10t", vocabulary=20, context=8, text_width=16, text_depth=1, **_RESNET)
    x = _images(1)
    counted = count_parts(parts(model, x), [x])
    with _macs(model) as found:
        model.forward_images(x)
    assert _weighted(counted.network) == pytest.approx(found[0])
    assert "decoder" in " ".join(counted.network.uncounted)


@pytest.mark.parametrize(("targets", "refused"), [("maps", True), ("objects", True), ("labels", False), ("", False)])
def test_verbs_that_tell_how_many_answers_are_right_want_classes(targets: str, refused: bool) -> None:
    source = Source("runs/it", nn.Identity(), {}, None, replace(DataConfig(), targets=targets))
    if not refused:
        source.check_classes("qat")
        return
    with pytest.raises(InvalidArgumentError, match=f"snnkit qat compares classes, and runs/it learned {targets}"):
        source.check_classes("qat")


def test_the_classes_of_pixels_are_classes_for_a_verb_that_takes_them() -> None:
    Source("it", nn.Identity(), {}, None, replace(DataConfig(), targets="maps")).check_classes("simulate", dense=True)
    with pytest.raises(InvalidArgumentError, match="learned objects"):
        source = Source("it", nn.Identity(), {}, None, replace(DataConfig(), targets="objects"))
        source.check_classes("simulate", dense=True)


@torch.no_grad()
def test_on_a_spiking_backbone_the_first_layer_is_computed_once_too() -> None:
    narrow = {"widths": (8, 8, 8, 16), "depths": (1, 1, 1, 1), "fpn_channels": 8, "head_channels": 8, "timesteps": 3}
    model = _model("semantic_fpn:ms_resnet18", num_classes=3, **narrow)
    alone = _model("ms_resnet18", num_classes=3, **{key: narrow[key] for key in ("widths", "depths", "timesteps")})
    x = _images(1)
    whole, single = (
        {layer.name: layer for layer in count(simplify(capture(net, x)), [x]).per_layer} for net in (model, alone)
    )
    stem = whole["backbone.encoder.stem.conv"]
    assert (stem.static, stem.static_repeats, stem.evaluations) == (True, 3, 1)
    assert stem.mac == single["stem.conv"].mac > 0


def test_verbs_that_write_one_network_refuse_a_captioner() -> None:
    captioner = _model("captioner:timm:resnet10t", vocabulary=20, **_RESNET)
    with pytest.raises(
        InvalidArgumentError, match="snnkit compile writes one fixed network, and what runs/it computes"
    ):
        program_of(Source("runs/it", captioner, {}, None, DataConfig()), "loihi2")
