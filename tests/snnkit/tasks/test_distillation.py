"""Distillation: the losses by reference numbers and by hand, teachers that stay as they are, outputs kept on disk.

Would break it: logits averaged where probabilities should be, a teacher that trains or is saved with the student, a
gradient into the teacher, a cache that mixes teachers up, a turned gradient where none was asked for.
"""

import json
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import snnkit
from snnkit.engine import train
from snnkit.errors import CorruptFileError, DiskError, InvalidArgumentError, UnknownNameError
from snnkit.recipes import get_recipe
from snnkit.tasks import Distillation, FeatureDistillation, MealV2, build_task
from snnkit.tasks.distillation import soft_loss
from snnkit.tasks.feature_distillation import _laid_out
from snnkit.tasks.meal_v2 import Discriminator, similarity_loss
from snnkit.tasks.teachers import Teachers


class Fixed(nn.Module):
    """A teacher whose logits are given, whatever it sees; it counts its calls."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(torch.as_tensor(logits))
        self.calls = 0

    def forward(self, images):
        self.calls += 1
        return self.logits[: len(images)]


class Student(nn.Module):
    """One linear layer; with ``heads=2`` a second one while training."""

    def __init__(self, classes, heads=1):
        super().__init__()
        self.first, self.second = nn.Linear(12, classes), nn.Linear(12, classes) if heads == 2 else None

    def forward(self, images):
        x = images.flatten(1)
        return self.first(x) if self.second is None or not self.training else (self.first(x), self.second(x))


@pytest.fixture(scope="module")
def reference(golden):
    return {key: torch.as_tensor(value) for key, value in np.load(golden / "meal_v2_loss.npz").items() if key != "json"}


def discriminator(reference):
    made = Discriminator(64, ratio=4).double()
    for number, layer in enumerate(made.layers, start=1):
        layer.weight.data = reference[f"in_w/conv{number}.weight"].flatten(1)
        layer.bias.data = reference[f"in_w/conv{number}.bias"]
    return made


def test_meal_v2_equals_the_published_losses_and_gradients(reference):
    student, teachers = reference["in_student"].clone().requires_grad_(), reference["in_teachers"]
    probabilities = teachers.softmax(2).mean(0)
    torch.testing.assert_close(probabilities, reference["out_soft_label"], rtol=1e-7, atol=0)
    similarity = similarity_loss(student, probabilities)
    torch.testing.assert_close(similarity, reference["out_g_loss"], rtol=1e-7, atol=0)
    d = discriminator(reference)
    told_apart = d.loss(student, teachers.mean(0))
    torch.testing.assert_close(told_apart.float(), reference["out_d_loss"], rtol=1e-6, atol=0)
    torch.testing.assert_close(
        d(torch.cat([student, teachers.mean(0)])), reference["out_d_logits"], rtol=1e-7, atol=1e-12
    )
    (similarity + told_apart).backward()
    torch.testing.assert_close(student.grad, reference["out_grad_student"], rtol=1e-6, atol=1e-9)
    for number, layer in enumerate(d.layers, start=1):
        expected = reference[f"out_gradD/conv{number}.weight"].flatten(1)
        torch.testing.assert_close(layer.weight.grad, expected, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(layer.bias.grad, reference[f"out_gradD/conv{number}.bias"], rtol=1e-6, atol=1e-9)


def test_the_task_is_the_sum_and_the_adversarial_form_turns_one_gradient(reference):
    teachers = [Fixed(z) for z in reference["in_teachers"]]
    torch.manual_seed(0)
    images, labels = torch.randn(5, 3, 2, 2, dtype=torch.float64), torch.arange(5)
    gradients = {}
    for adversarial in (False, True):
        torch.manual_seed(0)
        student = Student(64).double()
        task = MealV2(student, 64, teachers, adversarial=adversarial, ratio=4).double()
        task.discriminator = discriminator(reference)
        loss = task(((images), labels))
        logits = student(images)
        expected = similarity_loss(logits, reference["out_soft_label"])
        expected = expected + task.discriminator.loss(logits, reference["out_mean_logits"])
        torch.testing.assert_close(loss, expected)
        loss.backward()
        gradients[adversarial] = student.first.weight.grad.clone()
    assert not torch.allclose(gradients[False], gradients[True])
    similarity_only = torch.autograd.grad(
        similarity_loss(student(images), reference["out_soft_label"]), student.first.weight
    )
    torch.testing.assert_close((gradients[False] + gradients[True]) / 2, similarity_only[0])


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("soft", [False, True])
def test_deit_by_hand(heads, soft):
    torch.manual_seed(1)
    student, z = Student(7, heads), torch.randn(4, 7)
    images, labels = torch.randn(4, 3, 2, 2), torch.randint(7, (4,))
    task = Distillation(student, 7, Fixed(z), soft=soft, alpha=0.3, tau=2.0 if soft else 1.0)
    out = student(images)
    first, second = out if heads == 2 else (out, out)
    log_p, log_q = torch.log_softmax(z / 2, 1), torch.log_softmax(second / 2, 1)
    kd = 4 * (log_p.exp() * (log_p - log_q)).sum(1).mean() if soft else F.cross_entropy(second, z.argmax(1))
    torch.testing.assert_close(task((images, labels)), 0.7 * F.cross_entropy(first, labels) + 0.3 * kd)


def test_the_published_soft_form_divides_by_every_element():
    a, b = torch.randn(3, 5), torch.randn(3, 5)
    torch.testing.assert_close(soft_loss(a, b, 3.0, per_element=True) * 5, soft_loss(a, b, 3.0))


def test_teachers_stay_out_of_the_task():
    teacher = snnkit.create_model("spiking_cnn_small", width=4, num_classes=7)
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    student = snnkit.create_model("spiking_cnn_small", width=3, num_classes=7)
    task = Distillation(student, 7, teacher).train()
    assert not teacher.training
    assert len(list(task.parameters())) == len(list(student.parameters()))
    assert all(key.startswith("model.") for key in task.state_dict())
    task((torch.randn(4, 1, 28, 28), torch.randint(7, (4,)))).backward()
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())


def test_outputs_are_kept_by_content_and_by_teacher(tmp_path):
    first, images = Fixed(torch.randn(6, 7)), torch.randn(6, 1, 2, 2)
    teachers = Teachers(first, 7, str(tmp_path))
    expected = teachers.logits(images)
    assert torch.equal(teachers.logits(images), expected)
    assert first.calls == 1
    teachers.logits(images + 1)
    assert first.calls == 2
    teachers.flush()
    again = Teachers(first, 7, str(tmp_path))
    assert torch.equal(again.logits(images), expected)
    assert first.calls == 2
    other = Fixed(torch.randn(6, 7))
    assert not torch.equal(Teachers(other, 7, str(tmp_path)).logits(images), expected)
    assert other.calls == 1
    victim = next(tmp_path.rglob("*.safetensors"))
    victim.write_bytes(victim.read_bytes()[:40])
    with pytest.raises(CorruptFileError, match="remove it"):
        Teachers(first, 7, str(tmp_path))


@pytest.mark.parametrize("blur", [0.0, 0.5])
def test_features_of_an_ordinary_teacher_reach_the_student(blur):
    torch.manual_seed(0)
    teacher = snnkit.create_model("timm:resnet10t", num_classes=7, in_chans=1)
    student = snnkit.create_model("spiking_cnn_small", width=4, num_classes=7)
    task = FeatureDistillation(student, 7, teacher, blur=blur, alpha=0.5, weight=1.0)
    assert task._pairs == [(0, 0)]  # the only stride both have: 2
    images, labels = torch.randn(4, 1, 28, 28), torch.randint(7, (4,))
    task((images, labels)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in task.parameters())
    with_maps = student.stem.conv.weight.grad.clone()
    student.zero_grad()
    task.weight = 0.0
    torch.manual_seed(0)
    task((images, labels)).backward()
    assert not torch.allclose(student.stem.conv.weight.grad, with_maps)


def test_feature_loss_by_hand():
    teacher = snnkit.create_model("timm:resnet10t", num_classes=7, in_chans=1)
    images, labels = torch.randn(4, 1, 32, 32), torch.randint(7, (4,))
    student = snnkit.create_model("spiking_cnn_small", width=4, num_classes=7, img_size=32).eval()
    task = FeatureDistillation(student, 7, teacher, pairs="0=1", weight=2.0)
    rates = student.forward_features(images.expand(4, *images.shape)).mean(0)
    maps = teacher.forward_intermediates(images, intermediates_only=True)[1]
    expected = F.cross_entropy(student(images), labels)
    expected = expected + 2 * F.mse_loss(task.project[0](F.adaptive_avg_pool2d(rates, maps.shape[-2:])), maps)
    torch.testing.assert_close(task.loss((images, labels)), expected)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda s: Distillation(s, 7, Fixed(torch.zeros(1, 7)), alpha=1.5), InvalidArgumentError, "alpha=1.5"),
        (lambda s: Distillation(s, 7, Fixed(torch.zeros(1, 7)), tau=0.0), InvalidArgumentError, "tau=0.0"),
        (lambda s: Distillation(s, 7, Fixed(torch.zeros(1, 7)), tau=2.0), InvalidArgumentError, "soft=true"),
        (lambda s: Distillation(s, 7, ()), InvalidArgumentError, "give at least one"),
        (lambda s: Distillation(s, 7, "runs/none"), CorruptFileError, "no such run folder"),
        (
            lambda s: Distillation(s, 7, snnkit.create_model("spiking_cnn_small", num_classes=9)),
            InvalidArgumentError,
            "has 9 classes, the data 7",
        ),
        (lambda s: FeatureDistillation(s, 7, Fixed(torch.zeros(1, 7))), InvalidArgumentError, "feature maps"),
        (lambda s: build_task("distilation", s, 7, {}), UnknownNameError, "Did you mean 'distillation'"),
        (lambda s: build_task("distillation", s, 7, {"alfa": 1}), UnknownNameError, "Did you mean 'alpha'"),
        (
            lambda s: build_task("distillation", s, 7, {"alpha": "high"}),
            InvalidArgumentError,
            "alpha='high': .*a number",
        ),
        (lambda s: build_task("distillation", s, 7, {"soft": "perhaps"}), InvalidArgumentError, "soft=.*true or false"),
        (lambda s: build_task("meal_v2", s, 7, {"ratio": 2.5}), InvalidArgumentError, "ratio=2.5: .*whole number"),
        (lambda s: build_task("classification", s, 7, {"label_smoothing": 2}), InvalidArgumentError, "between 0 and 1"),
        (lambda s: MealV2(s, 7, Fixed(torch.zeros(1, 7)), ratio=0), InvalidArgumentError, "ratio=0: must be ≥ 1"),
        (
            lambda s: FeatureDistillation(s, 7, Fixed(torch.zeros(1, 7)), weight=-1.0),
            InvalidArgumentError,
            "weight=-1.0",
        ),
        (lambda s: Distillation(s, 7, "timm:resnet10t@"), InvalidArgumentError, "weights after the @"),
        (
            lambda s: Distillation(s, 7, Fixed(torch.zeros(1, 7)), cache="/dev/null/x"),
            DiskError,
            "Choose another folder",
        ),
    ],
)
def test_bad_input(make, error, words):
    with pytest.raises(error, match=words):
        make(Student(7))


def test_a_spiking_teacher_teaches_its_rates():
    teacher = snnkit.create_model("spiking_cnn_small", width=4, num_classes=7, img_size=32, timesteps=3).eval()
    student = snnkit.create_model("spiking_cnn_small", width=4, num_classes=7, img_size=32, timesteps=2).eval()
    images, labels = torch.randn(4, 1, 32, 32), torch.randint(7, (4,))
    task = FeatureDistillation(student, 7, teacher)
    mine, theirs = (
        m.forward_features(images.expand(t, *images.shape)).mean(0) for m, t in ((student, 2), (teacher, 3))
    )
    expected = F.cross_entropy(student(images), labels) + F.mse_loss(task.project[0](mine), theirs)
    torch.testing.assert_close(task.loss((images, labels)), expected)


def test_a_folder_with_an_at_in_its_name_is_a_run(tiny_run, tmp_path):
    shutil.copytree(tiny_run.folder / "checkpoints", tmp_path / "a@b" / "checkpoints")
    assert len(Teachers(str(tmp_path / "a@b"), 10).models) == 1


def test_a_run_learns_from_another_run_and_its_cache_serves_the_next(tiny_run, tmp_path, monkeypatch):
    """A teacher of text: a run folder; the second student of the same seed never calls it."""
    config = get_recipe("demo")
    config.epochs, config.data.train_limit, config.data.test_limit, config.data.batch_size = 1, 64, 40, 16
    config.task.name, config.task.label_smoothing = "meal_v2", 0.0
    config.task.options = {"teachers": str(tiny_run.folder), "cache": str(tmp_path / "cache")}
    run = train(config, tmp_path / "first")
    line = json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert line["train"]["loss"] == pytest.approx(
        line["train"]["similarity"] + line["train"]["discriminator"], rel=1e-5
    )
    assert not any("discriminator" in key for key in snnkit.checkpoints.read_weights(run.checkpoint)[0])

    def never(*_):
        raise AssertionError("the teacher was asked")

    monkeypatch.setattr("snnkit.tasks.teachers._logits", never)
    again = train(config, tmp_path / "second")
    first, second = (snnkit.checkpoints.read_weights(r.checkpoint)[0] for r in (run, again))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_teacher_sees_images_of_the_size_it_was_trained_on(tmp_path):
    """Also one that does not know its size itself, as timm's do not."""
    config = get_recipe("resnet_fashion_mnist")
    config.epochs, config.data.train_limit, config.data.test_limit, config.threads = 1, 64, 40, 1
    config.data.source, config.data.img_size = "vendored", 40
    config.model.sizes["channels"] = (8, 8, 8, 8)
    run = train(config, tmp_path / "teacher")
    teachers = Teachers(str(run.folder), 10)
    seen = []
    teachers.models[0].register_forward_pre_hook(lambda _m, inputs: seen.append(tuple(inputs[0].shape)))
    images = torch.rand(2, 1, 28, 28)
    logits = teachers.logits(images)
    assert seen == [(2, 1, 40, 40)]
    resized = F.interpolate(images, (40, 40), mode="bicubic", antialias=True)
    torch.testing.assert_close(logits[0], teachers.models[0](resized))


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        (
            "swinv2_tiny_window8_256",
            {
                "img_size": 64,
                "embed_dim": 16,
                "depths": (1, 1, 1, 1),
                "num_heads": (1, 2, 4, 8),
                "pretrained_window_size": 0,
            },
        ),
        (
            "timm:swin_tiny_patch4_window7_224",
            {"img_size": 64, "window_size": 2, "embed_dim": 24, "depths": (1, 1, 1, 1)},
        ),
    ],
)
def test_maps_with_channels_last_teach(name, sizes):
    """Swin's maps have them last; the student's strides are those of two of its four."""
    torch.manual_seed(0)
    teacher = snnkit.create_model(name, num_classes=7, in_chans=1, **sizes)
    student = snnkit.create_model("meta_spikeformer_tiny", num_classes=7, in_chans=1, img_size=64, timesteps=2)
    task = FeatureDistillation(student, 7, teacher)
    assert len(task.project) >= 2
    loss = task.loss((torch.randn(2, 1, 64, 64), torch.tensor([1, 2])))
    loss.backward()
    assert all(project.weight.grad.abs().sum() > 0 for project in task.project)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("shape", [(2, 5, 8, 8), (2, 8, 4, 8), (2, 8, 8, 4), (2, 8, 8, 8)])
