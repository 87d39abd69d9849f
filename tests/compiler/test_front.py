"""Detectors whose backbone and neck run on a chip, or are converted, with the heads on the host.

Would break it: maps cut apart in another order than they were put together, a pyramid averaged over time before heads
that spike read it, outputs of a step that hold those of the steps before, boxes in pixels of another image, a chip that
gives its last membrane alone.
"""

from dataclasses import replace

import pytest
import torch
from torch import nn

import compiler
from compiler.commands import show_conversion
from compiler.commands.heads import Boxes, Heads
from compiler.commands.source import Source, program_of
from compiler.commands.stages import run_on_chip
from compiler.converting import compare
from compiler.front import front
from compiler.interpreting import interpret
from compiler.run import outputs
from snnkit.data import DataConfig
from snnkit.errors import InvalidArgumentError
from snnkit.files import read_json
from snnkit.models import create_model
from snnkit.tasks.detection import box_ap

_SPIKING = {"widths": (4, 4, 8, 8), "depths": (1, 1, 1, 1), "fpn_channels": 4}
_FEW = {"num_classes": 3, "anchor_scale": 4.0, "score_threshold": 0.005}
_HEADS = {"mask_rcnn": {"box_channels": 8, "mask_channels": 4, "mask_layers": 1, "proposals": 8}, "retinanet": {}}


@pytest.fixture(scope="module", params=_HEADS)
def detector(request):
    """A detector of two steps, driven hard enough that its neck sends spikes."""
    torch.manual_seed(0)
    model = create_model(f"{request.param}:ms_resnet18", timesteps=2, **_SPIKING, **_FEW, **_HEADS[request.param])
    for module in model.backbone.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data *= 10
    return model.eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def program(detector, images):
    return compiler.compile(front(detector, images[:1]).graph, chip="loihi2", headroom=256)


def same(one, other):
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a) for a, b in zip(one, other, strict=True)
    )


@torch.no_grad()
def test_the_graph_is_the_pyramid_at_every_step(detector, images):
    made = front(detector, images[:1])
    found, _ = interpret(made.graph, images)
    wanted = torch.cat([x.flatten(-3) for x in detector.pyramid(images)], -1)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert (wanted[0] != wanted[1]).any(), "time means something"


@torch.no_grad()
def test_heads_that_are_given_the_pyramid_find_what_the_detector_finds(detector, images):
    flat = torch.cat([x.flatten(-3) for x in detector.pyramid(images)], -1)
    sizes = [(32, 32), (64, 32), (16, 16)]
    found, wanted = front(detector, images[:1]).find(images, flat, sizes), detector(images, sizes=sizes)
    assert sum(len(one["boxes"]) for one in wanted) > 3
    assert same(found, wanted)


def test_the_chip_gives_the_pyramid_of_every_step(program, images):
    trace = program.simulate(images)
    membranes, _ = interpret(program.graph, images.double())
    assert torch.equal(trace.outputs, outputs(program, membranes))
    assert trace.outputs.shape == (2, 3, program.output_shape[0])
    torch.testing.assert_close(trace.outputs.mean(0), trace.logits, atol=1e-12, rtol=0)
    assert (trace.outputs[0] != trace.outputs[1]).any()
    assert sum(int(sent.sum()) for layer, sent in trace.spikes.items() if layer.startswith("neck")) > 100


@torch.no_grad()
def test_what_is_found_from_the_chip_is_scored(detector, program, images, tmp_path):
    made, sizes = front(detector, images[:1]), [(32, 32)] * 3
    # What the float network finds is the truth: its own score is 1, and the chip's follows from what it puts out.
    truth = [{key: one[key][:4] for key in ("boxes", "labels")} for one in detector(images, sizes=sizes)]
    found = run_on_chip(program, Heads(made, images, truth), tmp_path)
    assert found["measure"] == "box AP"
    assert found["outputs"] == 2 * 3 * program.output_shape[0]
    assert found["spike_mismatches"] == found["output_mismatches"] == 0
    assert found["float_accuracy"] == box_ap(detector(images, sizes=sizes), truth) > 0.5
    again = box_ap(made.find(images, program.simulate(images).outputs, sizes), truth)
    assert found["chip_accuracy"] == found["quantised_accuracy"] == again
    assert read_json(tmp_path / "mapping.json")["part"] == "backbone and neck"


