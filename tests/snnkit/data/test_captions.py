"""Images with captions: every wording of a scene, folders in COCO's form, what is drawn, cut, lost and left out.

Would break it: captions of another image, mirrored images under words for left and right, wordings that training never
sees or tests miss, cuts and lost characters that nobody hears of, empty captions that train, test images in training.
"""

import json
import random

import pytest
import torch
from PIL import Image
from support.captions import coco

from snnkit.data import DataConfig, load_images
from snnkit.data.captioned_fashion_mnist import NAMES
from snnkit.data.image_captions import unknown_characters
from snnkit.data.image_folder import MEAN, STD
from snnkit.data.scene_captions import captions
from snnkit.data.scenes import COLOURS, Scene, Scenes, Thing, caption
from snnkit.data.tokens import BytePairs, Bytes, train_bpe
from snnkit.errors import CorruptFileError, InvalidArgumentError, SnnkitError

OFF = {"flip": False, "shift_pixels": 0, "targets": "captions"}


def scenes(**changes):
    given = {"train_limit": 12, "test_limit": 6, "batch_size": 4, "context": 80, "source": "vendored"}
    return DataConfig("scenes", **{**given, **OFF, **changes})


def thing(label, colour, left, top, side=10, size=40):
    mask = torch.zeros(size, size, dtype=torch.bool)
    mask[top : top + side, left : left + side] = True
    return Thing(label, colour, mask, (left, top, left + side, top + side), torch.zeros(4, 3))


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ((25, 6), ("a red coat to the left of a blue bag", "a red coat on the left of a blue bag")),
        ((0, 6), ("a red coat to the right of a blue bag", "a red coat on the right of a blue bag")),
        ((14, 25), ("a red coat above a blue bag", "a red coat over a blue bag")),
        ((14, 0), ("a red coat below a blue bag", "a red coat under a blue bag")),
    ],
)
def test_every_wording_of_where_things_lie(second, expected):
    image = torch.zeros(3, 40, 40, dtype=torch.uint8)
    coat = thing(NAMES.index("coat"), "red", 12, 5, 12)
    left, top = second
    bag = thing(NAMES.index("bag"), "blue", left, top if top != 6 else 7, 8)
    if top == 25:
        coat = thing(NAMES.index("coat"), "red", 12, 0, 12)
    if (left, top) == (14, 0):
        coat = thing(NAMES.index("coat"), "red", 12, 25, 12)
    scene = Scene(image, (bag, coat), "")
    assert captions(scene) == expected
    assert captions(Scene(image, (coat,), "")) == ("a red coat",)
    assert {caption(scene, random.Random(n)) for n in range(20)} <= set(expected)


def test_scenes_say_what_lies_on_them_and_tests_know_every_wording():
    data = load_images(scenes(), 0)
    assert (data.targets, data.classes, data.tokens.vocabulary) == ("captions", NAMES, 257)
    drawn, by_image = set(), {}
    whole = Scenes("vendored", True, 4000)
    for epoch in range(1, 5):
        for images, tokens, texts in data.train.epoch(epoch):
            assert images.shape == (4, 3, 96, 96)
            for row, own in zip(tokens, texts, strict=True):
                said = data.tokens.decode(row.tolist())
                assert said in own
                drawn.add(said)
                by_image.setdefault(own, set()).add(said)
    assert any(len(said) == 2 for said in by_image.values())  # drawn anew
    known = {captions(whole.read(int(n))) for n in data.train.dataset.indices}
    assert set(by_image) <= known
    images, tokens, texts = next(iter(data.test))
    assert len(texts) == len(images) == 4
    assert max(map(len, texts)) == 2
    for row, own in zip(tokens, texts, strict=True):
        assert data.tokens.decode(row.tolist()) == own[0]
        assert any(colour in own[0] for colour in COLOURS)


