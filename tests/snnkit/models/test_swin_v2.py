"""Swin Transformer V2 against the authors' outputs and timm, counts, a position bias that is never stale, bad input.

Would break it: a clamp or a pre-training window that is ignored, merging in another order or place, a mask that lets
opposite borders see each other, a kept bias that outlives its weights, windows computed one after another that differ.
"""

import copy

import pytest
import torch
from parity import Reference, close
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import snnkit
from snnkit.deploy import deploy
from snnkit.errors import InvalidArgumentError
from snnkit.layers import cosine_attention, window_kernels
from snnkit.layers.cosine_attention import CosineWindowAttention
from snnkit.layers.fixed_window_block import FixedWindowBlock
from snnkit.layers.shifted_windows import Windows
from snnkit.models.sizes import as_pair

TOLERANCE = 1e-6
PUBLISHED = {"embed_dim": 24, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8), "num_classes": 10}
SMALL = {"embed_dim": 8, "depths": (2, 1, 2, 1), "num_heads": (1, 2, 2, 4), "num_classes": 10, "mlp_ratio": 2.0}


def tiny(**settings):
    torch.manual_seed(0)
    given = {**SMALL, "img_size": 64, "window_size": 4, "pretrained_window_size": 0, **settings}
    model = snnkit.create_model("swinv2_tiny_window8_256", **given)
    for part in model.modules():
        if isinstance(part, nn.LayerNorm):
            nn.init.uniform_(part.weight, 0.5, 1.5)
    return model.double().eval()


def golden_model(name):
    golden = Reference(name)
    config = golden.config
    pretrained = tuple(config.get("pretrained_window_sizes", ())) or 0
    sizes = {"img_size": config["img_size"], "window_size": config["window_size"]}
    return golden, tiny(**PUBLISHED, mlp_ratio=4.0, **sizes, pretrained_window_size=pretrained)


def authors_state(golden):
    """The stored keys, less the tables that the files hold as zeros here."""
    return {key: value for key, value in golden.state().items() if "relative_coords_table" not in key}


@pytest.mark.parametrize("name", ["swinv2_w4", "swinv2_w8_pretrained4"])
def test_the_authors_outputs(name):
    golden, model = golden_model(name)
    report = snnkit.load_weights(model, {"model": authors_state(golden)})
    assert report.complete
    assert "Swin Transformer V2" in report.source
    seen = {}
    model.patch_embed.register_forward_hook(lambda m, x, y: seen.__setitem__("feat_patch_embed", y))
    for i in range(3):
        model.stages[i + 1].merge.register_forward_hook(lambda m, x, y, i=i: seen.__setitem__(f"feat_layers{i}", y))
    with torch.no_grad():
        logits = model(golden.input)
        seen["feat_norm"] = model.forward_features(golden.input).flatten(2).transpose(1, 2)
        seen["feat_layers3"] = model.forward_stages(golden.input)[-1].flatten(2).transpose(1, 2)
    close(logits, golden["logits"], TOLERANCE)
    for key, value in seen.items():
        close(value, golden[key], TOLERANCE)
    assert len(seen) == 6


@pytest.mark.parametrize("mistake", ["no clamp", "present window"])
def test_the_comparison_notices_what_it_should(mistake, monkeypatch):
    golden, model = golden_model("swinv2_w8_pretrained4")
    snnkit.load_weights(model, authors_state(golden))
    if mistake == "no clamp":
        monkeypatch.setattr(cosine_attention, "_SCALE_LIMIT", 100.0)
    else:
        model.set_input_size(pretrained_window_size=0)
    with torch.no_grad(), pytest.raises(AssertionError, match="relative error"):
        close(model(golden.input), golden["logits"], 1e-3)


