"""Teachers of tasks beyond classes: losses by hand and 0 for two alike, who learns, refusals, and runs that go on.

Would break it: a gradient into the teacher, or one that changes its batch norms; a teacher in the checkpoint or in
tests; other regions than the student's; offsets and masks of classes that are not there; maps of other strides; a
weight of the truth that α does not take; projections that a resumed run draws anew.
"""

import copy
import json
import shutil

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

import snnkit
from snnkit.engine import RunConfig, resume, train
from snnkit.engine.config import ModelConfig, TaskConfig
from snnkit.errors import SnnkitError
from snnkit.tasks import build_task
from snnkit.tasks.detection_teacher import apart
from snnkit.tasks.task import Plan
from snnkit.tasks.teaching import bernoulli_kl

pytest.importorskip("pycocotools", reason="no AP: pip install pycocotools")

RESNET = {"stem_type": "", "stem_width": 8, "channels": (8, 8, 16, 16)}
SPIKES = {"embed_dim": (8, 8, 16, 16), "depths": (1, 1, 1, 1, 1), "num_heads": 1, "mlp_ratio": 2, "timesteps": 2}
SIZES = {
    "semantic_fpn": {"fpn_channels": 8, "head_channels": 8},
    "mask_rcnn": {
        "fpn_channels": 8, "box_channels": 16, "mask_channels": 8, "mask_layers": 1, "regions": 8, "proposals": 16,
    },
    "retinanet": {"fpn_channels": 8},
    "pose": {"head_channels": 8},
    "captioner": {
        "text_width": 16, "text_depth": 1, "text_heads": 2, "text_dropout": 0.0, "frozen": False, "vocabulary": 12,
        "context": 8,
    },
}  # fmt: skip
TASK = {
    "semantic_fpn": "segmentation",
    "mask_rcnn": "detection",
    "retinanet": "detection",
    "pose": "pose",
    "captioner": "captioning",
}
METHODS = list(TASK)


def model(method, spiking=False, seed=0, **sizes):
    torch.manual_seed(seed)
    name, own = ("meta_spikeformer_15m", SPIKES) if spiking else ("timm:resnet10t", RESNET)
    if method not in ("semantic_fpn", "mask_rcnn") and not spiking:
        own = {**own, "output_stride": 16}  # as coarse as Meta-SpikeFormer
    classes = {} if method == "captioner" else {"num_classes": 3}
    made = snnkit.create_model(f"{method}:{name}", **{**classes, **own, **SIZES[method], **sizes})
    for part in made.modules() if seed else ():  # a new network says the same everywhere; this one does not
        if isinstance(part, (nn.Conv2d, nn.Linear)) and part.weight.std() < 0.03:
            nn.init.normal_(part.weight, std=0.2)
    return made


def batch(method, side=32):
    torch.manual_seed(1)
    images = torch.randn(2, 3, side, side)
    if method == "semantic_fpn":
        return images, torch.randint(0, 3, (2, side, side))
    if method == "pose":
        points = torch.tensor([[8.0, 9.0, 1.0], [20.0, 4.0, 1.0], [6.0, 25.0, 0.0]]).expand(2, 3, 3).clone()
        back, near = torch.eye(2, 3).expand(2, 2, 3), torch.full((2, 3), 0.1)
        about = {"image": torch.arange(2), "area": torch.full((2,), 400.0), "box": torch.tensor([[4.0, 4, 20, 20]] * 2)}
        mirror = torch.arange(3).expand(2, 3)
        return images, {"points": points, "back": back, "sigmas": near, "mirror": mirror, **about}
    if method == "captioner":
        return images, torch.tensor([[3, 4, 5, 0, 0], [6, 7, 0, 0, 0]]), [("a",), ("b",)]
    targets = []
    for label in (0, 2):
        masks = torch.zeros(1, side, side, dtype=torch.bool)
        masks[0, 4:20, 6:26] = True
        boxes = torch.tensor([[6.0, 4.0, 26.0, 20.0]])
        targets.append({"boxes": boxes, "labels": torch.tensor([label]), "masks": masks})
    return list(images), targets


