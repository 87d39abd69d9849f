"""Images: what the vendored subset holds, what the readers refuse, and which images the loaders give in which order.

Would break it: another subset under the same name, a reader that trusts a header, anything that unpickles,
augmentation of test images, an order that does not follow from the seed.
"""

import gzip
import os
import pickle
import random
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.data import photographs, small_source
from support.dense import BEYOND
from torchvision.transforms import v2

from snnkit.data import DATASETS, DataConfig, fashion_mnist, image_folder, load_images
from snnkit.data.mixing import Mixing
from snnkit.data.order import EpochOrder
from snnkit.data.parts import stratified
from snnkit.data.transforms import for_testing
from snnkit.errors import CorruptFileError, InvalidArgumentError, UnknownNameError

# CRC-32 of x_train, y_train, x_test, y_test, and sixteen pixels from the middle of the first training image.
SUBSET_CHECKSUMS = [3345730710, 4056432641, 312915024, 2787713759]
SUBSET_CORNER = [[0, 0, 0, 0], [0, 0, 65, 229], [45, 237, 250, 213], [250, 210, 186, 190]]

# The vendored subset.


@pytest.fixture(scope="module")
def subset():
    return fashion_mnist.load("vendored")


def test_subset_shapes_and_types(subset):
    assert subset.x_train.shape == (4000, 28, 28)
    assert subset.x_test.shape == (1000, 28, 28)
    assert subset.y_train.shape == (4000,)
    assert subset.y_test.shape == (1000,)
    assert {a.dtype for a in (subset.x_train, subset.y_train, subset.x_test, subset.y_test)} == {np.dtype("uint8")}
    assert subset.origin == "vendored subset"
    assert len(subset.classes) == 10


def test_subset_is_balanced(subset):
    assert np.bincount(subset.y_train).tolist() == [400] * 10
    assert np.bincount(subset.y_test).tolist() == [100] * 10


def test_subset_is_the_one_that_results_were_made_with(subset):
    sums = [zlib.crc32(np.ascontiguousarray(a).tobytes()) for a in (subset.x_train, subset.y_train)]
    sums += [zlib.crc32(np.ascontiguousarray(a).tobytes()) for a in (subset.x_test, subset.y_test)]
    assert sums == SUBSET_CHECKSUMS
    assert subset.x_train[0, 10:14, 10:14].tolist() == SUBSET_CORNER


def test_subset_has_no_image_twice_across_the_splits(subset):
    train = {image.tobytes() for image in subset.x_train}
    assert not any(image.tobytes() in train for image in subset.x_test)


def test_the_full_set_holds_the_subset(subset):
    if not Path(fashion_mnist.DEBIAN_FOLDER).is_dir():
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    full = fashion_mnist.load("full")
    assert full.x_train.shape == (60_000, 28, 28)
    assert full.x_test.shape == (10_000, 28, 28)
    assert full.origin == fashion_mnist.DEBIAN_FOLDER
    for split in ("train", "test"):
        images, labels = getattr(full, f"x_{split}"), getattr(full, f"y_{split}")
        known = {(image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)}
        chosen = zip(getattr(subset, f"x_{split}"), getattr(subset, f"y_{split}"), strict=True)
        assert all((image.tobytes(), int(label)) in known for image, label in chosen)
    assert abs(full.x_train.mean() / 255 - fashion_mnist.MEAN) < 1e-3
    assert abs(full.x_train.std() / 255 - fashion_mnist.STD) < 1e-3


def test_full_without_the_package_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", str(tmp_path / "absent"))
    with pytest.raises(CorruptFileError, match="apt-get install"):
        fashion_mnist.load("full")
    assert fashion_mnist.load("auto").origin == "vendored subset"


# Damaged archives.


def damaged(tmp_path, content):
    path = tmp_path / "subset.npz"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("keep", [0, 10, 1000, 100_000])
def test_a_truncated_archive_is_named(tmp_path, keep):
    path = damaged(tmp_path, fashion_mnist.VENDORED.read_bytes()[:keep])
    with pytest.raises(CorruptFileError, match=r"subset\.npz.*install snnkit anew"):
        fashion_mnist.read_subset(path)


