"""The harness on classifiers whose errors are known, and mCE by hand.

Would break it: errors of the wrong severity or corruption, a test set that is corrupted after it was normalised or
twice, images without a class that count, a baseline that lacks what it is compared with, a quotient by nothing.
"""

import json

import numpy as np
import pytest
import torch
from support.data import photographs

from snnkit.data import DataConfig, load_images
from snnkit.errors import CorruptFileError, InvalidArgumentError, NonFiniteError, UnknownNameError
from snnkit.robustness import Result, Score, check_images, corrupt, corrupted, load, robustness


def result(clean, seed=0, baseline=None, images=10, **errors):
    scores = {name: {n: Score(e, images) for n, e in enumerate(row, 1)} for name, row in errors.items()}
    return Result(Score(clean, images), scores, seed, {"network": "n", "data": "d"}, baseline)


def clothes(count=40, **settings):
    return load_images(DataConfig(source="vendored", test_limit=count, **settings), seed=0)


def test_mce_by_hand():
    base = result(0.2, fog=[0.4, 0.6], jpeg=[0.3, 0.3])
    found = result(0.1, baseline=base, fog=[0.2, 0.3], jpeg=[0.1, 0.3])
    assert found.ce("fog") == pytest.approx(0.5 / 1.0)
    assert found.ce("jpeg") == pytest.approx(0.4 / 0.6)
    assert found.mce() == pytest.approx((0.5 + 2 / 3) / 2)
    assert found.relative_ce("fog") == pytest.approx((0.1 + 0.2) / (0.2 + 0.4))
    assert found.relative_ce("jpeg") == pytest.approx((0.0 + 0.2) / (0.1 + 0.1))
    assert found.relative_mce() == pytest.approx(0.75)
    assert found.mean_corruption_error() == pytest.approx((0.25 + 0.2) / 2)
    assert result(0.2, baseline=base, fog=[0.4, 0.6], jpeg=[0.3, 0.3]).mce() == pytest.approx(1)


def test_without_a_baseline_there_is_no_mce():
    found = result(0.1, fog=[0.2, 0.3])
    assert found.mce() is None
    assert found.relative_mce() is None
    assert found.undefined() == []
    summary = found.to_dict()["summary"]
    assert summary["mce"] is None
    assert summary["mean_corruption_error_without_baseline"] == pytest.approx(0.25)


def test_a_quotient_by_nothing_is_not_defined_and_says_so():
    found = result(0.1, baseline=result(0.2, fog=[0.0, 0.0], jpeg=[0.2, 0.2]), fog=[0.1, 0.1], jpeg=[0.4, 0.4])
    assert found.ce("fog") is None
    assert found.ce("jpeg") == pytest.approx(2)
    assert found.mce() is None
    assert found.relative_mce() is None
    first, second = found.undefined()
    assert first == "mCE is not defined: the baseline makes no errors under fog."
    assert "relative mCE is not defined" in second
    assert "fog, jpeg" in second
    json.dumps(found.to_dict(), allow_nan=False)


def test_results_come_back_from_their_file(tmp_path):
    found = result(0.1, seed=3, fog=[0.2, 0.3], jpeg=[0.1, 0.3])
    found.save(tmp_path / "r.json")
    back = load(tmp_path / "r.json")
    assert (back.clean, back.scores, back.seed) == (found.clean, found.scores, 3)
    again = result(0.1, baseline=back, fog=[0.2, 0.3], jpeg=[0.1, 0.3])
    assert again.mce() == pytest.approx(1)
    assert again.to_dict()["baseline"]["file"] == str(tmp_path / "r.json")
    saved = json.loads((tmp_path / "r.json").read_text())
    assert saved["corruptions"]["fog"]["severities"]["2"] == {"error": 0.3, "images": 10}
    assert saved["corruptions"]["fog"]["group"] == "weather"
    assert saved["clean"] == {"error": 0.1, "images": 10, "accuracy": 0.9}


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.pop("clean"),
        lambda d: d["clean"].update(error=2),
        lambda d: d["clean"].update(images=0),
        lambda d: d.update(corruptions=[1]),
        lambda d: d["corruptions"]["fog"]["severities"].update(x={}),
    ],
)
def test_a_damaged_baseline_is_told(tmp_path, damage):
    data = result(0.1, fog=[0.2]).to_dict()
    damage(data)
    (tmp_path / "r.json").write_text(json.dumps(data))
    with pytest.raises(CorruptFileError, match=r"r\.json is no result of `snnkit robustness`") as error:
        load(tmp_path / "r.json")
    assert "\n" not in str(error.value)


def test_errors_of_a_classifier_that_looks_at_brightness():
    """Images are dark (0) or half bright (1); brightness of severity s adds 0.1·s, and 0.35 parts the two."""
    images = np.stack([np.full((28, 28), v, np.uint8) for v in (26, 26, 26, 128)])
    labels = np.array([0, 0, 0, 1])
    seen = []

    def predict(batch):
        seen.append((batch.dtype, tuple(batch.shape)))
        mean = batch.mean((1, 2, 3))
        return torch.stack([torch.full_like(mean, 0.35), mean], 1)

    found = robustness(predict, images, labels, corruptions=["brightness"], batch_size=3)
    assert found.clean == Score(0.0, 4)
    errors = [score.error for score in found.scores["brightness"].values()]
    assert errors == [0.0, 0.0, 0.75, 0.75, 0.75]  # 0.1 + 0.3 is above 0.35
    assert set(seen) == {(torch.float32, (3, 1, 28, 28)), (torch.float32, (1, 1, 28, 28))}


