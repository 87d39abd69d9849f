"""Key points: heat maps and back, similarity and AP against COCO's own code, and a run from training to eval.

Would break it: places read off half a cell aside, key points that nobody marked in loss or measure, a mirrored test
whose left and right stay, AP of another kind than COCO's, processes that each tell of their own share, a resumed run
that goes on otherwise.
"""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.processes import launched
from torch import nn

from snnkit.checkpoints import build_model
from snnkit.data import load_images
from snnkit.data.keypoints import crop_map, moved
from snnkit.engine import RunConfig, resume, train
from snnkit.engine.config import ModelConfig, TaskConfig
from snnkit.engine.train import asked
from snnkit.errors import SnnkitError
from snnkit.files import read_json
from snnkit.recipes import get_recipe
from snnkit.tasks import build_task
from snnkit.tasks.heat_maps import dark, heat_maps, quarter
from snnkit.tasks.oks import KeypointAP
from snnkit.tasks.task import Plan

pytest.importorskip("pycocotools", reason="no COCO evaluation: pip install pycocotools")

SMALL = {"stem_type": "", "stem_width": 8, "channels": (8, 8, 16, 16), "head_channels": 8}
THRESHOLDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]


class Fixed(nn.Module):
    """Heat maps that are given, whatever the crops."""

    def __init__(self, maps):
        super().__init__()
        self.maps, self.stride = nn.Parameter(maps), 4.0

    def forward(self, x):
        return self.maps[: len(x)]


class Painted(nn.Module):
    """Reads heat maps off the crops themselves: channel k is key point k, enlarged fourfold, as a crop shows it."""

    stride = 4.0

    def forward(self, x):
        return torch.nn.functional.avg_pool2d(x, 4)


def drawn(count=6, points=4, side=64, margin=12, seed=0):
    """Key points in crops, all marked."""
    places = margin + (side - 2 * margin) * torch.rand(count, points, 2, generator=torch.Generator().manual_seed(seed))
    return torch.cat([places, torch.full((count, points, 1), 2.0)], 2)


def batch_of(points, boxes=None, side=64, mirror=(1, 0, 3, 2), sigma=0.05, area=900.0, images=None):
    """A batch of crops as the data give it, whose pixels nobody looks at."""
    count, many = points.shape[:2]
    boxes = torch.tensor([[10.0, 20.0, 50.0, 60.0]]).expand(count, 4) if boxes is None else boxes
    return torch.zeros(count, 3, side, side), {
        "points": points,
        "back": torch.stack([crop_map(box, (side, side)) for box in boxes]),
        "box": boxes,
        "area": torch.full((count,), area),
        "image": torch.arange(count) if images is None else images,
        "sigmas": torch.full((count, many), sigma),
        "mirror": torch.tensor(mirror).expand(count, -1),
    }


