"""Folders in COCO's form of key points: what is read, what is left out and counted, what is refused in one line.

Would break it: crowds or unmarked things learned from, half a pixel forgotten, key points of another category, a wrong
annotation that passes or that stops a run asked to go on, images looked for in the wrong place.
"""

import json
import math

import pytest
import torch
from PIL import Image

from snnkit.data import DataConfig, load_images
from snnkit.data.coco_keypoints import PERSON, read_things
from snnkit.errors import SnnkitError

NAMES = ["nose", "left_eye", "right_eye"]
GOOD = {
    "image_id": 9, "category_id": 1, "bbox": [10, 20, 30, 40], "area": 500.0, "iscrowd": 0,
    "keypoints": [12, 22, 2, 0, 0, 0, 30, 50, 1],
}  # fmt: skip


def written(path, annotations, categories=({"id": 1, "name": "cat", "keypoints": NAMES}, {"id": 2, "name": "mat"})):
    images = [{"id": 4, "file_name": "a.png"}, {"id": 9, "file_name": "b.png"}]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "categories": list(categories), "annotations": annotations}))
    return path


def folder(root, train=(GOOD,), val=(GOOD,)):
    for split, rows in (("train2017", train), ("val2017", val)):
        written(root / "annotations" / f"person_keypoints_{split}.json", list(rows))
        (root / split).mkdir(exist_ok=True)
        for name in ("a.png", "b.png"):
            Image.new("RGB", (80, 70), (200, 10, 10)).save(root / split / name)
    return root


def configured(root, **settings):
    config = DataConfig(dataset="coco_keypoints", source=str(root), targets="keypoints", batch_size=1)
    config.crop_height, config.crop_width = 64, 48
    for key, value in settings.items():
        setattr(config, key, value)
    return config


def test_what_is_read(tmp_path):
    source, note = read_things(written(tmp_path / "k.json", [GOOD]), tmp_path, False)
    assert note == ""
    assert source.classes == tuple(NAMES)
    assert source.names == [str(tmp_path / "b.png")]
    thing = source.things[0]
    assert thing.points.tolist() == [[12.5, 22.5, 2], [0.5, 0.5, 0], [30.5, 50.5, 1]]
    assert thing.box.tolist() == [10, 20, 40, 60]
    assert (thing.area, thing.image) == (500.0, 1)
    assert thing.mirror.tolist() == [0, 2, 1]
    assert thing.sigmas.tolist() == pytest.approx([0.05] * 3)


def test_people_have_cocos_sigmas(tmp_path):
    from pycocotools.cocoeval import Params

    rows = [GOOD | {"keypoints": [5, 5, 2] * 17}]
    people = [{"id": 1, "name": "person", "keypoints": list(PERSON)}]
    source, _ = read_things(written(tmp_path / "k.json", rows, people), tmp_path, False)
    assert source.things[0].sigmas.tolist() == pytest.approx(Params("keypoints").kpt_oks_sigmas.tolist())
    assert source.things[0].mirror.tolist() == [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]


def test_what_is_left_out_is_counted(tmp_path):
    rows = [
        GOOD,
        GOOD | {"iscrowd": 1},
        {key: value for key, value in GOOD.items() if key != "keypoints"},
        GOOD | {"keypoints": [0] * 9},
        GOOD | {"category_id": 2, "keypoints": []},
        GOOD | {"bbox": [10, 20, 0, 40]},
    ]
    source, note = read_things(written(tmp_path / "k.json", rows), tmp_path, False)
    assert len(source.things) == 1
    assert note == "k.json: of 6 things left out: 1 crowds, 1 with a box of no area, 3 without marked key points"


@pytest.mark.parametrize("area", [None, 0, -3.0, math.inf, math.nan])
def test_a_box_stands_in_for_an_area_that_is_none(tmp_path, area):
    source, _ = read_things(written(tmp_path / "k.json", [GOOD | {"area": area}]), tmp_path, False)
    assert source.things[0].area == 30 * 40


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_id": 5}, "annotation 2 is of image 5, which is not among its images"),
        ({"category_id": 5}, "annotation 2 is of category 5"),
        ({"keypoints": [1, 2, 2]}, "annotation 2 has 3 numbers of key points, not 3 · 3"),
        ({"keypoints": [1, 2, 3] * 3}, "annotation 2 has key points that are not x, y and 0, 1 or 2"),
        ({"keypoints": [math.nan, 2, 2] * 3}, "annotation 2 has key points that are not"),
        ({"keypoints": "none"}, "annotation 2"),
        ({"bbox": [1, 2, -3, 4]}, "annotation 2 has the box"),
        ({"bbox": [1, 2, math.inf, 4]}, "annotation 2 has the box"),
        ({"bbox": [1, 2]}, "annotation 2"),
        ({"bbox": None}, "annotation 2"),
        ({"bbox": "1234"}, "annotation 2 has the box '1234'"),
        ({"iscrowd": "0"}, "annotation 2 has iscrowd '0'"),
    ],
)
def test_what_is_wrong_stops_or_is_counted(tmp_path, change, words):
    path = written(tmp_path / "k.json", [GOOD, GOOD | change])
    with pytest.raises(SnnkitError, match=words) as caught:
        read_things(path, tmp_path, False)
    assert "\n" not in str(caught.value)
    assert "data.on_corrupt=skip" in str(caught.value)
    source, note = read_things(path, tmp_path, True)
    assert len(source.things) == 1
    assert note == "k.json: of 2 things left out: 1 that are wrong"


