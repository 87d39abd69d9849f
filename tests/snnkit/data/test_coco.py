"""Folders of images in COCO's form: what is read, what is written, and what is said of what is wrong in them.

Would break it: boxes as corners instead of left, top, width and height, labels that follow the file's order or its
numbers, masks turned or shifted, crowds that are trained on, something wrong that is read without a word, an error that
does not name file and annotation, targets of a test image scaled with it.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from snnkit.data import DataConfig, load_images
from snnkit.data.coco import load
from snnkit.data.coco_lengths import check_lengths
from snnkit.errors import CorruptFileError, InvalidArgumentError

pytest.importorskip("pycocotools", reason="no masks in COCO's form: pip install pycocotools")

SQUARE = [10, 4, 20, 4, 20, 12, 10, 12]
"""A polygon of 10 to 20 across and 4 to 12 down."""


def instances(**changes):
    found = {
        "images": [
            {"id": 7, "file_name": "a.png", "width": 40, "height": 24},
            {"id": 3, "file_name": "b.png", "width": 24, "height": 24},
        ],
        # The numbers have gaps and are in no order: labels follow the numbers.
        "categories": [{"id": 9, "name": "dog"}, {"id": 2, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 9, "bbox": [10, 4, 10, 8], "area": 80, "segmentation": [SQUARE]},
            {"id": 2, "image_id": 7, "category_id": 2, "bbox": [0, 0, 4, 4], "area": 16, "iscrowd": 0,
             "segmentation": {"size": [24, 40], "counts": [0, 4, 20, 4, 20, 4, 20, 4, 884]}},
            {"id": 3, "image_id": 7, "category_id": 2, "bbox": [30, 0, 10, 24], "iscrowd": 1,
             "segmentation": {"size": [24, 40], "counts": [720, 240]}},
        ],
    }  # fmt: skip
    return found | changes


def folder(root: Path, train=None, val=None, files="annotations/instances_{}.json", images="{}"):
    train = train or instances()
    for split, found in (("train", train), ("val", val or train)):
        file, place = root / files.format(split), root / images.format(split)
        file.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found))
        for number, (name, width) in enumerate((("a.png", 40), ("b.png", 24))):
            Image.new("RGB", (width, 24), (40 * number, 0, 0)).save(place / name)
    return root


def config(root, **settings):
    plain = {"shift_pixels": 0, "flip": False, "targets": "objects", "dataset": "coco", "batch_size": 2}
    return DataConfig(source=str(root), **{**plain, **settings})


def test_boxes_labels_and_masks_are_those_of_the_file(tmp_path):
    splits = load(config(folder(tmp_path)))
    assert splits.classes == ("cat", "dog")
    assert splits.notes == ()
    image, found = splits.test[0]
    assert image.shape == (3, 24, 40)
    assert found["boxes"].tolist() == [[10, 4, 20, 12], [0, 0, 4, 4], [30, 0, 40, 24]]
    assert (found["labels"].tolist(), found["iscrowd"].tolist()) == ([1, 0, 0], [0, 0, 1])
    assert found["area"].tolist() == [80, 16, 240]
    assert found["size"].tolist() == [24, 40]
    wanted = torch.zeros(3, 24, 40, dtype=torch.bool)
    wanted[0, 4:12, 10:20], wanted[1, :4, :4], wanted[2, :, 30:] = True, True, True
    assert torch.equal(found["masks"], wanted)
    _, empty = splits.test[1]
    assert (empty["boxes"].shape, empty["masks"].shape) == ((0, 4), (0, 24, 24))


def test_crowds_are_not_trained_on(tmp_path):
    _, found = load(config(folder(tmp_path))).train[0]
    assert found["labels"].tolist() == [1, 0]
    assert set(found) == {"boxes", "labels", "masks", "iscrowd"}


def test_training_scales_both_and_testing_the_image_alone(tmp_path):
    splits = load(config(folder(tmp_path), img_size=48))
    image, found = splits.train[0]
    assert image.shape == (3, 48, 80)
    assert found["boxes"].tolist() == [[20, 8, 40, 24], [0, 0, 8, 8]]
    assert found["masks"][0].nonzero().amin(0).tolist() == [8, 20]
    image, found = splits.test[0]
    assert image.shape == (3, 48, 80)
    assert found["boxes"][0].tolist() == [10, 4, 20, 12]
    assert found["size"].tolist() == [24, 40]


def test_batches_are_lists(tmp_path):
    data = load_images(config(folder(tmp_path)), seed=0)
    batches = list(data.test)  # of one image each: filled up to others' sizes, a network would see what is not there
    assert [tuple(image.shape) for images, _ in batches for image in images] == [(3, 24, 40), (3, 24, 24)]
    assert [len(target["boxes"]) for _, targets in batches for target in targets] == [3, 0]
    images, targets = next(iter(data.train))
    assert (len(images), len(targets)) == (2, 2)
    assert data.image_shape == (3, 24, 40)


@pytest.mark.parametrize(
    ("files", "images"),
    [
        ("annotations/instances_{}2017.json", "{}2017"),
        ("annotations/{}.json", "images/{}"),
        ("{}.json", "images"),
        ("{}/_annotations.coco.json", "{}"),
        ("{}/labels.json", "{}/data"),
    ],
)
def test_common_layouts_are_found(tmp_path, files, images):
    assert len(load(config(folder(tmp_path, files=files, images=images))).train) == 2


def test_boxes_alone_need_no_masks(tmp_path):
    found = instances()
    for row in found["annotations"]:
        del row["segmentation"]
    _, target = load(config(folder(tmp_path, found))).train[0]
    assert "masks" not in target


WRONG = [
    ({"bbox": [10, 4, 0, 8]}, "not above 0"),
    ({"bbox": [20, 4, -10, 8]}, "not above 0"),
    ({"bbox": [50, 4, 10, 8]}, "none of which lies on 40 by 24"),
    ({"bbox": [1, 2, 3]}, "not left, top, width and height"),
    ({"bbox": [1, 2, 3, float("nan")]}, "not left, top, width and height"),
    ({"image_id": 5}, "image 5"),
    ({"category_id": 1}, "category 1"),
    ({"segmentation": [[1, 2, 3, 4]]}, "three corners"),
    ({"segmentation": []}, "no outline"),
    ({"segmentation": [[50, 2, 60, 2, 60, 9]]}, "an outline, none of which lies on 40 by 24"),
    ({"segmentation": {"size": [40, 24], "counts": [960]}}, "run lengths"),
    ({"segmentation": {"size": [24, 40], "counts": [961]}}, "run lengths of 961"),
    ({"segmentation": {"size": [24, 40], "counts": [970, -10]}}, "some below 0"),
    ({"segmentation": {"size": [24, 40], "counts": [950.5, 9.5]}}, "no whole numbers"),
    ({"segmentation": {"size": [24, 40], "counts": ""}}, "cut off or damaged"),
    ({"segmentation": {"size": [24, 40], "counts": "zzzzz~~~~"}}, "damaged"),
    ({"segmentation": {"size": [24, 40], "counts": "\u00e9"}}, "run lengths"),
    ({"segmentation": [[2, 3, 1e12, 3, 12, 8]]}, "more than 100,000 pixels away"),
    ({"bbox": "1234"}, "not left, top, width and height"),
    ({"iscrowd": "0"}, "iscrowd '0', neither 0 nor 1"),
    ({"category_id": 9.5}, "category 9.5 is no whole number"),
]


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_what_is_wrong_names_file_and_annotation_or_is_counted(tmp_path, change, words):
    found = instances()
    found["annotations"][0] |= change
    root = folder(tmp_path, found, instances())
    with pytest.raises(CorruptFileError, match=words) as caught:
        load(config(root))
    assert "instances_train.json: annotation 1 " in str(caught.value)
    assert "\n" not in str(caught.value)
    splits = load(config(root, on_corrupt="skip"))
    assert splits.train[0][1]["labels"].tolist() == [0]
    assert splits.notes == ("instances_train.json: of 3 things 1 are wrong and left out",)


def test_run_lengths_as_text_are_read_before_they_are_filled(tmp_path):
    """pycocotools' own texts hold; cut anywhere they are refused, where it would fill masks with anything."""
    from pycocotools import mask

    drawn = (torch.rand(24, 40, generator=torch.Generator().manual_seed(0)) > 0.7).to(torch.uint8)
    text = mask.encode(np.asfortranarray(drawn.numpy()))["counts"].decode()
    found = instances()
    found["annotations"][0]["segmentation"] = {"size": [24, 40], "counts": text}
    _, target = load(config(folder(tmp_path, found))).test[0]
    assert torch.equal(target["masks"][0], drawn.bool())
    large = np.zeros((700, 900), np.uint8, order="F")
    large[:, 300:650] = 1  # lengths of several characters, below and above those before them
    large[13:40, 700] = 1
    check_lengths(mask.encode(large)["counts"].decode(), large.size)
    for end in range(len(text)):
        with pytest.raises(ValueError, match="run lengths"):
            check_lengths(text[:end], 24 * 40)


