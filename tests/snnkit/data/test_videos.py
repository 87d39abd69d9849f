"""Clips: which frames of a video they hold, by the formulas and by what is seen in them; layouts; damaged videos.

Would break it: a seek that is off by a frame, frames of one clip augmented differently, time and channels exchanged.
"""

import pytest
import torch
from support.data import video, videos

from snnkit.data import DataConfig, clips, load_images
from snnkit.data.image_folder import MEAN, STD
from snnkit.data.order import seed_generators
from snnkit.data.transforms import for_training
from snnkit.data.video_folder import ClipReader, VideoInfo, read_frames, video_info
from snnkit.errors import CorruptFileError, InvalidArgumentError, UnknownNameError

# Which frames.


def test_dense_clips_by_hand():
    assert clips.dense(300, 4, 16, 10) == [10, 15, 20, 25]  # 10 + (0, 1, 2, 3) · 15 / 3
    assert clips.dense(300, 5, 10, 0) == [0, 2, 4, 6, 9]  # 2.25, 4.5 and 6.75 rounded down
    assert clips.dense(10, 4, 16, 0) == [0, 5, 9, 9]  # a short video: its last frame
    assert clips.dense(300, 1, 8, 7) == [7]
    assert [clips.offset_start(300, 64, n, 4) for n in range(4)] == [0, 78, 156, 234]
    assert clips.offset_start(300, 64) == 118
    assert clips.offset_start(30, 64) == 0


def test_random_starts_cover_where_a_span_fits():
    torch.manual_seed(0)
    starts = [clips.random_start(100, 64) for _ in range(300)]
    assert 0 <= min(starts) < 2
    assert 34 < max(starts) <= 36
    assert clips.random_start(30, 64) == 0


def test_segments_by_hand():
    assert clips.segments(20, 4, random=False) == [2, 7, 12, 17]
    assert clips.segments(3, 6, random=False) == [0, 0, 1, 1, 2, 2]
    torch.manual_seed(0)
    drawn = torch.tensor([clips.segments(20, 4, random=True) for _ in range(200)])
    assert (drawn.min(0).values.tolist(), drawn.max(0).values.tolist()) == ([0, 5, 10, 15], [4, 9, 14, 19])


