"""Segmentation: loss and measures of maps by hand, windows, records, and a run from training to eval.

Would break it: pixels that nobody asked about in loss or measure, a mean over classes that do not occur, classes that a
network enlarged otherwise than its maps, windows that leave pixels out or count some twice, a run that is told in the
words of accuracy, a resumed run that goes on otherwise.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from snnkit.engine import RunConfig, resume, train
from snnkit.engine.config import ModelConfig, TaskConfig
from snnkit.engine.evaluating import run_of
from snnkit.errors import InvalidArgumentError, SnnkitError
from snnkit.files import read_json
from snnkit.tasks import build_task
from snnkit.tasks.segmentation import in_windows, ious, mean_iou, per_class
from snnkit.tasks.task import Plan

SMALL = {"stem_type": "", "stem_width": 8, "channels": (8, 8, 16, 16), "fpn_channels": 8, "head_channels": 8}


class Fixed(nn.Module):
    """Logits that are given."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, x):
        return self.logits[: len(x)]


def test_measures_by_hand():
    # Rows are the truth: class 0 is hit 6 of 8 times, class 1 is hit 1 of 3 times; class 2 does not occur.
    confusion = torch.tensor([[6, 2, 0], [1, 1, 1], [0, 0, 0]])
    assert ious(confusion).tolist() == pytest.approx([6 / 9, 1 / 5, 0.0])
    assert float(mean_iou(confusion)) == pytest.approx((6 / 9 + 1 / 5 + 0) / 3)
    never = torch.tensor([[6, 2, 0], [1, 1, 0], [0, 0, 0]])
    assert math.isnan(ious(never)[2])
    assert float(mean_iou(never)) == pytest.approx((6 / 9 + 1 / 4) / 2)
    assert float(mean_iou(torch.zeros(3, 3))) == 0
    rows = per_class(never, ("a", "b", "c"))["classes"]
    assert rows[1] == {"name": "b", "iou": 0.25, "recall": 0.5, "precision": 1 / 3, "pixels": 2}
    assert rows[2] == {"name": "c", "iou": None, "recall": None, "precision": None, "pixels": 0}


def test_loss_is_over_known_pixels_weighted_by_class():
    logits = torch.randn(2, 3, 4, 6, requires_grad=True)
    maps = torch.randint(0, 3, (2, 4, 6))
    maps[0, :2] = 255
    task = build_task("segmentation", Fixed(logits.detach()), 3, {"class_weights": (1.0, 2.0, 0.5)})
    loss = task.loss((torch.zeros(2, 1, 4, 6), maps))
    weights, known = torch.tensor([1.0, 2.0, 0.5]), maps != 255
    picked = -logits.log_softmax(1).movedim(1, -1)[known].gather(1, maps[known][:, None])[:, 0]
    by_hand = (picked * weights[maps[known]]).sum() / weights[maps[known]].sum()
    assert float(loss.detach()) == pytest.approx(float(by_hand), rel=1e-5)
    loss.backward()
    assert (task.model.logits.grad[0, :, :2] == 0).all()
    assert task.model.logits.grad[0, :, 2:].abs().sum() > 0


def test_measures_leave_out_what_is_not_known_and_enlarge_logits_as_maps_are():
    logits = torch.zeros(1, 2, 2, 2)
    logits[0, 1, 0, 0] = 8.0  # class 1 in the first quarter
    maps = torch.zeros(1, 4, 4).long()
    maps[0, :2, :2] = 1
    maps[0, 3] = 255
    task = build_task("segmentation", Fixed(logits), 2, {}).eval()
    task.evaluate((torch.zeros(1, 1, 4, 4), maps))
    found = task.compute()
    enlarged = F.interpolate(logits, (4, 4), mode="bilinear", align_corners=False).argmax(1)
    known = maps != 255
    assert found["pixel_accuracy"] == pytest.approx(float((enlarged == maps)[known].float().mean()))
    hits = int(((enlarged == 1) & (maps == 1) & known).sum())
    union = int((((enlarged == 1) | (maps == 1)) & known).sum())
    other = int(((enlarged == 0) & (maps == 0) & known).sum()) / int((((enlarged == 0) | (maps == 0)) & known).sum())
    assert found["miou"] == found["score"] == pytest.approx((hits / union + other) / 2)


