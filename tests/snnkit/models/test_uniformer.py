"""UniFormer for images, video and dense prediction against the published code, and what must be refused.

Would break it: a layer norm with the other eps, a final layer norm, windows without attended padding, an attention over
time that stays in the stream, kernels over time that are not centred, a key that lands in another layer.
"""

import pytest
import torch
from parity import Reference, close
from support.forms import one_graph
from support.macs import gmacs

import snnkit
from snnkit.deploy import deploy
from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.models.uniformer_video import inflate
from snnkit.tasks import Classification

IMAGES = ("uniformer_image", "uniformer_image_convstem", "uniformer_image_layerscale")
CLIPS = ("uniformer_video", "uniformer_video_split", "uniformer_video_std")
MAPS = ("uniformer_dense_global", "uniformer_dense_hybrid", "uniformer_dense_window")


def sizes(config):
    depths = config.get("depth") or config["layers"]
    return {"depths": tuple(depths), "dims": tuple(config["embed_dim"]), "head_dim": config["head_dim"]}


def build(name, **settings):
    """The model of a reference, in its reference's sizes."""
    reference = Reference(name)
    config = reference.config
    given = {**sizes(config), "img_size": config["img_size"]}
    if name in IMAGES:
        kind = "small"
        given |= {"overlapping_stem": config["conv_stem"], "layer_scale": config["layer_scale"], "num_classes": 10}
    elif name in CLIPS:
        kind = "video_small"
        given |= {"attention": "divided" if config["split"] else "joint", "temporal_patches": config["std"]}
        given |= {"num_frames": config["num_frames"], "num_classes": 10}
    else:
        kind = "dense_small"
        given |= {"attention": name.rsplit("_", 1)[1], "window_size": config.get("window_size", 14)}
    model = snnkit.create_model(f"uniformer_{kind}", **{**given, **settings}).double().eval()
    return model, reference


@pytest.mark.parametrize("name", IMAGES + CLIPS)
def test_classifiers_equal_the_published_code(name):
    model, reference = build(name)
    assert snnkit.load_weights(model, {"model": reference.state()}).complete
    with torch.no_grad():
        first = model.patch_embeds[0](reference.input)
        maps = model.forward_stages(reference.input)
        logits = model(reference.input)
    close(first, reference["feat_patch_embed1"], 1e-6)
    for number, y in enumerate(maps, 1):
        close(y, reference[f"feat_stage{number}"], 1e-6)
    if "feat_norm" in reference:
        close(model.norm(maps[-1]).detach(), reference["feat_norm"], 1e-6)
    close(logits, reference["logits"], 1e-6)


@pytest.mark.parametrize("name", MAPS)
def test_backbones_equal_the_published_code(name):
    model, reference = build(name)
    state = {f"backbone.{key}": value for key, value in reference.state().items()}
    assert snnkit.load_weights(model, {"state_dict": state}).complete
    with torch.no_grad():
        maps = model(reference.input)
    for number, y in enumerate(maps):
        close(y, reference[f"out{number}"], 1e-6)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("uniformer_dense_hybrid", {"attention": "window"}),
        ("uniformer_dense_hybrid", {"attention": "global"}),
        ("uniformer_dense_window", {"window_size": 4}),
        ("uniformer_image", {"head_dim": 32}),
    ],
    ids=repr,
)
def test_the_references_tell_variants_apart(name, wrong):
    """Weights of one variant fit another by their shapes; the numbers must not."""
    model, reference = build(name, **wrong)
    snnkit.load_weights(model, reference.state())
    with torch.no_grad():
        got = model(reference.input)
    if name in MAPS:
        got = got[-1]
    expected = reference["out3" if name in MAPS else "logits"]
    assert (got - expected).abs().max() > 1e-3 * expected.abs().max()


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("uniformer_small", (3, 224, 224), 3.632),
        ("uniformer_small", (3, 384, 384), 11.9),
        ("uniformer_small_plus", (3, 224, 224), 4.201),
        ("uniformer_small_plus_dim64", (3, 224, 224), 4.201),
        ("uniformer_base", (3, 224, 224), 8.249),
        ("uniformer_video_small", (3, 16, 224, 224), 41.66),
        ("uniformer_video_small", (3, 8, 224, 224), 17.57),
        ("uniformer_video_base", (3, 16, 224, 224), 96.55),
    ],
)
def test_macs(name, shape, expected):
    assert gmacs(name, *shape) == pytest.approx(expected, rel=0.01)


