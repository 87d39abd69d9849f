"""Semantic FPN on ordinary and spiking backbones: arithmetic by hand, steps, gradients, graphs, what names say.

Would break it: a level that is scaled once too often, sums of other sizes, membranes that outlive a call or mix steps,
logits that are no mean over steps, a graph that computes something else, a weight that nothing trains, the kind of a
network that is not its backbone's.
"""

import pytest
import torch
import torch.nn.functional as F
from support.captured import check_plain, check_spiking
from torch import nn

import snnkit
from snnkit.errors import SnnkitError
from snnkit.layers.spiking_pyramid import ScaleHead, SpikingFPN, SpikingScaleSum, resized
from snnkit.models import families, family_of, semantic_fpn
from snnkit.models.semantic_fpn import ScaleSum

WITHOUT = {"spiking_cnn", "uniformer_video"}
FAMILIES = {family.name: family for family in families() if family.name not in WITHOUT}
SPIKING = [name for name, family in FAMILIES.items() if family.kind == "snn"]
HEAD = {"fpn_channels": 8, "head_channels": 8, "num_classes": 3}


def build(name, **settings):
    given = {k: v for k, v in FAMILIES[name].tiny.items() if k not in ("name", "num_classes", "levels")}
    torch.manual_seed(0)
    return snnkit.create_model(f"semantic_fpn:{FAMILIES[name].tiny['name']}", **{**given, **HEAD, **settings})