@pytest.mark.parametrize(
    ("categories", "words"),
    [
        ([{"id": 1, "name": "cat"}], "none of its 1 categories names its key points"),
        ([{"id": 1, "keypoints": NAMES}, {"id": 2, "keypoints": ["tip"]}], "categories with other key points"),
        ([{"id": 1, "keypoints": ["left_eye"]}], "no partner 'right_eye'"),
        ([{"id": 1, "keypoints": 4}], "category 1 has keypoints 4, which is no list of names"),
        ([{"id": 1, "keypoints": "abc"}], "category 1 has keypoints 'abc', which is no list of names"),
        ([{"id": 1, "keypoints": [["a"], ["b"], ["c"]]}], "category 1 has keypoints .*, which is no list of names"),
        ([{"keypoints": NAMES}], "has no 'id'"),
        ([{"id": 1, "name": "a", "keypoints": NAMES}, {"id": "1", "name": "b"}], "a and b have the same id, 1"),
        ("none", "COCO's form"),
    ],
)
def test_categories_that_cannot_be(tmp_path, categories, words):
    with pytest.raises(SnnkitError, match=words) as caught:
        read_things(written(tmp_path / "k.json", [GOOD], categories), tmp_path, True)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be(tmp_path):
    with pytest.raises(SnnkitError, match="no thing of it has key points that are marked \\(1 crowds\\)"):
        read_things(written(tmp_path / "k.json", [GOOD | {"iscrowd": 1}]), tmp_path, False)
    (tmp_path / "k.json").write_text("[1, 2]")
    with pytest.raises(SnnkitError, match="COCO's form of key points"):
        read_things(tmp_path / "k.json", tmp_path, False)
    (tmp_path / "k.json").write_text("{")
    with pytest.raises(SnnkitError, match="not valid JSON"):
        read_things(tmp_path / "k.json", tmp_path, False)


def test_a_folder_is_fed(tmp_path):
    data = load_images(configured(folder(tmp_path, val=[GOOD, GOOD | {"iscrowd": 1}])), 0)
    assert data.classes == tuple(NAMES)
    assert data.image_shape == (3, 64, 48)
    assert data.notes == ("person_keypoints_val2017.json: of 2 things left out: 1 crowds",)
    crops, target = next(iter(data.test))
    assert crops.shape == (1, 3, 64, 48)
    centre = torch.linalg.inv(target["back"][0, :, :2]) @ (torch.tensor([25.0, 40.0]) - target["back"][0, :, 2])
    assert centre.tolist() == pytest.approx([24.0, 32.0], abs=1e-3)


def test_images_lie_where_they_may(tmp_path):
    folder(tmp_path)
    (tmp_path / "images").mkdir()
    for split in ("train2017", "val2017"):
        (tmp_path / split).rename(tmp_path / "images" / split)
    assert len(load_images(configured(tmp_path), 0).test.dataset) == 1


def test_folders_that_cannot_be(tmp_path):
    with pytest.raises(SnnkitError, match="is not a folder"):
        load_images(configured(tmp_path / "none"), 0)
    with pytest.raises(SnnkitError, match=r"holds no \*keypoints_train\*\.json"):
        load_images(configured(tmp_path), 0)
    folder(tmp_path)
    with pytest.raises(SnnkitError, match="give the size of the crops"):
        load_images(configured(tmp_path, crop_width=0), 0)
    written(tmp_path / "cat_keypoints_train.json", [GOOD])
    with pytest.raises(SnnkitError, match="one file with train in its name is needed"):
        load_images(configured(tmp_path), 0)
    (tmp_path / "cat_keypoints_train.json").unlink()
    three = [{"id": 1, "name": "cat", "keypoints": ["a", "b", "c"]}]
    written(tmp_path / "annotations" / "person_keypoints_val2017.json", [GOOD], three)
    with pytest.raises(SnnkitError, match="the two splits have other key points"):
        load_images(configured(tmp_path), 0)