FORMS = {
    "uniformer_image_convstem": {"aux_head": True},
    "uniformer_image_layerscale": {"local_layer_scale": True},
    "uniformer_video_split": {},
    "uniformer_video_std": {},
    "uniformer_dense_global": {},
    "uniformer_dense_window": {},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_one_graph(name):
    """What the family's small builds are not; those with layer scale deployed."""
    model, reference = build(name, **FORMS[name], depths=(1, 1, 1, 1))
    one_graph(deploy(model) if "layerscale" in name else model, reference.input)


# The second head of token labelling.


def token_labelled():
    model, reference = build("uniformer_image")
    state = reference.state()
    torch.manual_seed(0)
    state |= {"aux_head.weight": torch.randn(10, 96).double(), "aux_head.bias": torch.randn(10).double()}
    return model, reference, state


def test_a_model_without_second_head_ignores_and_reports_it():
    model, reference, state = token_labelled()
    report = snnkit.load_weights(model, state)
    assert set(report.ignored) == {"aux_head.weight", "aux_head.bias"}
    close(model(reference.input).detach(), reference["logits"], 1e-6)


def test_a_second_head_adds_half_of_its_highest_logits():
    plain, reference, state = token_labelled()
    model, _ = build("uniformer_image", aux_head=True)
    report = snnkit.load_weights(model, state)
    assert report.complete
    assert not report.ignored
    snnkit.load_weights(plain, state)
    with torch.no_grad():
        features = plain.forward_features(reference.input)
        by_hand = (
            torch.einsum("bchw,kc->bkhw", features, state["aux_head.weight"]) + state["aux_head.bias"][:, None, None]
        )
        torch.testing.assert_close(model(reference.input), plain(reference.input) + 0.5 * by_hand.amax((2, 3)))
        logits, tokens = model.forward_tokens(reference.input)
    torch.testing.assert_close(logits, plain(reference.input))
    assert tokens.shape == (2, 4, 10)
    again, _ = build("uniformer_image", aux_head=True)
    snnkit.load_weights(again, model.state_dict())
    assert torch.equal(again.aux_head.weight, model.aux_head.weight)
    with pytest.raises(InvalidArgumentError, match="aux_head=True"):
        plain.forward_tokens(reference.input)


# From images to clips and maps.


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("attention", ["joint", "divided"])
def test_inflated_weights_see_a_still_clip_as_its_image(center, attention):
    """Away from the borders in time; the tiny network reaches them everywhere, so its local part is compared."""
    image, reference = build("uniformer_image", depths=(1, 1, 1, 1), num_classes=7)
    video, _ = build("uniformer_video", depths=(1, 1, 1, 1), attention=attention)
    torch.manual_seed(0)
    kept_head = video.head.weight.clone()
    made = inflate(image.state_dict(), video, center)
    report = snnkit.load_weights(video, made, strict=False)
    assert not report.unused
    assert {key.split(".")[0] for key in report.missing} <= {"head", "stages"}
    assert all(".time." in key or key.startswith("head.") for key in report.missing)
    assert torch.equal(video.head.weight, kept_head), "other classes: the head starts anew"
    x = reference.input
    clip = x.unsqueeze(2).expand(-1, -1, 40, -1, -1)
    with torch.no_grad():
        # 20 steps; each block sees 1 + 2 of its neighbours in time, the stem one frame
        expected, got = image.forward_stages(x)[1], video.forward_stages(clip)[1]
    torch.testing.assert_close(got[:, :, 10], expected, rtol=1e-9, atol=1e-9)


def test_inflation_takes_published_keys_and_refuses_others():
    model, _ = build("uniformer_video")
    state = Reference("uniformer_image").state()
    assert set(inflate(state, model)) <= set(model.state_dict())
    for name in ("uniformer_image_layerscale", "uniformer_image_convstem"):
        with pytest.raises(InvalidArgumentError, match="without layer scale"):
            inflate(Reference(name).state(), model)


def test_image_weights_start_a_backbone():
    model, _ = build("uniformer_dense_global", depths=(2, 2, 2, 2))
    state = Reference("uniformer_image").state()
    with pytest.raises(InvalidArgumentError, match="strict=False"):
        snnkit.load_weights(model, state)
    report = snnkit.load_weights(model, {"model": state}, strict=False)
    assert {key.split(".")[0] for key in report.missing} == {"norms"}
    assert {key.split(".")[0] for key in report.unused} == {"norm", "head"}
    assert torch.equal(model.stages[3][1].mlp.fc2.weight, state["blocks4.1.mlp.fc2.weight"])


# Bad input.


@pytest.mark.parametrize(
    ("model", "weights", "said"),
    [
        ("uniformer_image", "uniformer_image_layerscale", "have layer scale.*layer_scale="),
        ("uniformer_image_layerscale", "uniformer_image", "lack layer scale"),
        ("uniformer_image", "uniformer_image_convstem", "overlapping.*overlapping_stem="),
        ("uniformer_image", "uniformer_video", "weights for clips"),
        ("uniformer_video", "uniformer_image_layerscale", "neither overlapping stem nor layer scale"),
        ("uniformer_video", "uniformer_video_split", "divided"),
        ("uniformer_dense_window", "uniformer_image_layerscale", "have layer scale"),
    ],
)
def test_weights_of_other_variants_are_named(model, weights, said):
    with pytest.raises(InvalidArgumentError, match=said):
        snnkit.load_weights(build(model)[0], Reference(weights).state())


@pytest.mark.parametrize("name", ["uniformer_small", "uniformer_video_small", "uniformer_xxs"])
def test_image_sizes_that_strides_do_not_divide(name):
    with pytest.raises(InvalidArgumentError, match="224 or 256"):
        snnkit.create_model(name, img_size=230)
    with torch.device("meta"):
        model = snnkit.create_model(name)
        x = torch.zeros(1, 3, *(() if name != "uniformer_video_small" else (4,)), 64, 100)
    with pytest.raises(InvalidArgumentError, match="96 or 128"):
        model(x)


def test_other_bad_arguments():
    for wrong in (31, (64, 16)):
        with pytest.raises(InvalidArgumentError, match="at least 32"):
            snnkit.create_model("uniformer_dense_small", img_size=wrong)
    with pytest.raises(InvalidArgumentError, match="8 or 10"):
        snnkit.create_model("uniformer_video_small", num_frames=9)
    for wrong in (0, -4, 2.0, "x", True):
        with pytest.raises(InvalidArgumentError, match="num_frames"):
            snnkit.create_model("uniformer_video_small", num_frames=wrong)
    with torch.device("meta"):
        video = snnkit.create_model("uniformer_video_small")
        with pytest.raises(InvalidArgumentError, match="2 or 4"):
            video(torch.zeros(1, 3, 3, 32, 32))
        with pytest.raises(InvalidArgumentError, match=r"clips \(B, C, T, H, W\)"):
            video(torch.zeros(1, 3, 32, 32))
    assert video.pretrained_cfg["input_size"] == (3, 16, 224, 224)
    with pytest.raises(UnknownNameError, match="'hybrid'"):
        snnkit.create_model("uniformer_dense_small", attention="hybryd")
    with pytest.raises(UnknownNameError, match="'divided'"):
        snnkit.create_model("uniformer_video_small", attention="divide")
    with pytest.raises(InvalidArgumentError, match="32, 64 would do"):
        snnkit.create_model("uniformer_small", head_dim=48)
    for key, wrong in (("depths", (1, 2)), ("dims", (8, 8, 8, 0)), ("depths", "3483")):
        with pytest.raises(InvalidArgumentError, match=key):
            snnkit.create_model("uniformer_small", **{key: wrong})
    for wrong in (0, -1, 1.5):
        with pytest.raises(InvalidArgumentError, match="window_size"):
            snnkit.create_model("uniformer_dense_small", window_size=wrong)


def test_clips_train_as_images_do():
    """The task lays weights out in memory, 2-D and 3-D ones."""
    model, reference = build("uniformer_video")
    task = Classification(model.float(), 10)
    loss = task.loss((reference.input.float(), torch.tensor([3])))
    loss.backward()
    assert model.patch_embeds[0].proj.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert all(parameter.grad is not None for parameter in model.parameters())