@pytest.mark.parametrize("at", [0.05, 0.2, 0.4, 0.6, 0.8, 0.9])
def test_flipped_bytes_are_noticed(tmp_path, at):
    content = bytearray(fashion_mnist.VENDORED.read_bytes())
    start = int(len(content) * at)
    for i in range(start, start + 64):
        content[i] ^= 0xFF
    with pytest.raises(CorruptFileError, match="damaged"):
        fashion_mnist.read_subset(damaged(tmp_path, bytes(content)))


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(CorruptFileError, match="missing"):
        fashion_mnist.read_subset(tmp_path / "subset.npz")


def test_an_archive_without_a_key_is_named(tmp_path):
    np.savez(tmp_path / "subset.npz", x_train=np.zeros(3))
    with pytest.raises(CorruptFileError, match="damaged"):
        fashion_mnist.read_subset(tmp_path / "subset.npz")


def test_a_bare_array_is_no_archive(tmp_path):
    with open(tmp_path / "subset.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(CorruptFileError, match="damaged"):
        fashion_mnist.read_subset(tmp_path / "subset.npz")


class Trap:
    """Unpickling this leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("where", ["in the archive", "instead of the archive"])
def test_nothing_is_unpickled(tmp_path, where):
    sprung, path = tmp_path / "sprung", tmp_path / "subset.npz"
    if where == "in the archive":
        array = np.empty(1, object)
        array[0] = Trap(str(sprung))
        np.savez(path, x_train=array, y_train=array, x_test=array, y_test=array)
    else:
        path.write_bytes(pickle.dumps(Trap(str(sprung))))
    with pytest.raises(CorruptFileError):
        fashion_mnist.read_subset(path)
    assert not sprung.exists()


# IDX files.

IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
LABELS = np.array([9, 0, 4], np.uint8)


def idx(array, magic=None, lengths=None):
    header = struct.pack(">I", 0x00000800 + array.ndim if magic is None else magic)
    return header + b"".join(struct.pack(">I", n) for n in (lengths or array.shape)) + array.tobytes()


def folder_of(path, *, gz=False, images=None, labels=None, leave_out=""):
    """Write the four files, the training ones with other contents where given."""
    contents = {
        "train-images-idx3-ubyte": idx(IMAGES) if images is None else images,
        "train-labels-idx1-ubyte": idx(LABELS) if labels is None else labels,
        "t10k-images-idx3-ubyte": idx(IMAGES[:2]),
        "t10k-labels-idx1-ubyte": idx(LABELS[:2]),
    }
    for name, content in contents.items():
        if name != leave_out:
            (path / f"{name}{'.gz' if gz else ''}").write_bytes(gzip.compress(content) if gz else content)
    return path


@pytest.mark.parametrize("gz", [False, True], ids=["plain", "gzipped"])
def test_idx_files_by_hand(tmp_path, gz):
    arrays = fashion_mnist.load(str(folder_of(tmp_path, gz=gz)))
    np.testing.assert_array_equal(arrays.x_train, IMAGES)
    np.testing.assert_array_equal(arrays.y_train, LABELS)
    np.testing.assert_array_equal(arrays.x_test, IMAGES[:2])
    np.testing.assert_array_equal(arrays.y_test, LABELS[:2])
    assert arrays.origin == str(tmp_path)


@pytest.mark.parametrize("gz", [False, True], ids=["plain", "gzipped"])
@pytest.mark.parametrize(
    ("images", "words"),
    [
        (idx(IMAGES)[:-1], "truncated or padded.*60 bytes.*holds 59"),
        (idx(IMAGES) + b"x", "truncated or padded.*60 bytes.*holds more"),
        (idx(IMAGES)[:11], "too few"),
        (b"", "too few"),
        (idx(IMAGES, magic=0x00000801), "0x00000801.*0x00000803"),
        (idx(IMAGES, magic=0x00000D03), "0x00000d03.*0x00000803"),
        (idx(IMAGES, lengths=(2**32 - 1,) * 3), "claims to unpack to .* GiB; at most 1.0 GiB"),
        (idx(IMAGES, lengths=(2**32 - 1, 0, 5)), r"no data.*4294967295, 0, 5"),
        (idx(IMAGES[:2]), "2 train images but 3 labels"),
    ],
    ids=["short", "long", "cut header", "empty", "labels", "floats", "huge", "none", "fewer images"],
)
def test_images_that_are_not_what_they_say(tmp_path, images, words, gz):
    with pytest.raises(CorruptFileError, match=words) as caught:
        fashion_mnist.read_folder(folder_of(tmp_path, images=images, gz=gz))
    assert str(tmp_path) in str(caught.value)


def test_a_truncated_gzip_is_named(tmp_path):
    folder_of(tmp_path, gz=True)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    for content in (whole[:-5], whole[:20], b"not gzip at all", whole[:12] + bytes(8) + whole[20:]):
        path.write_bytes(content)
        with pytest.raises(CorruptFileError, match=r"t10k-images-idx3-ubyte\.gz"):
            fashion_mnist.read_folder(tmp_path)


def test_a_label_out_of_range_is_named(tmp_path):
    labels = idx(np.array([0, 10, 1], np.uint8))
    with pytest.raises(CorruptFileError, match="train label is 10, allowed are 0 to 9"):
        fashion_mnist.read_folder(folder_of(tmp_path, labels=labels))


@pytest.mark.parametrize("absent", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_missing_file_is_named(tmp_path, absent):
    with pytest.raises(CorruptFileError, match=absent):
        fashion_mnist.read_folder(folder_of(tmp_path, leave_out=absent))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CorruptFileError, match="nowhere is not a folder"):
        fashion_mnist.load(str(tmp_path / "nowhere"))


# Loaders.


def config(**settings):
    return DataConfig(**{"source": "vendored", "batch_size": 50, "train_limit": 200, "test_limit": 120, **settings})


def epoch(loader):
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels)


def normalised(images):
    return ((torch.from_numpy(images).float() / 255 - fashion_mnist.MEAN) / fashion_mnist.STD).unsqueeze(1)


def test_test_images_are_the_arrays_in_order(subset):
    chosen = stratified(subset.y_test, 120, seed=0)
    for shift, flip in ((0, False), (2, True)):
        images, labels = epoch(load_images(config(shift_pixels=shift, flip=flip), seed=0).test)
        torch.testing.assert_close(images, normalised(subset.x_test[chosen]))
        assert labels.tolist() == subset.y_test[chosen].tolist()
        assert labels.dtype == torch.int64


def test_training_images_without_augmentation_are_a_permutation(subset):
    images, labels = epoch(load_images(config(shift_pixels=0, flip=False), seed=3).train)
    pixels = ((images * fashion_mnist.STD + fashion_mnist.MEAN) * 255).round().to(torch.uint8).squeeze(1).numpy()
    known = {image.tobytes(): int(y) for image, y in zip(subset.x_train, subset.y_train, strict=True)}
    assert [known[image.tobytes()] for image in pixels] == labels.tolist()
    assert len({image.tobytes() for image in pixels}) == 200
    assert labels.tolist() != sorted(labels.tolist())


def test_augmentation_touches_training_images_only(subset):
    torch.manual_seed(0)
    images, _ = epoch(load_images(config(), seed=0).train)
    plain, _ = epoch(load_images(config(shift_pixels=0, flip=False), seed=0).train)
    changed = (images != plain).flatten(1).any(1).float().mean()
    assert 0.8 < changed <= 1
    black = normalised(np.zeros((1, 28, 28), np.uint8))
    assert images.min() == black.min()  # what is shifted in is black, not grey


def test_normalising_is_torchvisions_to_the_bit():
    image = torch.arange(3 * 256, dtype=torch.int64).remainder(256).to(torch.uint8).view(3, 16, 16)
    tail = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(image_folder.MEAN), list(image_folder.STD))]
    plain = config(img_size=0, shift_pixels=0, flip=False)
    ours = for_testing(plain, (0, 0), image_folder.MEAN, image_folder.STD)
    assert torch.equal(ours(image), v2.Compose(tail)(image))
    assert image[0, 0, 1] == 1  # the stored image is left alone


def test_a_flip_mirrors_half_of_the_images():
    torch.manual_seed(0)
    images, _ = epoch(load_images(config(shift_pixels=0), seed=0).train)
    plain, _ = epoch(load_images(config(shift_pixels=0, flip=False), seed=0).train)
    mirrored = (images == plain.flip(-1)).flatten(1).all(1)
    kept = (images == plain).flatten(1).all(1)
    assert bool((mirrored | kept).all())
    assert 0.3 < mirrored.float().mean() < 0.7


def test_a_shift_moves_at_most_so_many_pixels():
    torch.manual_seed(0)
    images, _ = epoch(load_images(config(shift_pixels=1, flip=False, train_limit=50), seed=0).train)
    plain, _ = epoch(load_images(config(shift_pixels=0, flip=False, train_limit=50), seed=0).train)
    inner = images[:, :, 1:-1, 1:-1]
    moved = torch.stack([plain[:, :, 1 + dy : 27 + dy, 1 + dx : 27 + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    assert bool((moved == inner).flatten(2).all(2).any(0).all())


def test_the_order_follows_from_the_seed():
    def labels(seed):
        torch.manual_seed(int(torch.randint(1000, (1,))))  # whatever else draws numbers
        return epoch(load_images(config(), seed).train)[1].tolist()

    assert labels(0) == labels(0)
    assert labels(0) != labels(1)


def test_epochs_differ():
    loader = load_images(config(), seed=0).train
    assert epoch(loader)[1].tolist() != epoch(loader)[1].tolist()


def test_generators_are_as_they_were_after_a_batch():
    """Whoever draws numbers while batches are loaded in the same process draws what it would have drawn."""
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    expected = torch.rand(()), np.random.rand(), random.random()
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    epoch(load_images(config(rand_augment="rand-m9-mstd0.5-inc1"), seed=7).train)
    assert (torch.rand(()), np.random.rand(), random.random()) == expected


def test_everything_follows_from_the_two_seeds():
    def images():
        torch.manual_seed(5)
        return epoch(load_images(config(), seed=7).train)[0]

    assert torch.equal(images(), images())


@pytest.mark.parametrize(
    ("limits", "sizes"), [((60, 10), (60, 10)), ((0, 0), (4000, 1000)), ((9999, 9999), (4000, 1000))]
)
def test_limits(limits, sizes):
    data = load_images(config(train_limit=limits[0], test_limit=limits[1]), seed=0)
    assert (len(data.train.dataset), len(data.test.dataset)) == sizes


def test_incomplete_training_batches_are_dropped_but_never_all():
    assert len(load_images(config(train_limit=120), seed=0).train) == 2
    small = load_images(config(train_limit=20), seed=0).train
    assert [len(labels) for _, labels in small] == [20]


@pytest.mark.parametrize("size", [0, -1])
def test_a_bad_batch_size_is_named(size):
    with pytest.raises(InvalidArgumentError, match=r"data\.batch_size"):
        load_images(config(batch_size=size), seed=0)


@pytest.mark.parametrize("key", ["train_limit", "test_limit", "shift_pixels"])
def test_negative_settings_are_named(key):
    with pytest.raises(InvalidArgumentError, match=key):
        load_images(config(**{key: -5}), seed=0)


def test_an_unknown_dataset_names_the_nearest():
    with pytest.raises(UnknownNameError, match="'fashion_mnist'"):
        load_images(config(dataset="fashion_mnst"), seed=0)


@pytest.mark.parametrize("name", sorted(set(DATASETS) - set(BEYOND)))
def test_every_dataset_feeds_its_loaders(name, tmp_path):
    data = load_images(DataConfig(**small_source(name, tmp_path)), seed=0)
    batches = [next(iter(data.train)), next(iter(data.test))]
    for images, *_, labels in batches:  # texts between them, where there are some
        assert images.dtype == torch.float32
        assert images.ndim == (5 if data.frames else 4)
        channels, height, width = data.image_shape
        frames = (data.frames,) if data.frames else ()
        layout = (*frames, len(labels), channels) if data.time_first else (len(labels), channels, *frames)
        assert images.shape == (*layout, height, width)
        assert data.batch_shape(len(labels)) == images.shape
        assert labels.max() < max(len(data.classes), 1)  # PASS has no labels: all are 0
    assert data.origin


# Folders of images.


def folder_config(folder, **settings):
    given = {"dataset": "image_folder", "source": str(folder), "img_size": 16, "batch_size": 3, "shift_pixels": 0}
    return DataConfig(**{**given, **settings})


def test_a_folder_of_images(tmp_path):
    data = load_images(folder_config(photographs(tmp_path)), seed=0)
    assert data.classes == ("blue", "red")
    images, labels = epoch(data.train)
    assert images.shape == (6, 3, 16, 16)
    assert sorted(labels.tolist()) == [0, 0, 0, 1, 1, 1]
    red = (torch.tensor([1.0, 0, 0]) - torch.tensor(image_folder.MEAN)) / torch.tensor(image_folder.STD)
    torch.testing.assert_close(images[labels == 1].mean((0, 2, 3)), red)


@pytest.mark.parametrize("side", [9_000, 60_000])
def test_a_header_that_promises_a_giant_image_is_an_unreadable_one(tmp_path, side, monkeypatch):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.bmp")
    content = bytearray((tmp_path / "a.bmp").read_bytes())
    content[18:26] = struct.pack("<ii", side, side)
    monkeypatch.setattr(image_folder, "_pixels", lambda _: pytest.fail("room was made for it"))
    (tmp_path / "a.bmp").write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"a\.bmp is not a readable image"):
        image_folder.read_image(tmp_path / "a.bmp")


RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)  # its mean is 127.5


def rgb_png_of_16_bits(values):
    """A PNG of 16 bits in three channels, which Pillow does not write."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + np.repeat(row[:, None], 3, 1).astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", *values.shape[::-1], 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["png", "tiff", "big-endian tiff", "float tiff", "pgm", "rgb png", "8-bit png"])
