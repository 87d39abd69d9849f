"""Tar shards: what is read, in which order, taken up anywhere and by several; what is damaged is named.

Would break it: offsets that are off, an order that depends on who loads, an index older than its shards, damage that
passes for the end of a file.
"""

import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from support.data import add, png, shards

from snnkit.data import DataConfig, load_images
from snnkit.data.image_folder import MEAN, STD
from snnkit.data.order import EpochOrder
from snnkit.errors import CorruptFileError, InvalidArgumentError


def config(folder, **changes):
    given = {"dataset": "tar_shards", "source": str(folder), "img_size": 8, "batch_size": 4, "shift_pixels": 0}
    return DataConfig(**{**given, "flip": False, **changes})


def greys(images):
    """The grey level of each image of a batch."""
    first = images[:, 0].mean((1, 2)) * STD[0] + MEAN[0]
    return (first * 255).round().long().tolist()


def epoch(data, number=0, start=0):
    return [value for images, _ in data.train.epoch(number, start) for value in greys(images)]


def test_every_image_comes_with_its_label_once_an_epoch(tmp_path):
    data = load_images(config(shards(tmp_path)), seed=0)
    found = {}
    for images, labels in data.train.epoch(0):
        found |= dict(zip(greys(images), labels.tolist(), strict=True))
    assert found == {10 * n: n % 2 for n in range(12)}
    assert data.classes == ("0", "1")
    images, labels = next(iter(data.test))
    assert (greys(images), labels.tolist()) == ([0, 10, 20], [0, 1, 0])
    assert "train-000001.tar:s0004" in [data.train.dataset.names[n] for n in range(12)][4]


def test_shards_that_webdataset_wrote_are_read(tmp_path):
    wds = pytest.importorskip("webdataset")
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 255, (7, 9, 11, 3), np.uint8)
    for split, count in (("train", 7), ("val", 2)):
        with wds.ShardWriter(str(tmp_path / f"{split}-%06d.tar"), maxcount=3, verbose=0) as writer:
            for n in range(count):
                key = f"a/{'long' * 40}{n}" if n == 2 else f"{n:05d}"  # longer than a plain header holds
                writer.write({"__key__": key, "png": Image.fromarray(pictures[n]), "cls": n % 3, "json": {"n": n}})
    data = load_images(config(tmp_path, img_size=0, batch_size=1), seed=0)
    assert len(data.train.dataset) == 7
    for n in range(7):
        image, label = data.train.dataset[n]
        pixels = (image * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]) * 255
        assert label == n % 3
        assert np.array_equal(pixels.round().permute(1, 2, 0).numpy(), pictures[n])


def test_jpegs_and_names_of_classes(tmp_path):
    shards(tmp_path)
    buffer = io.BytesIO()
    Image.new("L", (8, 8), 200).save(buffer, "JPEG")
    with tarfile.open(tmp_path / "train-000000.tar", "w") as tar:
        add(tar, "x.cls", b"2\n")
        add(tar, "x.seg.png", png(0))
        add(tar, "x.JPEG", buffer.getvalue())
    (tmp_path / "classes.txt").write_text("cat\ndog\nbird\n")
    data = load_images(config(tmp_path), seed=0)
    assert data.classes == ("cat", "dog", "bird")
    image, label = data.train.dataset[0]
    assert (greys(image[None]), label) == ([200], 2)
    (tmp_path / "classes.txt").write_text("cat\ndog")
    with pytest.raises(InvalidArgumentError, match="names 2 classes, but a label is 2"):
        load_images(config(tmp_path), seed=0)


# Order.


def test_an_epoch_is_the_same_wherever_it_is_taken_up_and_whoever_loads(tmp_path):
    shards(tmp_path)
    settings = {"shuffle_window": 5}
    here = load_images(config(tmp_path, **settings), seed=1)
    whole = epoch(here, 3)
    assert epoch(here, 3, 1) == whole[4:]
    assert epoch(load_images(config(tmp_path, workers=2, **settings), seed=1), 3) == whole
    assert epoch(here, 4) != whole
    parts = []
    for rank in range(2):
        data = load_images(config(tmp_path, batch_size=2, **settings), seed=1)
        data.share(rank, 2)
        parts.append(epoch(data, 3))
    assert [value for pair in zip(*parts, strict=True) for value in pair] == whole