@pytest.mark.parametrize("settings", [{}, {"img_size": 96, "window_size": 6, "pretrained_window_size": (4, 4, 4, 2)}])
def test_timms_weights_and_outputs(settings):
    timm = pytest.importorskip("timm")
    model = tiny(**settings)
    side, window = model.img_size, model.window_size
    peer = timm.models.swin_transformer_v2.SwinTransformerV2(
        img_size=side,
        window_size=window,
        **SMALL,
        pretrained_window_sizes=settings.get("pretrained_window_size", (0, 0, 0, 0)),
    )
    for part in peer.modules():
        if isinstance(part, nn.LayerNorm):
            nn.init.uniform_(part.weight, 0.5, 1.5)
    peer = peer.double().eval()
    assert snnkit.load_weights(model, peer.state_dict()).complete
    x = torch.randn(2, 3, side, side, dtype=torch.float64)
    with torch.no_grad():
        close(model(x), peer(x), TOLERANCE)
        close(model.forward_features(x).movedim(1, -1), peer.forward_features(x), TOLERANCE)


def test_maps_are_channels_first_and_timms_otherwise():
    model = tiny(features_only=True)
    shapes = [tuple(y.shape) for y in model(torch.zeros(1, 3, 64, 64, dtype=torch.float64))]
    assert shapes == [(1, 8, 16, 16), (1, 16, 8, 8), (1, 32, 4, 4), (1, 64, 2, 2)]
    assert model.feature_info.reduction() == [4, 8, 16, 32]


MACS = {
    "swinv2_tiny_window8_256": 5.926,
    "swinv2_tiny_window16_256": 6.605,
    "swinv2_small_window8_256": 11.515,
    "swinv2_base_window12_192": 11.782,
    "swinv2_base_window12to24_192to384": 54.75,
    "swinv2_large_window12to16_192to256": 47.49,
}


@pytest.mark.parametrize("name", MACS)
def test_published_operations(name):
    """Parameters are counted for every model in the registry's tests."""
    with torch.device("meta"):
        model = snnkit.create_model(name).eval()
    side = model.img_size
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, side, side, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(MACS[name], rel=0.01)


def test_parameters_without_decay():
    model = tiny()
    names = model.no_weight_decay()
    assert len(names) == 6 * 4
    assert all("cpb_mlp" in name or "logit_scale" in name for name in names)


def test_a_norm_every_so_many_blocks():
    model = tiny(depths=(1, 1, 5, 1), extra_norm_period=2)
    assert list(model.stages[2].extra_norms) == ["1", "3"]
    assert not any(len(model.stages[i].extra_norms) for i in (0, 1, 3))


# Windows.


def test_windows_hold_every_token_once_and_masks_are_those_of_nine_regions():
    """Against the plain construction: roll a map of region numbers, cut it, compare."""
    size, window, shift = (8, 12), (4, 4), (2, 2)
    windows = Windows(size, window, shift)
    order = windows.order()
    assert sorted(order.tolist()) == list(range(96))
    region = torch.zeros(size)
    for h, rows in enumerate((slice(0, -4), slice(-4, -2), slice(-2, None))):
        for w, columns in enumerate((slice(0, -4), slice(-4, -2), slice(-2, None))):
            region[rows, columns] = 3 * h + w
    of_token = region.roll((2, 2), (0, 1)).flatten()[order].view(-1, 16)
    expected = of_token[:, :, None] != of_token[:, None, :]
    kinds = torch.repeat_interleave(torch.arange(4), torch.tensor(windows.counts()))
    assert torch.equal(windows.hidden()[kinds], expected)


@pytest.mark.parametrize("sequential", [1, 3])
def test_windows_one_after_another_give_the_same(sequential):
    """Outputs and gradients, with shares that do not divide the windows."""
    model = tiny().train()
    other = copy.deepcopy(model)
    for block in (part for part in other.modules() if isinstance(part, CosineWindowAttention)):
        block.sequential = sequential
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    results = []
    for m in (model, other):
        torch.manual_seed(1)
        y = m(x)
        y.square().sum().backward()
        results.append([y, *(p.grad for p in m.parameters())])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), other.eval()(x), rtol=1e-12, atol=1e-12)


