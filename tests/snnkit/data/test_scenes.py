"""Composed scenes: boxes, masks, corners and captions are those of what the image shows.

Would break it: a box that cuts a thing or leaves a margin, pixels of a thing that lies behind another counted as its
own, a corner that is not turned with its thing, a test thing or a test background seen in training, scenes that differ
between two runs.
"""

import random

import pytest
import torch

from snnkit.data import DataConfig, load_images
from snnkit.data.captioned_fashion_mnist import NAMES
from snnkit.data.scene_sets import class_map
from snnkit.data.scenes import COLOURS, Scene, Scenes, Thing, box_of, caption
from snnkit.errors import InvalidArgumentError, UnknownNameError

pytest.importorskip("skimage", reason="no photographs: pip install scikit-image")


@pytest.fixture(scope="module")
def scenes():
    made = Scenes("vendored", True, 40, side=64)
    return [made.read(number) for number in range(40)]


def test_boxes_are_the_least_that_hold_a_mask(scenes):
    for scene in scenes:
        for thing in scene.things:
            left, top, right, bottom = thing.box
            assert thing.mask[top:bottom, left:right].sum() == thing.mask.sum()
            for edge in (thing.mask[top], thing.mask[bottom - 1], thing.mask[:, left], thing.mask[:, right - 1]):
                assert edge.any()


def test_no_pixel_is_of_two_things_and_its_colour_is_the_things_own(scenes):
    for scene in scenes:
        together = torch.stack([thing.mask for thing in scene.things]).sum(0)
        assert together.max() == 1
        for thing in scene.things:
            tint = torch.tensor(COLOURS[thing.colour]) / 255
            pixels = scene.image[:, thing.mask].float() / 255
            shade = (pixels / tint[:, None]).mean(0)  # 0.25 + 0.75 · brightness, in each channel alike
            assert torch.allclose(pixels, tint[:, None] * shade, atol=0.02)
            assert shade.min() > 0.25
            assert shade.max() < 1.01


def test_corners_frame_their_thing(scenes):
    """The thing lies within the turned rectangle of its corners, and touches each of its sides within two pixels."""
    for scene in scenes:
        last = scene.things[-1]  # nothing hides it
        assert last.corners[:, 2].tolist() == [2, 2, 2, 2]
        a, b, _, d = last.corners[:, :2]
        points = last.mask.nonzero().flip(1).float() + 0.5 - a
        for side in (b - a, d - a):
            along = points @ side / side.square().sum()
            pixel = 1 / side.norm()
            assert -1.5 * pixel < along.min() < 2.5 * pixel
            assert 1 - 2.5 * pixel < along.max() < 1 + 1.5 * pixel
        assert (b - a)[0] > 0  # upright: at most 20 degrees
        assert (d - a)[1] > 0


def test_a_hidden_corner_is_said(scenes):
    hidden = 0
    for scene in scenes:
        for number, thing in enumerate(scene.things):
            before = torch.zeros_like(thing.mask)
            for other in scene.things[number + 1 :]:
                before |= other.mask
            for x, y, seen in thing.corners.tolist():
                covered = bool(before[min(int(y), 63), min(int(x), 63)])
                assert seen == (1 if covered else 2)
                hidden += covered
    assert hidden > 3


def test_the_same_number_is_the_same_scene_and_the_label_is_its_first_things():
    first, again, other = (
        Scenes("vendored", train, 5, side=48, seed=s) for train, s in ((True, 0), (True, 0), (True, 1))
    )
    for number in range(5):
        assert torch.equal(first.read(number).image, again.read(number).image)
        assert not torch.equal(first.read(number).image, other.read(number).image)
        assert first.labels[number] == first.read(number).things[0].label
    assert {*Scenes("vendored", False, 300, side=32).labels} == set(range(10))


