"""Pairs of images and texts: what is read and said, what is left out and counted, taken up anywhere.

Would break it: texts of another image, mirrored images under words for left and right, empty texts that train, cuts
that nobody hears of, test images in the training, orders that depend on who loads.
"""

import json
import random
import tarfile

import numpy as np
import pytest
import torch
from support.data import add, png

from snnkit.data import DataConfig, load_images
from snnkit.data.captioned_fashion_mnist import NAMES, Captioned, adjectives, beside
from snnkit.data.captions import filled
from snnkit.data.image_folder import MEAN, STD
from snnkit.data.tokens import BytePairs, Bytes, fitted, make_tokens, train_bpe
from snnkit.errors import CorruptFileError, InvalidArgumentError


def config(folder, **changes):
    given = {"dataset": "pair_shards", "source": str(folder), "img_size": 8, "batch_size": 4, "shift_pixels": 0}
    return DataConfig(**{**given, "context": 24, **changes})


def greys(images):
    first = images[:, 0].mean((1, 2)) * STD[0] + MEAN[0]
    return (first * 255).round().long().tolist()


def pair_shards(folder, members=None, counts=(4, 5)):
    """Training shards of grey images with their level as text, one test shard with labels."""
    number = 0
    for shard, count in enumerate(counts):
        with tarfile.open(folder / f"train-{shard:06d}.tar", "w") as tar:
            for _ in range(count):
                add(tar, f"s{number:04d}.png", png(10 * number))
                if number % 2:
                    add(tar, f"s{number:04d}.txt", f"grey {10 * number}".encode())
                else:
                    add(tar, f"s{number:04d}.json", json.dumps({"caption": f"grey {10 * number}"}).encode())
                number += 1
            for name, content in members or ():
                add(tar, name, content)
            members = None
    with tarfile.open(folder / "val-000000.tar", "w") as tar:
        for n in range(3):
            add(tar, f"t{n}.png", png(200 + n))
            add(tar, f"t{n}.txt", f"bright {n}".encode())
            add(tar, f"t{n}.cls", str(n).encode())
    (folder / "classes.txt").write_text("zero\none\ntwo\n")
    return folder


def read(data, number=0, start=0):
    tokens = Bytes()
    return [
        (grey, tokens.decode(row.tolist()))
        for images, rows, _ in data.train.epoch(number, start)
        for grey, row in zip(greys(images), rows, strict=True)
    ]


def test_every_image_comes_with_its_text(tmp_path):
    data = load_images(config(pair_shards(tmp_path)), seed=0)
    found = read(data)
    assert len(found) == 8
    assert all(text == f"grey {grey}" for grey, text in found)
    _, rows, labels = next(iter(data.test))
    assert [Bytes().decode(row.tolist()) for row in rows] == ["bright 0", "bright 1", "bright 2"]
    assert labels.tolist() == [0, 1, 2]
    assert data.prompts.shape == (3, 5, 24)
    assert Bytes().decode(data.prompts[1, 0].tolist()) == "a photo of a one."


def test_an_order_that_is_taken_up_anywhere(tmp_path):
    """By two processes, with loading processes, from the second batch on."""
    folder = pair_shards(tmp_path, counts=(6, 6, 6, 6))
    whole = read(load_images(config(folder), seed=3), 2)
    assert whole[4:] == read(load_images(config(folder), seed=3), 2, 1)
    assert whole == read(load_images(config(folder, workers=2), seed=3), 2)
    parts = []
    for rank in range(2):
        data = load_images(config(folder, batch_size=2), seed=3)
        data.share(rank, 2)
        parts.append(read(data, 2))
    assert [pair for both in zip(*parts, strict=True) for pair in both] == whole


def test_broken_pairs_are_counted(tmp_path):
    """No text, an empty one, no image, a json without a caption, a wrong label; a long one is cut."""
    extra = [
        ("e1.png", png(1)),
        ("e2.png", png(2)),
        ("e2.txt", b"  \n"),
        ("e3.txt", b"lonely"),
        ("e4.png", png(4)),
        ("e4.json", b'{"title": "x"}'),
        ("e5.png", png(5)),
        ("e5.txt", b"five"),
        ("e5.cls", b"five"),
        ("e6.png", png(6)),
        ("e6.txt", b"\xff\xfe"),
        ("e7.png", png(7)),
        ("e7.txt", b"a text that is longer than the context"),
    ]
    folder = pair_shards(tmp_path, extra)
    data = load_images(config(folder, on_corrupt="skip", batch_size=16), seed=0)
    found = read(data)
    assert (7, "a text that is longer th") in found
    told = "\n".join(data.train.skipped)
    for words in (
        "e1: it has png, but not KEY.txt or KEY.json",
        "e2: its text is empty",
        "e3: it has txt, but not an image",
        "e4: its json has no text under 'caption' or 'text'",
        "e5: its label is 'five'",
        "e6: its txt cannot be read",
        "e7: its text was cut to 24 tokens of 38",
    ):
        assert words in told, told
    with pytest.raises(CorruptFileError, match=r"train-000000.tar:e\d"):
        read(load_images(config(folder, batch_size=16), seed=0))


