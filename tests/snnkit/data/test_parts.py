"""Parts of a data set: limits and what is set aside hold every class, and follow from a seed alone.

Would break it: the first files by name (two classes of six), a sample that differs between a run and its evaluation,
an image both trained on and validated on, images set aside that are augmented.
"""

from collections import Counter

import numpy as np
import pytest
import torch
from support.data import small_source
from support.dense import BEYOND, dense_source

from snnkit.data import DATASETS, DataConfig, load_images
from snnkit.data.parts import Part, limited, set_aside, stratified, stretches
from snnkit.errors import InvalidArgumentError


def counts(labels, indices):
    return dict(Counter(np.asarray(labels)[indices].tolist()))


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [
        ([20, 20, 20], 6, [2, 2, 2]),
        ([90, 10], 10, [9, 1]),
        ([1, 98, 1], 3, [1, 1, 1]),  # a rare class comes before a second sample of another
        ([1, 98, 1], 50, [1, 48, 1]),
        ([5, 5], 10, [5, 5]),
        ([5, 5], 99, [5, 5]),
        ([2, 2, 2, 2], 3, None),  # which three is drawn
    ],
)
def test_every_class_has_its_share(sizes, count, expected):
    labels = np.repeat(np.arange(len(sizes)) * 3, sizes)  # sorted by class, as folders are; labels with gaps
    chosen = stratified(labels, count, seed=0)
    assert len(set(chosen.tolist())) == len(chosen) == min(count, len(labels))
    assert chosen.tolist() == sorted(chosen)
    found = counts(labels, chosen)
    if expected is None:
        assert set(found.values()) == {1}
    else:
        assert [found[3 * n] for n in range(len(sizes))] == expected


def test_the_seed_alone_decides():
    labels = np.repeat(np.arange(4), 50)
    draws = [stratified(labels, 20, seed).tolist() for seed in range(6)]
    assert draws[2] == stratified(torch.from_numpy(labels), 20, 2).tolist()
    assert len({tuple(draw) for draw in draws}) == 6
    picked = {tuple(sorted(set(labels[stratified(labels, 2, seed)].tolist()))) for seed in range(20)}
    assert len(picked) > 3  # fewer than there are classes: not always the first


class Numbered:
    """Samples (index as trained or tested, label); ``names`` say which."""

    def __init__(self, labels, transform):
        self.labels, self.transform = labels, transform
        self.names = [f"n{i}" for i in range(len(labels))]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.transform(index), self.labels[index]


def test_what_is_set_aside_is_tested_not_trained_on():
    labels = [0] * 40 + [1] * 20
    train, test = Numbered(labels, lambda i: ("train", i)), Numbered(labels, lambda i: ("test", i))
    rest, aside = set_aside(limited(train, 30, 0), test, 0.2, seed=0)
    trained, tested = [rest[i] for i in range(len(rest))], [aside[i] for i in range(len(aside))]
    assert {kind for (kind, _), _ in trained} == {"train"}
    assert {kind for (kind, _), _ in tested} == {"test"}
    assert not {i for (_, i), _ in trained} & {i for (_, i), _ in tested}
    assert Counter(label for _, label in tested) == {0: 4, 1: 2}
    assert len(trained) + len(tested) == 30
    for part in (rest, aside):
        assert [part.names[n] for n in range(len(part))] == [f"n{part[n][0][1]}" for n in range(len(part))]
        assert part.labels == [part[n][1] for n in range(len(part))]


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_a_part_without_samples_is_refused(share):
    data = Numbered([0, 1] * 10, lambda i: i)
    with pytest.raises(InvalidArgumentError, match="both parts need at least one"):
        set_aside(data, data, share, 0)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_is_checked(share):
    with pytest.raises(InvalidArgumentError, match=r"data\.validation"):
        DataConfig(validation=share).check()


def test_stretches_are_those_that_are_left():
    whole = Numbered([0] * 10, lambda i: i)
    part = Part(whole, np.array([0, 1, 5, 9]))
    assert stretches((4, 4, 2), part) == (2, 1, 1)
    assert stretches((4, 4, 2), Part(part, np.array([0, 3]))) == (1, 0, 1)
    assert stretches((4, 4, 2), whole) == (4, 4, 2)
    assert stretches((), part) == ()


@pytest.mark.parametrize("kind", sorted(set(DATASETS) - {"pass", *BEYOND}))  # which have no classes
def test_limits_of_every_kind_of_data_take_every_class(kind, tmp_path):
    config = DataConfig(**{**small_source(kind, tmp_path), "flip": False, "shift_pixels": 0})
    config.train_limit = config.test_limit = 0
    whole = load_images(config, seed=0)
    classes = len(whole.classes)
    config.train_limit, config.test_limit, config.validation = 2 * classes, classes, 0.5
    small, other = load_images(config, seed=0), load_images(config, seed=5)
    assert sorted(small.test.dataset.labels) == list(range(classes))
    assert sorted(small.train.dataset.labels) == sorted(small.validation.dataset.labels) == list(range(classes))
    assert sum(len(labels) for *_, labels in small.validation) == classes
    sample = small.test.dataset[0][0]
    assert small.validation.dataset[0][0].shape == sample.shape
    for split in ("train", "test", "validation"):  # whatever the run's seed
        assert [*getattr(small, split).dataset.indices] == [*getattr(other, split).dataset.indices]
    batch, *_, labels = next(small.train.epoch(1))  # texts between them, where there are some
    assert torch.isfinite(batch).all()
    assert len(labels) == min(config.batch_size, classes)


@pytest.mark.parametrize("kind", BEYOND)
def test_limits_of_images_that_know_more_take_as_many(kind, tmp_path):
    config = DataConfig(**{**dense_source(kind, tmp_path), "train_limit": 4, "test_limit": 2, "validation": 0.5})
    first, other = load_images(config, seed=0), load_images(config, seed=5)
    assert [len(getattr(first, split).dataset) for split in ("train", "validation", "test")] == [2, 2, 2]
    for split in ("train", "test", "validation"):  # whatever the run's seed
        assert [*getattr(first, split).dataset.indices] == [*getattr(other, split).dataset.indices]


def test_processes_share_what_is_set_aside():
    config = DataConfig(source="vendored", train_limit=100, test_limit=20, validation=0.2)
    seen = []
    for rank in range(2):
        data = load_images(config, seed=0)
        data.share(rank, 2)
        seen += [labels for _, labels in data.validation]
    assert sorted(torch.cat(seen).tolist()) == sorted([*range(10)] * 2)