def test_a_chip_that_gives_its_output_at_the_end_alone(detector, program, images):
    blind = replace(program.simulate(images), outputs=None)
    with pytest.raises(InvalidArgumentError, match="loihi2 gives its output after the last step, and the heads read"):
        Heads(front(detector, images[:1]), images, []).scores(program, blind, program.verify(images, blind))


def test_a_detector_without_spikes_is_refused():
    ordinary = create_model("retinanet:timm:resnet10t", stem_type="", stem_width=8, channels=(8, 8, 8, 8), **_FEW)
    given = Source("runs/it", ordinary, {}, None, DataConfig())
    with pytest.raises(InvalidArgumentError, match="stands on an image model without spikes"):
        program_of(given, "loihi2")


@pytest.fixture(scope="module")
def ordinary():
    torch.manual_seed(0)
    sizes = {"stem_type": "", "stem_width": 8, "channels": (8, 8, 8, 8), "fpn_channels": 8}
    return create_model("mask_rcnn:timm:resnet10t", **sizes, **_FEW, **_HEADS["mask_rcnn"]).eval()


@torch.no_grad()
def test_a_converted_detector_finds_at_rest_what_its_quantised_form_finds(ordinary, images, capsys):
    made, sizes = front(ordinary, images[:1]), [(32, 32)] * 3
    wanted = ordinary(images, sizes=sizes)
    flat = torch.cat([x.flatten(-3) for x in ordinary.pyramid(images)], -1)
    assert same(made.find(images, flat, sizes), wanted)
    truth = [{key: one[key][:4] for key in ("boxes", "labels")} for one in wanted]
    converted = compiler.convert(made.graph, images, 64)
    heads = Heads(made, images, truth)
    found = compare(converted, heads.pairs(torch.split(heads.x, 2)), steps=(1, 2), judge=heads.judge)
    assert found.exact
    assert found.codes > 0
    forms = {form.name: form for form in found.forms}
    assert list(forms) == ["float", "quantised", "spiking, T = 1", "spiking, T = 2", "spiking, at rest"]
    assert forms["float"].accuracy == box_ap(wanted, truth) > 0.5
    assert forms["quantised"].accuracy == box_ap(made.find(images, converted.qann(images), sizes), truth)
    assert forms["spiking, at rest"].accuracy == forms["quantised"].accuracy
    one_step = converted.run(images, until=1).logits[-1]
    assert forms["spiking, T = 1"].accuracy == box_ap(made.find(images, one_step, sizes), truth)
    show_conversion.comparison(found, heads.measure)
    assert f"from T = {found.settled} on, of the rows above" in " ".join(capsys.readouterr().out.split())


def test_how_far_boxes_agree_is_measured_against_those_that_are_sure(ordinary, images):
    box = torch.tensor([[2.0, 2, 20, 20], [4, 4, 12, 30]])
    sure = {"boxes": box, "labels": torch.tensor([0, 1]), "scores": torch.tensor([0.9, 0.4])}
    other = {"boxes": box[:1], "labels": torch.tensor([0]), "scores": torch.tensor([0.6])}
    judge = Boxes(front(ordinary, images[:1]))
    # pycocotools adds 2e-16 below the fraction bar.
    assert judge.agreement([[other]], [[sure]]) == pytest.approx(1.0, abs=1e-12), "the second is not sure"
    assert judge.agreement([[sure]], [[sure | {"boxes": box + 40}]]) == 0.0


def test_things_are_asked_of_data_that_have_them(detector):
    given = Source("runs/it", detector, {}, None, DataConfig())
    with pytest.raises(InvalidArgumentError, match="what is on the samples of fashion_mnist is not known"):
        given.test_things(2)