def test_another_size_with_the_same_weights():
    """Set later or built so: the same network."""
    model = tiny()
    built = tiny(img_size=(96, 192), window_size=6, pretrained_window_size=(4, 4, 4, 2))
    snnkit.load_weights(built, model.state_dict())
    model.set_input_size(img_size=(96, 192), window_size=6)
    x = torch.randn(1, 3, 96, 192, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(model(x), built(x))


# The kept position bias.


def changes():
    def optimiser(model):
        part = model.stages[0].blocks[0].attn.cpb_mlp[2].weight
        part.grad = torch.ones_like(part)
        torch.optim.SGD([part], 0.5).step()

    def behind_the_back(model):
        model.stages[0].blocks[0].attn.cpb_mlp[0].weight.data.mul_(2)

    def other_weights(model):
        model.load_state_dict(tiny_other().state_dict())

    def assigned(model):
        model.load_state_dict(tiny_other().state_dict(), assign=True)

    def replaced(model):
        model.stages[0].blocks[0].attn.cpb_mlp[2].weight = nn.Parameter(torch.randn(1, 512, dtype=torch.float64))

    def back_and_forth(model):
        model.bfloat16().double()

    def another_window(model):
        model.set_input_size(window_size=8)

    return [optimiser, behind_the_back, other_weights, assigned, replaced, back_and_forth, another_window]


def tiny_other():
    model = tiny()
    for part in model.parameters():
        nn.init.normal_(part, std=0.1)
    return model


@pytest.mark.parametrize("change", changes(), ids=lambda f: f.__name__)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_kept_bias_follows_the_weights(change, mode):
    """Against a copy that has never kept anything."""
    model, x = tiny(), torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with mode():
        before = model(x)
    change(model)
    fresh = copy.deepcopy(model)
    for part in fresh.modules():
        if isinstance(part, CosineWindowAttention):
            part._kept = None
    with mode():
        after = model(x)
        assert torch.equal(after, fresh(x))
        assert not torch.equal(after, before)


def test_what_was_kept_without_gradients_does_not_stop_them():
    model, x = tiny(), torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        model(x)
    model(x).sum().backward()
    assert model.stages[0].blocks[0].attn.cpb_mlp[0].weight.grad.abs().max() > 0
    for part in model.parameters():
        part.requires_grad_(False)
    x.requires_grad_(True)
    model(x).sum().backward()
    assert x.grad.abs().max() > 0


def test_the_bias_is_computed_once():
    model, x = tiny(), torch.randn(1, 3, 64, 64, dtype=torch.float64)
    calls = []
    model.stages[0].blocks[0].attn.cpb_mlp.register_forward_hook(lambda *a: calls.append(1))
    with torch.no_grad():
        for _ in range(3):
            model(x)
        assert len(calls) == 1
        copy.deepcopy(model)(x)
        model.train()(x)
        model.eval()(x)
    assert len(calls) == 2


def test_weights_of_many_models_at_once():
    """torch.func over stacked weights, with gradients off."""
    model, x = tiny(depths=(1, 1, 1, 1)), torch.randn(1, 3, 64, 64, dtype=torch.float64)
    models = [model, tiny(depths=(1, 1, 1, 1))]
    nn.init.normal_(models[1].head.weight)
    nn.init.normal_(models[1].stages[0].blocks[0].attn.cpb_mlp[2].weight)
    stacked, buffers = torch.func.stack_module_state(models)
    with torch.no_grad():
        model(x)
        together = torch.vmap(lambda p, b: torch.func.functional_call(model, (p, b), (x,)), in_dims=(0, 0))(
            stacked, buffers
        )
        for y, alone in zip(together, models, strict=True):
            torch.testing.assert_close(y, alone(x), rtol=1e-9, atol=1e-10)


# Bad input.


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"img_size": 250}, "224 or 256|96 or 256|128 or 256"),
        ({"img_size": 160, "window_size": 4}, r"128 or 256|96 or|128 or"),
        ({"num_heads": (5, 2, 2, 4)}, "num_heads"),
        ({"depths": (2, 2)}, "depths"),
        ({"window_size": 0}, "window_size"),
        ({"pretrained_window_size": (4, 4)}, "pretrained_window_size"),
        ({"sequential": -1}, "sequential"),
    ],
    ids=repr,
)
def test_sizes_that_do_not_fit_are_named(settings, words):
    with pytest.raises(InvalidArgumentError, match=words):
        tiny(**settings)


