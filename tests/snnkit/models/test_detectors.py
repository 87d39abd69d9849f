"""Mask R-CNN and RetinaNet: what torchvision computes, on any backbone; spiking ones as published.

Would break it: labels that are not shifted by the background, or twice, anchors or regions on another grid, a level of
the pyramid that no region is cut out of, time folded in another order than it is unfolded, a background that a spiking
head has parameters for, boxes in other pixels than the image's, losses of tests that draw from the training's random
numbers, published weights that find no place or another one, images without things.
"""

import json

import numpy as np
import pytest
import torch
from parity import FOLDER
from torch import nn
from torchvision.models.detection import MaskRCNN, RetinaNet
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.retinanet import _default_anchorgen
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

import snnkit
from snnkit.errors import InvalidArgumentError
from snnkit.layers.region_align import RegionAlign
from snnkit.models import family_of, mask_rcnn, model_info, retinanet
from snnkit.models.detector import in_training

NARROW = {"stem_type": "", "stem_width": 8, "channels": (8, 8, 16, 16)}
FEW = {"fpn_channels": 8, "box_channels": 16, "mask_channels": 8, "mask_layers": 2, "regions": 8, "proposals": 12}
SPIKES = {"embed_dim": (8, 8, 16, 16), "depths": (1, 1, 1, 1, 1), "num_heads": 1, "mlp_ratio": 2, "timesteps": 2}
NETWORKS = {
    "mask_rcnn:timm:resnet10t": {**NARROW, **FEW},
    "mask_rcnn:meta_spikeformer_15m": {**SPIKES, **FEW},
    "retinanet:timm:resnet10t": {**NARROW, "fpn_channels": 8, "finest": 4},
    "retinanet:meta_spikeformer_15m": {**SPIKES, "fpn_channels": 8, "finest": 4},
}
BOX = [8.0, 12.0, 30.0, 44.0]


def made(name, **more):
    torch.manual_seed(0)
    return snnkit.create_model(name, num_classes=3, **{**NETWORKS[name], **more})


def things(*labels, side=64):
    masks = torch.zeros(len(labels), side, side, dtype=torch.bool)
    masks[:, 12:44, 8:30] = True
    boxes = torch.tensor([BOX] * len(labels)).reshape(-1, 4)
    return {"boxes": boxes, "labels": torch.tensor(labels, dtype=torch.long), "masks": masks}


@pytest.mark.parametrize(("size", "count"), [("15m", 34_863_320), ("55m", 75_007_728)])
def test_parameters_are_the_published_ones(size, count):
    with torch.device("meta"):
        model = snnkit.create_model(f"mask_rcnn:meta_spikeformer_{size}", timesteps=1)
    assert sum(p.numel() for p in model.parameters()) == count


def test_the_ordinary_one_has_torchvisions_parameters():
    # torchvision counts 90 classes, ten more than we have by default, and freezes its batch norms.
    fewer = 10 * (5 * (1024 + 1) + 256 + 1)
    assert model_info("mask_rcnn:timm:resnet50").params == 44_401_393 - fewer + 2 * 26_560


@pytest.mark.parametrize("name", NETWORKS)
def test_losses_reach_every_weight_and_results_lie_in_the_image(name):
    model, images = made(name), torch.randn(2, 3, 64, 64)
    losses = model(images, [things(0, 2), things()])
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    silent = [key for key, p in model.named_parameters() if not key.startswith("backbone.") and p.grad is None]
    assert not silent
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.backbone.parameters())
    model.eval()
    with torch.no_grad():
        for found in model(images):
            boxes = found["boxes"]
            assert set(found["labels"].tolist()) <= {0, 1, 2}
            assert (boxes >= 0).all()
            assert (boxes <= 64).all()
            if "masks" in found:
                assert found["masks"].shape == (len(boxes), 64, 64)
                assert found["masks"].dtype == torch.bool


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_found_and_nothing_there(name):
    model = made(name, score_threshold=1.0)
    losses = model([torch.randn(3, 64, 64)], [things()])
    assert torch.isfinite(sum(losses.values()))
    with torch.no_grad():
        found = model.eval()([torch.randn(3, 64, 64)])[0]
    assert (len(found["boxes"]), len(found["labels"])) == (0, 0)
    assert "masks" not in found or found["masks"].shape == (0, 64, 64)