def test_numbers_as_text_are_numbers_and_none_is_there_twice(tmp_path):
    found = instances(categories=[{"id": "9", "name": "dog"}, {"id": "2", "name": "cat"}])
    for row in found["annotations"]:
        row["category_id"], row["image_id"] = str(row["category_id"]), float(row["image_id"])
    splits = load(config(folder(tmp_path, found)))
    assert splits.classes == ("cat", "dog")
    assert splits.test[0][1]["labels"].tolist() == [1, 0, 0]
    twice = instances(categories=[{"id": 9, "name": "dog"}, {"id": 2, "name": "cat"}, {"id": "9", "name": "cow"}])
    with pytest.raises(CorruptFileError, match="categories dog and cow have the same id, 9"):
        load(config(folder(tmp_path / "twice", twice)))
    part = instances(categories=[{"id": 9.6, "name": "dog"}, {"id": 2, "name": "cat"}])
    with pytest.raises(CorruptFileError, match=r"category 9\.6 is no whole number"):
        load(config(folder(tmp_path / "part", part)))


@pytest.mark.parametrize("side", ["wide", [40], float("inf")])
def test_sizes_that_are_no_numbers_are_refused(tmp_path, side):
    found = instances()
    found["images"][0]["width"] = side
    with pytest.raises(CorruptFileError, match=r"the image a\.png has height 24 and width .*no numbers of pixels"):
        load(config(folder(tmp_path, found)))


