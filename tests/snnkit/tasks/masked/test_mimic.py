"""MR-MAE: a teacher's features at visible patches, pixels at hidden ones, and never both at the same token.

Would break it: a teacher that sees the masked image or learns, features of another place, a mimic loss at hidden
patches, a reconstruction at visible ones, a grid that does not match and is taken anyway, a head that stays untrained.
"""

import json

import pytest
import torch

import snnkit
from snnkit.checkpoints import save_weights
from snnkit.engine import train
from snnkit.engine.config import ModelConfig, TaskConfig
from snnkit.errors import SnnkitError
from snnkit.layers.masked import reconstruction_loss
from snnkit.recipes import get_recipe
from snnkit.tasks import MRMAE
from snnkit.tasks.feature_teacher import FeatureTeacher

DECODER = {"decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2}
VIT = {"patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
TEACHER = {"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2, "img_size": 32}
STUDENTS = {
    "vit": ("mae:timm:vit_tiny_patch16_224", {**VIT, **DECODER}, 32),
    "convmae": ("mae:convvit_base", {"embed_dim": (4, 8, 16), "depths": (1, 1, 1), "num_heads": 2, **DECODER}, 64),
    "spiking": ("e_spikeformer_mae_12_512", {"embed_dim": (8, 8, 16), "depth": 1, "num_heads": 1, **DECODER}, 64),
}


def student(kind="vit", chans=3):
    torch.manual_seed(0)
    name, sizes, side = STUDENTS[kind]
    return snnkit.create_model(name, **sizes, img_size=side, in_chans=chans)


class Places(torch.nn.Module):
    """A teacher whose features say where they are, and keep what they were shown."""

    def __init__(self, grid, width=3):
        super().__init__()
        self.grid, self.num_features = grid, width
        self.table = torch.arange(grid[0] * grid[1] * width, dtype=torch.float32).view(1, -1, width).sin()
        self.shown = None

    def forward_features(self, images):
        self.shown = images
        return self.table.expand(len(images), -1, -1).to(images.dtype)


@pytest.mark.parametrize("kind", STUDENTS)
def test_no_token_is_asked_for_both(kind):
    """What is painted moves the loss at hidden patches alone, what is mimicked at visible ones alone: all, and once."""
    model = student(kind)
    task = MRMAE(model, teacher=Places(model.grid)).train()
    images = torch.rand(2, 3, *model.img_size)
    found = model(images)
    taught = task.teacher.model.table
    painted = found.painted.detach().requires_grad_()
    reconstruction_loss(painted, images, found.removed, model.patch_size, model.normalise).backward()
    asked_to_paint = painted.grad.abs().sum(2) > 0
    asked_to_mimic = torch.zeros_like(asked_to_paint)
    for place in range(model.cells):
        task.teacher.model.table = taught.clone()
        task.teacher.model.table[:, place] += 1
        moved = bool(task.mimic(found, images) != base(task, taught, found, images))
        for sample in range(2):
            asked_to_mimic[sample, place] = moved and bool((found.visible[sample] == place).any())
        assert moved == bool((found.visible == place).any())
    assert torch.equal(asked_to_paint, found.removed.bool())
    assert torch.equal(asked_to_mimic, ~found.removed.bool())


def base(task, taught, found, images):
    """The mimic loss with the features as they were."""
    changed, task.teacher.model.table = task.teacher.model.table, taught
    try:
        return task.mimic(found, images)
    finally:
        task.teacher.model.table = changed


def test_the_teacher_sees_whole_images_and_stays_as_it_is():
    model = student()
    teacher = snnkit.create_model("timm:vit_tiny_patch16_224", **TEACHER)
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    task, images = MRMAE(model, teacher=teacher).train(), torch.rand(2, 3, 32, 32)
    whole = teacher.forward_features(images)[:, 1:]
    torch.testing.assert_close(task.teacher.tokens(images), whole)
    loss = task(images)
    loss.backward()
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not any(key.startswith("teacher") or "_teacher" in key for key in task.state_dict())
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert task.head.weight.grad.abs().max() > 0
    assert model.encoder.patch_embed.proj.weight.grad.abs().max() > 0
    parts = task.compute()
    assert parts["loss"] == pytest.approx(parts["reconstruction"] + parts["mimic"], rel=1e-6)


def normed(t):
    """Mean 0 and variance 1 at every place."""
    return (t - t.mean(2, True)) / (t.var(2, False, keepdim=True) + 1e-5).sqrt()


@pytest.mark.parametrize(
    ("options", "form"),
    [
        ({}, lambda z, t: (z - t).square().mean()),
        ({"distance": "cosine"}, lambda z, t: 1 - torch.cosine_similarity(z, t, 2).mean()),
        ({"normalise": "layer_norm"}, lambda z, t: (z - normed(t)).square().mean()),
        ({"normalise": "unit"}, lambda z, t: (z - t / t.norm(dim=2, keepdim=True)).square().mean()),
        ({"distance": "smooth_l1", "head": "mlp"}, lambda z, t: torch.nn.functional.smooth_l1_loss(z, t)),
    ],
)  # fmt: skip
def test_forms_of_the_loss(options, form):
    model = student()
    task, images = MRMAE(model, teacher=Places(model.grid), **options), torch.rand(2, 3, 32, 32)
    found = model(images)
    taught = torch.stack([task.teacher.model.table[0, places] for places in found.visible])
    torch.testing.assert_close(task.mimic(found, images), form(task.head(found.latent), taught))


def test_teachers_of_every_kind(tmp_path):
    """A convolutional network, a spiking one, timm's with channels last, an encoder out of a pre-training."""
    given = {
        "timm:resnet10t": ({"in_chans": 3, "num_classes": 0}, 32),
        "spikformer_v2_8_384": ({"embed_dim": 16, "depth": 1, "num_heads": 2, "stem_ratio": 1, "img_size": 64}, 64),
        "timm:swin_tiny_patch4_window7_224": (
            {"embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2), "img_size": 56},
            56,
        ),
    }
    for name, (sizes, side) in given.items():
        model = snnkit.create_model(name, **sizes).eval()
        maps = FeatureTeacher(model, (3, 3), (3, side, side), resample=True)
        tokens = maps.tokens(torch.rand(2, 3, side, side))
        assert tokens.shape == (2, 9, maps.width)
    path = tmp_path / "teacher.safetensors"
    name, sizes, side = STUDENTS["vit"]
    save_weights(student(), path, {"name": name, **sizes, "img_size": side, "in_chans": 3})
    teacher = FeatureTeacher(str(path), (4, 4), (3, 32, 32))
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(teacher.tokens(images), student().encoder.eval().forward_features(images)[:, 1:])


def test_one_channel_is_repeated_for_a_teacher_of_three():
    teacher = FeatureTeacher(snnkit.create_model("timm:vit_tiny_patch16_224", **TEACHER), (4, 4), (1, 32, 32))
    grey = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(teacher.tokens(grey), teacher.tokens(grey.expand(-1, 3, -1, -1)))


def test_a_teacher_with_a_normalisation_of_its_own():
    """Images come in ImageNet's; timm says what CLIP's is."""
    model = snnkit.create_model("timm:vit_tiny_patch16_224", **TEACHER).eval()
    model.pretrained_cfg = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    raw = torch.rand(1, 3, 32, 32)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    own_mean, own_std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    found = FeatureTeacher(model, (4, 4), (3, 32, 32), renormalise=True).tokens((raw - mean) / std)
    torch.testing.assert_close(found, model.forward_features((raw - own_mean) / own_std)[:, 1:], rtol=1e-4, atol=1e-5)


def test_only_published_weights_have_a_normalisation_of_their_own(tmp_path):
    """A network trained here has seen images as they come; timm's card is not about its weights."""
    model, sizes = snnkit.create_model("timm:vit_tiny_patch16_224", **TEACHER, num_classes=0), {**TEACHER}
    path = tmp_path / "w.safetensors"
    save_weights(model, path, {"name": "timm:vit_tiny_patch16_224", **sizes, "num_classes": 0, "in_chans": 3})
    assert not FeatureTeacher(str(path), (4, 4), (3, 32, 32)).renormalise
    assert not FeatureTeacher(model, (4, 4), (3, 32, 32)).renormalise
    whole = snnkit.create_model("timm:vit_tiny_patch16_224", num_classes=0)
    save_weights(whole, path)
    text = f"timm:vit_tiny_patch16_224@{path}"
    assert FeatureTeacher(text, (14, 14), (3, 224, 224)).renormalise


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "give a trained network to mimic"),
        ({"teacher": "no/such/run"}, "no such run folder"),
        ({"teacher": "timm:vit_tiny_patch16_224@"}, "after the @"),
        ({"teacher": Places((3, 3))}, r"grid of 3×3 .*4×4.*sees 40 pixels would match.*teacher_size=40.*resample=true"),
        ({"teacher": torch.nn.Linear(2, 2)}, "no forward_features"),
        ({"teacher": Places((4, 4)), "head": "lineer"}, "'linear'"),
        ({"teacher": Places((4, 4)), "distance": "l3"}, "distance"),
        ({"teacher": Places((4, 4)), "normalise": "layernorm"}, "'layer_norm'"),
        ({"teacher": Places((4, 4)), "head": "none"}, r"16 channels, the teacher's 3"),
        ({"teacher": Places((4, 4)), "weight": 0.0}, r"weight=0\.0: must be above 0"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(options, words):
    with pytest.raises(SnnkitError, match=words) as caught:
        MRMAE(student(), **options)
    assert "\n" not in str(caught.value)


def test_simmim_shows_hidden_places_to_its_encoder():
    sizes = {"patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2, "mask_patch_size": 8}
    model = snnkit.create_model("simmim:timm:vit_tiny_patch16_224", **sizes, img_size=32)
    with pytest.raises(SnnkitError, match="encodes hidden places too"):
        MRMAE(model, teacher=Places((4, 4)))


def test_a_run_with_a_teacher_of_one_file(tmp_path):
    """By configuration alone: parts are logged, and the head is no part of what is kept."""
    path = tmp_path / "teacher.safetensors"
    save_weights(snnkit.create_model("timm:vit_tiny_patch16_224", **TEACHER, num_classes=0, in_chans=1), path,
                 {"name": "timm:vit_tiny_patch16_224", "embed_dim": 24, "depth": 1, "num_heads": 2, "img_size": 32,
                  "patch_size": 8, "num_classes": 0, "in_chans": 1})  # fmt: skip
    config = get_recipe("mae_fashion_mnist")
    name, sizes, _ = STUDENTS["vit"]
    config.model, config.task = (
        ModelConfig(name, sizes=dict(sizes)),
        TaskConfig("mr_mae", options={"teacher": str(path)}),
    )
    config.data.source, config.data.batch_size, config.data.train_limit, config.data.test_limit = "vendored", 8, 24, 8
    config.epochs, config.threads = 1, 1
    run = train(config, tmp_path / "run")
    line = json.loads((run.folder / "metrics.jsonl").read_text())
    for split in ("train", "test"):
        found = line[split]
        assert found["loss"] == pytest.approx(found["reconstruction"] + found["mimic"], rel=1e-5)
    keys = snnkit.checkpoints.read_weights(run.checkpoint)[0]
    assert not [key for key in keys if "head" in key]