def test_a_span_counts_frames_at_the_rate_asked_for():
    info = VideoInfo(total=500, fps=60.0, height=8, width=8)
    config = DataConfig(frames=4, frame_stride=8, target_fps=30.0)
    assert ClipReader(config, training=False).indices(info) == clips.dense(500, 4, 64, (500 - 64) // 2)
    config.target_fps = 0.0
    assert ClipReader(config, training=False).indices(info) == clips.dense(500, 4, 32, (500 - 32) // 2)
    config.sampling = "segment"
    assert ClipReader(config, training=False).indices(info) == [62, 187, 312, 437]


# What is decoded.


def grey(clip):
    """Mean grey level of each frame (F, C, H, W)."""
    return clip.float().mean((1, 2, 3))


@pytest.mark.parametrize("fps", [10, 30])
def test_the_frames_asked_for_are_the_ones_read(tmp_path, fps):
    path = str(video(tmp_path / "a.mp4", frames=40, fps=fps, step=5))
    info = video_info(path)
    assert info[:4] == (40, fps, 32, 32)
    for indices in ([0, 1, 2], [7, 8, 20], [39], [30, 30, 39], list(range(40))):
        frames = read_frames(path, indices, info)
        assert frames.shape == (len(indices), 3, 32, 32)
        torch.testing.assert_close(grey(frames), 5.0 * torch.tensor(indices), atol=2.0, rtol=0)


def test_a_video_that_ends_a_little_early_repeats_its_last_frame(tmp_path):
    path = str(video(tmp_path / "a.mp4", frames=15, fps=10, step=10))
    info = video_info(path)._replace(total=20)
    assert grey(read_frames(path, [10, 14, 17, 19], info)).round().tolist() == pytest.approx(
        [100, 140, 140, 140], abs=2
    )
    with pytest.raises(CorruptFileError, match=r"a\.mp4.*ends at frame"):
        read_frames(path, [10, 40], info._replace(total=50))


@pytest.mark.parametrize("kind", ["garbage", "empty", "cut", "missing"])
def test_what_is_no_video_is_named(tmp_path, kind):
    path = video(tmp_path / "a.mp4")
    content = path.read_bytes()
    path.unlink()
    if kind != "missing":
        path.write_bytes({"garbage": bytes(range(256)) * 20, "empty": b"", "cut": content[: len(content) // 2]}[kind])
    with pytest.raises(CorruptFileError, match=r"a\.mp4 is not a readable video") as caught:
        video_info(str(path))
    assert "\n" not in str(caught.value)


# Data sets.


def config(folder, **changes):
    given = {"dataset": "video_folder", "source": str(folder), "frames": 4, "frame_stride": 2, "batch_size": 2}
    return DataConfig(**{**given, "img_size": 32, "shift_pixels": 0, "flip": False, **changes})


def test_clips_and_sequences_hold_the_same_frames(tmp_path):
    videos(tmp_path)
    as_clips = load_images(config(tmp_path), seed=0)
    as_sequences = load_images(config(tmp_path, time_first=True), seed=0)
    assert as_clips.classes == ("fast", "slow")
    assert as_clips.image_shape == as_sequences.image_shape == (3, 32, 32)
    for (a, one), (b, two) in zip(as_clips.train, as_sequences.train, strict=True):
        assert a.shape == (2, 3, 4, 32, 32)
        assert b.shape == (4, 2, 3, 32, 32)
        assert torch.equal(a.permute(2, 0, 1, 3, 4), b)
        assert torch.equal(one, two)
    x, labels = next(iter(as_clips.test))
    levels = (x[:, 0].mean((-2, -1)) * STD[0] + MEAN[0]) * 255
    # 20 frames, a span of 8 from (20 - 8) // 2: frames 6, 8, 10, 13.
    for clip, label in zip(levels, labels.tolist(), strict=True):
        expected = torch.tensor([6.0, 8, 10, 13]) * (2 if label else 8)
        torch.testing.assert_close(clip, expected, atol=2.5, rtol=0)


def test_a_clip_is_the_same_wherever_the_epoch_is_taken_up_and_whoever_loads_it(tmp_path):
    videos(tmp_path)
    settings = {"sampling": "segment", "crop_scale": 0.5, "rand_augment": "rand-m9-mstd0.5-inc1", "erase": 0.5}
    whole = list(load_images(config(tmp_path, **settings), seed=3).train.epoch(1))
    late = list(load_images(config(tmp_path, workers=1, **settings), seed=3).train.epoch(1, start=1))
    assert torch.equal(whole[1][0], late[0][0])


def test_frames_of_a_clip_are_augmented_alike():
    """A clip of one image: after every augmentation its frames are still equal, but for the noise of erasing."""
    settings = {"crop_scale": 0.3, "rand_augment": "rand-m9-mstd0.5-inc1", "shift_pixels": 2, "img_size": 24}
    frame = torch.randint(0, 255, (3, 32, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    clip = frame.expand(5, -1, -1, -1)
    transform = for_training(DataConfig(flip=True, **settings), (0, 0), MEAN, STD)
    seen = []
    for seed in range(10):
        seed_generators(seed)
        out = transform(clip)
        assert out.shape == (5, 3, 24, 24)
        assert (out == out[:1]).all()
        seen.append(out[0])
    assert not torch.equal(seen[0], seen[1])
    seed_generators(0)
    erased = for_training(DataConfig(flip=False, img_size=24, shift_pixels=0, erase=1.0), (0, 0), MEAN, STD)(clip)
    differs = erased != for_training(DataConfig(flip=False, img_size=24, shift_pixels=0), (0, 0), MEAN, STD)(clip)
    where = differs.any(1)
    assert (where == where[:1]).all()
    assert 0 < where.float().mean() < 1
    assert not torch.equal(erased[0], erased[1])


def test_a_damaged_video_stops_or_is_skipped(tmp_path):
    videos(tmp_path)
    (tmp_path / "train" / "slow" / "1.mp4").write_bytes(b"no video")
    with pytest.raises(CorruptFileError, match=r"1\.mp4.*on_corrupt=skip"):
        list(load_images(config(tmp_path), seed=0).train)
    data = load_images(config(tmp_path, on_corrupt="skip", batch_size=4), seed=0)
    assert [len(labels) for _, labels in data.train] == [4]
    assert "1.mp4" in data.train.skipped[0]


def test_settings_that_do_not_fit_are_named(tmp_path, monkeypatch):
    with pytest.raises(InvalidArgumentError, match="data.frames=0"):
        load_images(config(tmp_path, frames=0), seed=0)
    with pytest.raises(UnknownNameError, match="'segment'"):
        load_images(config(tmp_path, sampling="segments"), seed=0)
    with pytest.raises(InvalidArgumentError, match="data.frame_stride=0"):
        load_images(config(tmp_path, frame_stride=0), seed=0)
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    with pytest.raises(InvalidArgumentError, match=r"snnkit\[video\]"):
        load_images(config(tmp_path), seed=0)
