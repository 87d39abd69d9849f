"""Things of images: boxes, labels and masks move with their image, in training and in tests.

Would break it: a box that is mirrored and its mask not, things outside of a cut that stay, masks of other things than
their boxes, a test target that is scaled, a factor or a side outside of its bounds, random numbers from elsewhere.
"""

import pytest
import torch

from snnkit.data import DataConfig
from snnkit.data.image_folder import MEAN, STD
from snnkit.data.object_transforms import Objects, collate_objects, things
from snnkit.data.scenes import box_of
from snnkit.errors import InvalidArgumentError


def sample(side=64):
    """Three things, each a rectangle of its own colour: red, green, blue."""
    boxes = [(4, 6, 30, 20), (34, 10, 60, 40), (8, 44, 24, 60)]
    image, masks = torch.zeros(3, side, side, dtype=torch.uint8), torch.zeros(3, side, side, dtype=torch.bool)
    for number, (left, top, right, bottom) in enumerate(boxes):
        masks[number, top:bottom, left:right] = True
        image[number, top:bottom, left:right] = 255
    return image, things(torch.tensor(boxes), torch.tensor([5, 1, 3]), (side, side), masks)


def transform(train=True, size=(0, 0), **settings):
    config = DataConfig(**{"shift_pixels": 0, "flip": False, **settings})
    return Objects(config, size, train, [0.0] * 3, [1.0] * 3)


def holds_together(image, found):
    """The colour of a thing lies in its mask, and its mask in its box."""
    colours = {5: 0, 1: 1, 3: 2}
    for box, label, mask in zip(found["boxes"], found["labels"].tolist(), found["masks"], strict=True):
        assert (image[colours[label]][mask] > 0.2).float().mean() > 0.85
        assert (torch.tensor(box_of(mask)) - box).abs().max() <= 1.6


SETTINGS = [
    {"flip": True},
    {"flip": True, "shift_pixels": 8, "size": (64, 64)},
    {"img_size": 100},
    {"short_sides": (40, 56, 72), "flip": True},
    {"smallest_scale": 0.5, "largest_scale": 2.0, "img_size": 80},
    {"crop_scale": 0.3, "img_size": 64},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_things_move_with_their_image(settings):
    move, seen = transform(**settings), set()
    for seed in range(12):
        torch.manual_seed(seed)
        image, found = move(*sample())
        assert image.shape[-2:] == found["masks"].shape[-2:]
        assert found["masks"].flatten(1).any(1).all()
        assert len(found["boxes"]) == len(found["labels"]) == len(found["masks"]) == len(found["iscrowd"])
        assert all(type(value) is torch.Tensor for value in (image, *found.values()))
        holds_together(image, found)
        seen.add(image.shape[-1])
        torch.manual_seed(seed)
        again, other = move(*sample())
        assert torch.equal(again, image)
        assert torch.equal(other["boxes"], found["boxes"])
    if "short_sides" in settings:
        assert seen == set(settings["short_sides"])
    elif "img_size" in settings:
        assert seen == {settings["img_size"]}


def test_jitter_shows_more_and_less_of_a_scene():
    move = transform(smallest_scale=0.3, largest_scale=3.0, img_size=64)
    torch.manual_seed(0)
    many = [move(*sample())[1] for _ in range(40)]
    assert {len(found["labels"]) for found in many} >= {1, 3}
    areas = torch.cat([found["masks"].flatten(1).sum(1) for found in many])
    assert areas.max() > 8 * areas.min()


def test_the_longer_side_is_bound():
    image, found = (
        torch.zeros(3, 40, 100, dtype=torch.uint8),
        things(torch.tensor([[0, 0, 10, 10]]), torch.tensor([0]), (40, 100)),
    )
    for train in (True, False):
        moved, target = transform(train, img_size=80, longest_side=150)(image, dict(found))
        assert moved.shape == (3, 60, 150)
        assert target["boxes"].tolist() == ([[0, 0, 15, 15]] if train else [[0, 0, 10, 10]])


def test_a_test_image_alone_is_scaled():
    image, found = sample()
    moved, target = transform(False, short_sides=(40, 96), flip=True, shift_pixels=9)(image, found)
    assert moved.shape == (3, 96, 96)
    assert torch.equal(target["boxes"], found["boxes"].as_subclass(torch.Tensor))
    assert target["masks"].shape == (3, 64, 64)
    assert target["size"].tolist() == [64, 64]


def test_pixels_are_normalised():
    image, found = sample()
    moved, _ = Objects(DataConfig(flip=False, shift_pixels=0), (0, 0), True, MEAN, STD)(image, found)
    assert moved[0, 0, 0] == pytest.approx(-MEAN[0] / STD[0])


def test_crowds_are_left_out_of_training_alone():
    image, found = sample()
    found["iscrowd"] = torch.tensor([0, 1, 0])
    assert transform(True)(image, dict(found))[1]["labels"].tolist() == [5, 3]
    assert transform(False)(image, dict(found))[1]["labels"].tolist() == [5, 1, 3]


def test_an_image_without_things_stays_one():
    nothing = things(torch.zeros(0, 4), torch.zeros(0), (64, 64), torch.zeros(0, 64, 64))
    for settings in SETTINGS:
        image, found = transform(**settings)(torch.zeros(3, 64, 64, dtype=torch.uint8), dict(nothing))
        assert found["boxes"].shape == (0, 4)
        assert found["masks"].shape == (0, *image.shape[-2:])
    images, targets = collate_objects([(image, found)] * 2)
    assert (len(images), len(targets)) == (2, 2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"short_sides": (40,), "smallest_scale": 0.5, "img_size": 64}, "three ways of scaling"),
        ({"crop_scale": 0.5, "smallest_scale": 0.5, "img_size": 64}, "three ways of scaling"),
        ({"smallest_scale": 0.5}, "needs a size"),
        ({"short_sides": (40, 0)}, "short_sides"),
    ],
)
def test_settings_that_do_not_go_together(settings, words):
    with pytest.raises(InvalidArgumentError, match=words):
        transform(**settings)