def image(model, *lead, size=(64, 64)):
    return 2 * torch.rand(*lead, model.in_chans, *size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def firing(model):
    """Give the norms the statistics of data, and layers without a norm larger weights, so that neurons fire."""
    for layer in (*model.neck.laterals, *model.neck.pyramid):
        layer.weight.mul_(6.0)
        nn.init.uniform_(layer.bias, 0.4, 1.4)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
        nn.init.uniform_(norm.bias, 0.5, 1.2)
    model.train()(image(model, 4))
    return model.eval()


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_reach_all_that_learns_on_every_family(name):
    model = build(name).train()
    y = model(image(model, 2, size=(72, 100)))
    stride = model.backbone.strides[0]
    assert y.shape == (2, 3, -(-72 // stride), -(-100 // stride))
    y.square().mean().backward()
    assert not [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]


@pytest.mark.parametrize("name", SPIKING)
def test_logits_are_the_mean_over_steps_and_a_stream_gives_the_steps(name):
    model = firing(build(name, timesteps=3)).double()
    x = image(model, 3, 2, size=(64, 64)).double()
    with torch.no_grad():
        steps = model.forward_sequence(x)
        assert steps.shape == (3, 2, 3, *steps.shape[-2:])
        torch.testing.assert_close(model(x), steps.mean(0), rtol=0, atol=1e-12)
        torch.testing.assert_close(model(x[0]), model(x[:1].expand(3, -1, -1, -1, -1)), rtol=0, atol=1e-12)
        stream = snnkit.Stream(model)
        found = torch.stack([stream.step(x_t) for x_t in x])
    torch.testing.assert_close(found, steps, rtol=0, atol=1e-12)
    assert not torch.equal(steps[0], steps[1])
    assert model.timesteps == 3


def test_only_networks_of_steps_have_steps():
    assert hasattr(build("qkformer"), "forward_sequence")
    ordinary = build("mobilenet_v1")
    assert not hasattr(ordinary, "forward_sequence")
    assert not hasattr(ordinary, "timesteps")


@pytest.mark.parametrize(("name", "size"), [("mobilenet_v1", (64, 64)), ("uniformer", (72, 100))])
def test_graphs_of_ordinary_networks(name, size):
    model = build(name).eval()
    check_plain(model, (model.in_chans, *size))


def test_the_graph_of_a_spiking_network():
    model = firing(build("ms_resnet", timesteps=2)).double()
    graph = check_spiking(model, model.in_chans, 64, 64)
    assert graph.states


# Arithmetic.


def test_scale_sum_by_hand():
    """Convolutions that hand on their middle, norms that do nothing: the sum of the levels, doubled in size log₂ r."""
    head = ScaleSum(1, 1, 1, (1, 2, 4), dropout=0.0)
    assert [sum(isinstance(m, nn.Upsample) for m in scale) for scale in head.scale_heads] == [0, 1, 2]
    assert [sum(isinstance(m, nn.Conv2d) for m in scale) for scale in head.scale_heads] == [1, 1, 2]
    for scale in head.scale_heads:
        for i, layer in enumerate(scale):
            if isinstance(layer, nn.Conv2d):
                layer.weight.data.zero_()[..., 1, 1] = 1.0
            if isinstance(layer, nn.GroupNorm):
                scale[i] = nn.Identity()
    head.classify.weight.data.fill_(2.0)
    head.classify.bias.data.fill_(0.5)
    levels = [torch.full((1, 1, side, side), float(v)) for side, v in ((8, 1), (4, 10), (2, 100))]
    assert torch.equal(head(levels), torch.full((1, 1, 8, 8), 222.5))
    assert torch.equal(head([levels[0], -levels[1], levels[2]]), torch.full((1, 1, 8, 8), 202.5))  # ReLU
    odd = [torch.ones(1, 1, 7, 5), torch.ones(1, 1, 4, 3), torch.ones(1, 1, 2, 2)]
    torch.testing.assert_close(head(odd), torch.full((1, 1, 7, 5), 6.5))


def identity(layer):
    layer.weight.data.zero_()
    side = layer.kernel_size[0] // 2
    for i in range(min(layer.weight.shape[:2])):
        layer.weight.data[i, i, side, side] = 1.0
    if layer.bias is not None:
        layer.bias.data.zero_()


def test_a_spiking_pyramid_by_hand():
    """Inputs of 2 fire a neuron at every step (v = 2/τ = 1 = threshold), those of 0 never; a level adds the next."""
    fpn = SpikingFPN((1, 1), 1)
    for layer in (*fpn.laterals, *fpn.pyramid):
        identity(layer)
    fine, coarse = torch.zeros(3, 1, 1, 4, 4), torch.zeros(3, 1, 1, 2, 2)
    fine[..., 0, 0] = 2.0
    coarse[..., 0, 0] = coarse[..., 1, 1] = 2.0
    a, b = fpn([fine, coarse])
    # The fine level's currents are 2 at (0, 0) (its own spike and the coarse one's), 1 elsewhere in that quarter and in
    # the opposite one. A current of 2 fires at once; one of 1 charges 0.5, 0.75, 0.875 and does not.
    assert a[:, 0, 0].tolist() == [[[1.0, 0, 0, 0], [0.0] * 4, [0.0] * 4, [0.0] * 4]] * 3
    assert b.abs().max() == 0
    assert fpn([fine, 3 * coarse])[1].abs().max() == 0  # a spike is a spike, however strong the current


def test_a_spiking_scale_head_by_hand():
    head = ScaleHead(1, 1, layers=2, enlarge=True).eval()
    for conv in head.convs:
        identity(conv.conv)
        conv.bn.eps = 0.0
        conv.bn.weight.data.fill_(2.0)  # a spike is a current of 2, which fires the next neuron
    x = torch.full((2, 1, 1, 2, 2), 2.0)
    assert torch.equal(head(x), torch.full((2, 1, 1, 8, 8), 2.0))
    assert head(0.4 * x).abs().max() == 0
    once = ScaleHead(1, 1, layers=1, enlarge=False)
    assert once(x).shape == x.shape
    total = SpikingScaleSum(1, 1, 2, (1, 2, 8), 0.0)
    assert [(len(s.lifs), s.enlarge) for s in total.scale_heads] == [(1, False), (1, True), (3, True)]


def test_resizing():
    x = torch.rand(2, 3, 1, 4, 6)
    assert resized(x, (4, 6), "nearest") is x
    want = F.interpolate(x.flatten(0, 1), (8, 5), mode="bilinear", align_corners=False).unflatten(0, (2, 3))
    assert torch.equal(resized(x, (8, 5), "bilinear"), want)
    assert torch.equal(resized(x, (8, 12), "nearest"), x.repeat_interleave(2, 3).repeat_interleave(2, 4))


def test_parameters_by_hand():
    model = build("mobilenet_v1", fpn_channels=8, head_channels=6)
    # Maps of 16, 32, 64, 128 channels; 1×1 and 3×3 with biases.
    neck = (16 + 32 + 64 + 128) * 8 + 4 * 8 + 4 * (8 * 8 * 9 + 8)
    # Ratios 1, 2, 4, 8: 1 + 1 + 2 + 3 convolutions, four of them from 8 channels, and norms.
    head = 4 * 8 * 6 * 9 + 3 * 6 * 6 * 9 + 7 * 12 + 6 * 3 + 3
    assert sum(p.numel() for p in model.neck.parameters()) == neck
    assert sum(p.numel() for p in model.head.parameters()) == head
    spiking = build("meta_spikeformer")  # the same shapes: LIFs have no weights, batch norms as many as group norms
    neck = (8 + 16 + 16) * 8 + 3 * 8 + 3 * (8 * 8 * 9 + 8)
    assert sum(p.numel() for p in spiking.neck.parameters()) == neck
    assert sum(p.numel() for p in spiking.head.parameters()) == 3 * 8 * 8 * 9 + 3 * 16 + 8 * 3 + 3


# Names.


def test_the_kind_of_a_network_is_its_backbones():
    sizes = ("semantic_fpn:mobilenetv1", "semantic_fpn:timm:resnet10t", "semantic_fpn:qkformer_10_384")
    assert [snnkit.model_info(name).kind for name in sizes] == ["ann", "ann", "snn"]
    assert snnkit.model_info("mae:timm:vit_tiny_patch16_224").kind == "ann"
    assert "semantic_fpn:qkformer_10_384" in snnkit.list_models("semantic_fpn:*", kind="snn")
    assert snnkit.list_models("semantic_fpn:qkformer_10_384", kind="ann") == []
    assert family_of(build("qkformer")) is semantic_fpn.FAMILY


def test_encoders_have_no_classes():
    model = snnkit.create_model("semantic_fpn:mobilenetv1", num_classes=7, fpn_channels=8, head_channels=8).eval()
    assert model.num_classes == 7
    assert isinstance(model.backbone.encoder.head, nn.Identity)
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 7, 8, 8)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("semantic_fpn:spiking_cnn_small", {}, "spiking_cnn_small lists no feature maps"),
        ("semantic_fpn:mobilenetv1", {"finest": 64}, "finest=64.*strides 2, 4, 8, 16, 32"),
        ("semantic_fpn:mobilenetv1", {"num_classes": 0}, "num_classes=0"),
        ("semantic_fpn:mobilenetv1", {"num_classes": 2.5}, "num_classes=2.5"),
        ("semantic_fpn:mobilenetv1", {"fpn_channels": -1}, "fpn_channels=-1"),
        ("semantic_fpn:mobilenetv1", {"dropout": 1}, "dropout=1"),
        ("semantic_fpn:mobilenetv1", {"timesteps": 4}, "timesteps"),
        ("semantic_fpn:timm:resnet10t", {"timesteps": 4}, "no time steps"),
        ("semantic_fpn:timm:resnet10tt", {}, "resnet10t"),
        ("semantic_fpn:mobilenet", {}, "mobilenetv"),
        ("semanticfpn:mobilenetv1", {}, "'semantic_fpn'"),
        ("semantic_fpn:timm:resnet10t", {"fpn_chanels": 3}, "fpn_chanels"),
        ("semantic_fpn:uniformer_video_small", {}, "feature maps|clips"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(name, settings, words):
    with pytest.raises(SnnkitError, match=words) as caught:
        snnkit.create_model(name, **settings)
    assert "\n" not in str(caught.value)
    assert "dynamic_img_size" not in str(caught.value)
