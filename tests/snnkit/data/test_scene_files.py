"""Composed scenes written in COCO's form: what is read back is what data set ``scenes`` has.

Would break it: labels shifted by one, corners half a pixel aside, a mask of a thing that another hides, captions of the
neighbouring scene, a split that is overwritten, half of one that is left behind, files that pycocotools does not take.
"""

import contextlib
import io
import json

import pytest
import torch

from snnkit.data import DataConfig, load_images
from snnkit.data.captioned_fashion_mnist import NAMES
from snnkit.data.scene_files import SPLITS, write_scenes
from snnkit.data.scenes import Scenes
from snnkit.errors import InvalidArgumentError

pytest.importorskip("skimage")
COCO = pytest.importorskip("pycocotools.coco").COCO
COUNTS, SIDE = {"train": 3, "val": 2}, 48


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("composed")
    for split, train in SPLITS.items():
        scenes = Scenes("vendored", train, COUNTS[split], SIDE)
        assert list(write_scenes(root, scenes, split)) == list(range(1, COUNTS[split] + 1))
    return root


def pairs(folder, dataset, targets):
    """Test samples of the folder, and the same of data set ``scenes``."""
    plain = {"img_size": SIDE, "batch_size": 1, "flip": False}
    read = load_images(DataConfig(dataset=dataset, source=str(folder), targets=targets, **plain), 0)
    own = load_images(DataConfig(dataset="scenes", source="vendored", targets=targets, **plain), 0)
    return read, own


def test_boxes_masks_and_kinds(folder):
    read, own = pairs(folder, "coco", "objects")
    assert read.classes == own.classes
    assert len(read.test.dataset) == COUNTS["val"]
    for index in range(COUNTS["val"]):
        (x, found), (y, wanted) = read.test.dataset[index][:2], own.test.dataset[index][:2]
        assert torch.equal(x, y)
        for key in ("boxes", "labels", "masks"):
            assert torch.equal(torch.as_tensor(found[key]), torch.as_tensor(wanted[key])), key


def test_pycocotools_takes_it(folder):
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(str(folder / "annotations" / "instances_val.json"))
    for index in range(COUNTS["val"]):
        things = Scenes("vendored", False, COUNTS["val"], SIDE).read(index).things
        rows = known.loadAnns(known.getAnnIds(imgIds=[index + 1]))
        assert len(rows) == len(things)
        for row, thing in zip(rows, things, strict=True):
            left, top, right, bottom = thing.box
            assert row["bbox"] == [left, top, right - left, bottom - top]
            assert torch.equal(torch.from_numpy(known.annToMask(row)).bool(), thing.mask)
            assert row["area"] == int(thing.mask.sum())
            assert known.cats[row["category_id"]]["name"] == NAMES[thing.label]


def test_captions(folder):
    read, own = pairs(folder, "coco_captions", "captions")
    for index in range(COUNTS["val"]):
        assert read.test.dataset[index][2] == own.test.dataset[index][2]


def test_corners_of_every_thing(folder):
    scenes = Scenes("vendored", False, COUNTS["val"], SIDE)
    every = [thing for index in range(len(scenes)) for thing in scenes.read(index).things]
    read = load_images(DataConfig(dataset="coco_keypoints", source=str(folder), targets="keypoints", img_size=SIDE), 0)
    source = read.test.dataset.source
    assert len(source.things) == len(every)
    for marked, thing in zip(source.things, every, strict=True):
        torch.testing.assert_close(marked.points, thing.corners, atol=0.01, rtol=0)
        assert marked.box.tolist() == list(thing.box)


def test_what_is_there_stays(folder):
    before = (folder / "annotations" / "instances_val.json").read_bytes()
    with pytest.raises(InvalidArgumentError, match="val is there already"):
        list(write_scenes(folder, Scenes("vendored", False, 1, SIDE), "val"))
    assert (folder / "annotations" / "instances_val.json").read_bytes() == before
    with pytest.raises(InvalidArgumentError, match="split='dev'"):
        list(write_scenes(folder, Scenes("vendored", False, 1, SIDE), "dev"))


def test_what_is_interrupted_leaves_no_split(tmp_path):
    scenes = Scenes("vendored", False, 3, SIDE)
    started = write_scenes(tmp_path, scenes, "val")
    assert next(started) == 1
    started.close()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".val.part").mkdir()  # as a kill leaves it
    (tmp_path / ".val.part" / "000007.png").touch()
    assert list(write_scenes(tmp_path, scenes, "val")) == [1, 2, 3]
    assert [path.name for path in sorted((tmp_path / "val").iterdir())] == ["000000.png", "000001.png", "000002.png"]
    assert not (tmp_path / ".val.part").exists()


def test_the_verb_says_that_it_was_interrupted(call, tmp_path, monkeypatch):
    def interrupted(*_):
        yield 1
        raise KeyboardInterrupt

    monkeypatch.setattr("snnkit.data.scene_files.write_scenes", interrupted)
    code, _, errors = call("data", "compose", tmp_path / "c", "--train", 2, "--test", 1)
    assert (code, errors.split()[-1]) == (130, "interrupted")


def test_the_verb(call, tmp_path):
    code, out, errors = call("data", "compose", tmp_path / "c", "--train", 2, "--test", 1, "--side", 32)
    assert code == 0, errors
    assert "2 scenes to train on, 1 to test on, 32 × 32 pixels" in " ".join(out.split())
    found = json.loads((tmp_path / "c" / "annotations" / "captions_train.json").read_text())
    assert [image["file_name"] for image in found["images"]] == ["000000.png", "000001.png"]
    code, _, errors = call("data", "compose", tmp_path / "d", "--train", 0)
    assert code == 2
    assert "--train 0: must be ≥ 1" in errors
    assert not (tmp_path / "d").exists()