def test_labels_are_shifted_once_past_the_background():
    model = made("mask_rcnn:timm:resnet10t")
    predictor = model.roi_heads.box_predictor
    with torch.no_grad():
        predictor.cls_score.weight.zero_()
        predictor.cls_score.bias.copy_(torch.tensor([0.0, 0.0, 9.0, 0.0]))  # background first: label 1
        model.eval()
        assert set(model(torch.randn(1, 3, 64, 64))[0]["labels"].tolist()) == {1}
        image, loss = [torch.randn(3, 64, 64)], {}
        for label in range(3):
            seen = model.see(image)
            loss[label] = float(model.test_losses(seen, [things(label)])["loss_classifier"])
    assert loss[1] < loss[0] == pytest.approx(loss[2])


def test_crowds_are_not_learned():
    model = made("retinanet:timm:resnet10t").eval()
    seen = model.see([torch.randn(3, 64, 64)])
    with torch.no_grad():
        one = model.test_losses(seen, [things(1)])
        both = model.test_losses(seen, [things(1, 0) | {"iscrowd": torch.tensor([0, 1])}])
    assert one == both


def test_test_losses_are_those_of_training_and_draw_from_their_own_seed():
    model = made("mask_rcnn:meta_spikeformer_15m").eval()
    images, targets = torch.randn(2, 3, 64, 64), [things(0), things(1, 2)]
    before = torch.get_rng_state()
    with torch.no_grad():
        seen = model.see(images)
        first = model.test_losses(seen, targets)
        assert torch.equal(torch.get_rng_state(), before)
        torch.rand(5)
        second = model.test_losses(seen, targets)
        torch.manual_seed(0)
        with in_training(model):
            trained = model(images, targets)
    assert first == second
    assert trained == first
    assert not model.rpn.training
    assert not model.roi_heads.training


@pytest.mark.parametrize("name", ["mask_rcnn:timm:resnet10t", "retinanet:meta_spikeformer_15m"])
def test_results_are_in_the_pixels_of_each_image_or_of_the_size_asked_for(name):
    model = made(name, score_threshold=0.0, detections=4).eval()
    images = [torch.randn(3, 48, 64), torch.randn(3, 64, 40)]
    with torch.no_grad():
        own = model(images)
        asked = model(images, sizes=[(96, 64), (64, 40)])
    assert torch.allclose(asked[0]["boxes"], own[0]["boxes"] * torch.tensor([1.0, 2.0, 1.0, 2.0]))
    assert torch.allclose(asked[1]["boxes"], own[1]["boxes"])
    assert own[1]["boxes"][:, 2].max() <= 40
    if model.predicts_masks:
        assert [found["masks"].shape[1:] for found in asked] == [(96, 64), (64, 40)]


def test_small_images_stay_unless_a_size_is_given():
    seen = made("retinanet:timm:resnet10t").see(torch.randn(1, 3, 64, 96))
    assert seen.batch.tensors.shape == (1, 3, 64, 96)
    seen = made("retinanet:timm:resnet10t", min_size=128, max_size=160).see(torch.randn(1, 3, 64, 96))
    assert seen.batch.image_sizes == [(106, 160)]


def test_regions_of_steps_are_those_of_each_step():
    levels = {str(n): torch.randn(3, 2, 4, side, side) for n, side in enumerate((16, 8, 4, 4))}
    pool = RegionAlign((4, 8, 16, 16), 7)
    boxes = [torch.rand(n, 2).repeat(1, 2) * 20 + torch.tensor([0.0, 0.0, 9.0, 30.0]) for n in (3, 5)]
    together = pool(levels, boxes, [(64, 64)] * 2)
    assert together.shape == (3, 8, 4, 7, 7)
    for step in range(3):
        alone = pool({name: level[step] for name, level in levels.items()}, boxes, [(64, 64)] * 2)
        assert torch.equal(together[step], alone)


