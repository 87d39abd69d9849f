"""Crops around things: where their key points go, and how they come back.

Would break it: pixels that are moved otherwise than the key points on them, a mirrored crop whose key points keep their
names, a map that does not lead back, a crop of another shape than asked for, a thing cut off, augmented tests, numbers
of evaluation that change with the crop.
"""

import pytest
import torch

from snnkit.data import DataConfig, load_images
from snnkit.data.keypoints import PADDING, Marked, TopDown, crop_map, cut, inverse, mirrored, moved
from snnkit.data.scene_keypoints import CORNERS, SceneKeypoints
from snnkit.data.scenes import Scenes
from snnkit.errors import SnnkitError

NAMES = ("nose", "left_eye", "right_eye")
BOX = torch.tensor([20.0, 30.0, 60.0, 50.0])


def marked(points, box=BOX, area=321.0):
    return Marked(torch.as_tensor(points), box, area, 7, torch.full((3,), 0.05), mirrored(NAMES))


def transform(train=True, size=(64, 48), **settings):
    config = DataConfig(crop_height=size[0], crop_width=size[1], shift_pixels=0)
    for key, value in settings.items():
        setattr(config, key, value)
    return TopDown(config, (0, 0), train, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def dots(places, height=90, width=100):
    """An image with a bright, soft dot at each place, of a channel each."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    soft = [torch.exp(-((x - px) ** 2 + (y - py) ** 2) / 8) for px, py in places]
    return (255 * torch.stack(soft)).round().byte()


def centre(crop):
    """The centre of brightness of every channel, (C, 2)."""
    y, x = torch.meshgrid(torch.arange(crop.shape[1]) + 0.5, torch.arange(crop.shape[2]) + 0.5, indexing="ij")
    total = crop.sum((1, 2))
    return torch.stack([(crop * x).sum((1, 2)) / total, (crop * y).sum((1, 2)) / total], 1)


@pytest.mark.parametrize(("size", "wide"), [((64, 64), 50.0), ((64, 48), 50.0), ((20, 80), 100.0), ((64, 16), 50.0)])
def test_a_crop_holds_its_box_with_a_margin_in_the_shape_that_is_asked_for(size, wide):
    height, width = size
    corners = torch.tensor([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])
    found = moved(corners, crop_map(BOX, size))
    assert found[1, 0] - found[0, 0] == pytest.approx(wide)
    assert found[2, 1] - found[1, 1] == pytest.approx(wide * height / width)
    assert found.mean(0).tolist() == pytest.approx([40.0, 40.0])
    across = float(found[1, 0] - found[0, 0]) / 40, float(found[2, 1] - found[1, 1]) / 20
    assert min(across) == pytest.approx(PADDING)


@pytest.mark.parametrize("seed", range(8))
def test_a_map_leads_there_and_back(seed):
    drawn = torch.rand(6, generator=torch.Generator().manual_seed(seed)).tolist()
    shift = (9 * drawn[2] - 4, 9 * drawn[3] - 4)
    back = crop_map(BOX, (64, 48), 0.5 + drawn[0], 90 * drawn[1], shift, flipped=drawn[4] > 0.5)
    places = torch.rand(20, 2) * 90
    torch.testing.assert_close(moved(moved(places, inverse(back)), back), places, rtol=0, atol=1e-4)
    assert float(torch.linalg.det(back[:, :2]).sign()) == (-1.0 if drawn[4] > 0.5 else 1.0)


def test_what_is_drawn_is_what_was_asked_for():
    centre_of = torch.tensor([[40.0, 40.0]])
    right = torch.tensor([[50.0, 40.0]])
    plain = inverse(crop_map(BOX, (64, 64)))
    assert moved(centre_of, plain).tolist() == [pytest.approx([32.0, 32.0])]
    step = float(moved(right, plain)[0, 0] - 32)
    turned = moved(right, inverse(crop_map(BOX, (64, 64), degrees=90.0)))  # counterclockwise: right goes up
    assert turned.tolist() == [pytest.approx([32.0, 32.0 - step], abs=1e-4)]
    larger = moved(right, inverse(crop_map(BOX, (64, 64), scale=1.5)))
    assert larger.tolist() == [pytest.approx([32.0 + 1.5 * step, 32.0], abs=1e-4)]
    shifted = moved(centre_of, inverse(crop_map(BOX, (64, 64), shift=(3.0, -2.0))))
    assert shifted.tolist() == [pytest.approx([35.0, 30.0], abs=1e-4)]
    mirror = moved(centre_of, inverse(crop_map(BOX, (64, 64), shift=(3.0, -2.0), flipped=True)))
    assert mirror.tolist() == [pytest.approx([64 - 35.0, 30.0], abs=1e-4)]


@pytest.mark.parametrize("seed", range(6))
def test_pixels_and_key_points_move_alike(seed):
    places = torch.tensor([[35.0, 38.0, 2.0], [44.5, 36.0, 2.0], [47.0, 43.0, 1.0]])
    torch.manual_seed(seed)
    made = transform(size=(96, 96), rotate=40.0, smallest_scale=0.8, largest_scale=1.2, shift_pixels=6)
    crop, target = made(dots(places[:, :2].tolist()), marked(places))
    # Channels are in the image's order; where the crop is mirrored, names change places.
    flipped = float(torch.linalg.det(target["back"][:, :2])) < 0
    found = target["points"][mirrored(NAMES)] if flipped else target["points"]
    assert (centre(crop) - found[:, :2]).abs().max() < 0.25
    assert found[:, 2].tolist() == [2.0, 2.0, 1.0]
    assert {name: target[name].tolist() for name in ("image", "area", "box")} == {
        "image": 7, "area": 321.0, "box": BOX.tolist()
    }  # fmt: skip
    back = moved(target["points"][:, :2], target["back"])
    truth = places[mirrored(NAMES)] if flipped else places
    torch.testing.assert_close(back, truth[:, :2], rtol=0, atol=1e-3)


def test_half_of_training_crops_are_mirrored_and_no_others():
    places = [[30.0, 40.0, 2.0], [35.0, 40.0, 2.0], [45.0, 40.0, 2.0]]
    image, thing = dots([(x, y) for x, y, _ in places]), marked(places)

    def mirrors(made):
        torch.manual_seed(0)
        return [float(torch.linalg.det(made(image, thing)[1]["back"][:, :2])) < 0 for _ in range(60)]

    assert 15 < sum(mirrors(transform())) < 45
    assert not any(mirrors(transform(flip=False)))
    assert not any(mirrors(transform(train=False)))
    _, target = transform(train=False, rotate=30.0, smallest_scale=0.5)(image, thing)
    torch.testing.assert_close(target["back"], crop_map(BOX, (64, 48)))


def test_outside_of_an_image_is_black_and_large_things_are_averaged():
    image = torch.full((1, 40, 40), 200, dtype=torch.uint8)
    crop = cut(image, crop_map(torch.tensor([-40.0, 0.0, 40.0, 40.0]), (10, 10)), (10, 10))
    assert crop[0, 5, 0] == 0
    assert crop[0, 5, 7] == 200
    stripes = torch.zeros(1, 64, 64, dtype=torch.uint8)
    stripes[..., ::2] = 200  # at an eighth of the size, columns of one kind alone would be seen
    crop = cut(stripes, crop_map(torch.tensor([0.0, 0.0, 51.2, 51.2]) + 6.4, (8, 8)), (8, 8))
    assert crop.unique().tolist() == [100]


def test_partners():
    assert mirrored(NAMES).tolist() == [0, 2, 1]
    assert mirrored(CORNERS).tolist() == [1, 0, 3, 2]
    assert mirrored(("bright spot", "Left tip", "right tip")).tolist() == [0, 2, 1]
    with pytest.raises(SnnkitError, match="'left_eye' has no partner 'right_eye'"):
        mirrored(("nose", "left_eye"))
    with pytest.raises(SnnkitError, match="two have one name"):
        mirrored(("nose", "nose"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"crop_height": 0}, "crop_height=0, crop_width=48: give the size"), ({"crop_scale": 0.5}, "crop_scale=0.5")],
)
def test_settings_that_cannot_be(settings, words):
    with pytest.raises(SnnkitError, match=words):
        transform(**settings)


def test_settings_of_crops_are_refused_where_there_are_none():
    for key, value in (("crop_height", 64), ("rotate", 10.0)):
        config = DataConfig(dataset="scenes", targets="maps")
        setattr(config, key, value)
        with pytest.raises(SnnkitError, match="are for things with key points"):
            load_images(config, 0)
    with pytest.raises(SnnkitError, match=r"data\.rotate=-1"):
        DataConfig(rotate=-1.0).check()


def test_corners_of_scenes():
    pytest.importorskip("skimage", reason="no photographs: pip install scikit-image")
    source = SceneKeypoints(Scenes("vendored", False, 12, side=64))
    whole = Scenes("vendored", False, 12, side=64)
    chosen = []
    for number in range(12):
        image, thing = source.read(number)
        scene = whole.read(number)
        assert torch.equal(image, scene.image)
        match = [n for n, other in enumerate(scene.things) if tuple(thing.box.tolist()) == other.box]
        assert len(match) == 1
        chosen += match
        other = scene.things[match[0]]
        assert torch.equal(thing.points, other.corners)
        assert thing.area == int(other.mask.sum())
        assert thing.image == number
    assert len(set(chosen)) > 1  # not always the one that lies behind
    assert torch.equal(source.read(3)[1].box, source.read(3)[1].box)


def test_scenes_are_fed_as_crops():
    pytest.importorskip("skimage", reason="no photographs: pip install scikit-image")
    config = DataConfig(dataset="scenes", source="vendored", targets="keypoints", batch_size=3, img_size=64)
    config.crop_height, config.crop_width, config.train_limit, config.test_limit = 48, 32, 9, 5
    data = load_images(config, 0)
    assert data.classes == CORNERS
    assert data.image_shape == (3, 48, 32)
    crops, target = next(iter(data.train))
    assert crops.shape == (3, 3, 48, 32)
    assert {key: tuple(value.shape[1:]) for key, value in target.items()} == {
        "points": (4, 3), "back": (2, 3), "box": (4,), "area": (), "image": (), "sigmas": (4,), "mirror": (4,)
    }  # fmt: skip
    assert sum(len(crops) for crops, _ in data.test) == 5
    again = load_images(config, 0)
    assert torch.equal(next(iter(again.train))[0], crops)
