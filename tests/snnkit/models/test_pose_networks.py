"""Networks for key points: heat maps of a size that follows from the image's, on ordinary and spiking backbones.

Would break it: heat maps of another stride than the network says, a head of real values on a spiking backbone, steps
that are not averaged, layers that learn nothing, a new network that sees something.
"""

import pytest
import torch

import snnkit
from snnkit.checkpoints import build_model, save_weights
from snnkit.errors import SnnkitError
from snnkit.models.pose import FAMILY
from snnkit.neurons import LIF

RESNET = {"stem_type": "", "stem_width": 8, "channels": (8, 8, 16, 16)}
SPIKING = {"embed_dim": (8, 16, 24, 32), "depths": (1, 1, 1, 1, 1), "num_heads": 4}
VIT = {"embed_dim": 16, "depth": 3, "num_heads": 2, "img_size": 64}
NETWORKS = {
    "pose:timm:resnet10t": (RESNET, 3),
    "pose:timm:vit_tiny_patch16_224": (VIT, 2),
    "pose:meta_spikeformer_15m": ({**SPIKING, "timesteps": 2}, 2),
}


def made(name, **others):
    torch.manual_seed(0)
    return snnkit.create_model(name, num_classes=5, in_chans=3, head_channels=8, **NETWORKS[name][0], **others)


@pytest.mark.parametrize("name", NETWORKS)
def test_heat_maps_have_a_stride_of_four(name):
    model = made(name).eval()
    assert model.stride == 4
    deconvolutions = [m for m in model.head if isinstance(m, torch.nn.ConvTranspose2d)]
    assert len(deconvolutions) == NETWORKS[name][1]
    assert all((m.kernel_size, m.stride, m.padding) == ((4, 4), (2, 2), (1, 1)) for m in deconvolutions)
    for height, width in ((64, 64), (64, 96), (60, 72)) if "vit" not in name else ((64, 64),):
        assert model(torch.rand(2, 3, height, width)).shape == (2, 5, height // 4, width // 4)


def test_sizes_and_weights_are_the_papers():
    model = snnkit.create_model("pose:timm:resnet10t")
    assert model.num_classes == 17
    assert [m.out_channels for m in model.head if isinstance(m, torch.nn.ConvTranspose2d)] == [256] * 3
    assert model.head[-1].kernel_size == (1, 1)
    assert float(model.head[-1].weight.detach().std()) == pytest.approx(0.001, rel=0.1)
    assert model.head[-1].bias.abs().sum() == 0
    assert model(torch.rand(1, 3, 64, 64)).abs().max() < 0.2


def test_a_spiking_backbone_has_a_spiking_head_whose_steps_are_averaged():
    model = made("pose:meta_spikeformer_15m").eval()
    kinds = [type(part) for part in model.head]
    layers = [n for n, part in enumerate(model.head) if "Conv" in type(part).__name__]
    assert len(layers) == 3
    assert all(kinds[n - 1] is LIF for n in layers)
    assert not any(isinstance(part, torch.nn.ReLU) for part in model.head)
    images = torch.rand(2, 3, 64, 64)
    steps = model.forward_sequence(images)
    assert steps.shape == (2, 2, 5, 16, 16)
    assert model.timesteps == 2
    torch.testing.assert_close(model(images), steps.mean(0))
    seen = []
    for n in layers:
        model.head[n].register_forward_pre_hook(lambda _layer, given: seen.append(given[0].detach().unique()))
    model(images)
    assert len(seen) == 3
    assert all(set(values.tolist()) <= {0.0, 1.0} for values in seen)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_learns(name):
    model = made(name).train()
    with torch.no_grad():  # a new last layer, and new norms at the end of blocks, let next to nothing through
        torch.nn.init.normal_(model.head[-1].weight)
        for part in model.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(part.weight, 0.5, 1.5)
                torch.nn.init.uniform_(part.bias, 0.2, 1.0)
    model(torch.randn(2, 3, 64, 64)).square().mean().backward()
    learning = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    assert not [n for n, gradient in learning.items() if gradient is None]
    still = {n for n, gradient in learning.items() if not gradient.any()}
    if model.backbone.spiking:  # a neuron that never fires keeps what comes before it from learning, deep inside
        first = next(iter(learning))
        still = {n for n in still if n.startswith("head.") or n == first}
    assert not still


def test_weights_come_back(tmp_path):
    model = made("pose:timm:resnet10t").eval()
    given = {"num_classes": 5, "in_chans": 3, "head_channels": 8, **RESNET}
    save_weights(model, tmp_path / "w.safetensors", {"name": "pose:timm:resnet10t", **given})
    again, _ = build_model(tmp_path / "w.safetensors")
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(again.eval()(images), model(images))


def test_the_card():
    tiny = dict(FAMILY.tiny)
    model = snnkit.create_model(**tiny).eval()
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 4, 8, 8)
    assert snnkit.models.family_of(model) is FAMILY


@pytest.mark.parametrize(
    ("sizes", "words"), [({"head_channels": 0}, "head_channels=0"), ({"head_chanels": 2}, "head_chanels")]
)
def test_sizes_that_cannot_be(sizes, words):
    with pytest.raises(SnnkitError, match=words):
        snnkit.create_model("pose:timm:resnet10t", num_classes=5, **sizes)
