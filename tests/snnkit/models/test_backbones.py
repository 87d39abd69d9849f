"""Backbones: maps of every family and of timm's models, of images of any size, one size after another.

Would break it: a model that is filled up though it reads any size, a map that shows what was filled in, windows whose
opposite borders see each other, positions that do not follow the image, weights that nothing trains, a size that is
remembered from the image before, a pyramid in another order or of other layers than it says.
"""

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2

import snnkit
from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.layers.simple_pyramid import SimplePyramid
from snnkit.models import families
from snnkit.models.backbones import NEURONS, Backbone
from snnkit.models.registry import _of_maps, accepts
from snnkit.neurons import LIF, MultiSpike, Neuron
from snnkit.surrogates import Rect

SIZES = ((64, 64), (72, 100), (96, 64))
WITHOUT = {"spiking_cnn", "uniformer_video"}  # no maps, and maps of clips
ROUND_DOWN = {"spikformer_v2", "uniformer_dense"}  # their steps leave out what makes no whole patch
FAMILIES = {family.name: family for family in families() if family.name not in WITHOUT}
STRIDES = {
    "convmae": (4, 8, 16), "e_spikeformer": (4, 8, 16, 16), "e_spikeformer_large": (4, 8, 16),
    "lookupvit": (4, 8, 16, 32), "spike_driven_transformer": (4, 4),
    "meta_spikeformer": (4, 8, 8), "moat": (4, 8, 16, 32), "mobilenet_v1": (4, 8, 16, 32),
    "mobilenet_v2": (4, 8, 16, 32), "ms_resnet": (4,), "qkformer": (4, 8, 16), "sew_resnet": (4,),
    "spikformer": (4, 4), "spikformer_v2": (4, 8, 16), "spiking_vgg": (4,), "swin_v2": (4, 8, 16, 32),
    "uniformer": (4, 8, 16, 32), "uniformer_dense": (4, 8, 16, 32), "uniformer_light": (4, 8, 16, 32),
}  # fmt: skip
TIMM = {
    "resnet10t": {"channels": (8, 8, 16, 16), "stem_width": 8},
    "convnext_atto": {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16)},
    "swin_tiny_patch4_window7_224": {"embed_dim": 8, "depths": (1, 2, 1, 1), "num_heads": (1, 2, 2, 4)},
    "swinv2_tiny_window8_256": {"embed_dim": 8, "depths": (1, 2, 1, 1), "num_heads": (1, 2, 2, 4)},
    "vit_tiny_patch16_224": {"embed_dim": 16, "depth": 3, "num_heads": 2},
}


def encoder_of(name, **settings):
    family = FAMILIES[name]
    given = {key: v for key, v in {**family.tiny, **settings}.items() if key not in ("name", "num_classes")}
    torch.manual_seed(0)
    return _of_maps(family.tiny["name"], given)