def test_an_image_of_another_size_than_listed_is_refused(tmp_path):
    root = folder(tmp_path)
    file = root / "annotations" / "person_keypoints_val2017.json"
    resized(file, width=80, height=70)
    load_images(configured(root), 0).test.dataset[0]
    Image.new("RGB", (70, 80)).save(root / "val2017" / "b.png")
    with pytest.raises(SnnkitError, match=r"b\.png: 70 by 80 pixels, its annotations are for 80 by 70"):
        load_images(configured(root), 0).test.dataset[0]


def resized(file, **sides):
    found = json.loads(file.read_text())
    for image in found["images"]:
        image |= sides
    file.write_text(json.dumps(found))
    return file


@pytest.mark.parametrize("sides", [("80", "70"), (80.0, 70.0), ("80", 70)])
def test_sizes_as_text_are_numbers(tmp_path, sides):
    root = folder(tmp_path)
    resized(root / "annotations" / "person_keypoints_val2017.json", width=sides[0], height=sides[1])
    load_images(configured(root), 0).test.dataset[0]


@pytest.mark.parametrize("side", ["wide", [80], math.inf])
def test_sizes_that_are_no_numbers_are_refused(tmp_path, side):
    path = resized(written(tmp_path / "k.json", [GOOD]), width=side, height=70)
    with pytest.raises(SnnkitError, match=r"the image a\.png has height 70 and width .*no numbers of pixels") as caught:
        read_things(path, tmp_path, True)
    assert "\n" not in str(caught.value)


OUTSIDE = GOOD | {"bbox": [5000, 5000, 20, 20]}


@pytest.mark.parametrize("box", [[5000, 5000, 20, 20], [80, 0, 9, 9], [0, 70, 9, 9], [-9, 0, 9, 9], [0, -9, 9, 9]])
def test_a_box_beyond_its_listed_image_stops_or_is_counted(tmp_path, box):
    path = resized(written(tmp_path / "k.json", [GOOD, GOOD | {"bbox": box}]), width=80, height=70)
    words = rf"annotation 2 of b\.png has the box \[{', '.join(map(str, box))}\], none of which lies on 80 by 70 pixels"
    with pytest.raises(SnnkitError, match=words):
        read_things(path, tmp_path, False)
    source, note = read_things(path, tmp_path, True)
    assert len(source.things) == 1
    assert note == "k.json: of 2 things left out: 1 that are wrong"


def test_a_box_partly_on_its_image_is_kept(tmp_path):
    rows = [GOOD | {"bbox": [-8, -8, 9, 9]}, GOOD | {"bbox": [79, 69, 9, 9]}]
    source, _ = read_things(resized(written(tmp_path / "k.json", rows), width=80, height=70), tmp_path, False)
    assert [thing.box.tolist() for thing in source.things] == [[-8, -8, 1, 1], [79, 69, 88, 78]]


def test_a_box_beyond_an_image_of_no_listed_size_stops_or_is_counted_when_it_is_read(tmp_path):
    folder(tmp_path, val=[GOOD, OUTSIDE])
    with pytest.raises(SnnkitError, match=r"b\.png has the box \[5000, 5000, 20, 20\], none of which lies on 80 by 70"):
        list(load_images(configured(tmp_path), 0).test)
    data = load_images(configured(tmp_path, on_corrupt="skip"), 0)
    assert [len(crops) for crops, _ in data.test] == [1]
    assert len(data.test.skipped) == 1


def test_a_missing_image_stops_or_is_counted(tmp_path):
    folder(tmp_path, val=[GOOD, GOOD | {"image_id": 4}])
    (tmp_path / "val2017" / "b.png").unlink()
    with pytest.raises(SnnkitError, match=r"b\.png is not a readable image"):
        list(load_images(configured(tmp_path), 0).test)
    data = load_images(configured(tmp_path, on_corrupt="skip", batch_size=2), 0)
    assert sum(len(crops) for crops, _ in data.test) == 1
    assert len(data.test.skipped) == 1


def test_a_batch_of_things_of_one_missing_image_is_left_out(tmp_path):
    folder(tmp_path, train=[GOOD, GOOD, GOOD | {"image_id": 4}], val=[GOOD, GOOD, GOOD | {"image_id": 4}])
    for split in ("train2017", "val2017"):
        (tmp_path / split / "b.png").unlink()
    data = load_images(configured(tmp_path, on_corrupt="skip", batch_size=2), 0)
    assert [len(crops) for crops, _ in data.test] == [1]
    one = load_images(configured(tmp_path, on_corrupt="skip"), 0)
    assert [len(crops) for crops, _ in one.train.epoch(1)] == [1, 1, 1]