def test_scenes_are_what_they_always_were():
    """What runs learned from must not change with how it is made."""
    found = [(t.label, t.colour, t.box, int(t.mask.sum())) for t in Scenes("vendored", True, 20).read(7).things]
    wanted = [
        (1, "white", (8, 32, 35, 74), 390),
        (8, "white", (19, 15, 47, 43), 640),
        (2, "yellow", (13, 56, 44, 89), 800),
    ]
    assert [one[:3] for one in found] == [one[:3] for one in wanted]
    # A pixel at the very edge may hang on a processor's last bit.
    assert [one[3] for one in found] == pytest.approx([one[3] for one in wanted], abs=2)


def test_training_and_test_share_neither_things_nor_background():
    train, test = (Scenes("vendored", part, 3, side=48) for part in (True, False))
    seen = {image.tobytes() for image in train._images}
    assert not any(image.tobytes() in seen for image in test._images)
    for one, other in zip(train._photographs, test._photographs, strict=True):
        assert one.shape[1] == other.shape[1]
        assert one.shape[2] > other.shape[2]  # left three fifths, right two


def test_a_caption_says_what_lies_where():
    left, right = torch.zeros(20, 20, dtype=torch.bool), torch.zeros(20, 20, dtype=torch.bool)
    left[5:15, 1:8], right[5:15, 12:18] = True, True
    things = [
        Thing(8, "red", left, box_of(left), torch.zeros(4, 3)),
        Thing(7, "blue", right, box_of(right), torch.zeros(4, 3)),
    ]
    for order in (things, things[::-1]):
        scene = Scene(torch.zeros(3, 20, 20, dtype=torch.uint8), tuple(order), "moon")
        for seed in range(6):
            said = caption(scene, random.Random(seed))
            assert "red bag" in said
            assert "blue sneaker" in said
            assert said.index("red bag") < said.index("blue sneaker")  # the larger one first
            assert "left" in said
    alone = Scene(torch.zeros(3, 20, 20, dtype=torch.uint8), (things[1],), "moon")
    assert caption(alone, random.Random(0)) == "a blue sneaker"


def test_maps_say_the_class_of_every_pixel(scenes):
    for scene in scenes:
        drawn = class_map(scene)
        for thing in scene.things:
            assert (drawn[thing.mask] == thing.label + 1).all()
        nothing = ~torch.stack([thing.mask for thing in scene.things]).any(0)
        assert (drawn[nothing] == 0).all()


def test_as_data():
    config = DataConfig(dataset="scenes", source="vendored", targets="maps", img_size=48, train_limit=22, test_limit=22)
    data = load_images(config, seed=0)
    assert data.classes == ("background", *NAMES)
    assert data.targets == "maps"
    images, maps = next(data.train.epoch(1))
    assert (images.shape[1:], maps.shape[1:], maps.dtype) == ((3, 48, 48), (48, 48), torch.int64)
    assert set(maps.unique().tolist()) <= {*range(11), 255}
    tested = torch.cat([maps for _, maps in data.test])
    assert len(tested) == 22
    assert 255 not in tested  # nothing is shifted in


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({}, UnknownNameError, "unknown targets of scenes 'labels'.*maps"),
        ({"targets": "map"}, UnknownNameError, r"value of data\.targets 'map'.*'maps'"),
        ({"targets": "maps", "mixup": 0.5}, InvalidArgumentError, r"data\.mixup=0\.5.*Set it to 0\.0"),
        ({"targets": "maps", "rand_augment": "rand-m9"}, InvalidArgumentError, r"data\.rand_augment"),
        ({"targets": "maps", "dataset": "fashion_mnist"}, InvalidArgumentError, "has labels, and maps are asked for"),
        ({"targets": "maps", "smallest_scale": 2.0}, InvalidArgumentError, "the first at most the second"),
    ],
)
def test_what_cannot_be_is_refused(changes, error, words):
    with pytest.raises(error, match=words):
        load_images(DataConfig(**{"dataset": "scenes", "source": "vendored", **changes}), seed=0)