def test_the_largest_regions_are_cut_out_of_the_coarsest_level():
    """Two levels of one stride count as two: torchvision's own rule would leave the last one out."""
    pool = RegionAlign((4, 8, 16, 16), 1)
    levels = {str(n): torch.full((1, 1, 64, 64), float(n)) for n in range(4)}
    sides = (20.0, 60.0, 111.0, 112.0, 223.0, 225.0, 448.0)
    boxes = [torch.tensor([[0.0, 0.0, side, side] for side in sides])]
    assert pool(levels, boxes, [(512, 512)]).flatten().tolist() == [0, 0, 0, 1, 1, 2, 3]


def test_outputs_are_averaged_over_time_and_nothing_is_said_of_the_background():
    model = made("mask_rcnn:meta_spikeformer_15m").eval()
    heads = model.roi_heads
    regions = torch.randn(2, 5, 8, 7, 7) * 4
    with torch.no_grad():
        logits, offsets = heads.box_predictor(heads.box_head(regions))
        steps = heads.box_predictor.lif(heads.box_head(regions))
        wanted = torch.stack([heads.box_predictor.cls_score(step[None])[0] for step in steps]).mean(0)
        masks = heads.mask_predictor(heads.mask_head(torch.randn(2, 5, 8, 14, 14) * 4))
    assert torch.allclose(logits, wanted, atol=1e-6)
    assert (logits.shape, offsets.shape, masks.shape) == ((5, 4), (5, 16), (5, 4, 28, 28))
    assert not offsets[:, :4].any()
    assert not masks[:, 0].any()
    assert offsets[:, 4:].any()


def test_neurons_behind_layers_without_norms_fire_from_the_start():
    model, rates = made("mask_rcnn:meta_spikeformer_15m", fpn_channels=32, box_channels=64, mask_channels=32), {}

    def listen(name):
        def hook(_module, _inputs, out):
            rates.setdefault(name, float((out != 0).float().mean()))

        return hook

    for name, module in model.named_modules():
        if isinstance(module, snnkit.neurons.LIF) and not name.startswith("backbone."):
            module.register_forward_hook(listen(name))
    model(torch.randn(4, 3, 64, 64), [things(0, 1)] * 4)
    assert len(rates) == 4 + 4 + 2 + 3 + 2 + 2
    assert min(rates.values()) > 0.01, rates
    assert max(rates.values()) < 0.6, rates


def _filled(model):
    """Give a network numbers that make it find something."""
    torch.manual_seed(1)
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if value.is_floating_point() and "running_var" in key:
                value.uniform_(0.5, 1.5)
            elif value.is_floating_point():
                scale = 1.4 / value[0].numel() ** 0.5 if value.ndim > 1 else 0.1
                value.copy_(scale * torch.randn_like(value))
    return model


def _same(found, wanted, shift):
    assert len(wanted["boxes"]) > 5
    assert torch.allclose(found["boxes"], wanted["boxes"], atol=1e-3)
    assert torch.allclose(found["scores"], wanted["scores"], atol=1e-5)
    assert torch.equal(found["labels"], wanted["labels"] - shift)


TORCHVISION = {"image_mean": [0.0], "image_std": [1.0], "min_size": 96, "max_size": 160}
FREE = {"score_threshold": 0.0, "detections": 20, "min_size": 96, "max_size": 160}


def test_torchvisions_mask_rcnn_gives_the_same_from_its_own_weights():
    body = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=5)
    options = {"box_score_thresh": 0.0, "box_detections_per_img": 20}
    reference = _filled(MaskRCNN(body, 4, **options, **TORCHVISION)).eval()
    model = snnkit.create_model("mask_rcnn:timm:resnet18", num_classes=3, **FREE).eval()
    report = snnkit.load_weights(model, {"model": reference.state_dict()})
    assert report.source == "published (Mask R-CNN)"
    images = [torch.randn(3, 80, 96), torch.randn(3, 64, 64)]
    targets = [things(0, 2), things(1)]
    targets[0]["masks"] = targets[0]["masks"][:, :, :].repeat(1, 1, 2)[:, :64, :96].contiguous()
    targets[0]["masks"] = nn.functional.pad(targets[0]["masks"], (0, 0, 0, 16))
    with torch.no_grad():
        for found, wanted in zip(model(images), reference(images), strict=True):
            _same(found, wanted, 1)
            assert (found["masks"] != (wanted["masks"][:, 0] >= 0.5)).float().mean() < 1e-4
        torch.manual_seed(0)
        with in_training(reference, reference.rpn, reference.roi_heads):
            wanted = reference(images, [one | {"labels": one["labels"] + 1} for one in targets])
        losses = model.test_losses(model.see(images), targets)
    assert losses.keys() == wanted.keys()
    for name, loss in losses.items():
        assert float(loss) == pytest.approx(float(wanted[name]), rel=1e-4), name