def image(encoder, size, batch=2):
    return 2 * torch.rand(batch, encoder.in_chans, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", FAMILIES)
def test_maps_of_every_family_at_any_size_one_after_another(name):
    backbone = Backbone(encoder_of(name)).eval()
    assert backbone.strides == STRIDES[name]
    assert backbone.spiking == (FAMILIES[name].kind == "snn")
    seen = {}
    with torch.no_grad():
        for height, width in (*SIZES, *SIZES[:2]):
            maps = backbone(image(backbone, (height, width)))
            lead = (backbone.timesteps, 2) if backbone.spiking else (2,)
            for y, stride, channels in zip(maps, backbone.strides, backbone.channels, strict=True):
                assert y.shape[:-2] == (*lead, channels)
                exact = height / stride, width / stride
                for side, want in zip(y.shape[-2:], exact, strict=True):
                    assert side == -(-want // 1) or (name in ROUND_DOWN and side == want // 1)
            for y, before in zip(maps, seen.setdefault((height, width), maps), strict=True):
                assert torch.equal(y, before)  # whatever came between


@pytest.mark.parametrize("name", FAMILIES)
def test_what_reads_any_size_sees_the_image_as_it_is_and_others_a_filled_one(name):
    encoder = encoder_of(name).eval()
    backbone = Backbone(encoder, levels=4, finest=4)
    unit = getattr(encoder, "size_unit", (1, 1))
    height, width = 71, 101
    x = image(encoder, (height, width), batch=1)
    filled = F.pad(x, (0, -width % unit[1], 0, -height % unit[0]))
    with torch.no_grad():
        maps, made = backbone(x), encoder(filled)
    if backbone.pyramid is not None:
        made = backbone.pyramid(made[0])
    for y, stride, whole in zip(maps, backbone.strides, made[-len(maps) :], strict=True):
        assert torch.equal(y, whole[..., : -(-height // stride), : -(-width // stride)])
    assert (unit != (1, 1)) == (name in {"swin_v2", "moat", "uniformer", "uniformer_light", "lookupvit", "convmae"})


def test_units():
    assert encoder_of("moat").size_unit == (32, 32)
    assert encoder_of("moat", window_size=(None, None, (4, 2), 3)).size_unit == (192, 96)
    assert encoder_of("moat", window_size=None).size_unit == (1, 1)
    assert encoder_of("swin_v2").size_unit == (4, 4)
    assert encoder_of("lookupvit").size_unit == encoder_of("convmae").size_unit == (16, 16)
    assert encoder_of("uniformer").size_unit == encoder_of("uniformer_light").size_unit == (32, 32)


@pytest.mark.parametrize("name", TIMM)
def test_timms_models(name):
    torch.manual_seed(0)
    backbone = Backbone(_of_maps(f"timm:{name}", TIMM[name])).eval()
    unit = {"swin_tiny_patch4_window7_224": 4, "swinv2_tiny_window8_256": 4, "vit_tiny_patch16_224": 16}.get(name, 1)
    assert backbone.strides == (4, 8, 16, 32)
    assert backbone.in_chans == 3
    for height, width in ((71, 101), (96, 64)):
        x = image(backbone, (height, width), batch=1)
        with torch.no_grad():
            maps, made = backbone(x), backbone.encoder(F.pad(x, (0, -width % unit, 0, -height % unit)))
            if unit == 4:
                made = [y.permute(0, 3, 1, 2) for y in made]
            if unit == 16:
                assert not torch.equal(made[0], made[-1])
                made = backbone.pyramid(made[-1])
        for y, stride, channels, whole in zip(maps, backbone.strides, backbone.channels, made[-4:], strict=True):
            sides = -(-height // stride), -(-width // stride)
            assert y.shape[1] == channels
            assert torch.equal(y, whole[..., : sides[0], : sides[1]])
            if name != "convnext_atto":  # it rounds down
                assert y.shape[-2:] == sides


@pytest.mark.parametrize("name", [*FAMILIES, *(f"timm:{name}" for name in TIMM)])
def test_gradients_reach_all_that_learns(name):
    encoder = _of_maps(name, TIMM[name[5:]]) if name.startswith("timm:") else encoder_of(name)
    backbone = Backbone(encoder, finest=1).train()
    sum(y.sum() + y.square().sum() for y in backbone(image(backbone, (64, 64)))).backward()
    assert not [n for n, p in backbone.named_parameters() if p.requires_grad and p.grad is None]
    frozen = {n.split(".")[1] for n, p in backbone.named_parameters() if not p.requires_grad}
    assert frozen <= {"norm", "norm_lookup", "norm_cls", "head_norm", "fc1", "fc2"}
    assert not any(n.startswith("encoder.head.") for n, _ in backbone.named_parameters())


# Swin Transformer V2 at sizes that its windows do not divide.

SWIN = {"embed_dim": 8, "num_heads": (1, 2, 2, 4), "mlp_ratio": 2.0, "window_size": 4}


def swin(depths, **settings):
    given = {**SWIN, "depths": depths, "img_size": 64, "pretrained_window_size": 4, "in_chans": 3, **settings}
    encoder = encoder_of("swin_v2", **given)
    for name, parameter in encoder.named_parameters():
        if parameter.ndim == 1 and not name.startswith("norm"):
            nn.init.uniform_(parameter, 0.2, 1.0)  # a norm that begins at zero hides the block; biases act on filling
    return encoder.double().eval()


def torchvisions(model, depths):
    norms = {"norm_layer": nn.LayerNorm, "block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2}
    sizes = {"patch_size": [4, 4], "embed_dim": 8, "depths": list(depths), "num_heads": [1, 2, 2, 4]}
    peer = SwinTransformer(**sizes, window_size=[4, 4], mlp_ratio=2.0, stochastic_depth_prob=0.0, **norms)
    own, state = model.state_dict(), peer.state_dict()
    renamed = (("mlp.0.", "mlp.fc1."), ("cpb_mlp.fc1.", "cpb_mlp.0."), ("mlp.3.", "mlp.fc2."))
    for key in [key for key in state if key.startswith("features.") and "relative" not in key]:
        number, rest = int(key.split(".")[1]), key.split(".", 2)[2]
        mine = f"stages.{number // 2}." + (f"blocks.{rest}" if number % 2 else f"merge.{rest}")
        if number == 0:
            mine = rest.replace("0.", "patch_embed.proj.").replace("2.", "patch_embed.norm.")
        for theirs, ours in renamed:
            mine = mine.replace(theirs, ours)
        if mine.endswith("qkv.bias"):
            q, v = (own[mine.replace("qkv.bias", f"{part}_bias")] for part in "qv")
            state[key] = torch.cat([q, torch.zeros_like(q), v])
        else:
            state[key] = own[mine]
    peer.load_state_dict(state)

    def maps(x):
        made = []
        for i, layer in enumerate(peer.double().eval().features):
            x = layer(x)
            made += [x.permute(0, 3, 1, 2)] if i % 2 else []
        return made

    return maps


@pytest.mark.parametrize("size", [(136, 200), (148, 180), (164, 132)])
def test_swins_maps_are_torchvisions_where_every_map_is_a_window_wide_at_least(size):
    """With shifted windows; float64. 136 × 200 pixels are maps of 34 × 50, 17 × 25, 9 × 13, 5 × 7 for windows of 4."""
    depths = (2, 1, 3, 2)
    model = swin(depths)
    x = torch.randn(1, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        for ours, theirs in zip(model(x), torchvisions(model, depths)(x), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [(72, 100), (136, 200), (32, 52)])
def test_swins_maps_are_timms_where_no_window_is_shifted(size):
    """One block a stage; float64. Smaller maps than windows too, which are then the window, as timm has it."""
    model = swin((1, 1, 1, 1))
    sizes = {**SWIN, "depths": (1, 1, 1, 1), "num_classes": 0, "pretrained_window_sizes": (4, 4, 4, 4)}
    peer = timm.models.swin_transformer_v2.SwinTransformerV2(img_size=size, **sizes).double().eval()
    state = {
        k.replace("stages.", "layers.").replace(".merge.", ".downsample."): v for k, v in model.state_dict().items()
    }
    assert not peer.load_state_dict(state, strict=False).unexpected_keys
    x = torch.randn(1, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        theirs = peer.forward_intermediates(x, intermediates_only=True)
        for ours, its in zip(model(x), theirs, strict=True):
            torch.testing.assert_close(ours, its, rtol=1e-9, atol=1e-9)


def test_opposite_borders_do_not_see_each_other_in_swins_filled_windows():
    """18 × 25 tokens in windows of 4: of the map of the first stage, left columns must not reach the right border."""
    model = swin((2, 1, 1, 1))
    x = torch.randn(1, 3, 72, 100, dtype=torch.float64, requires_grad=True)
    (seen,) = torch.autograd.grad(model(x)[0][..., -4:].sum(), x)
    assert seen[..., -8:].abs().max() > 1e-3
    assert seen[..., :16].abs().max() < 1e-12
    (seen,) = torch.autograd.grad(model(x)[0][..., -2:, :].sum(), x)
    assert seen[..., :8, :].abs().max() < 1e-12


def test_swin_serves_what_it_served_before_other_sizes_came():
    model = swin((2, 2, 1, 1))
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        before = model(x)
    with torch.inference_mode():
        model(torch.randn(1, 3, 72, 100, dtype=torch.float64))
    assert model.img_size == 64
    model.train()  # buffers that were made in inference mode would not do
    model(torch.randn(1, 3, 72, 100, dtype=torch.float64))[-1].sum().backward()
    with torch.no_grad():
        for y, was in zip(model.eval()(x), before, strict=True):
            assert torch.equal(y, was)


def test_swins_distances_are_those_of_the_training_at_any_image_size():
    encoder = snnkit.create_model("swinv2_tiny_window8_256", img_size=64, features_only=True, depths=(1, 1, 1, 1))
    assert [stage.blocks[0].attn.pretrained for stage in encoder.stages] == [(8, 8)] * 4
    with pytest.raises(InvalidArgumentError, match="pretrained_window_size"):
        snnkit.create_model("swinv2_tiny_window8_256", img_size=64)


def test_positions_of_convvit_follow_the_image():
    encoder = encoder_of("convmae").eval()
    stored = encoder.token_positions.unflatten(1, (4, 4))
    assert encoder._positions((4, 4)) is encoder.token_positions
    with torch.no_grad():
        encoder.token_positions.copy_(torch.arange(4.0).view(1, 1, 4, 1).expand_as(stored).flatten(1, 2))
    wider = encoder._positions((4, 8)).unflatten(1, (4, 8))
    assert wider.shape == (1, 4, 8, 16)
    # Half-pixel centres: place 3 of 8 lies at 1.25 of 4. Keys' cubic with a = −0.75 weighs places 0 to 3 there with
    # −0.10546875, 0.87890625, 0.26171875, −0.03515625, and those hold 0, 1, 2, 3.
    torch.testing.assert_close(wider[0, 0, 3:5, 0], torch.tensor([1.296875, 3 - 1.296875]))
    with pytest.raises(InvalidArgumentError, match="multiple of 16"):
        encoder(torch.zeros(1, 2, 72, 64))


# One map.


def test_a_simple_pyramid_by_hand():
    pyramid = SimplePyramid(8, 16, (4, 8, 16, 32))
    assert pyramid.channels == (2, 4, 8, 8)
    assert [type(layer).__name__ for layer in pyramid.levels[0]] == [
        "ConvTranspose2d", "ChannelLayerNorm", "GELU", "ConvTranspose2d",
    ]  # fmt: skip
    assert [type(layer).__name__ for layer in pyramid.levels[1]] == ["ConvTranspose2d"]
    # 8·4·4 + 4 and 4·2·4 + 2 with a norm of 4; 8·4·4 + 4.
    assert sum(p.numel() for p in pyramid.parameters()) == (132 + 8 + 34) + 132
    x = torch.randn(2, 8, 5, 7)
    made = pyramid(x)
    assert [tuple(y.shape) for y in made] == [(2, 2, 20, 28), (2, 4, 10, 14), (2, 8, 5, 7), (2, 8, 3, 4)]
    assert torch.equal(made[2], x)
    assert torch.equal(made[3][..., 0, 0], x[..., :2, :2].amax((-2, -1)))
    assert torch.equal(made[3][..., -1, -1], x[..., -1, -1])  # the last window is a corner alone
    twice = pyramid.levels[1][0]
    # Place (2i + a, 2j + b) is the sum over channels of the map at (i, j) times the kernel at (a, b).
    want = torch.einsum("c,cd->d", x[0, :, 2, 3], twice.weight[:, :, 1, 0]) + twice.bias
    torch.testing.assert_close(made[1][0, :, 5, 6], want)


@pytest.mark.parametrize(("stride", "channels"), [(8, (4, 8, 8, 8)), (32, (1, 2, 4, 8)), (4, (8, 8, 8, 8))])
def test_a_simple_pyramid_of_other_patches(stride, channels):
    pyramid = SimplePyramid(8, stride, (4, 8, 16, 32))
    assert pyramid.channels == channels
    sides = [y.shape[-1] for y in pyramid(torch.zeros(1, 8, 64 // stride, 64 // stride))]
    assert sides == [16, 8, 4, 2]


@pytest.mark.parametrize(("channels", "stride", "words"), [(8, 14, "patch_size=16"), (8, 12, "12"), (6, 16, "halved")])
def test_a_simple_pyramid_that_cannot_be(channels, stride, words):
    with pytest.raises(InvalidArgumentError, match=words):
        SimplePyramid(channels, stride, (4, 8, 16, 32))


def test_levels_of_a_single_map():
    vit = TIMM["vit_tiny_patch16_224"]
    encoder = _of_maps("timm:vit_tiny_patch16_224", vit)
    assert Backbone(encoder, levels=2).strides == (16, 32)
    assert Backbone(encoder, levels=4, finest=8).strides == (8, 16, 32)
    one = Backbone(encoder, levels=1).eval()  # no pyramid: the map as it is
    assert (one.strides, one.channels, one.pyramid) == ((16,), (16,), None)
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(one(x)[0], encoder.eval()(x)[-1])
    lookup = encoder_of("lookupvit").eval()
    assert Backbone(lookup, levels=1).strides == (16,)
    x = torch.rand(1, 1, 64, 64)
    assert torch.equal(Backbone(lookup, levels=1)(x)[0], lookup(x)[0])
    assert Backbone(_of_maps("timm:vit_small_patch14_dinov2", {**vit, "patch_size": 16})).strides == (4, 8, 16, 32)


# Neurons behind the backbone.

MS = {"widths": (8, 8, 16, 16), "depths": (1, 1, 1, 1), "timesteps": 2}
SMALL = {
    "semantic_fpn": {"fpn_channels": 8, "head_channels": 8},
    "mask_rcnn": {"fpn_channels": 8, "box_channels": 8, "mask_channels": 8},
    "retinanet": {"fpn_channels": 8},
    "pose": {"head_channels": 8},
}


def kinds_behind(model):
    return {str(part) for name, part in model.named_modules() if isinstance(part, Neuron) and "backbone" not in name}


@pytest.mark.parametrize("method", SMALL)
def test_neurons_of_neck_and_head_are_lifs_or_the_backbones(method):
    made = {
        kind: snnkit.create_model(f"{method}:ms_resnet18", num_classes=3, neurons=kind, **MS, **SMALL[method])
        for kind in NEURONS
    }
    own = str(LIF(tau=4 / 3, v_threshold=0.5, decay_input=False))
    assert kinds_behind(made["lif"]) == {str(LIF())}
    assert kinds_behind(made["backbone"]) == {own}
    neurons = [part for part in made["backbone"].modules() if isinstance(part, Neuron)]
    assert {type(one.surrogate) for one in neurons} == {Rect}
    assert (
        len({id(one) for one in neurons}) == len(neurons) == sum(isinstance(p, Neuron) for p in made["lif"].modules())
    )
    default = snnkit.create_model(f"{method}:ms_resnet18", num_classes=3, **MS, **SMALL[method])
    assert kinds_behind(default) == {str(LIF())}  # as networks were that are stored without it


def test_neurons_are_those_that_the_backbone_has_most_of():
    tiny = {k: v for k, v in FAMILIES["meta_spikeformer"].tiny.items() if k not in ("name", "num_classes")}
    backbone = Backbone(_of_maps("meta_spikeformer_15m", tiny))
    kinds = {str(part) for part in backbone.modules() if isinstance(part, Neuron)}
    assert len(kinds) == 2  # those behind attention have half the threshold
    assert str(backbone.neuron("backbone")()) == str(LIF())
    integers = encoder_of("e_spikeformer")
    one = Backbone(integers).neuron("backbone")()
    assert isinstance(one, MultiSpike)


def test_neurons_that_cannot_be():
    spiking, ordinary = Backbone(_of_maps("ms_resnet18", MS)), Backbone(_of_maps("timm:resnet10t", TIMM["resnet10t"]))
    with pytest.raises(UnknownNameError, match="neurons of neck and head 'backbon'.*'backbone'"):
        spiking.neuron("backbon")
    with pytest.raises(InvalidArgumentError, match="resnet10t has none; leave it at 'lif'"):
        ordinary.neuron("backbone")
    for part in spiking.modules():
        if isinstance(part, Neuron):
            part.register_buffer("by_channel", torch.ones(8))
    with pytest.raises(InvalidArgumentError, match="constants by channel"):
        spiking.neuron("backbone")


# What cannot be.


@pytest.mark.parametrize(
    ("name", "given", "settings", "words"),
    [
        ("qkformer_10_384", {}, {"finest": 32}, "finest=32.*qkformer_10_384.*4, 8, 16;"),
        ("timm:vit_tiny_patch16_224", {"depth": 3}, {"finest": 64}, "finest=64.*4, 8, 16, 32"),
        ("timm:vit_small_patch14_dinov2", {"depth": 3}, {}, "stride 14.*patch_size=16"),
        ("qkformer_10_384", {}, {"levels": 0}, "levels=0"),
        ("qkformer_10_384", {}, {"finest": 2.5}, "finest=2.5"),
        ("spiking_cnn_small", {}, {}, "spiking_cnn_small lists no feature maps"),
        ("lookupvit_video_base", {"depth": 1}, {}, "lookupvit_video_base reads clips"),
    ],
)
def test_what_is_no_backbone_is_said_in_a_line(name, given, settings, words):
    if name == "qkformer_10_384":
        given = {k: v for k, v in FAMILIES["qkformer"].tiny.items() if k not in ("name", "num_classes")}
    encoder = _of_maps(name, given)
    with pytest.raises(InvalidArgumentError, match=words) as caught:
        Backbone(encoder, **settings)
    assert "\n" not in str(caught.value)


def test_a_classifier_is_no_backbone():
    family = FAMILIES["mobilenet_v1"]
    with pytest.raises(InvalidArgumentError, match="features_only=True"):
        Backbone(snnkit.create_model(**family.tiny))
    with pytest.raises(InvalidArgumentError, match="features_only=True"):
        Backbone(nn.Conv2d(3, 3, 3))


def test_every_family_is_in_these_tests():
    assert set(STRIDES) == set(FAMILIES)
    assert all(accepts(FAMILIES[name].tiny["name"], "features_only") for name in FAMILIES if name != "uniformer_dense")


def test_recomputed_blocks_and_weights_without_decay():
    vit = Backbone(_of_maps("timm:vit_tiny_patch16_224", TIMM["vit_tiny_patch16_224"]))
    vit.set_grad_checkpointing()
    assert vit.encoder.model.grad_checkpointing
    known = dict(vit.named_parameters())
    assert {"encoder.model.pos_embed", "encoder.model.cls_token"} <= vit.no_weight_decay()
    assert vit.no_weight_decay() & set(known) >= {"encoder.model.pos_embed"}
    swin_names = Backbone(encoder_of("swin_v2")).no_weight_decay()
    assert swin_names
    assert all(n.startswith("encoder.stages.") for n in swin_names)


@pytest.mark.parametrize(("name", "side"), [("timm:beit_base_patch16_224", 96), ("timm:maxvit_nano_rw_256", 96)])
def test_models_of_one_size_say_so_in_a_line(name, side):
    sizes = {"beit": {"embed_dim": 24, "depth": 3, "num_heads": 2}, "maxv": {}}[name[5:9]]
    backbone = Backbone(snnkit.create_model(name, features_only=True, **sizes))
    with pytest.raises(InvalidArgumentError, match=rf"does not read images of {side}×{side}.*model\.sizes\.img_size"):
        backbone(torch.zeros(1, 3, side, side))