def task(method, student, **options):
    return build_task(TASK[method], student, 3, options).train()


def still(module):
    """Let batch norms and dropout do what they do in the teacher."""
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm2d, nn.Dropout, nn.Dropout2d)):
            part.eval()


def taught(made, given):
    """The loss of a batch, and how far its student was from the teacher."""
    torch.manual_seed(2)
    loss = made(given)
    return loss, made.results()["distillation"]


@pytest.mark.parametrize("method", METHODS)
def test_two_that_are_alike_have_nothing_to_teach_and_only_the_student_learns(method):
    student = model(method)
    teacher = copy.deepcopy(student)
    made = task(method, student, teacher=teacher, alpha=1.0)
    still(made)
    with torch.no_grad():
        loss, difference = taught(made, batch(method))
    assert difference == pytest.approx(0, abs=1e-6)
    if method != "mask_rcnn":  # whose proposals are learned from the truth whatever α is
        assert float(loss) == pytest.approx(0, abs=1e-6)
    other = model(method, seed=5)
    before = copy.deepcopy(other.state_dict())
    made = task(method, student, teacher=other, alpha=1.0)
    still(made)
    loss, difference = taught(made, batch(method))
    assert difference > 1e-6
    loss.backward()
    assert all(parameter.grad is None for parameter in other.parameters())
    assert all(torch.equal(value, before[key]) for key, value in other.state_dict().items())
    assert not other.training
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in student.parameters())
    mine = {id(parameter) for parameter in student.parameters()}
    assert {id(parameter) for parameter in made.parameters()} == mine
    assert not any(key.startswith("teaching") for key in made.state_dict())


@pytest.mark.parametrize("method", METHODS)
def test_a_spiking_student_learns_answers_and_maps(method):
    student = model(method, spiking=True)
    made = task(method, student, teacher=model(method, seed=3), alpha=1.0, features=0.1)
    given = batch(method)
    loss, _ = taught(made, given)
    loss.backward()
    trained = [name for name, parameter in made.named_parameters() if parameter.requires_grad]
    assert any(name.startswith("teaching.project") for name in trained)
    missing = [
        name for name, parameter in made.named_parameters() if parameter.requires_grad and parameter.grad is None
    ]
    assert not missing, missing
    optimizer = torch.optim.AdamW(made.parameters(), 5e-3)
    seen = []
    for _ in range(25):
        optimizer.zero_grad()
        made(given).backward()
        optimizer.step()
        seen.append(made.results())
    first, last = ({key: sum(line[key] for line in part) for key in ("distillation", "features")}
                   for part in (seen[:5], seen[-5:]))  # fmt: skip
    assert last["distillation"] < first["distillation"]
    assert last["features"] < first["features"]


@pytest.mark.parametrize("method", METHODS)
def test_alpha_weighs_the_truth_against_the_teacher(method):
    student, teacher = model(method), model(method, seed=3)
    given, losses = batch(method), {}
    for alpha in (0.0, 0.25, 1.0):
        made = task(method, student, teacher=teacher, alpha=alpha)
        still(made)
        losses[alpha], difference = taught(made, given)
    plain = task(method, student)
    still(plain)
    torch.manual_seed(2)
    assert float(plain(given).detach()) == pytest.approx(float(losses[0.0].detach()), rel=1e-5)
    mixed = 0.75 * losses[0.0] + 0.25 * losses[1.0]
    assert float(losses[0.25].detach()) == pytest.approx(float(mixed.detach()), rel=1e-5)
    if method != "mask_rcnn":
        assert float(losses[1.0].detach()) == pytest.approx(difference, rel=1e-5)
    assert "distillation" not in plain.results()


