"""UPerNet: counts, pooling, the pyramid and the fusion by hand, the auxiliary head and its share of the loss.

Would break it: a context that is no mean, levels added in another order or left out of the fusion, an auxiliary head in
the evaluation or without its loss, a spiking backbone that is taken, a weight that nothing trains.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import snnkit
from snnkit.errors import InvalidArgumentError, SnnkitError
from snnkit.models import family_of, upernet
from snnkit.models.registry import pretrains
from snnkit.models.upernet import ConvNormReLU, PyramidPooling, UPerHead
from snnkit.tasks.segmentation import Segmentation

RESNET = {"channels": (8, 8, 16, 16), "stem_width": 8}
NAME = "upernet:timm:resnet10t"
SMALL = {**RESNET, "num_classes": 3, "head_channels": 8, "auxiliary_channels": 8}
MOBILE = {"name": "upernet:uniformer_small", "depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16), "head_dim": 8}


def small(**settings):
    torch.manual_seed(0)
    given = {**MOBILE, "num_classes": 3, "head_channels": 8, "auxiliary_channels": 12, "in_chans": 1, **settings}
    return snnkit.create_model(**given)


def test_parameters_by_hand():
    model = small()
    # x₃ has 16 channels: four 1×1 to 8 with norms of 2·8, then 3×3 of 16 + 4·8 to 8.
    context = 4 * (16 * 8 + 16) + (16 + 32) * 8 * 9 + 16
    laterals = (8 + 8 + 16) * 8 + 3 * 16
    pyramid = 3 * (8 * 8 * 9 + 16)
    fuse = 4 * 8 * 8 * 9 + 16
    classify = 8 * 3 + 3
    assert sum(p.numel() for p in model.head.parameters()) == context + laterals + pyramid + fuse + classify
    assert sum(p.numel() for p in model.auxiliary.parameters()) == 16 * 12 * 9 + 24 + 12 * 3 + 3
    # At published widths on 64, 128, 320, 512 channels and 150 classes.
    head = UPerHead((64, 128, 320, 512), 512, 150, 0.1)
    published = 4 * (512 * 512 + 1024) + (512 + 2048) * 512 * 9 + 1024 + (64 + 128 + 320) * 512 + 3 * 1024
    published += 3 * (512 * 512 * 9 + 1024) + 2048 * 512 * 9 + 1024 + 512 * 150 + 150
    assert sum(p.numel() for p in head.parameters()) == published


def passing(layer, share=1.0):
    """Make a convolution, norm and ReLU in eval mode hand on ``share`` of its first input channel in every channel."""
    with torch.no_grad():
        layer[0].weight.zero_()
        side = layer[0].kernel_size[0] // 2
        layer[0].weight[:, 0, side, side] = share
    layer[1].eps = 0.0
    return layer


def test_pyramid_pooling_by_hand():
    pooling = PyramidPooling(1, 1).eval()
    for context in pooling.contexts:
        passing(context)
    passing(pooling.fuse)
    x = torch.rand(2, 1, 6, 12)
    with torch.no_grad():
        assert torch.equal(pooling(x), x)  # the map comes first
        pooling.fuse[0].weight.zero_()
        pooling.fuse[0].weight[0, 1, 1, 1] = 1.0
        torch.testing.assert_close(pooling(x), x.mean((2, 3), keepdim=True).expand_as(x))
        pooling.fuse[0].weight.zero_()
        pooling.fuse[0].weight[0, 4, 1, 1] = 1.0
        means = x.unflatten(3, (6, 2)).mean(4)  # 6 × 6 cells of 1 × 2 places
        torch.testing.assert_close(pooling(x), F.interpolate(means, (6, 12), mode="bilinear", align_corners=False))


def test_the_pyramid_and_the_fusion_by_hand():
    """With every layer a pass-through, levels are sums of those above, and the fusion sees all of them."""
    head = UPerHead((1, 1, 1, 1), 1, 4, 0.0).eval()
    for module in head.modules():
        if isinstance(module, ConvNormReLU):
            passing(module)
    maps = [torch.full((1, 1, side, side), float(value)) for side, value in ((8, 1), (4, 10), (2, 100), (1, 1000))]
    with torch.no_grad():
        head.classify.weight.fill_(1.0)
        head.classify.bias.zero_()
        assert head(maps)[0, 0, 0, 0] == 1111
        found = []
        for level in range(4):
            head.fuse[0].weight.zero_()
            head.fuse[0].weight[0, level, 1, 1] = 1.0
            found.append(head(maps)[0, 0, 3, 3].item())
    assert found == [1111, 1110, 1100, 1000]


@pytest.mark.parametrize("name", [NAME, "upernet:timm:convnext_atto", "upernet:uniformer_small"])
@pytest.mark.parametrize("size", [(64, 64), (72, 100)])
def test_logits_at_the_finest_stride(name, size):
    sizes = {NAME: RESNET, "upernet:timm:convnext_atto": {"depths": (1, 1, 1, 1), "dims": (8, 8, 8, 8)}}.get(name, {})
    given = {k: v for k, v in {**MOBILE, **sizes}.items() if k != "name"} if name == MOBILE["name"] else sizes
    model = snnkit.create_model(name, num_classes=3, **{"auxiliary_channels": 8, "head_channels": 8, **given}).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 3, *size)).shape == (1, 3, -(-size[0] // 4), -(-size[1] // 4))
    first, auxiliary = model.train()(torch.rand(2, 3, *size))
    assert first.shape[-2:] == (-(-size[0] // 4), -(-size[1] // 4))
    assert auxiliary.shape[:2] == (2, 3)
    assert auxiliary.shape[-2] in (size[0] // 16, -(-size[0] // 16))


def test_gradients_reach_all_that_learns_and_without_the_second_head_one_tensor_comes():
    model = small().train()
    first, auxiliary = model(torch.rand(2, 1, 64, 64))
    (first.square().mean() + auxiliary.square().mean()).backward()
    assert not [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert {n.split(".")[2] for n, p in model.named_parameters() if not p.requires_grad} == {"norm"}
    alone = small(auxiliary=False).train()
    assert alone.auxiliary is None
    assert alone(torch.rand(2, 1, 64, 64)).shape == (2, 3, 16, 16)
    assert model.eval()(torch.rand(1, 1, 64, 64)).shape == (1, 3, 16, 16)


def test_the_task_adds_two_fifths_of_the_auxiliary_loss():
    model = small(dropout=0.0)
    task = Segmentation(model, num_classes=3).train()
    images, maps = torch.rand(2, 1, 64, 64), torch.randint(0, 3, (2, 64, 64))
    maps[0, :9] = 255
    norms = {n: b.clone() for n, b in model.named_buffers()}
    loss = task.loss((images, maps))
    loss.backward()
    with torch.no_grad():
        for name, value in model.named_buffers():
            value.copy_(norms[name])
        parts = [F.interpolate(y, (64, 64), mode="bilinear", align_corners=False) for y in model(images)]
    first, second = (F.cross_entropy(y, maps, ignore_index=255) for y in parts)
    torch.testing.assert_close(loss.detach(), first + 0.4 * second)
    assert abs(float(first - second)) > 1e-4
    assert all(p.grad is not None for p in model.auxiliary.parameters())
    task.eval().evaluate((images, maps))
    assert task.compute()["loss"] > 0


def test_what_is_known_of_a_name():
    assert family_of(snnkit.create_model(NAME, **SMALL)) is upernet.FAMILY
    info = snnkit.model_info("upernet:mobilenetv1")
    assert (info.kind, info.family) == ("ann", upernet.FAMILY)
    assert not pretrains(NAME)
    assert snnkit.create_model(NAME, **SMALL).in_chans == 3
    assert upernet.FAMILY not in snnkit.models.families()
    assert snnkit.create_model(**upernet.FAMILY.tiny).num_classes == 3


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("upernet:qkformer_10_384", {}, "qkformer_10_384 is spiking; semantic_fpn:qkformer_10_384"),
        ("upernet:mobilenetv1", {"num_classes": 0}, "num_classes=0"),
        ("upernet:mobilenetv1", {"head_channels": 1.5}, "head_channels=1.5"),
        ("upernet:mobilenetv1", {"dropout": 1.0}, "dropout=1.0"),
        ("upernet:mobilenetv1", {"auxiliary": 2}, "auxiliary=2"),
        ("upernet:mobilenetv1", {"levels": 1}, "auxiliary=True.*finest"),
        ("upernet:mobilenetv1", {"finest": 64}, "finest=64"),
        ("upernet:mobilenetv1", {"auxilary_channels": 3}, "'auxiliary_channels'|auxilary_channels"),
        ("upernett:mobilenetv1", {}, "'upernet'"),
        ("upernet:mobilenetv3", {}, "mobilenetv"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(name, settings, words):
    with pytest.raises(SnnkitError, match=words) as caught:
        snnkit.create_model(name, **settings)
    assert "\n" not in str(caught.value)


def test_one_image_is_no_batch_in_training():
    model = small().train()
    with pytest.raises(InvalidArgumentError, match="at least 2 images.*data.batch_size"):
        model(torch.rand(1, 1, 64, 64))


def test_one_level_without_a_second_head():
    model = small(auxiliary=False, levels=1).eval()
    assert len(model.head.laterals) == 0
    assert model(torch.rand(1, 1, 64, 64)).shape == (1, 3, 2, 2)
    assert isinstance(model.head.dropout, nn.Dropout2d)