def test_a_batch_that_nobody_knows_anything_of_is_worth_nothing():
    task = build_task("segmentation", Fixed(torch.randn(1, 2, 3, 3)), 2, {})
    loss = task.loss((torch.zeros(1, 1, 3, 3), torch.full((1, 3, 3), 255)))
    loss.backward()
    assert float(loss) == 0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_batch_of_classes_without_weight_is_worth_nothing(smoothing):
    logits, images = torch.randn(1, 3, 3, 3), torch.zeros(1, 1, 3, 3)
    options = {"class_weights": (0.0, 1.0, 2.0), "label_smoothing": smoothing}
    task = build_task("segmentation", Fixed(logits), 3, options)
    background, mixed = torch.zeros(1, 3, 3).long(), torch.tensor([[[0, 1, 2], [0, 0, 255], [2, 2, 1]]])
    background[0, 0] = 255
    loss = task.loss((images, background))
    loss.backward()
    assert float(loss.detach()) == 0
    assert (task.model.logits.grad == 0).all()
    task.compute()
    task.eval()
    task.evaluate((images, background))
    assert task.compute()["loss"] == 0
    task.evaluate((images, mixed))
    alone = task.compute()["loss"]
    for maps in (background, mixed, background):
        task.evaluate((images, maps))
    assert task.compute()["loss"] == pytest.approx(alone) != 0
    assert task.model.logits.grad.abs().sum() == 0


@pytest.mark.parametrize("weights", [(), (1.0, 3.0)])
def test_the_loss_of_a_split_does_not_hang_on_its_batches(weights):
    """Its mean is over known pixels: an image without any, or with few, counts for no more than these."""
    logits, maps = torch.randn(3, 2, 4, 4), torch.randint(0, 2, (3, 4, 4))
    maps[1], maps[2, :3] = 255, 255
    found = []
    for parts in ([slice(0, 3)], [slice(0, 1), slice(1, 2), slice(2, 3)]):
        task = build_task("segmentation", Fixed(logits), 2, {"class_weights": weights}).eval()
        for part in parts:
            task.model.logits = nn.Parameter(logits[part])
            task.evaluate((torch.zeros(logits[part].shape[0], 1, 4, 4), maps[part]))
        found.append(task.compute()["loss"])
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_one_class_is_refused():
    with pytest.raises(InvalidArgumentError, match="1 class: segmentation tells two apart"):
        build_task("segmentation", Fixed(torch.zeros(1, 1, 2, 2)), 1, {})


class Local(nn.Module):
    """Logits that depend on a pixel alone."""

    def forward(self, x):
        return torch.cat([x, x.square() - 1, -x], -3)[-1] if x.ndim == 5 else torch.cat([x, x.square() - 1, -x], 1)


@pytest.mark.parametrize(("size", "side", "overlap"), [((17, 23), 8, 1 / 3), ((8, 20), 8, 0.0), ((5, 30), 9, 0.5)])
def test_windows_say_what_the_whole_says_where_pixels_are_judged_alone(size, side, overlap):
    images = torch.randn(2, 1, *size)
    found = in_windows(Local(), images, side, overlap)
    assert found.shape == (2, 3, *size)
    torch.testing.assert_close(found, Local()(images).log_softmax(1), rtol=1e-5, atol=1e-5)
    sequence = images.expand(3, 2, 1, *size)
    torch.testing.assert_close(in_windows(Local(), sequence, side, overlap), found)


