"""Folders of images with maps, in the layouts of ADE20K and VOC and a plain one, and how both are moved together.

Would break it: classes shifted by one, unknown pixels that are asked about, a map flipped, cut or scaled otherwise than
its image, classes that are mixed while scaling, test images that are cut, a file that fails without a name.
"""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from snnkit.data import DataConfig, load_images
from snnkit.data.dense import IGNORED, Maps, collate_maps
from snnkit.data.pixel_folder import VOC_CLASSES, read_map
from snnkit.errors import CorruptFileError, SnnkitError

SIZES = ((30, 40), (33, 29))


def write(image, drawn, size, value):
    """An image whose red is 10 · class, left half class ``value``, right half unknown."""
    height, width = size
    classes = np.full((height, width), value, np.uint8)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = 10 * classes
    classes[:, width // 2 :] = 255
    for path, content in ((image, pixels), (drawn, classes)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(content).save(path)


def plain(root, suffix="png"):
    for part in ("train", "val"):
        for number, size in enumerate(SIZES):
            write(
                root / "images" / part / f"{number}.{suffix}", root / "maps" / part / f"{number}.png", size, number + 1
            )
    (root / "classes.txt").write_text("nothing\none\ntwo\n")
    return root


def ade(root):
    for part in ("training", "validation"):
        for number, size in enumerate(SIZES):
            write(root / "images" / part / f"{number}.jpg", root / "annotations" / part / f"{number}.png", size, number)
            drawn = root / "annotations" / part / f"{number}.png"
            classes = np.array(Image.open(drawn))
            classes[classes == 255] = 150
            Image.fromarray(classes).save(drawn)
    return root


def voc(root):
    for number, size in enumerate(SIZES):
        write(root / "JPEGImages" / f"a{number}.jpg", root / "SegmentationClass" / f"a{number}.png", size, 20 * number)
        drawn = Image.open(root / "SegmentationClass" / f"a{number}.png").convert("P")
        drawn.save(root / "SegmentationClass" / f"a{number}.png")
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a0\na1\n")
    (lists / "val.txt").write_text("a1\n")
    return root


def config(root, **changes):
    settings = {"dataset": "pixel_folder", "source": str(root), "targets": "maps", "img_size": 16, "batch_size": 2}
    return DataConfig(**{**settings, **changes})


def seen(data):
    return [(images, maps) for images, maps in data.test]


def test_plain(tmp_path):
    data = load_images(config(plain(tmp_path)), seed=0)
    assert data.classes == ("nothing", "one", "two")
    found = seen(data)
    assert [images.shape for images, _ in found] == [(1, 3, *size) for size in SIZES]
    for number, (_, maps) in enumerate(found):
        width = maps.shape[2]
        assert (maps[..., : width // 2] == number + 1).all()
        assert (maps[..., width // 2 :] == IGNORED).all()
    images, maps = next(data.train.epoch(1))
    assert images.shape == (2, 3, 16, 16)
    assert maps.shape == (2, 16, 16)


def test_ade20k_counts_from_one(tmp_path):
    data = load_images(config(ade(tmp_path)), seed=0)
    assert len(data.classes) == 150
    first, second = (maps for _, maps in seen(data))
    assert set(first.unique().tolist()) == {255, 149}  # 0, and 150
    assert set(second.unique().tolist()) == {0, 149}  # 1, and 150
    table = "\n".join(["Idx\tRatio\tTrain\tVal\tName", *(f"{n}\t0\t0\t0\tname{n}, other" for n in range(1, 151))])
    (tmp_path / "objectInfo150.txt").write_text(table)
    assert load_images(config(tmp_path), seed=0).classes[:2] == ("name1", "name2")


def test_voc(tmp_path):
    data = load_images(config(voc(tmp_path)), seed=0)
    assert (data.classes, len(data.train.dataset), len(data.test.dataset)) == (VOC_CLASSES, 2, 1)
    ((_, maps),) = seen(data)
    assert set(maps.unique().tolist()) == {20, 255}


@pytest.mark.parametrize(
    "changes",
    [{"flip": True}, {"crop_scale": 0.3}, {"smallest_scale": 0.3, "largest_scale": 2.5}, {"shift_pixels": 6}],
    ids=lambda c: next(iter(c)),
)
def test_a_map_is_moved_with_its_image(changes):
    """Where a class is known, the image shows it: red is 10 · class, in blocks larger than what resizing blends."""
    made = Maps(
        DataConfig(targets="maps", **{"flip": False, "shift_pixels": 0, **changes}), (32, 32), True, [0], [1 / 255]
    )
    blocks = torch.arange(1, 17).view(4, 4)
    classes = blocks.repeat_interleave(12, 0).repeat_interleave(12, 1)
    image = (classes * 10).to(torch.uint8).expand(3, -1, -1).contiguous()
    moved = 0
    for seed in range(8):
        torch.manual_seed(seed)
        from torchvision import tv_tensors

        x, y = made(tv_tensors.Image(image), tv_tensors.Mask(classes.to(torch.uint8)))
        assert x.shape == (3, 32, 32)
        known = y != IGNORED
        assert known.any()
        assert set(y[known].tolist()) <= set(range(1, 17))
        right = (x[0] - 10 * y).abs() < 6
        assert right[known].float().mean() > 0.7  # edges are blended in the image
        moved += not torch.equal(y[:12, :12], classes[:12, :12])
        if not known.all():
            assert (x[0][~known] < 6).float().mean() > 0.9  # what was filled in shows nothing
    assert moved


def test_batches_of_several_sizes_are_filled_up():
    small, large = (torch.ones(3, 2, 4), torch.ones(2, 4).long()), (torch.ones(3, 3, 3), torch.ones(3, 3).long())
    images, maps = collate_maps([small, large])
    assert images.shape == (2, 3, 3, 4)
    assert images[0, :, 2].abs().sum() == 0 == images[1, :, :, 3].abs().sum()
    assert maps[0, 2].tolist() == [IGNORED] * 4
    assert maps[1, :, 3].tolist() == [IGNORED] * 3
    assert maps[0, :2].eq(1).all()


def test_what_has_no_partner_is_named(tmp_path):
    root = plain(tmp_path)
    (root / "maps" / "train" / "0.png").rename(root / "maps" / "train" / "7.png")
    data = load_images(config(root), seed=0)
    assert data.notes == ("train: no map for 0; left out", "train: no image for 7; left out")
    assert len(data.train.dataset) == 1


def spoil(root, how):
    drawn = root / "maps" / "train" / "0.png"
    if how == "size":
        Image.fromarray(np.zeros((5, 5), np.uint8)).save(drawn)
    elif how == "class":
        Image.fromarray(np.full(SIZES[0], 3, np.uint8)).save(drawn)
    elif how == "colour":
        Image.fromarray(np.zeros((*SIZES[0], 3), np.uint8)).save(drawn)
    elif how == "damaged":
        drawn.write_bytes(b"no image")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("size", "5 by 5 pixels, its image has 40 by 30"),
        ("class", "holds class 3, but there are 3"),
        ("colour", "mode RGB"),
        ("damaged", "no readable map"),
    ],
)
def test_what_cannot_be_read_is_named_or_skipped(tmp_path, how, words):
    spoil(plain(tmp_path), how)
    data = load_images(config(tmp_path), seed=0)
    with pytest.raises(CorruptFileError, match=words) as caught:
        next(data.train.epoch(1))
    assert "0.png" in str(caught.value)
    skipping = load_images(config(tmp_path, on_corrupt="skip"), seed=0)
    images, _ = next(skipping.train.epoch(1))
    assert len(images) == 2  # another stands in
    assert len(skipping.train.skipped) == 1


def test_a_test_image_that_cannot_be_read_is_left_out_and_counted(tmp_path):
    plain(tmp_path)
    bad = sorted((tmp_path / "images" / "val").iterdir())[0]
    bad.write_bytes(b"no image")
    with pytest.raises(CorruptFileError, match=bad.name):
        list(load_images(config(tmp_path), seed=0).test)
    data = load_images(config(tmp_path, on_corrupt="skip"), seed=0)
    assert len(list(data.test)) == len(data.test.dataset) - 1 > 0
    assert len(data.test.skipped) == 1
    assert bad.name in data.test.skipped[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": "nowhere"}, "'nowhere' is not a folder"),
        ({"img_size": 0}, r"data\.img_size=0"),
        ({"source": "."}, "of no known layout"),
    ],
)
def test_settings_that_cannot_be(tmp_path, monkeypatch, changes, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SnnkitError, match=words):
        load_images(config(tmp_path, **changes), seed=0)


def test_without_names_of_classes(tmp_path):
    (plain(tmp_path) / "classes.txt").unlink()
    with pytest.raises(SnnkitError, match=r"lacks classes\.txt"):
        load_images(config(tmp_path), seed=0)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_numbers_of_few_bits_are_not_multiplied(tmp_path, bits):
    """A grey PNG of four bits holds 0 … 15; Pillow makes them 0, 17, 34 … 255."""
    numbers = torch.arange(2**bits).repeat(3, 8 // bits)
    height, width = numbers.shape
    rows = b""
    for row in numbers.tolist():
        text = "".join(f"{number:0{bits}b}" for number in row)
        rows += b"\0" + int(text, 2).to_bytes(width * bits // 8, "big")
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)), (b"IDAT", zlib.compress(rows))]
    drawn = b"\x89PNG\r\n\x1a\n"
    for name, content in [*chunks, (b"IEND", b"")]:
        drawn += struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    (tmp_path / "a.png").write_bytes(drawn)
    if bits == 1:  # black and white, which Pillow tells apart
        with pytest.raises(CorruptFileError, match="of mode 1"):
            read_map(tmp_path / "a.png")
    else:
        assert torch.equal(read_map(tmp_path / "a.png"), numbers.to(torch.uint8))


def test_names_of_classes_do_not_move_up(tmp_path):
    root = plain(tmp_path)
    (root / "classes.txt").write_text("nothing\n\ntwo\n")
    with pytest.raises(CorruptFileError, match=r"classes\.txt, line 2 is empty"):
        load_images(config(root), 0)


def test_two_images_of_one_map_are_refused(tmp_path):
    root = plain(tmp_path)
    Image.new("RGB", (40, 30)).save(root / "images" / "train" / "0.jpg")
    with pytest.raises(SnnkitError, match=r"0\.jpg and 0\.png, and one map is for both"):
        load_images(config(root), 0)