def test_samples_stay_near_their_shard():
    """Shards change places as wholes; a window of two samples lets a sample move by one place."""
    order = EpochOrder(size=1000, batch_size=1000, seed=0, runs=(100,) * 10, window=2)
    indices = np.array([draw.index for draw in order.batch(0, 0)])
    assert sorted(indices.tolist()) == list(range(1000))
    blocks = indices.reshape(10, 100)
    assert len(set((blocks // 100)[:, 0])) == 10
    for block in blocks:
        assert len(set(block // 100)) == 1
        assert np.abs(block % 100 - np.arange(100)).max() == 1
    assert (blocks // 100)[:, 0].tolist() != list(range(10))
    wide = EpochOrder(size=1000, batch_size=1000, seed=0, runs=(100,) * 10, window=0)
    assert len({draw.index // 100 for draw in wide.batch(0, 0)[:100]}) > 5


def test_a_limit_takes_of_every_shard_and_keeps_to_shards(tmp_path):
    data = load_images(config(shards(tmp_path), train_limit=5, batch_size=1, shuffle_window=1), seed=0)
    chosen = data.train.dataset.indices.tolist()
    shard = np.repeat(np.arange(3), data.train.dataset.whole.source.runs).tolist()  # of each image
    assert data.train.order.runs == tuple(sum(shard[n] == number for n in chosen) for number in range(3))
    seen = [image // 10 for image in epoch(data)]
    assert sorted(seen) == chosen
    order = [shard[n] for n in seen]
    assert order == sorted(order, key=order.index)


# The index.


def test_the_index_is_kept_used_and_made_anew(tmp_path, monkeypatch):
    from snnkit.data import tar_index

    scans = []
    scan = tar_index._scan
    monkeypatch.setattr(tar_index, "_scan", lambda path, *making: scans.append(path.name) or scan(path, *making))
    before = epoch(load_images(config(shards(tmp_path)), seed=0))
    assert len(scans) == 4
    assert epoch(load_images(config(tmp_path), seed=0)) == before
    assert len(scans) == 4
    shards(tmp_path, counts=(2, 2, 1))  # other shards under the same names
    assert sorted(epoch(load_images(config(tmp_path, batch_size=5), seed=0))) == [0, 10, 20, 30, 40]
    (tmp_path / "train.index.npz").write_bytes(b"no archive")
    assert len(epoch(load_images(config(tmp_path, batch_size=5), seed=0))) == 5


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("offset", lambda a: a + 512),
        ("label", lambda a: 1 - a),
        ("label", lambda a: a[:-1]),
        ("label", lambda a: a.astype(np.float32)),
        ("shard", lambda a: a.astype(np.int64)),
        ("size", lambda a: -a),
        ("wrong", lambda a: np.full(len(a), "lost")),
        ("key", lambda a: a[::-1]),
        ("check", lambda a: a + 1),
    ],
)
def test_an_index_that_was_altered_is_made_anew(tmp_path, key, change):
    before = load_images(config(shards(tmp_path)), seed=0)
    kept = tmp_path / "train.index.npz"
    with np.load(kept) as arrays:
        np.savez(kept, **{name: change(array) if name == key else array for name, array in arrays.items()})
    after = load_images(config(tmp_path), seed=0)
    assert epoch(after) == epoch(before)
    assert after.train.dataset.labels.tolist() == before.train.dataset.labels.tolist()


def test_notes_of_webdataset_and_of_macs_are_no_samples(tmp_path):
    """``__index__`` and the like, and the ``._`` member that macOS's tar writes before each file."""
    members = [("__index__", b"3"), ("./__shard__", b"a"), ("./._s0.png", b"fork"), ("./s0.png", png(10))]
    members += [("./._s0.cls", b"fork"), ("./s0.cls", b"1"), (".DS_Store", b"x"), ("./s1.__index__", b"1")]
    members += [("./s1.png", png(20)), ("./s1.cls", b"0"), ("__MACOSX/._s1.png", b"x"), ("__end__", b"")]
    for split in ("train", "val"):
        with tarfile.open(tmp_path / f"{split}-0.tar", "w") as tar:
            for name, content in members:
                add(tar, name, content)
    data = load_images(config(tmp_path, batch_size=2), seed=0)
    images, labels = next(iter(data.test))
    assert (greys(images), labels.tolist()) == ([10, 20], [1, 0])
    assert sorted(epoch(data)) == [10, 20]
    assert data.classes == ("0", "1")


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    from snnkit.data import tar_index
    from snnkit.errors import DiskError

    def refuse(path):
        raise DiskError(f"could not write {path}")

    monkeypatch.setattr(tar_index, "atomic_path", refuse)
    assert len(epoch(load_images(config(shards(tmp_path)), seed=0))) == 12
    assert not list(tmp_path.glob("*.npz"))


# Damage.


def rewrite(folder, members):
    with tarfile.open(folder / "train-000001.tar", "w") as tar:
        for name, content in members:
            add(tar, name, content)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("k.png", png(1)[:40]), ("k.cls", b"0")], "train-000001.tar:k is not a readable image"),
        ([("k.png", png(1)), ("k.cls", b"cat")], "train-000001.tar:k: its label is 'cat', not a whole number"),
        ([("k.png", png(1)), ("k.cls", b"-1")], "its label is '-1'"),
        ([("k.png", png(1)), ("k.cls", b"99999999999")], "its label is '99999999999'.*9,999,999"),
        ([("k.png", png(1))], "train-000001.tar:k: it has png, but not KEY.cls"),
        ([("k.txt", b"x"), ("k.cls", b"0")], "it has txt, cls, but not an image"),
    ],
)
def test_a_damaged_member_stops_or_is_skipped_and_named(tmp_path, members, words):
    rewrite(shards(tmp_path), [*members, ("good.png", png(250)), ("good.cls", b"1")])
    with pytest.raises(CorruptFileError, match=words):
        epoch(load_images(config(tmp_path, batch_size=1), seed=0))
    data = load_images(config(tmp_path, on_corrupt="skip", batch_size=11), seed=0)
    found = epoch(data)
    assert len(found) == 11  # another stands in
    assert set(found) == {250, *(10 * n for n in range(4)), *(10 * n for n in range(7, 12))}
    assert len(data.train.skipped) == 1


@pytest.mark.parametrize("kind", ["cut in an image", "cut in a header", "no header in the middle", "garbage", "empty"])
def test_a_damaged_shard_stops_or_loses_what_follows(tmp_path, kind):
    path = shards(tmp_path) / "train-000001.tar"
    with tarfile.open(path) as tar:
        offsets = {member.name: member for member in tar}
    content = bytearray(path.read_bytes())
    header = offsets["s0005.png"].offset
    if kind == "cut in an image":
        content = content[: offsets["s0005.png"].offset_data + 20]
    elif kind == "cut in a header":
        content = content[: header + 100]
    elif kind == "no header in the middle":
        content[header : header + 512] = np.random.default_rng(0).bytes(512)
    else:
        content = b"" if kind == "empty" else np.random.default_rng(0).bytes(9000)
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"train-000001\.tar.*(damaged at byte|cut off)"):
        epoch(load_images(config(tmp_path, batch_size=1), seed=0))
    data = load_images(config(tmp_path, on_corrupt="skip", batch_size=100), seed=0)
    lost = {40, 50, 60} if kind in ("garbage", "empty") else {50, 60}
    assert set(epoch(data)) == {10 * n for n in range(12)} - lost
    assert any("train-000001.tar" in reason for reason in data.train.skipped)


def test_folders_without_shards_or_without_a_whole_sample(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"holds no train-\*\.tar"):
        load_images(config(tmp_path), seed=0)
    for split in ("train", "val"):
        with tarfile.open(tmp_path / f"{split}-0.tar", "w") as tar:
            add(tar, "a.txt", b"x")
    with pytest.raises(InvalidArgumentError, match="no sample that is whole"):
        load_images(config(tmp_path), seed=0)