def test_a_map_is_laid_out_with_channels_in_front(shape, last):
    """Also where a side is as long as there are channels: the ratio of the image's sides, or timm's word, tells."""
    x = torch.randn(shape)
    given = x.movedim(1, -1) if last else x
    image = (shape[2] * 4, shape[3] * 4)
    assert torch.equal(_laid_out(given, shape[1], image, last), x)
    if shape != (2, 8, 8, 8):
        assert torch.equal(_laid_out(given, shape[1], image, False), x)


@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_tokens_become_a_map_without_those_in_front(prefix):
    x = torch.randn(2, 3, 4, 8)
    tokens = torch.cat([torch.full((2, prefix, 3), 9.0), x.flatten(2).movedim(1, 2)], 1)
    assert torch.equal(_laid_out(tokens, 3, (32, 64), False), x)


def test_a_map_of_no_known_layout_is_refused():
    with pytest.raises(InvalidArgumentError, match=r"a map of 3 channels is \(2, 5, 6, 7\)"):
        _laid_out(torch.zeros(2, 5, 6, 7), 3, (32, 32), False)


def test_maps_that_could_be_paired_are_listed():
    teacher = snnkit.create_model("timm:swin_tiny_patch4_window7_224", num_classes=7, in_chans=1, img_size=56)
    student = snnkit.create_model("spiking_cnn_small", num_classes=7, in_chans=1, img_size=56)
    wanted = r"the teacher's 0 = layers.0 \(stride 4\), 1 = .*task.options.pairs=0=0"
    with pytest.raises(InvalidArgumentError, match=wanted):
        FeatureDistillation(student, 7, teacher)
    FeatureDistillation(student, 7, teacher, pairs="0=0").loss((torch.randn(2, 1, 56, 56), torch.tensor([1, 2])))
    with pytest.raises(InvalidArgumentError, match=r"the student has 0 = mix_lif \(stride 2\); the teacher 0 ="):
        FeatureDistillation(student, 7, teacher, pairs="0=9")