def test_pixels_by_hand():
    made = task("semantic_fpn", model("semantic_fpn"))
    said, answer = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    p = (answer / 2).softmax(1)
    by_hand = 4 * (p * (p.log() - (said / 2).log_softmax(1))).sum(1).mean()
    assert float(made.teacher_loss(None, said, answer, 2.0)) == pytest.approx(float(by_hand), rel=1e-5)
    coarse = answer[:, :, ::2, ::2]
    enlarged = F.interpolate(coarse, (4, 4), mode="bilinear", align_corners=False)
    assert torch.equal(made.teacher_loss(None, said, coarse, 2.0), made.teacher_loss(None, said, enlarged, 2.0))


def test_yes_and_no_by_hand():
    student, teacher = torch.tensor([0.3, -60.0, 2.0]), torch.tensor([-1.1, 50.0, 2.0])
    q, p = (value.double().div(2).sigmoid() for value in (student, teacher))
    by_hand = 4 * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log())
    torch.testing.assert_close(bernoulli_kl(student, teacher, 2.0).double(), by_hand, rtol=1e-5, atol=1e-6)


def test_regions_by_hand():
    sure = 12.0 * F.one_hot(torch.tensor([0, 2]), 3).float()  # background, and the second class
    student = {"classes": sure, "offsets": torch.zeros(2, 12), "masks": torch.zeros(1, 3, 2, 2)}
    teacher = {"classes": sure, "offsets": torch.zeros(2, 12), "masks": torch.zeros(1, 3, 2, 2)}
    teacher["mask_classes"] = sure[1:]
    teacher["offsets"][0] = 5.0  # of the background: nobody asks
    teacher["offsets"][1, :8] = 5.0  # of another class
    teacher["masks"][:, :2] = 5.0
    nothing = apart(student, teacher, 1.0)
    assert all(float(value) < 1e-2 for value in nothing.values())
    teacher["offsets"][1, 8:] = 2.0
    teacher["masks"][:, 2] = 1.0
    found = apart(student, teacher, 1.0)
    assert float(found["boxes"]) == pytest.approx(4 * (2 - 1 / 18), rel=1e-2)
    one = bernoulli_kl(torch.zeros(1), torch.ones(1))
    assert float(found["masks"]) == pytest.approx(float(one), rel=1e-2)


def test_anchors_by_hand():
    nobody = torch.full((1, 4, 3), -20.0)
    student = {"cls_logits": nobody, "bbox_regression": torch.zeros(1, 4, 4)}
    teacher = {"cls_logits": nobody.clone(), "bbox_regression": torch.full((1, 4, 4), 2.0)}
    assert all(float(value) < 1e-6 for value in apart(student, teacher, 1.0).values())
    teacher["cls_logits"][0, 1, 2] = teacher["cls_logits"][0, 2, 0] = 20.0
    found = apart(student, teacher, 1.0)
    assert float(found["boxes"]) == pytest.approx(4 * (2 - 1 / 18), rel=1e-4)
    assert float(found["classes"]) == pytest.approx(20.0, rel=1e-4)  # −log of the student's probability, of each thing


def test_maps_of_the_same_stride_are_compared_at_their_mean_over_time():
    student, teacher = model("pose", spiking=True), model("pose", spiking=True, seed=3)
    made = task("pose", student, teacher=teacher, features=2.0, alpha=0.0)
    (pair,) = made.teaching.pairs
    assert student.backbone.strides[pair[0]] == teacher.backbone.strides[pair[1]]
    project = made.teaching.project[0]
    project.weight.data = torch.eye(project.in_channels)[..., None, None]
    project.bias.data.zero_()
    crops = batch("pose")[0]
    made.eval()
    with torch.no_grad():
        mine, theirs = (net.backbone(crops)[-1].mean(0) for net in (student, teacher))
        by_hand = (mine - theirs).square().mean()
        with made.studying() as seen:
            said = student(crops)
        zero = torch.zeros(())
        total = made.taught(zero, batch("pose"), said, seen)
    assert float(total) == pytest.approx(2 * float(by_hand), rel=1e-5)