def test_the_depth_of_an_image_does_not_change_its_greys(kind, tmp_path):
    """A ramp 0 … 255 stored in 16 bits (times 257) or as floats (over 255) is the ramp, in all three channels."""
    path = tmp_path / f"a.{kind.split()[-1]}"
    if kind == "rgb png":
        path.write_bytes(rgb_png_of_16_bits(RAMP * 257))
    elif kind == "pgm":
        path.write_bytes(b"P5 16 16 65535\n" + (RAMP * 257).astype(">u2").tobytes())
    elif kind == "float tiff":
        Image.fromarray((RAMP / 255).astype(np.float32)).save(path)
    elif kind == "8-bit png":
        Image.fromarray(RAMP.astype(np.uint8)).save(path)
    elif kind == "big-endian tiff":
        Image.frombytes("I;16B", (16, 16), (RAMP * 257).astype(">u2").tobytes()).save(path)
    else:
        Image.fromarray(RAMP * 257).save(path)
    image = image_folder.read_image(path)
    assert image.dtype == torch.uint8
    assert np.array_equal(image.numpy(), np.repeat(RAMP[None], 3, 0))


def test_sixteen_bits_are_rounded_to_eight(tmp_path):
    """128/65535·255 is .498, 129/65535·255 is .502."""
    Image.fromarray(np.array([[0, 128, 129, 65406, 65407, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert image_folder.read_image(tmp_path / "a.png")[0].tolist() == [[0, 0, 1, 254, 255, 255]]


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.array([[0.0, 255.0]], np.float32), "floats from 0 to 255; 0…1 can be read"),
        (np.array([[-0.5, 1.0]], np.float32), "floats from -0.5 to 1"),
        (np.array([[float("nan"), 1.0]], np.float32), "floats from nan"),
        (np.array([[0, 70000]], np.int32), "32 bits"),
    ],
)
def test_values_whose_range_no_file_says_are_refused(pixels, words, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "a.tiff")
    with pytest.raises(CorruptFileError, match=f"a.tiff.*{words}"):
        image_folder.read_image(tmp_path / "a.tiff")


def test_what_a_mac_leaves_beside_the_files_is_no_image_and_no_class(tmp_path):
    photographs(tmp_path)
    for split in ("train", "val"):
        (tmp_path / split / "red" / "._10.png").write_bytes(b"\0\5\x16\7resource fork")
        (tmp_path / split / "__MACOSX" / "red").mkdir(parents=True)
        (tmp_path / split / ".thumbnails").mkdir()
    data = load_images(folder_config(tmp_path), seed=0)
    assert data.classes == ("blue", "red")
    assert len(data.train.dataset) == 6
    assert len(epoch(data.train)[1]) == 6


def test_images_of_several_sizes_in_a_batch_are_told(tmp_path):
    photographs(tmp_path)
    for n, path in enumerate(sorted((tmp_path / "train").rglob("*.png"))):
        Image.new("RGB", (20 + n, 20)).save(path)
    with pytest.raises(InvalidArgumentError, match=r"differ in size: .*set data\.img_size"):
        epoch(load_images(folder_config(tmp_path, img_size=0, flip=False), seed=0).train)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: shutil.rmtree(f / "val" / "red"), "only in train red"),
        (lambda f: (f / "val" / "green").mkdir(), "only in val green"),
        (lambda f: shutil.rmtree(f / "val"), "no class folders"),
        (lambda f: [p.unlink() for p in (f / "train").rglob("*.png")], "holds no images"),
        (lambda f: shutil.rmtree(f), "is not a folder"),
    ],
)
def test_folders_that_cannot_be_trained_on_say_why(tmp_path, spoil, words):
    folder = photographs(tmp_path / "images")
    spoil(folder)
    with pytest.raises(InvalidArgumentError, match=words):
        load_images(folder_config(folder), seed=0)