def test_an_epoch_is_the_same_whenever_it_is_read():
    first, again = (load_images(scenes(shift_pixels=4), 3) for _ in range(2))
    list(again.train.epoch(1))
    random.seed(5)
    for one, other in zip(first.train.epoch(2), again.train.epoch(2), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
        assert one[2] == other[2]
    second = torch.cat([tokens for _, tokens, _ in first.train.epoch(3)])
    assert second.shape == (12, 80)


def test_a_cut_is_told_and_counted():
    data = load_images(scenes(context=20), 0)
    for _, tokens, texts in data.train.epoch(1):
        for row, own in zip(tokens, texts, strict=True):
            assert data.tokens.decode(row.tolist()) in {text[:20] for text in own}
    assert data.train.skipped
    assert all("its caption was cut to 20 tokens of " in reason for reason in data.train.skipped)
    assert data.train.skipped[0].startswith("scene ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"flip": True}, "data.flip=true.*left and right.*false"),
        ({"mixup": 0.2}, "data.mixup=0.2"),
        ({"smallest_scale": 0.5}, "data.smallest_scale=0.5.*set both to 1"),
        ({"targets": "caption"}, "'caption'.*'captions'"),
        ({"tokenizer": "words"}, "data.tokenizer=words"),
        ({"context": 0}, "data.context=0"),
    ],
)
def test_what_captions_do_not_go_with(changes, words):
    with pytest.raises(SnnkitError, match=words) as caught:
        load_images(scenes(**changes), 0)
    assert "\n" not in str(caught.value)


def coco_config(folder, **changes):
    given = {"source": str(folder), "batch_size": 2, "img_size": 8, "context": 24}
    return DataConfig("coco_captions", **{**given, **OFF, **changes})


def told(data, batches):
    """{number that the image shows: its captions, the one in tokens first}."""
    found = {}
    for images, tokens, texts in batches:
        for image, row, own in zip(images, tokens, texts, strict=True):
            level = round(float((image[0].mean() * STD[0] + MEAN[0]) * 255) / 10)
            found[level] = (data.tokens.decode(row.tolist()), *own)
    return found


@pytest.mark.parametrize("images", ["{}", "images/{}", "images", "."])
@pytest.mark.parametrize("annotations", ["annotations", "."])
def test_a_folder_in_cocos_form(tmp_path, images, annotations):
    data = load_images(coco_config(coco(tmp_path, annotations=annotations, images=images)), 0)
    assert (data.targets, data.classes, data.notes) == ("captions", (), ())
    assert data.train.name(1, 0).count("png") == 2
    tested = told(data, data.test)
    both = {n: {f"Grey number {n}.", f"a number {n} in grey"} for n in range(9)}
    assert set(tested) == {6, 7, 8}
    trained = told(data, (batch for epoch in (1, 2, 3) for batch in data.train.epoch(epoch)))
    assert set(trained) == {0, 1, 2, 3, 4, 5}
    for number, (said, *own) in {**tested, **trained}.items():
        assert set(own) == both[number]
        assert said in own
    assert all(said == own[0] for said, *own in tested.values())
    assert len({own.index(said) for said, *own in trained.values()}) == 2  # drawn


def test_a_single_file_is_both_splits(tmp_path):
    data = load_images(coco_config(coco(tmp_path, (("all", 8),)), holdout=0.25), 0)
    assert set(told(data, data.test)) == {6, 7}
    assert len(data.train.dataset) == 6


def changed(folder, change, split="train2017"):
    path = folder / "annotations" / f"captions_{split}.json"
    about = json.loads(path.read_text())
    change(about)
    path.write_text(json.dumps(about))
    return folder