def test_offered_image_sizes_can_be_built():
    with pytest.raises(InvalidArgumentError, match=r"(\d+) or (\d+) pixels") as caught:
        tiny(img_size=250)
    import re

    for side in map(int, re.search(r"(\d+) or (\d+) pixels", str(caught.value)).groups()):
        assert tiny(img_size=side).img_size == side


@pytest.mark.parametrize("settings", [{"window_size": 16}, {"img_size": 512, "window_size": 16}])
def test_another_window_needs_that_of_the_pre_training(settings):
    with pytest.raises(InvalidArgumentError, match=r"pretrained_window_size=\(8, 8, 8, 8\)"), torch.device("meta"):
        snnkit.create_model("swinv2_tiny_window8_256", **settings)
    with torch.device("meta"):
        snnkit.create_model("swinv2_tiny_window8_256", **settings, pretrained_window_size=8)


def test_sides_may_be_a_list():
    """As they come out of a configuration file."""
    with torch.device("meta"):
        model = snnkit.create_model("swinv2_tiny_window8_256")
        model.set_input_size([256, 512], [8, 16])
        assert model.stages[0].size == (64, 128)
        assert model.stages[0].blocks[0].attn.windows.window == (8, 16)


def test_images_of_another_size_are_refused():
    with pytest.raises(InvalidArgumentError, match="set_input_size"):
        tiny()(torch.zeros(1, 3, 96, 96, dtype=torch.float64))