def test_torchvisions_retinanet_gives_the_same_from_its_own_weights():
    body = resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, trainable_layers=5, returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )  # fmt: skip
    options = {"score_thresh": 0.0, "detections_per_img": 20, "anchor_generator": _default_anchorgen()}
    reference = _filled(RetinaNet(body, 4, **options, **TORCHVISION)).eval()
    with torch.no_grad():
        reference.head.classification_head.cls_logits.bias[::4] = -99.0  # torchvision's class 0 is never learned
        reference.head.classification_head.cls_logits.weight.view(9, 4, -1)[:, 0] = 0
    model = snnkit.create_model("retinanet:timm:resnet18", num_classes=3, **FREE).eval()
    report = snnkit.load_weights(model, reference.state_dict())
    assert report.source == "published (RetinaNet)"
    images = [torch.randn(3, 80, 96), torch.randn(3, 64, 64)]
    with torch.no_grad():
        for found, wanted in zip(model(images), reference(images), strict=True):
            _same(found, wanted, 1)


def _mmdet(model):
    """The keys that mmdet gives the spiking network, with numbers: the backbone's from a published list."""
    golden = np.load(FOLDER / "sdtv2_det_backbone_small_T2.npz", allow_pickle=False)
    shapes = {key: json.loads(shape) for key, shape in zip(golden["keys"].tolist(), golden["shapes"], strict=True)}
    state = {f"backbone.{key}": torch.randn(shape) for key, shape in shapes.items()}
    for key in state:
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(5)
    box, mask = "roi_head.bbox_head", "roi_head.mask_head"
    names = {
        **{f"neck.lateral_convs.{n}.1.conv": model.neck.laterals[n] for n in range(4)},
        **{f"neck.fpn_convs.{n}.1.conv": model.neck.pyramid[n] for n in range(4)},
        "rpn_head.rpn_conv": model.rpn.head.conv,
        "rpn_head.rpn_cls.1": model.rpn.head.cls_logits,
        "rpn_head.rpn_reg.1": model.rpn.head.bbox_pred,
        f"{box}.shared_fcs.0": model.roi_heads.box_head.fc6,
        f"{box}.shared_fcs.1": model.roi_heads.box_head.fc7,
        f"{box}.fc_cls": model.roi_heads.box_predictor.cls_score,
        f"{box}.fc_reg": model.roi_heads.box_predictor.bbox_pred,
        **{f"{mask}.convs.{n}.conv": model.roi_heads.mask_head.convs[n] for n in range(4)},
        f"{mask}.upsample": model.roi_heads.mask_predictor.conv5_mask,
        f"{mask}.conv_logits": model.roi_heads.mask_predictor.mask_fcn_logits,
    }
    for name, layer in names.items():
        state |= {f"{name}.weight": torch.randn_like(layer.weight), f"{name}.bias": torch.randn_like(layer.bias)}
    return state, names


def test_mmdets_spiking_keys_find_their_places():
    sizes = {"embed_dim": (32, 64, 128, 160), "timesteps": 2, "fpn_channels": 8, "box_channels": 16}
    model = snnkit.create_model("mask_rcnn:meta_spikeformer_15m", num_classes=3, mask_channels=8, **sizes)
    state, names = _mmdet(model)
    report = snnkit.load_weights(model, {"state_dict": state})
    assert report.complete
    assert report.form == {"nominal_strides": True}
    for name, layer in names.items():
        weight = state[f"{name}.weight"]
        if name.endswith("fc_cls"):  # mmdet's background is the last class
            assert torch.equal(layer.weight[0], weight[3])
            assert torch.equal(layer.weight[1:], weight[:3])
        else:
            assert torch.equal(layer.weight, weight), name
    assert torch.equal(model.backbone.encoder.stem.conv.weight, state["backbone.downsample1_1.encode_conv.weight"])


