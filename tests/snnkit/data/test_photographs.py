"""Crops of photographs, and their captions.

Would break it: a pixel that training and test crops share, crops that change between two loads, a height that is said
of another crop, a list of photographs that the library no longer has.
"""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from snnkit.data import DataConfig, load_images
from snnkit.data.captioned_photographs import TEXTS
from snnkit.data.photographs import SCIKIT_IMAGE, SIDE, Crops, find_photographs
from snnkit.errors import CorruptFileError, InvalidArgumentError, UnknownNameError
from snnkit.probing import feeding, load_encoder
from snnkit.probing.features import _key

SIZES = {"tall_tree": (120, 200), "wide_sea": (300, 90), "small": (41, 40)}


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    for name, (width, height) in SIZES.items():
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return tmp_path


def test_features_of_crops_are_kept_until_a_photograph_changes(folder, tmp_path):
    def key():
        return _key(load_encoder("timm:resnet10t", 3), feeding(config(folder, img_size=32), 3, "it"))

    before = key()
    assert before
    assert key() == before
    path = folder / "small.png"
    os.utime(path, ns=(0, 0))
    assert key() != before


def config(folder, name="photographs", **changes):
    return DataConfig(name, str(folder), batch_size=8, shift_pixels=0, flip=False, **changes)


def test_training_and_test_crops_share_no_pixel(folder):
    files = find_photographs(str(folder))
    train, test = Crops(files, True, 60), Crops(files, False, 60)
    for photo, (width, height) in enumerate(SIZES[file.stem] for file in files):
        sides = [crop.side for crops in (train, test) for crop in crops.crops if crop.photo == photo]
        assert min(sides) >= 0.2 * min(width, height) - 1
        assert max(sides) <= 0.5 * min(width, height) + 1
        ends = [crop.left + crop.side for crop in train.crops if crop.photo == photo]
        starts = [crop.left for crop in test.crops if crop.photo == photo]
        assert max(ends) <= min(starts)
        assert all(0 <= c.top <= height - c.side for c in train.crops + test.crops if c.photo == photo)
        assert max(crop.left + crop.side for crop in test.crops if crop.photo == photo) <= width


def test_crops_are_the_photographs_pixels_and_the_same_each_time(folder):
    files = find_photographs(str(folder))
    one, two = Crops(files, True, 3), Crops(files, True, 5)
    assert [c for c in one.crops if c.photo == 1] == [c for c in two.crops if c.photo == 1][:3]
    assert one.labels == [0, 1, 2] * 3
    crop = one.crops[1]
    whole = torch.from_numpy(np.array(Image.open(files[1]))).permute(2, 0, 1)
    part = whole[:, crop.top : crop.top + crop.side, crop.left : crop.left + crop.side]
    read = one.read(1)
    assert read.shape == (3, SIDE, SIDE)
    assert abs(float(read.float().mean()) - float(part.float().mean())) < 3
    assert one.names[1] == f"{files[1].name} {crop.side}x{crop.side}+{crop.left}+{crop.top}"


def test_batches_of_crops(folder):
    data = load_images(config(folder), seed=0)
    assert data.classes == ("small", "tall_tree", "wide_sea")
    images, labels = next(iter(data.test))
    assert images.shape == (100, 3, SIDE, SIDE)
    assert labels.tolist() == [0, 1, 2] * 33 + [0]


def test_texts_say_what_and_how_high(folder):
    (folder / "captions.txt").write_text("tall_tree.png\ta tall tree\ntall_tree\ta pine\nsmall\ta dot\n")
    data = load_images(config(folder, "captioned_photographs", context=60), seed=0)
    crops = Crops(find_photographs(str(folder)), False, 50)
    third = ("the upper part of", "the middle of", "the lower part of")
    said = {1: "a tall tree", 0: "a dot", 2: "wide sea"}
    for index in range(30):
        _, row, label = data.test.dataset[index]
        crop = crops.crops[index]
        assert data.tokens.decode(row.tolist()) == f"{third[int(3 * crop.height)]} {said[label]}"
    seen = {data.tokens.decode(data.train.dataset[1][1].tolist()) for _ in range(60)}
    assert {text.rpartition(" a ")[2] for text in seen if " a " in text} >= {"pine", "tall tree"}
    assert data.prompts.shape[:2] == (3, 5)


@pytest.mark.parametrize(
    ("line", "error", "words"),
    [
        ("tall_tree a pine", CorruptFileError, "is not NAME<tab>TEXT"),
        ("tall_tee\ta pine", UnknownNameError, "tall_tree"),
    ],
)
def test_texts_that_cannot_be_read(folder, line, error, words):
    (folder / "captions.txt").write_text(line + "\n")
    with pytest.raises(error, match=words):
        load_images(config(folder, "captioned_photographs"), seed=0)


def test_folders_that_do_not_do(folder, tmp_path):
    with pytest.raises(InvalidArgumentError, match="not a folder"):
        find_photographs(str(folder / "none"))
    (folder / "few").mkdir()
    with pytest.raises(InvalidArgumentError, match="holds 0 images"):
        find_photographs(str(folder / "few"))
    Image.new("RGB", (50, 50)).save(folder / "small.jpg")
    with pytest.raises(InvalidArgumentError, match="two images are called small"):
        find_photographs(str(folder))
    (folder / "small.jpg").unlink()
    Image.new("RGB", (50, 30)).save(folder / "flat.jpg")
    with pytest.raises(InvalidArgumentError, match="50 by 30 pixels"):
        load_images(config(folder), seed=0)


def test_the_photographs_of_scikit_image():
    pytest.importorskip("skimage")
    files = find_photographs("auto")
    assert [file.stem for file in files] == list(SCIKIT_IMAGE)
    assert set(TEXTS) == set(SCIKIT_IMAGE)
    data = load_images(DataConfig("captioned_photographs", "auto", context=80, shift_pixels=0), seed=0)
    assert data.origin == "16 photographs of scikit-image, with captions"
    assert len(data.train.dataset) == 16 * 400
    assert len(data.test.dataset) == 16 * 50


def test_without_scikit_image_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr("snnkit.data.photographs.find_spec", lambda name: None)
    with pytest.raises(InvalidArgumentError, match=r"pip install 'snnkit\[photographs\]'"):
        find_photographs("auto")
