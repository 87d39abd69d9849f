"""Samples that cannot be read: they stop, or are left out of tests and stood in for in training, counted and named.

Would break it: a batch of which nothing can be read that stops or is lost (a resumed run, or another process, would
make other steps), a split without any sample that passes for a tested one, advice to set what is set.
"""

import pytest
import torch
from support.data import photographs
from torch.utils.data import Dataset

from snnkit.data import DataConfig, load_images
from snnkit.data.batches import Batches
from snnkit.data.order import EpochOrder, Skipped
from snnkit.errors import CorruptFileError


def epoch(loader):
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels)


def folder_config(folder, **settings):
    given = {"dataset": "image_folder", "source": str(folder), "img_size": 16, "batch_size": 3, "shift_pixels": 0}
    return DataConfig(**{**given, **settings})


def test_an_image_that_cannot_be_read_stops_or_is_skipped_and_named(tmp_path):
    photographs(tmp_path)
    bad = tmp_path / "train" / "red" / "11.png"
    bad.write_bytes(bad.read_bytes()[:30])
    with pytest.raises(CorruptFileError, match=r"11\.png is not a readable image.*on_corrupt=skip"):
        epoch(load_images(folder_config(tmp_path), seed=0).train)
    data = load_images(folder_config(tmp_path, on_corrupt="skip", workers=1), seed=0)
    for _ in range(2):
        images, labels = epoch(data.train)
        assert len(images) == len(labels) == 6  # others stand in
    assert len(data.train.skipped) == 1
    assert "11.png" in data.train.skipped[0]


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_loading_process_is_one_line(tmp_path, split, workers):
    photographs(tmp_path)
    bad = next((tmp_path / split / "red").iterdir())
    bad.write_bytes(b"no image")
    data = load_images(folder_config(tmp_path, workers=workers), seed=0)
    with pytest.raises(CorruptFileError, match="is not a readable image") as caught:
        list(data.train if split == "train" else data.test)
    assert "\n" not in str(caught.value)


def test_a_test_image_that_is_skipped_is_counted_and_named(tmp_path):
    photographs(tmp_path)
    bad = sorted((tmp_path / "val" / "red").iterdir())[-1]
    bad.write_bytes(b"no image")
    for workers in (0, 1):
        data = load_images(folder_config(tmp_path, on_corrupt="skip", workers=workers), seed=0)
        for _ in range(2):
            assert sum(len(labels) for _, labels in data.test) == len(data.test.dataset) - 1
        assert len(data.test.skipped) == 1
        assert bad.name in data.test.skipped[0]


@pytest.mark.parametrize("workers", [0, 1])
def test_another_sample_stands_in_for_a_batch_of_which_nothing_can_be_read(tmp_path, workers):
    photographs(tmp_path)
    bad = sorted((tmp_path / "train" / "red").iterdir())
    for file in bad:
        file.write_bytes(b"no image")
    settings = {"on_corrupt": "skip", "workers": workers, "batch_size": 1, "crop_scale": 0.5}
    data = load_images(folder_config(tmp_path, **settings), seed=0)
    whole = list(data.train.epoch(1))
    assert len(whole) == len(data.train) == 6
    assert {int(labels) for _, labels in whole} == {0}  # blue ones
    assert len(data.train.skipped) == len(bad)
    assert not any("on_corrupt" in reason for reason in data.train.skipped)
    resumed = list(load_images(folder_config(tmp_path, **settings), seed=0).train.epoch(1, 2))
    for (images, _), (others, _) in zip(whole[2:], resumed, strict=True):
        assert torch.equal(images, others)  # drawn and augmented alike
    for rank in range(2):
        shared = load_images(folder_config(tmp_path, **settings), seed=0)
        shared.share(rank, 2)
        assert len(list(shared.train.epoch(1))) == 3  # as many steps in every process


def test_a_damaged_sample_that_stands_in_stops_where_it_would_by_itself(tmp_path):
    class Odd(Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            if index:
                raise CorruptFileError("the second stops")
            return Skipped("the first cannot be read")

    with pytest.raises(CorruptFileError, match="the second stops"):
        list(Batches(Odd(), EpochOrder(2, 1)).epoch(1))


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_of_which_nothing_can_be_read_stops(tmp_path, split):
    photographs(tmp_path)
    for file in (tmp_path / split).glob("*/*.png"):
        file.write_bytes(b"no image")
    data = load_images(folder_config(tmp_path, on_corrupt="skip"), seed=0)
    words = "no training sample could be read, first: " if split == "train" else r"none of \d+ samples could be read"
    with pytest.raises(CorruptFileError, match=words) as caught:
        list(data.train if split == "train" else data.test)
    assert "\n" not in str(caught.value)
    assert "on_corrupt" not in str(caught.value)  # it is set