@pytest.mark.parametrize(("size", "stride"), [((16, 16), 4.0), ((64, 48), 4.0), ((32, 32), 3.5)])
def test_places_come_back_from_heat_maps(size, stride):
    height, width = size[0] * stride, size[1] * stride
    places = torch.rand(8, 17, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([width, height])
    maps, weights = heat_maps(torch.cat([places, torch.ones(8, 17, 1)], 2), size, stride, 2.0)
    assert maps.shape == (8, 17, *size)
    assert (weights == 1).all()
    inner = ((places > 1.5 * stride) & (places < torch.tensor([width, height]) - 1.5 * stride)).all(-1)
    found, peaks = quarter(maps)
    errors = (found * stride - places).abs()
    assert errors[inner].max() <= 0.25 * stride + 1e-4  # a quarter of a cell is as near as a quarter comes
    assert errors.max() <= 0.75 * stride
    assert (peaks > math.exp(-0.25 / 4)).float().mean() > 0.9
    far = ((places > 6.5 * stride) & (places < torch.tensor([width, height]) - 6.5 * stride)).all(-1)
    assert far.any()
    exact, same = dark(maps, 2.0)
    assert torch.equal(same, peaks)
    assert (exact * stride - places).abs()[far].max() < 0.02 * stride
    assert (exact * stride - places).abs().max() <= 1.0 * stride


def test_heat_maps_by_hand():
    points = torch.tensor([[[10.0, 22.0, 2.0], [10.0, 22.0, 0.0], [-30.0, 22.0, 2.0], [-8.0, 22.0, 1.0]]])
    maps, weights = heat_maps(points, (16, 12), 4.0, 2.0)
    assert weights.tolist() == [[1.0, 0.0, 0.0, 1.0]]  # marked, not marked, far off, so near that its slope is seen
    assert float(maps[0, 0, 5, 2]) == pytest.approx(1.0)
    assert float(maps[0, 0, 7, 1]) == pytest.approx(math.exp(-(2**2 + 1**2) / (2 * 2.0**2)))
    assert maps[0, 0].argmax() == 5 * 12 + 2


def test_quarters_point_to_the_higher_neighbour():
    maps = torch.zeros(1, 1, 5, 5)
    maps[0, 0, 2, 3], maps[0, 0, 2, 2], maps[0, 0, 3, 3] = 1.0, 0.5, 0.4
    assert quarter(maps)[0].tolist() == [[[3.25, 2.75]]]
    maps = torch.zeros(1, 1, 5, 5)
    maps[0, 0, 0, 4] = 1.0  # in a corner: no neighbour beyond
    assert quarter(maps)[0].tolist() == [[[4.5, 0.5]]]
    assert torch.equal(dark(maps, 2.0)[0], quarter(maps)[0])
    assert torch.isfinite(dark(torch.zeros(1, 1, 9, 9), 2.0)[0]).all()


def test_loss_is_over_marked_key_points():
    points = drawn(2)
    points[0, 1, 2] = 0.0
    maps = torch.randn(2, 4, 16, 16)
    task = build_task("pose", Fixed(maps), 4, {})
    loss = task.loss(batch_of(points))
    wanted, _ = heat_maps(points, (16, 16), 4.0, 2.0)
    squares = (maps - wanted).square()
    squares[0, 1] = 0.0
    assert float(loss.detach()) == pytest.approx(float(squares.mean() / 2), rel=1e-5)
    loss.backward()
    assert not task.model.maps.grad[0, 1].any()
    assert all(task.model.maps.grad[b, k].any() for b in range(2) for k in range(4) if (b, k) != (0, 1))
    hidden = drawn(2)
    hidden[..., 2] = 0.0
    nothing = build_task("pose", Fixed(maps), 4, {}).loss(batch_of(hidden))
    nothing.backward()
    assert float(nothing.detach()) == 0


def test_a_test_takes_the_mean_with_the_mirror_image():
    torch.manual_seed(0)
    network = nn.Conv2d(3, 4, 4, stride=4)
    crops, targets = batch_of(drawn(2))
    crops = torch.rand(2, 3, 64, 64)
    task = build_task("pose", network, 4, {}).eval()
    found = task.maps(crops, targets["mirror"])
    there, back = network(crops), network(torch.flip(crops, [3]))
    for point, partner in enumerate((1, 0, 3, 2)):
        by_hand = (there[:, point] + torch.flip(back[:, partner], [2])) / 2
        torch.testing.assert_close(found[:, point], by_hand)
    plain = build_task("pose", network, 4, {"flip_test": False}).eval()
    torch.testing.assert_close(plain.maps(crops, targets["mirror"]), there)


@pytest.mark.parametrize("decoding", ["quarter", "dark"])
def test_perfect_heat_maps_are_found_in_the_image(decoding):
    points = drawn(5, margin=26)
    _, targets = batch_of(points)
    painted = torch.nn.functional.interpolate(heat_maps(points, (16, 16), 4.0, 2.0)[0], scale_factor=4.0)
    task = build_task("pose", Painted(), 4, {"decoding": decoding, "flip_test": False}).eval()
    task((painted, targets))
    found = task.compute()
    assert found["loss"] == pytest.approx(0.0, abs=1e-9)
    things = task._found[0]
    cell = 4 * 1.25 * 40 / 64  # pixels of the image
    assert things.distances().max() < (0.02 if decoding == "dark" else math.sqrt(2) / 4 + 0.01) * cell
    torch.testing.assert_close(things.truth[..., :2].float(), moved(points[..., :2], targets["back"]))
    assert found["pck"] == 1.0
    assert found["pose_ap"] == found["score"] >= 0.85
    if decoding == "dark":
        assert found["pose_ap"] == pytest.approx(1.0)


def rows_of(truth, found, scores, areas, images, sigma=0.05, side=40.0):
    """Feed a metric with things."""
    count, points = truth.shape[:2]
    metric = KeypointAP(points)
    boxes = torch.tensor([[0.0, 0.0, side, side / 2]]).expand(count, 4)
    targets = {"truth": truth, "box": boxes, "area": areas, "image": images}
    metric.update(found, scores, targets, torch.full((count, points), sigma))
    return metric


def cocos(things):
    """AP by threshold, by pycocotools fed by its own loader."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO()
    truth.dataset = {"info": {}, "images": [{"id": int(i)} for i in set(things.image.tolist())]}
    truth.dataset |= {"categories": [{"id": 1, "name": "thing"}], "annotations": []}
    results = []
    for n in range(len(things)):
        left, top, right, bottom = things.box[n].tolist()
        one = {"image_id": int(things.image[n]), "category_id": 1}
        truth.dataset["annotations"].append(
            one
            | {"id": n + 1, "keypoints": things.truth[n].flatten().tolist(), "area": float(things.area[n])}
            | {"bbox": [left, top, right - left, bottom - top], "num_keypoints": int(things.marked[n].sum())}
            | {"iscrowd": 0}
        )
        flat = [value for x, y in things.found[n].tolist() for value in (x, y, 1)]
        results.append(one | {"keypoints": flat, "score": float(things.score[n])})
    truth.createIndex()
    test = COCOeval(truth, truth.loadRes(results), "keypoints")
    test.params.kpt_oks_sigmas = things.sigmas.numpy()
    test.evaluate()
    test.accumulate()
    test.summarize()
    return test


def test_perfect_predictions_have_an_ap_of_one():
    truth = drawn(7, points=3)
    truth[2, 1, 2] = 1.0
    things = rows_of(truth, truth[..., :2], torch.rand(7), torch.full((7,), 900.0), torch.arange(7) // 2).compute()
    assert things.ap() == dict.fromkeys(THRESHOLDS, 1.0)
    assert (things.oks() == 1).all()
    assert things.pck() == 1.0


def test_a_known_shift_costs_what_it_must():
    # d² = 2 a (2σ)² · ln 2 makes every similarity one half: just enough for the first threshold, and for no other.
    truth, area = drawn(4, points=3), 900.0
    shift = math.sqrt(2 * area * 0.1**2 * math.log(2)) * 0.999
    found = truth[..., :2] + torch.tensor([shift, 0.0])
    things = rows_of(truth, found, torch.rand(4), torch.full((4,), area), torch.arange(4)).compute()
    assert things.oks().tolist() == pytest.approx([0.5] * 4, abs=1e-3)
    assert things.ap() == {0.5: 1.0, **dict.fromkeys(THRESHOLDS[1:], 0.0)}
    assert things.pck() == (1.0 if shift <= 4 else 0.0)


@pytest.mark.parametrize("seed", range(4))
def test_ap_is_cocos(seed):
    torch.manual_seed(seed)
    truth = drawn(24, points=5, seed=seed)
    truth[torch.rand(24, 5) < 0.2, 2] = 0.0
    truth[:, 0, 2] = 1.0
    found = truth[..., :2] + 3.0 * torch.randn(24, 1, 2) * torch.rand(24, 1, 1) + 0.5 * torch.randn(24, 5, 2)
    found[3] = 0.0
    areas, images = 400 + 1500 * torch.rand(24), torch.randint(0, 9, (24,))
    things = rows_of(truth, found, torch.rand(24), areas, images, sigma=0.06).compute()
    test = cocos(things)
    ours = things.ap()
    assert 0.1 < ours[0.5] < 1
    assert np.mean(list(ours.values())) == pytest.approx(test.stats[0])
    assert (ours[0.5], ours[0.75]) == (pytest.approx(test.stats[1]), pytest.approx(test.stats[2]))
    for n in range(len(things)):
        image = int(things.image[n])
        of_truth = [a["id"] for a in test.cocoGt.loadAnns(test.cocoGt.getAnnIds(imgIds=[image]))].index(n + 1)
        by_score = sorted(test.cocoDt.loadAnns(test.cocoDt.getAnnIds(imgIds=[image])), key=lambda a: -a["score"])
        of_found = [a["id"] for a in by_score].index(n + 1)
        assert test.ious[image, 1][of_found, of_truth] == pytest.approx(float(things.oks()[n]), abs=1e-6)


def test_the_twenty_surest_of_an_image_count_as_coco_has_it():
    truth = drawn(25, points=3)
    things = rows_of(truth, truth[..., :2], torch.rand(25), torch.full((25,), 900.0), torch.zeros(25).long()).compute()
    assert np.mean(list(things.ap().values())) == pytest.approx(cocos(things).stats[0])
    assert 0.75 < things.ap()[0.5] < 0.85  # a fifth is never recalled


def test_near_enough_is_a_tenth_of_the_longer_side():
    truth = drawn(1, points=3)
    truth[0, 2, 2] = 0.0
    found = truth[..., :2].clone()
    found[0, 0, 0] += 3.9
    found[0, 1, 1] += 4.1
    things = rows_of(truth, found, torch.ones(1), torch.full((1,), 900.0), torch.zeros(1).long()).compute()
    assert things.near().tolist() == [[True, False, False]]
    assert things.pck() == 0.5


def test_an_option_overrides_how_exact_marks_are():
    points = drawn(2)
    task = build_task("pose", Fixed(heat_maps(points, (16, 16), 4.0, 2.0)[0]), 4, {"sigmas": (0.1, 0.2, 0.3, 0.4)})
    task.eval()(batch_of(points))
    task.compute()
    assert task._found[0].sigmas.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    plain = build_task("pose", Fixed(heat_maps(points, (16, 16), 4.0, 2.0)[0]), 4, {})
    plain.eval()(batch_of(points, sigma=0.07))
    plain.compute()
    assert plain._found[0].sigmas.tolist() == pytest.approx([0.07] * 4)


def test_nothing_seen_is_worth_nothing_and_training_is_scored_in_part(monkeypatch):
    monkeypatch.setattr("snnkit.tasks.pose._SCORED", 5)
    points = drawn(4)
    task = build_task("pose", Fixed(heat_maps(points, (16, 16), 4.0, 2.0)[0]), 4, {}).train()
    for _ in range(5):
        task(batch_of(points))
    assert task.points.compute().image.tolist() == [0, 1, 2, 3] * 2
    assert task.compute()["pck"] == 1.0
    task(batch_of(points))
    assert task.compute()["pose_ap"] > 0.5


@pytest.mark.slow
def test_processes_gather_what_all_have_seen(tmp_path):
    launched("pose_metric.py", tmp_path / "out", processes=2)
    names = "alone", "0", "1", "empty"
    alone, first, second, empty = (read_json(tmp_path / "out" / f"{name}.json") for name in names)
    assert first == second
    assert first["things"] == alone["things"] == 7
    assert first["ap"] == pytest.approx(alone["ap"])
    assert first["pck"] == pytest.approx(alone["pck"])
    assert 0 < alone["pck"] < 1
    assert empty == {"things": 3}  # one of the two had seen nothing


def configured(**changes):
    config = RunConfig(model=ModelConfig("pose:timm:resnet10t", sizes=dict(SMALL)))
    config.task, config.epochs, config.threads = TaskConfig("pose"), 2, 1
    config.schedule.name = "constant"  # whose rates do not hang on how many epochs there will be
    config.data.dataset, config.data.source, config.data.img_size = "scenes", "vendored", 48
    config.data.crop_height, config.data.crop_width, config.data.rotate = 32, 32, 20.0
    config.data.batch_size, config.data.train_limit, config.data.test_limit = 4, 12, 11
    for key, value in changes.items():
        setattr(config, key, value)
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pytest.importorskip("skimage", reason="no photographs: pip install scikit-image")
    return train(configured(), tmp_path_factory.mktemp("pose") / "run")


def test_a_run_is_told_in_its_own_measure(run, call):
    summary = read_json(run.folder / "summary.json")
    assert run.measure == "pose_ap"
    assert summary["measure"]["key"] == "pose_ap"
    assert summary["final"]["pose_ap"] == run.final_score
    code, out, errors = call("eval", run.folder)
    assert code == 0, errors
    assert f"AP of key points         {run.final_score:.1%}" in out
    record = read_json(run.folder / "pose.json")
    assert (record["epoch"], record["things"]) == (2, 11)
    assert [point["name"] for point in record["points"]] == ["top left", "top right", "bottom right", "bottom left"]
    assert [point["marked"] for point in record["points"]] == [11] * 4
    assert sum(record["ap"].values()) / 10 == pytest.approx(run.final_score)
    one = record["shown"][0]
    assert (np.shape(one["truth"]), np.shape(one["found"])) == ((4, 3), (4, 2))
    assert (run.folder / "predictions.png").stat().st_size > 1000


def test_a_run_is_counted_on_crops_as_it_sees_them(run, call):
    code, _, errors = call("energy", run.folder, "--images", "2")
    assert code == 0, errors
    layers = read_json(run.folder / "counts.json")["network"]["per_layer"]
    weight = load_file(run.folder / "checkpoints" / "last.safetensors")["backbone.encoder.conv1.weight"]
    places = 16 * 16  # of the first convolution, stride 2, on crops of 32 pixels; on whole images they would be 24 * 24
    assert next(iter(layers))["mac"] == places * weight.numel()


def test_a_run_is_converted_and_its_key_points_are_found_at_rest(run, call):
    code, out, errors = call("convert", run.folder, "--images", "11", "--calibration", "8")
    assert code == 0, errors
    assert " codes differ at rest: exact" in out
    assert "AP of key points" in out
    found = read_json(run.folder / "converted" / "convert.json")
    assert found["measure"] == "AP of key points"
    forms = {form["name"]: form for form in found["forms"]}
    assert forms["spiking, at rest"]["accuracy"] == forms["quantised"]["accuracy"]
    # As trained it finds what a test without mirror images finds.
    task = build_task("pose", build_model(run.folder / "checkpoints" / "last.safetensors")[0], 4, {"flip_test": False})
    task.eval().begin(Plan(1, 1, 1, classes=()))
    for batch in load_images(asked(configured()), 0).test:
        task.evaluate(batch)
    assert forms["float"]["accuracy"] == pytest.approx(task.compute()["pose_ap"], abs=1e-6)


def test_a_resumed_run_goes_on_as_if_nothing_had_been(run, tmp_path):
    half = train(configured(epochs=1), tmp_path / "half")
    config = RunConfig.load(half.folder / "config.json")
    config.epochs = 2
    again = resume(half.folder, config)
    assert again.final_score == run.final_score
    first, second = (load_file(r.folder / "checkpoints" / "last.safetensors") for r in (run, again))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_picture_is_read_as_one_thing():
    points = drawn(1)
    task = build_task("pose", Fixed(heat_maps(points, (16, 16), 4.0, 2.0)[0]), 4, {"flip_test": False}).eval()
    task.begin(Plan(1, 1, 1, classes=("a", "b", "c", "d")))
    found = task.predict(torch.zeros(1, 3, 64, 64), (128, 64))["points"]
    assert [one["name"] for one in found] == ["a", "b", "c", "d"]
    places = torch.tensor([[one["x"], one["y"]] for one in found])
    assert (places / torch.tensor([1.0, 2.0]) - points[0, :, :2]).abs().max() < 1.01
    picture = torch.zeros(3, 128, 64, dtype=torch.uint8)
    x, y = places[0].round().int().tolist()
    assert task.draw(picture, {"points": found})[:, y, x].any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sigmas": (0.1,)}, "give 4 numbers above 0"),
        ({"sigmas": (0.1, 0.1, 0.1, -1.0)}, "one a key point"),
        ({"sigma": 0.0}, "sigma=0.0"),
        ({"decoding": "darc"}, "Did you mean 'dark'"),
        ({"flip": True}, "'flip_test'"),
        ({"flip_test": 1}, "must be true or false"),
    ],
)
def test_options_that_cannot_be(options, words):
    with pytest.raises(SnnkitError, match=words):
        build_task("pose", nn.Identity(), 4, options)


def test_what_cannot_be_trained_is_refused(tmp_path):
    config = configured()
    config.data.dataset = "fashion_mnist"
    with pytest.raises(SnnkitError, match="are for things with key points|keypoints are asked for"):
        train(config, tmp_path / "run")
    config = configured()
    config.runtime.precision = "bf16-true"
    with pytest.raises(SnnkitError, match="take bf16-mixed"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["pose_scenes", "pose_scenes_spiking"])
def test_recipes_are_whole(name):
    config = get_recipe(name)
    config.check()
    assert (config.task.name, config.data.dataset) == ("pose", "scenes")