def test_windows_average_probabilities_where_they_overlap():
    class Corner(nn.Module):
        """Says class 1 with logit 4 in the first column of what it sees."""

        def forward(self, x):
            y = torch.zeros(len(x), 2, *x.shape[-2:])
            y[:, 1, :, 0] = 4.0
            return y

    found = in_windows(Corner(), torch.zeros(1, 1, 4, 6), 4, 0.5).exp()  # windows begin at columns 0 and 2
    sure = float(torch.tensor([0.0, 4.0]).softmax(0)[1])
    assert found[0, 1, 0].tolist() == pytest.approx([sure, 0.5, (0.5 + sure) / 2, 0.5, 0.5, 0.5], abs=1e-6)


def configured(**changes):
    config = RunConfig(model=ModelConfig("semantic_fpn:timm:resnet10t", sizes=dict(SMALL)))
    config.task, config.epochs, config.threads = TaskConfig("segmentation"), 2, 1
    config.schedule.name = "constant"  # whose rates do not hang on how many epochs there will be
    config.data.dataset, config.data.source, config.data.img_size = "scenes", "vendored", 32
    config.data.batch_size, config.data.train_limit, config.data.test_limit = 4, 12, 11
    for key, value in changes.items():
        setattr(config, key, value)
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pytest.importorskip("skimage", reason="no photographs: pip install scikit-image")
    return train(configured(), tmp_path_factory.mktemp("seg") / "run")


def test_a_run_is_told_in_its_own_measure(run, call):
    summary = read_json(run.folder / "summary.json")
    assert run.measure == "miou"
    assert summary["measure"] == {"key": "miou", "words": "mean IoU", "share": True}
    assert summary["final"]["miou"] == run.final_score
    assert f"test mean IoU {run.final_score:.1%}" in run.told()
    code, out, errors = call("eval", run.folder)
    assert code == 0, errors
    assert f"mean IoU                 {run.final_score:.1%}" in out
    records = read_json(run.folder / "segmentation.json")
    assert records["epoch"] == 2
    assert [row["name"] for row in records["classes"]][:2] == ["background", "t-shirt"]
    assert sum(map(sum, records["confusion"])) == 11 * 32 * 32
    found = torch.tensor(records["confusion"])
    assert float(mean_iou(found)) == pytest.approx(run.final_score)


def test_a_resumed_run_goes_on_as_if_nothing_had_been(run, tmp_path):
    half = train(configured(epochs=1), tmp_path / "half")
    config = RunConfig.load(half.folder / "config.json")
    config.epochs = 2
    again = resume(half.folder, config)
    assert again.final_score == run.final_score
    first, second = (load_file(r.folder / "checkpoints" / "last.safetensors") for r in (run, again))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_checkpoint_knows_its_run(run, tmp_path):
    assert run_of(run.checkpoint).task.name == "segmentation"
    assert run_of(tmp_path / "last.safetensors") is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"class_weights": (1.0,)}, "give 3 numbers"),
        ({"class_weights": (1.0, -1.0, 2.0)}, "≥ 0, one a class"),
        ({"class_weights": (0.0, 0.0, 0.0)}, "nothing is learned of classes of weight 0"),
        ({"window": -1}, "window=-1"),
        ({"overlap": 1.0}, "overlap=1"),
        ({"windows": 3}, "'window'"),
    ],
)
def test_options_that_cannot_be(options, words):
    with pytest.raises(SnnkitError, match=words):
        build_task("segmentation", nn.Identity(), 3, options)


def test_other_data_are_refused(tmp_path):
    config = configured()
    config.data.dataset = "fashion_mnist"
    with pytest.raises(SnnkitError, match="has labels, and maps are asked for"):
        train(config, tmp_path / "run")
    config = configured(task=TaskConfig("classification"))
    with pytest.raises(SnnkitError, match="unknown targets of scenes 'labels'"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_names_of_classes_are_those_of_the_plan():
    task = build_task("segmentation", Fixed(torch.zeros(1, 2, 2, 2)), 2, {})
    task.begin(Plan(1, 1, 1, classes=("sky", "sea")))
    assert task.classes == ("sky", "sea")