# Order and augmentation.


def test_a_batch_is_the_same_wherever_the_epoch_is_taken_up_and_whoever_loads_it():
    settings = {"rand_augment": "rand-m9-mstd0.5-inc1", "erase": 0.5, "crop_scale": 0.5, "shift_pixels": 0}
    here = load_images(config(**settings), seed=3).train
    whole = [(x, y) for x, y in here.epoch(2)]
    late = list(load_images(config(**settings, workers=2), seed=3).train.epoch(2, start=1))
    assert len(late) == len(whole) - 1
    for (a, b), (c, d) in zip(whole[1:], late, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)
    assert not torch.equal(next(here.epoch(3))[0], whole[0][0])


def test_processes_share_an_epoch_out():
    parts = []
    for rank in range(2):
        data = load_images(config(flip=False, shift_pixels=0, batch_size=25), seed=0)
        data.share(rank, 2)
        parts.append(list(data.train))
        assert len(data.test.dataset) == 60
    single = list(load_images(config(flip=False, shift_pixels=0, batch_size=50), seed=0).train)
    for number, (images, _) in enumerate(single):
        both = torch.cat([part[number][0] for part in parts])
        assert {tuple(x.flatten().tolist()) for x in both} == {tuple(x.flatten().tolist()) for x in images}