def test_what_is_left_out_is_counted_and_said(tmp_path):
    def change(about):
        about["annotations"] = [row for row in about["annotations"] if row["image_id"] != 102]
        about["annotations"][0]["caption"] = " \n "
        about["annotations"][1]["caption"] = "\ud83d half"

    folder = changed(coco(tmp_path), change)
    with pytest.raises(
        CorruptFileError, match=r"annotation 1, of 005.png, has a caption that is empty or no text.*on_corrupt=skip"
    ):
        load_images(coco_config(folder), 0)
    data = load_images(coco_config(folder, on_corrupt="skip"), 0)
    assert data.notes == (
        "captions_train2017.json: 2 captions that are empty or no text and 2 of 6 images, which have no caption "
        "left out",
    )
    assert set(told(data, data.train.epoch(1))) == {0, 1, 3, 4}


def test_an_image_that_cannot_be_read(tmp_path):
    folder = coco(tmp_path)
    (folder / "val2017" / "007.png").write_bytes(b"no image")
    with pytest.raises(CorruptFileError, match="007.png is not a readable image"):
        list(load_images(coco_config(folder), 0).test)
    data = load_images(coco_config(folder, on_corrupt="skip"), 0)
    assert set(told(data, data.test)) == {6, 8}
    assert len(data.test.skipped) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda about: about.pop("annotations"), "has no 'annotations'"),
        (lambda about: about["images"][0].pop("file_name"), "has no 'file_name'"),
        (lambda about: about["annotations"][3].update(image_id=5), "annotation 4 is of image 5, which is not among"),
        (lambda about: about["annotations"][0].update(image_id="x"), "annotation 1 is of image x, which is not among"),
        (lambda about: about["annotations"][0].update(image_id=[1]), "not in COCO's form"),
        (lambda about: about.update(annotations=[]), "no image of it has a caption"),
    ],
)
def test_files_that_are_not_of_that_form(tmp_path, change, words):
    with pytest.raises(CorruptFileError, match=words) as caught:
        load_images(coco_config(changed(coco(tmp_path), change)), 0)
    assert "captions_train2017.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folders_that_are_not_of_that_form(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"holds no captions_\*.json"):
        load_images(coco_config(tmp_path), 0)
    (tmp_path / "captions_train.json").write_text("[]")
    with pytest.raises(CorruptFileError, match="not in COCO's form"):
        load_images(coco_config(tmp_path), 0)
    (tmp_path / "captions_train.json").write_text("{")
    with pytest.raises(CorruptFileError, match="not valid JSON"):
        load_images(coco_config(tmp_path), 0)
    (tmp_path / "captions_other.json").write_text("{}")
    with pytest.raises(InvalidArgumentError, match=r"captions_other.json, captions_train.json; one captions_train"):
        load_images(coco_config(tmp_path), 0)
    with pytest.raises(InvalidArgumentError, match="set data.img_size"):
        folder = coco(tmp_path / "sizes")
        Image.new("RGB", (9, 9)).save(folder / "val2017" / "007.png")
        list(load_images(coco_config(folder, img_size=0, batch_size=3), 0).test)


def test_characters_that_the_tokenizer_does_not_know(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "grey": 1, "number": 2, "a": 3}, "[UNK]"))
    made.normalizer = tokenizers.normalizers.Lowercase()
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "t.json"))
    few = BytePairs(tmp_path / "t.json")
    assert unknown_characters(few, "A Grey number") == []
    assert "ö" in unknown_characters(few, "a grey Möwe")
    assert unknown_characters(Bytes(), "a grey Möwe") == []
    assert unknown_characters(train_bpe(["a grey"], 257, tmp_path / "b.json"), "Möwe 東") == []

    def change(about):
        for row in about["annotations"]:
            row["caption"] = "grey number ö" if row["image_id"] == 103 else "a grey number"

    folder = changed(changed(coco(tmp_path / "c"), change), change, "val2017")
    data = load_images(coco_config(folder, tokenizer=str(tmp_path / "t.json")), 0)
    assert data.tokens.vocabulary == 5
    assert set(told(data, data.train.epoch(1))) == set(range(6))
    assert len(data.train.skipped) == 1
    assert data.train.skipped[0].endswith("003.png: 'ö' of its caption: the tokenizer does not know them")