@pytest.mark.parametrize(
    ("method", "teacher", "options", "words"),
    [
        ("semantic_fpn", lambda: model("semantic_fpn", num_classes=4), {}, "has 4 classes, the data 3"),
        ("semantic_fpn", lambda: model("semantic_fpn", in_chans=1), {}, "images of 1 channels, the student of 3"),
        ("semantic_fpn", lambda: model("semantic_fpn"), {"alpha": 1.5}, "alpha=1.5"),
        ("semantic_fpn", lambda: model("semantic_fpn"), {"temperature": 0.0}, "temperature=0"),
        ("semantic_fpn", lambda: model("semantic_fpn"), {"features": -1.0}, "features=-1"),
        ("semantic_fpn", lambda: "", {}, "there is no teacher; give task.options.teacher=RUN"),
        ("semantic_fpn", lambda: "nowhere", {}, "no such run folder or file"),
        ("semantic_fpn", lambda: nn.Identity(), {"features": 1.0}, "a Identity, has no backbone"),
        ("semantic_fpn", lambda: model("semantic_fpn", levels=1, finest=32), {"features": 1.0}, None),
        ("mask_rcnn", lambda: model("retinanet"), {}, "a RetinaNet, cannot teach a MaskRCNN"),
        ("mask_rcnn", lambda: model("mask_rcnn", masks=False), {}, "finds no masks"),
        ("retinanet", lambda: model("retinanet", octaves=2), {}, "16, 16, finest sides 32, 45 and"),
        ("retinanet", lambda: model("retinanet", output_stride=32), {}, "strides 8, 16, 32"),
        ("pose", lambda: model("pose"), {"temperature": 2.0}, "heat maps know none"),
        ("captioner", lambda: model("captioner", vocabulary=13), {}, "vocabulary=13, the student 12"),
        ("captioner", lambda: model("captioner", context=7), {}, "context=7, the student 8"),
        ("captioner", lambda: model("pose"), {}, "writes no texts"),
    ],
)  # fmt: skip
def test_what_cannot_teach(method, teacher, options, words):
    options = {"teacher": teacher(), **options}
    if words is None:
        student, words = model(method, levels=1, finest=4, output_stride=8), "the student's maps have strides 8"
    else:
        student = model(method)
    with pytest.raises(SnnkitError, match=words) as told:
        task(method, student, **options)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("method", "answer", "words"),
    [
        ("semantic_fpn", torch.zeros(2, 3), r"answers images \(2, 3, 32, 32\) with \(2, 3\)"),
        ("semantic_fpn", torch.zeros(2, 4, 8, 8), r"a teacher of segmentation here has maps \(B, 3, h, w\)"),
        ("pose", torch.zeros(2, 3, 4, 4), "heat maps of 4×4 cells, the student of 8×8"),
    ],
)
def test_answers_that_cannot_be_compared(method, answer, words):
    class Says(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Parameter(torch.ones(()))

        def forward(self, images):
            return answer

    with pytest.raises(SnnkitError, match=words):
        task(method, model(method), teacher=Says())(batch(method))


def test_sequences_are_nothing_for_an_ordinary_teacher():
    made = task("semantic_fpn", model("semantic_fpn", spiking=True), teacher=model("semantic_fpn"))
    images, maps = batch("semantic_fpn")
    with pytest.raises(SnnkitError, match="reads still images, and the data are sequences"):
        made((images.expand(2, *images.shape), maps))


def configured(name, task_name="segmentation", epochs=2, **options):
    method = name.partition(":")[0]
    sizes = {**(RESNET if "timm" in name else SPIKES), **SIZES[method]}
    steps = sizes.pop("timesteps", 0)
    config = RunConfig(model=ModelConfig(name, timesteps=steps, sizes=sizes))
    config.task, config.epochs, config.threads = TaskConfig(task_name, options=options), epochs, 1
    config.schedule.name = "constant"  # whose rates do not hang on how many epochs there will be
    config.data.dataset, config.data.source, config.data.img_size = "scenes", "vendored", 32
    config.data.batch_size, config.data.train_limit, config.data.test_limit = 4, 12, 8
    return config


def test_a_taught_run_goes_on_as_it_would_have_and_is_tested_without_its_teacher(tmp_path, call):
    pytest.importorskip("skimage", reason="no photographs: pip install scikit-image")
    teacher = train(configured("semantic_fpn:timm:resnet10t", epochs=1), tmp_path / "teacher").folder
    own = {"teacher": str(teacher), "alpha": 0.5, "temperature": 2.0, "features": 0.5}
    whole = train(configured("semantic_fpn:meta_spikeformer_15m", **own), tmp_path / "whole")
    train(configured("semantic_fpn:meta_spikeformer_15m", epochs=1, **own), tmp_path / "half")
    again = resume(tmp_path / "half", configured("semantic_fpn:meta_spikeformer_15m", **own))
    first, second = (load_file(run.checkpoint) for run in (whole, again))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not any("teaching" in key for key in first)
    lines = [json.loads(line) for line in (whole.folder / "metrics.jsonl").read_text().splitlines()]
    assert lines[1]["train"]["distillation"] > 0
    assert lines[1]["train"]["features"] < lines[0]["train"]["features"]
    assert "distillation" not in lines[0]["test"]
    with pytest.raises(SnnkitError, match="learnt segmentation; give a run of pose"):
        train(configured("pose:timm:resnet10t", "pose", **own | {"temperature": 1.0}), tmp_path / "pose")
    compiled = configured("semantic_fpn:meta_spikeformer_15m", **own)
    compiled.runtime.compile = True
    with pytest.raises(SnnkitError, match="teacher with runtime.compile=true"):
        train(compiled, tmp_path / "compiled")
    shutil.rmtree(teacher)
    code, out, errors = call("eval", whole.folder)
    assert code == 0, errors
    assert f"mean IoU                 {whole.final_score:.1%}" in out


def fitted(name, task_name, **changes):
    """``configured``, with what the data of a task need beside."""
    config = configured(name, task_name, **changes)
    if task_name == "pose":
        config.data.crop_height = config.data.crop_width = 32
    if task_name == "captioning":
        config.data.flip, config.data.context = False, 24
        config.model.sizes |= {"vocabulary": 257, "context": 24}
    return config


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "task_name", "features"),
    [("mask_rcnn", "detection", 0.1), ("pose", "pose", 0.0), ("captioner", "captioning", 0.0)],
)
def test_every_taught_task_goes_on_as_it_would_have(method, task_name, features, tmp_path):
    pytest.importorskip("skimage", reason="no photographs: pip install scikit-image")
    teacher = train(fitted(f"{method}:timm:resnet10t", task_name, epochs=1), tmp_path / "teacher").folder
    student, own = f"{method}:meta_spikeformer_15m", {"teacher": str(teacher), "alpha": 0.5, "features": features}
    whole = train(fitted(student, task_name, **own), tmp_path / "whole")
    train(fitted(student, task_name, epochs=1, **own), tmp_path / "half")
    again = resume(tmp_path / "half", fitted(student, task_name, **own))
    first, second = (load_file(run.checkpoint) for run in (whole, again))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    lines = [json.loads(line) for line in (whole.folder / "metrics.jsonl").read_text().splitlines()]
    assert lines[1]["train"]["distillation"] > 0


def test_a_plan_reaches_the_task_beside_its_teacher():
    made = task("semantic_fpn", model("semantic_fpn"), teacher=model("semantic_fpn", seed=3))
    made.begin(Plan(1, 1, 1, classes=("a", "b", "c")))
    assert made.classes == ("a", "b", "c")