def test_weights_of_another_window_are_refused_where_the_file_shows_it():
    """The authors' files hold the table of distances: log₂(1 + 8·Δ/(p − 1))/3."""
    golden, model = golden_model("swinv2_w4")
    state = authors_state(golden)
    for key in golden.shapes:
        if key.endswith("relative_coords_table"):
            side = golden.shapes[key][1]
            far = 8 * torch.arange(-(side // 2), side // 2 + 1) / max(side // 2, 1)
            line = far.sign() * (1 + far.abs()).log2() / 3
            state[key] = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1)[None]
    assert snnkit.load_weights(model, state).complete
    model = tiny(**PUBLISHED, mlp_ratio=4.0, img_size=128, window_size=8)
    with pytest.raises(InvalidArgumentError, match=r"stage 0 by a window of 4, this model by 8"):
        snnkit.load_weights(model, state)
    model.set_input_size(pretrained_window_size=(4, 4, 4, 2))
    assert snnkit.load_weights(model, state).complete


def test_weights_of_another_variant_are_refused():
    with pytest.raises(InvalidArgumentError, match="sizes it was trained with"):
        snnkit.load_weights(tiny(), tiny(embed_dim=16).state_dict())
    with pytest.raises(InvalidArgumentError, match="missing|unused"):
        snnkit.load_weights(tiny(), tiny(depths=(2, 1, 4, 1)).state_dict())


def test_simmim_weights_load_without_their_decoder():
    golden, model = golden_model("swinv2_w4")
    model.reset_classifier(0)
    state = {f"encoder.{key}": value for key, value in authors_state(golden).items() if not key.startswith("head")}
    state |= {"encoder.mask_token": torch.zeros(1, 1, 24), "decoder.0.weight": torch.zeros(3072, 192, 1, 1)}
    assert snnkit.load_weights(model, state).complete


# Deployed.

HEADS_OF_32 = {"embed_dim": 32, "depths": (2, 1, 3, 1), "num_heads": (1, 2, 4, 8)}


@pytest.mark.parametrize("settings", [{}, {"img_size": (96, 192), "window_size": 6}], ids=["4", "6"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_deployed_equals_the_model(settings, channels_last):
    """In float64 by torch and in float32 in C, with several images and all kinds of windows."""
    model = tiny(**HEADS_OF_32, **settings)
    for part in model.modules():
        if isinstance(part, CosineWindowAttention):
            nn.init.normal_(part.q_bias)
            nn.init.normal_(part.cpb_mlp[2].weight)
            nn.init.constant_(part.logit_scale, 3.0)
    made = deploy(model, channels_last=channels_last)
    assert not any(isinstance(part, CosineWindowAttention) for part in made.modules())
    height, width = as_pair(model.img_size)
    x = torch.randn(3, 3, height, width, dtype=torch.float64)
    with torch.no_grad():
        expected = model(x)
        close(made(x), expected, 1e-12)
        made = made.float()
        blocks = [part for part in made.modules() if isinstance(part, FixedWindowBlock)]
        tokens = [torch.empty(1, 1, part.qkv.in_features) for part in blocks]
        in_c = [part._in_c(x) for part, x in zip(blocks, tokens, strict=True)]
        assert in_c == [not window_kernels.why_not(part.windows.area, 32) for part in blocks]
        assert sum(in_c) >= 6 or window_kernels.why_not(16, 32)
        close(made(x.float()), expected, 2e-5)


@pytest.mark.parametrize("keys", [4, 36, 64])
def test_attention_in_c_at_its_extremes(keys):
    """One score far above the others, scores far below, and a bias of −100: against float64."""
    if window_kernels.why_not(keys, 32):
        pytest.skip(window_kernels.why_not(keys, 32))
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(2, 3 * keys, 3, 2, 32, generator=generator)
    qkv[0, 0, :2] = 0  # a vector without direction
    bias = 16 * torch.rand(2, 2, keys, keys, generator=generator)
    bias[1, :, :, : keys // 2] -= 100
    kind, scale = torch.tensor([0, 1, 0]), torch.tensor([100.0, 0.01])
    got = window_kernels.attention(qkv.flatten(2), scale, bias.flatten(0, 1), kind)
    q, k, v = qkv.double().unflatten(1, (3, keys)).unbind(3)
    scores = torch.einsum("bwshd,bwthd->bwhst", nn.functional.normalize(q, dim=-1), nn.functional.normalize(k, dim=-1))
    scores = scores * scale.double().view(2, 1, 1) + bias.double()[kind]
    expected = torch.einsum("bwhst,bwthd->bwshd", scores.softmax(-1), v).flatten(1, 2).flatten(2)
    close(got, expected, 1e-5)


def test_gelu_and_norm_in_c():
    if window_kernels.why_not(4, 32):
        pytest.skip(window_kernels.why_not(4, 32))
    x = torch.cat([torch.linspace(-12, 12, 1003), torch.tensor([0.0, -0.0, 1e-30, -40.0, 3e4])])
    got = window_kernels.gelu_(x.clone())
    assert ((got - nn.functional.gelu(x.double())).abs() <= 3e-7 * (1 + x.abs())).all()
    norm = nn.LayerNorm(96)
    for part in norm.parameters():
        nn.init.normal_(part)
    a, b = torch.randn(2, 5, 96), 100 + torch.randn(2, 5, 96)
    close(window_kernels.add_norm(a, b, norm).detach(), (a + norm(b)).detach(), 1e-4)


def test_a_deployed_model_keeps_its_size():
    with pytest.raises(InvalidArgumentError, match="then deploy"):
        deploy(tiny()).set_input_size(img_size=96)


def test_a_deployed_model_exports():
    """Compilers and tracers see torch's operators."""
    made, x = deploy(tiny(**HEADS_OF_32)).float(), torch.randn(1, 3, 64, 64)
    program = torch.export.export(made, (x,))
    assert any("scaled_dot_product" in str(node.target) for node in program.graph.nodes)
    with torch.no_grad():
        close(program.module()(x), made(x), 1e-5)