def test_training_images_of_the_test_are_left_out(tmp_path):
    extra = [("same.png", png(201)), ("same.txt", b"seen before")]
    data = load_images(config(pair_shards(tmp_path, extra)), seed=0)
    assert data.notes == ("1 training pairs are left out: their images lie in the test split too.",)
    assert len(data.train.dataset) == 9
    assert sum(data.train.order.runs) == 9


def test_bytes_and_byte_pairs(tmp_path):
    for text in ("an ankle boot", "Schuhe für 3 €", "靴"):
        assert Bytes().decode(Bytes().encode(text)) == text
        assert 0 not in Bytes().encode(text)
    row, cut = fitted(Bytes().encode("abcdef"), 4)
    assert (row.tolist(), cut) == ([98, 99, 100, 101], 2)
    pytest.importorskip("tokenizers")
    texts = [f"a {word} shoe" for word in ("red", "blue", "green")] * 5
    made = train_bpe(texts, 270, tmp_path / "t.json")
    assert made.vocabulary <= 270
    assert made.decode(made.encode("a red shoe")) == "a red shoe"
    assert len(made.encode("a red shoe")) < 10
    assert made.decode(made.encode("靴 €")) == "靴 €", "bytes stand for what was never seen"
    assert 0 not in made.encode("a red shoe")
    again = make_tokens(str(tmp_path / "t.json"))
    assert isinstance(again, BytePairs)
    assert again.encode("a blue shoe") == made.encode("a blue shoe")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(CorruptFileError, match="is no file of the library tokenizers"):
        make_tokens(str(tmp_path / "bad.json"))
    with pytest.raises(InvalidArgumentError, match="must be bytes, or a .json file"):
        make_tokens("bits")
    with pytest.raises(CorruptFileError, match="No such file"):
        make_tokens(str(tmp_path / "none.json"))


def things():
    """A dark wide thing, a bright narrow one."""
    images = np.zeros((2, 8, 8), np.uint8)
    images[0, 4:6, 1:7], images[1, 1:7, 4:6] = 60, 200
    return images


def test_captions_say_what_is_seen():
    dark, bright = (torch.from_numpy(image) for image in things())
    assert adjectives(dark) == ["dark", "wide"]
    assert adjectives(bright) == ["bright", "narrow"]
    assert adjectives(torch.zeros(8, 8, dtype=torch.uint8)) == []
    both = beside(bright, dark, above=False)
    assert both[:, :4].max() == 200
    assert both[:, 4:].max() == 60
    assert beside(bright, dark, above=True)[:4].max() == 200


def test_captioned_things():
    """What a text says of places and turns holds; a test's pairs are always the same; kinds as said."""
    source = Captioned(things(), np.array([0, 1]), drawn=True, flip=True)
    random.seed(0)
    found = [source.read(n % 2) for n in range(200)]
    for image, text, label in found:
        first = 200 if label == 1 else 60
        if label >= 0:
            assert NAMES[label] in text
            assert image.max() == first
        if "to the left of" in text:
            left = "trousers" in text.split("to the left of")[0]
            assert image[0, :, :4].max() == (200 if left else 60)
    assert {label for _, _, label in found} == {-1, 0, 1}
    still = Captioned(np.repeat(things(), 4, 0), np.arange(8) % 10, drawn=False, flip=True)
    state = random.getstate()
    one, other = [still.read(n) for n in range(8)], [still.read(n) for n in range(8)]
    assert all(torch.equal(a.image, b.image) and a.text == b.text for a, b in zip(one, other, strict=True))
    assert random.getstate() == state
    assert [pair.label for pair in one] == [0, 1, -1, -1, 4, 5, -1, -1]