def test_repeated_augmentation_shows_an_image_again_with_other_noise():
    order = EpochOrder(size=10, batch_size=5, seed=1, repeats=2)
    draws = [draw for batch in order for draw in batch]
    indices = [draw.index for draw in draws]
    assert len(draws) == 10
    assert len(set(indices)) == 5
    assert len({draw.seed for draw in draws}) == 10


def test_mixing(subset):
    images, labels = torch.rand(8, 1, 4, 4), torch.arange(8)
    batch = (images, labels)
    assert Mixing(config(), 10)(batch) is batch
    assert Mixing(config(mixup=0.5, mix_probability=0.0), 10)(batch) is batch
    torch.manual_seed(0)
    mixed, soft = Mixing(config(mixup=0.5), 10)(batch)
    assert soft.shape == (8, 10)
    torch.testing.assert_close(soft.sum(1), torch.ones(8))
    share = soft[range(8), labels].view(-1, 1, 1, 1)
    torch.testing.assert_close(mixed, share * images + (1 - share) * images.roll(1, 0))


@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
@pytest.mark.parametrize(
    ("orientation", "seen"),
    [
        (1, lambda x: x),
        (2, lambda x: x.flip(2)),
        (3, lambda x: x.rot90(2, (1, 2))),
        (6, lambda x: x.rot90(-1, (1, 2))),  # a quarter clockwise
        (8, lambda x: x.rot90(1, (1, 2))),
        (9, lambda x: x),  # no such
    ],
)
def test_images_stand_upright(tmp_path, ending, orientation, seen):
    stored = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    notes, file = Image.Exif(), tmp_path / f"turned.{ending}"
    notes[0x0112] = orientation
    Image.fromarray(stored).save(file, exif=notes, **({"lossless": True} if ending == "webp" else {}))
    expected = seen(torch.from_numpy(stored).permute(2, 0, 1))
    assert torch.equal(image_folder.read_image(file), expected)


def test_an_image_whose_notes_are_damaged_is_read(tmp_path):
    file = tmp_path / "notes.jpg"
    Image.new("RGB", (4, 2), (9, 9, 9)).save(file, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f")
    assert image_folder.read_image(file).shape == (3, 2, 4)