def test_what_reaches_beyond_the_image_is_cut_and_counted(tmp_path):
    found = instances()
    row = found["annotations"][0]
    row["bbox"], row["segmentation"] = [-5, -5, 20, 10], [[-5, -5, 15, -5, 15, 5, -5, 5]]
    splits = load(config(folder(tmp_path, found, instances())))
    _, target = splits.train[0]
    assert target["boxes"][0].tolist() == [0, 0, 15, 5]
    wanted = torch.zeros(24, 40, dtype=torch.bool)
    wanted[:5, :15] = True
    assert torch.equal(target["masks"][0], wanted)
    assert splits.notes == ("instances_train.json: of 3 things 1 reach beyond their image and are cut",)


def test_missing_images_are_named(tmp_path):
    root = folder(tmp_path)
    (root / "train" / "b.png").unlink()
    with pytest.raises(CorruptFileError, match=r"1 of its 2 images are not in .*train: b\.png"):
        load(config(root))
    splits = load(config(root, on_corrupt="skip"))
    assert len(splits.train) == 1
    assert "b.png; left out" in splits.notes[0]
    (root / "train" / "a.png").unlink()
    with pytest.raises(CorruptFileError, match=r"2 of its 2 images.*add them\.$"):
        load(config(root, on_corrupt="skip"))


def test_a_test_image_that_cannot_be_read_is_left_out_and_counted(tmp_path):
    root = folder(tmp_path)
    (root / "val" / "a.png").write_bytes(b"no image")
    with pytest.raises(CorruptFileError, match=r"a\.png"):
        list(load_images(config(root), 0).test)
    data = load_images(config(root, on_corrupt="skip"), 0)
    ((images, _),) = data.test  # of two
    assert images[0].shape[-2:] == (24, 24)
    assert len(data.test.skipped) == 1
    assert "a.png" in data.test.skipped[0]


def test_an_image_of_another_size_is_refused(tmp_path):
    root = folder(tmp_path)
    Image.new("RGB", (30, 24)).save(root / "val" / "a.png")
    with pytest.raises(CorruptFileError, match=r"a\.png: 30 by 24 pixels, its annotations are for 40 by 24"):
        load(config(root)).test[0]


def test_other_categories_are_refused_by_name(tmp_path):
    other = instances(categories=[{"id": 9, "name": "dog"}, {"id": 2, "name": "cow"}])
    with pytest.raises(InvalidArgumentError, match=r"train\.json alone has 2 'cat'; .*val\.json alone has 2 'cow'"):
        load(config(folder(tmp_path, instances(), other)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not valid JSON"),
        ("[]", "not in COCO's form"),
        ('{"images": []}', "there is no 'categories'"),
        ('{"images": [], "categories": [], "annotations": []}', "lists 0 images"),
        ('{"images": [{"id": 1}], "categories": [], "annotations": []}', "not in COCO's form"),
        ('{"images": [{"id": 1, "file_name": "a", "width": 1, "height": 1}], "categories": [{"id": 1, "name": "x"}],'
         ' "annotations": [5]}', "annotation number 1"),
    ],
)  # fmt: skip
def test_no_file_of_instances(tmp_path, text, words):
    root = folder(tmp_path)
    (root / "annotations" / "instances_train.json").write_text(text)
    with pytest.raises(CorruptFileError, match=words):
        load(config(root))


def test_a_split_with_nothing_on_its_images(tmp_path):
    with pytest.raises(CorruptFileError, match="instances_train.json: nothing is on its 2 images"):
        load(config(folder(tmp_path, instances(annotations=[]), instances())))


def test_a_folder_without_files_says_where_it_looked(tmp_path):
    with pytest.raises(InvalidArgumentError, match="instances_train.json"):
        load(config(tmp_path))
    with pytest.raises(InvalidArgumentError, match="not a folder"):
        load(config(tmp_path / "none"))


def test_labels_are_not_what_it_has(tmp_path):
    with pytest.raises(InvalidArgumentError, match="has objects, and labels are asked for"):
        load_images(config(folder(tmp_path), targets=""), seed=0)