def test_published_spiking_weights_place_anchors_as_they_were_trained():
    sizes = {"score_threshold": 0.0, "timesteps": 1}
    own, nominal = (made("mask_rcnn:meta_spikeformer_15m", nominal_strides=n, **sizes) for n in (None, True))
    assert own.roi_heads.box_roi_pool.scales == [1 / 4, 1 / 8, 1 / 16, 1 / 16]
    assert nominal.roi_heads.mask_roi_pool.scales == [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    places = {}
    for name, model in (("own", own), ("nominal", nominal)):
        seen = model.see(torch.randn(1, 3, 64, 64))
        anchors = model.rpn.anchor_generator(seen.batch, seen.levels)[0]
        places[name] = anchors[3 * (256 + 64 + 16) : 3 * (256 + 64 + 16 + 2) : 3]
    step = places["own"][1] - places["own"][0]
    assert step.tolist() == [16, 0, 16, 0]
    step = places["nominal"][1] - places["nominal"][0]
    assert step.tolist() == [32, 0, 32, 0]


def test_own_weights_are_not_taken_for_published_ones():
    first, second = made("mask_rcnn:timm:resnet10t"), made("mask_rcnn:timm:resnet10t", masks=False)
    report = snnkit.load_weights(second, first.state_dict(), strict=False)
    assert report.source == "own"
    assert second.nominal_strides is None
    assert not second.predicts_masks
    assert family_of(first) is mask_rcnn.FAMILY
    assert family_of(made("retinanet:timm:resnet10t")) is retinanet.FAMILY


@pytest.mark.parametrize(
    ("name", "sizes", "words"),
    [
        ("mask_rcnn:timm:resnet10t", {"regions": 0}, "regions=0"),
        ("mask_rcnn:timm:resnet10t", {"score_threshold": 1.5}, "score_threshold=1.5"),
        ("mask_rcnn:timm:resnet10t", {"anchor_scale": 0}, "anchor_scale=0"),
        ("mask_rcnn:timm:resnet10t", {"anchor_ratios": ()}, "give one at least"),
        ("mask_rcnn:timm:resnet10t", {"anchor_ratios": (1.0, -2.0)}, r"anchor_ratios\[1\]=-2.0"),
        ("mask_rcnn:timm:resnet10t", {"min_size": -1}, "min_size=-1"),
        ("mask_rcnn:timm:resnet10t", {"max_size": 100}, "give both"),
        ("mask_rcnn:timm:resnet10t", {"min_size": 200, "max_size": 100}, "the larger"),
        ("mask_rcnn:timm:resnet10t", {"finest": 64}, "strides"),
        ("retinanet:timm:resnet10t", {"octaves": 0}, "octaves=0"),
        ("retinanet:timm:resnet10t", {"regions": 5}, "regions"),
        ("mask_rcnn:spiking_cnn_small", {}, "no feature maps|lists no"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(name, sizes, words):
    with pytest.raises(snnkit.errors.SnnkitError, match=words) as caught:
        snnkit.create_model(name, num_classes=3, **sizes)
    assert "\n" not in str(caught.value)


def test_wrong_inputs_are_said_in_a_line():
    model = made("mask_rcnn:timm:resnet10t")
    image = [torch.randn(3, 64, 64)]
    for images, targets, words in (
        ([torch.randn(1, 64, 64)], [things(0)], "C = 3"),
        (torch.randn(2, 1, 3, 64, 64), [things(0)] * 2, "still images"),
        ([], [], "one image at least"),
        (image, None, "got none"),
        (image, [things(0)] * 2, "got 2"),
        (image, [{key: value for key, value in things(0).items() if key != "masks"}], "masks=False"),
        (image, [things(0) | {"boxes": torch.tensor([[8.0, 4.0, 8.0, 9.0]])}], r"\[8.0, 4.0, 8.0, 9.0\]"),
    ):
        with pytest.raises(InvalidArgumentError, match=words):
            model(images, targets)