def test_severities_and_corruptions_as_asked_and_a_baseline_as_a_dict():
    images, labels = np.zeros((4, 3, 28, 28), np.uint8), np.array([0, 0, 1, 1])

    def predict(batch):
        return torch.tensor([[1.0, 0.0]]).expand(len(batch), 2)

    found = robustness(predict, images, labels, corruptions=["fog", "jpeg"], severities=[5, 1])
    assert list(found.scores) == ["fog", "jpeg"]
    assert found.severities == (5, 1)
    assert all(score == Score(0.5, 4) for row in found.scores.values() for score in row.values())
    other = robustness(predict, images, labels, corruptions=["jpeg"], severities=[1], baseline=found.to_dict())
    assert other.mce() == 1
    assert other.relative_mce() is None
    assert robustness(predict, images, labels, corruptions=[]).scores == {}


def test_images_are_corrupted_before_they_are_normalised_and_after_they_are_resized():
    data = clothes(6, img_size=40)
    plain, made = data.test.dataset, corrupted(data.test.dataset, "contrast", 4)
    assert len(made) == 6
    steps = plain.whole.transform.transforms
    for index in range(6):
        whole = int(plain.indices[index])
        resized = steps[0](plain.whole.images[whole])
        assert resized.shape == (1, 40, 40)
        expected = steps[1](corrupt(resized, "contrast", 4, 0, whole))
        torch.testing.assert_close(made[index][0], expected)
        assert made[index][1] == plain[index][1]
        torch.testing.assert_close(plain[index][0], steps[1](resized))  # the test set itself is as it was


def test_an_image_of_a_part_is_corrupted_as_it_is_in_the_whole():
    few, many = (corrupted(clothes(count).test.dataset, "gaussian_noise", 3) for count in (5, 50))
    places = [list(many.indices).index(index) for index in few.indices]
    for index, place in enumerate(places):
        assert torch.equal(few[index][0], many[place][0])


@pytest.mark.parametrize("workers", [0, 2])
def test_photographs_that_differ_in_size_and_processes_that_load(tmp_path, workers):
    folder = photographs(tmp_path, ((60, 50), (45, 70), (40, 40)))
    data = load_images(DataConfig("image_folder", str(folder), img_size=32, workers=workers), seed=0)
    check_images(data.test.dataset, "photographs", data.frames)

    def colour(batch):
        return torch.stack([batch[:, 2].mean((1, 2)), batch[:, 0].mean((1, 2))], 1)

    found = robustness(
        colour, data.test.dataset, corruptions=["fog", "gaussian_noise"], severities=[2], workers=workers
    )
    assert found.clean == Score(0.0, 6)
    assert {score.images for row in found.scores.values() for score in row.values()} == {6}
    assert found.scores["gaussian_noise"][2].error == 0


def test_images_without_a_class_do_not_count():
    data = load_images(DataConfig("captioned_fashion_mnist", "vendored", test_limit=40), seed=0)
    labels = [data.test.dataset[n][2] for n in range(40)]
    found = robustness(lambda x: torch.rand(len(x), 10), data.test.dataset, corruptions=["jpeg"], severities=[1])
    assert found.clean.images == found.scores["jpeg"][1].images == sum(label >= 0 for label in labels) < 40


def test_several_views_of_an_image_are_averaged(tmp_path):
    data = load_images(DataConfig("image_folder", str(photographs(tmp_path)), img_size=16, test_crops=3), seed=0)

    def colour(batch):
        return torch.stack([batch[:, 2].mean((1, 2)), batch[:, 0].mean((1, 2))], 1)

    found = robustness(colour, data.test.dataset, corruptions=["jpeg"], severities=[1], views=3)
    assert found.clean == found.scores["jpeg"][1] == Score(0.0, 6)


def test_mistakes_are_one_line():
    data, zeros = clothes(4), lambda x: torch.zeros(len(x), 10)
    with pytest.raises(UnknownNameError, match="jpeg"):
        robustness(zeros, data.test.dataset, corruptions=["jpg"])
    with pytest.raises(InvalidArgumentError, match="severity 6"):
        robustness(zeros, data.test.dataset, severities=[6])
    with pytest.raises(InvalidArgumentError, match="no severities"):
        robustness(zeros, data.test.dataset, severities=[])
    with pytest.raises(InvalidArgumentError, match="fog, severity 2"):
        robustness(zeros, data.test.dataset, corruptions=["fog"], baseline=result(0.1, fog=[0.2]))
    with pytest.raises(NonFiniteError, match="NaN"):
        robustness(lambda x: torch.full((len(x), 10), torch.nan), data.test.dataset, corruptions=[])
    with pytest.raises(InvalidArgumentError, match="float32"):
        robustness(zeros, np.zeros((2, 28, 28), np.float32), np.zeros(2, int))
    with pytest.raises(InvalidArgumentError, match="clips or recordings"):
        check_images(data.test.dataset, "clips", frames=4)
    clips = torch.utils.data.TensorDataset(torch.zeros(2, 3, 4, 8, 8), torch.zeros(2))
    clips.labels = [0, 0]
    with pytest.raises(InvalidArgumentError, match="no transform"):
        check_images(clips, "clips")