def test_captioned_folder(tmp_path):
    for split in ("train", "val"):
        for name in ("tree_frog", "owl"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "0.png").write_bytes(png(50))
    given = config(tmp_path, dataset="captioned_folder", batch_size=2, context=40)
    data = load_images(given, seed=0)
    _, rows, labels = next(iter(data.test))
    texts = [Bytes().decode(row.tolist()) for row in rows]
    assert (texts, labels.tolist()) == (["a photo of a owl.", "a photo of a tree frog."], [0, 1])
    assert data.prompts.shape == (2, 5, 40)
    (tmp_path / "templates.txt").write_text("one {}\n\nthe {}, seen\n", encoding="utf-8")
    assert load_images(given, seed=0).prompts.shape == (2, 2, 40)
    (tmp_path / "templates.txt").write_text("a thing\n", encoding="utf-8")
    with pytest.raises(InvalidArgumentError, match=r"'a thing' has not one \{\}"):
        load_images(given, seed=0)


def test_bad_folders(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"holds no train-\*.tar"):
        load_images(config(tmp_path), seed=0)
    with pytest.raises(InvalidArgumentError, match="data.context=0: must be ≥ 1"):
        load_images(config(tmp_path, context=0), seed=0)


def test_labels_without_names_are_named_by_no_text(tmp_path):
    (pair_shards(tmp_path) / "classes.txt").unlink()
    data = load_images(config(tmp_path), seed=0)
    assert data.prompts is None
    assert "labels have no names" in " ".join(data.notes)
    (tmp_path / "classes.txt").write_text("tree_frog\none\ntwo\n")
    data = load_images(config(tmp_path), seed=0)
    assert Bytes().decode(data.prompts[0, 0].tolist()) == "a photo of a tree frog."
    assert data.notes == ()


def test_braces_beside_the_place_of_the_name_are_letters():
    assert filled("{a {} {0}}", "cat") == "{a cat {0}}"


def test_tokens_of_files_with_rules_of_their_own(tmp_path):
    """Ids that leave numbers out fit the vocabulary; texts are cut here, where it is counted, and not in the file."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"red": 0, "shoe": 900, "?": 7}, unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.enable_truncation(2)
    made.enable_padding(length=5)
    made.save(str(tmp_path / "t.json"))
    tokens = make_tokens(str(tmp_path / "t.json"))
    assert tokens.vocabulary == 902
    assert tokens.encode("red shoe red shoe") == [1, 901, 1, 901]


def test_texts_of_no_token_are_empty(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"grey": 0}))
    made.save(str(tmp_path / "t.json"))
    with pytest.raises(CorruptFileError, match="cannot read 'green'"):
        make_tokens(str(tmp_path / "t.json")).encode("green")
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE({letter: n for n, letter in enumerate("abgehirty 0123456789")}, [])
    )
    made.save(str(tmp_path / "t.json"))
    given = config(
        pair_shards(tmp_path, [("x.png", png(7)), ("x.txt", "☃".encode())]), tokenizer=str(tmp_path / "t.json")
    )
    with pytest.raises(CorruptFileError, match="makes no token of its text '☃'"):
        list(load_images(given, seed=0).train.epoch(1))
    given.on_corrupt = "skip"
    data = load_images(given, seed=0)
    assert sum(len(batch[0]) for batch in data.train.epoch(1)) in (7, 8)  # of ten in fours, the one among them or not
    assert ["☃" in told for told in data.train.skipped] == [True]


def test_images_set_aside_have_the_same_texts_whenever_they_are_read():
    given = DataConfig(
        "captioned_fashion_mnist", "vendored", train_limit=64, validation=0.25, context=80, shift_pixels=0
    )
    validation = load_images(given, seed=0).validation.dataset
    read = [[(row.tolist(), label) for _, row, label in map(validation.__getitem__, range(16))] for _ in range(2)]
    assert read[0] == read[1]
    train = load_images(given, seed=0).train.dataset
    drawn = [[row.tolist() for _, row, _ in map(train.__getitem__, range(16))] for _ in range(2)]
    assert drawn[0] != drawn[1]


def test_second_things_are_of_the_same_part():
    """What stands beside another in training is no validation image, nor one that a limit leaves out."""
    given = config(
        "vendored", dataset="captioned_fashion_mnist", train_limit=12, validation=0.25, img_size=0, context=80
    )
    data = load_images(given, seed=0)
    for part, size in ((data.train.dataset, 9), (data.validation.dataset, 3)):
        source, seen = part.whole.source, set()
        assert len(part) == size
        source._thing = lambda index, seen=seen, image=source._images: seen.add(index) or image[index]
        for _ in range(30):
            for index in range(size):
                part[index]
        assert seen == set(part.indices.tolist())
