"""Event recordings: what five real files hold, what files written by the rules give back, what is refused; frames.

Would break it: a shifted bit, a clock that is not unrolled or unrolled where it only stepped back, a lost last event.
"""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from support.data import (
    aedat4_bytes,
    dat_bytes,
    evt2_bytes,
    evt3_bytes,
    evt21_bytes,
    nmnist_bytes,
    random_events,
    recordings,
)

from snnkit.data import DataConfig, load_images
from snnkit.data.events import READERS, Events, read_events, to_frames
from snnkit.data.mixing import Mixing
from snnkit.errors import CorruptFileError, InvalidArgumentError, UnknownNameError

# Beside the repository, or above its worktrees.
REAL = [folder / "shared" / "data" / "events" for folder in list(Path(__file__).parents)[4:]]

# file: events, on events, first and last µs, largest x, largest y, height, width
FACTS = {
    "sample_nmnist.bin": (4_325, 654, 311_175, 33, 33, 34, 34),
    "sample_ncars.dat": (2_009, 0, 99_952, 77, 41, 0, 0),
    "evt2_sample.raw": (539_481, 1_317_888, 1_367_888, 599, 475, 0, 0),
    "evt3_sample.raw": (219_596, 11_718_656, 11_727_457, 1279, 719, 0, 0),
    "sample.aedat4": (111_954, 1_605_537_493_718_345, 1_605_537_494_308_262, 319, 239, 240, 320),
}


def real(name):
    for folder in REAL:
        if (folder / name).exists():
            return folder / name
    pytest.skip(f"{REAL[0] / name} is not there: real recordings are not part of the project")


@pytest.mark.parametrize("name", FACTS)
def test_real_recordings(name):
    if name.endswith("aedat4"):
        pytest.importorskip("lz4")
    events = read_events(real(name))
    found = (len(events), events.t[0], events.t[-1], events.x.max(), events.y.max(), events.height, events.width)
    assert found == FACTS[name]
    assert (np.diff(events.t) >= 0).all()
    if name == "evt2_sample.raw":
        assert (~events.on).sum() == 171_626
    if name == "evt3_sample.raw":
        assert events.t[-1] - events.t[0] == 8_801


@pytest.mark.parametrize("name", FACTS)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_real_recordings_cut_short_are_refused_or_shorter(name, share, tmp_path):
    """Formats without a length cannot tell a cut between two records; inside a record it is told."""
    if name.endswith("aedat4"):
        pytest.importorskip("lz4")
    content = real(name).read_bytes()
    cut = tmp_path / name
    size = {".bin": 5, ".dat": 8, ".raw": 4, ".aedat4": 1}[cut.suffix]
    cut.write_bytes(content[: len(content) - size * int(len(content) * (1 - share) / size) - 1])
    with pytest.raises(CorruptFileError, match=f"{name}.*cut short") as caught:
        read_events(cut)
    assert "\n" not in str(caught.value)


# Files written by the rules.


WRITERS = {
    "a.bin": nmnist_bytes,
    "a.dat": dat_bytes,
    "evt2.raw": evt2_bytes,
    "evt21.raw": evt21_bytes,
    "evt3.raw": evt3_bytes,
    "a.aedat4": aedat4_bytes,
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_was_written_is_read(name, tmp_path):
    columns = random_events()
    (tmp_path / name).write_bytes(WRITERS[name](*columns))
    events = read_events(tmp_path / name)
    for found, given in zip((events.t, events.x, events.y, events.on), columns, strict=True):
        assert np.array_equal(found, given)
    assert (events.height, events.width) == (34, 34)


@pytest.mark.parametrize("settings", [{"compression": 0}, {"compression": 2}, {"table": False}])
def test_aedat4_uncompressed_or_never_closed(settings, tmp_path):
    columns = random_events()
    (tmp_path / "a.aedat4").write_bytes(aedat4_bytes(*columns, **settings))
    assert np.array_equal(read_events(tmp_path / "a.aedat4").t, columns[0])


def test_every_format_is_tested():
    assert {Path(name).suffix for name in WRITERS} == set(READERS)


@pytest.mark.parametrize("order", ["little", "legacy"])
@pytest.mark.parametrize(
    "header",
    [
        b"% format EVT21\n% geometry 34x34\n% end\n",
        b"% evt 2.1\n% geometry 34x34\n",
        b"% evt 2.1\n% format EVT21\n% endianness {}\n% geometry 34x34\n% end\n",
        b"% format EVT21;endianness={};height=34;width=34\n% end\n",
    ],
)
def test_evt21_by_any_of_its_headers_in_both_orders(header, order, tmp_path):
    columns = random_events()
    (tmp_path / "a.raw").write_bytes(evt21_bytes(*columns, header.replace(b"{}", order.encode()), order))
    events = read_events(tmp_path / "a.raw")
    for found, given in zip((events.t, events.x, events.y, events.on), columns, strict=True):
        assert np.array_equal(found, given)


def test_evt21_words_by_hand(tmp_path):
    """A word of eight bytes as the encoding's page draws it: several pixels of a row, and a clock that starts again."""
    top = (1 << 28) - 1
    words = [
        *(1 << 60 | 99 << 32 | 1, 8 << 60 | top << 32, 1 << 60 | 5 << 54 | 64 << 43 | 7 << 32 | 0x8000_0005),
        *(8 << 60 | 2 << 32, 0 << 60 | 3 << 54 | 0 << 43 | 8 << 32 | 2),
    ]
    (tmp_path / "a.raw").write_bytes(b"% format EVT21\n% end\n" + struct.pack("<5Q", *words))
    events = read_events(tmp_path / "a.raw")
    assert events.x.tolist() == [64, 66, 95, 1]
    assert events.y.tolist() == [7, 7, 7, 8]
    assert events.on.tolist() == [True, True, True, False]
    assert events.t.tolist() == [(top << 6) + 5] * 3 + [(1 << 34) + (2 << 6) + 3]


@pytest.mark.parametrize(
    ("header", "words", "message"),
    [
        (b"% evt 2.0\n% format EVT21\n% end\n", 4, "two encodings, evt 2.0 and format EVT21"),
        (b"% format HISTO3D\n% end\n", 4, "'HISTO3D'.*EVT 2.1"),
        (b"% format EVT4;height=320\n% end\n", 4, "'4.0'"),
        (b"% format EVT21;endianness=big\n% end\n", 4, "endianness 'big'; little and legacy"),
        (b"% format EVT21\n% end\n", 4, "which half of a word comes first"),
        (b"% format EVT21\n% end\n", 4.5, "cut short"),
    ],
)
def test_encodings_that_are_not_known_are_named(header, words, message, tmp_path):
    (tmp_path / "a.raw").write_bytes(header + bytes(int(8 * words)))
    with pytest.raises(CorruptFileError, match=message):
        read_events(tmp_path / "a.raw")


def test_the_overflow_marker_of_a_bin_adds_time_and_is_no_event(tmp_path):
    """By hand: after each event with y = 240 all times are 2^13 µs later, its own bytes of time are not read."""
    t = np.array([5, 77, 3, 9, 1, 2])
    y = np.array([1, 240, 2, 3, 240, 4])
    (tmp_path / "a.bin").write_bytes(nmnist_bytes(t, np.array([1, 0, 2, 3, 0, 4]), y, np.ones(6, bool)))
    events = read_events(tmp_path / "a.bin", 180, 240)
    assert events.t.tolist() == [5, 8192 + 3, 8192 + 9, 2 * 8192 + 2]
    assert (events.x.tolist(), events.y.tolist()) == ([1, 2, 3, 4], [1, 2, 3, 4])


def evt3(*words):
    return b"% evt 3.0\n" + struct.pack(f"<{len(words)}H", *words)


def test_evt3_vectors_and_a_clock_that_steps_back(tmp_path):
    path = tmp_path / "a.raw"
    path.write_bytes(
        evt3(
            *(2 << 12 | 9, 8 << 12 | 1, 6 << 12 | 811),  # an event before the first row has no place: left out
            *(7, 3 << 12 | 1 << 11 | 100, 4 << 12 | 0b1000_0000_0001, 5 << 12 | 0b1111_1000_0010, 4 << 12 | 1),
            *(8 << 12 | 1, 6 << 12 | 800, 6 << 12 | 812),  # the same upper time again: the lower one alone went back
            2 << 12 | 5,
        )
    )
    events = read_events(path)
    assert events.x.tolist() == [100, 111, 113, 119, 120, 5]
    assert events.on.tolist() == [True] * 5 + [False]
    assert set(events.y.tolist()) == {7}
    assert events.t.tolist() == [4096 + 811] * 5 + [4096 + 812]


def test_clocks_that_start_again_go_on(tmp_path):
    path = tmp_path / "a.raw"
    path.write_bytes(evt3(0, 8 << 12 | 0xFFF, 6 << 12 | 5, 2 << 12, 8 << 12, 6 << 12 | 1, 2 << 12))
    assert read_events(path).t.tolist() == [(0xFFF << 12) + 5, (1 << 24) + 1]
    top = (1 << 28) - 1
    words = (8 << 28 | top, 3 << 22, 8 << 28 | 2, 1 << 28)
    path.write_bytes(b"% evt 2.0\n" + struct.pack("<4I", *words))
    assert read_events(path).t.tolist() == [(top << 6) + 3, (1 << 34) + (2 << 6)]


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("kind", ["empty", "garbage", "zeros", "text"])
def test_what_is_no_recording_gives_one_clear_line(name, kind, tmp_path):
    content = {
        "empty": b"",
        "garbage": np.random.default_rng(1).bytes(4000),
        "zeros": bytes(3),
        "text": b"hello, this is no recording at all",
    }[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorruptFileError, match=name) as caught:
        read_events(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", WRITERS)
def test_damage_anywhere_is_an_error_of_ours_or_none(name, tmp_path):
    """Bytes overwritten at many places: events may differ, but no foreign error and no event outside the sensor."""
    whole = WRITERS[name](*random_events())
    generator = np.random.default_rng(2)
    for at in range(0, len(whole), max(1, len(whole) // 60)):
        content = bytearray(whole)
        content[at : at + 6] = generator.bytes(len(content[at : at + 6]))
        (tmp_path / name).write_bytes(content)
        try:
            events = read_events(tmp_path / name)
        except CorruptFileError as error:
            assert name in str(error)  # noqa: PT017
        else:
            assert not events.height or events.y.max() < events.height


def test_other_endings_versions_and_compressions_are_named(tmp_path):
    columns = random_events()
    with pytest.raises(UnknownNameError, match=r"'\.aedat'.*'\.aedat4'"):
        read_events(tmp_path / "a.aedat")
    with pytest.raises(CorruptFileError, match="cannot be read"):
        read_events(tmp_path / "none.bin")
    for name, content, words in (
        ("a.dat", dat_bytes(*columns, header=b"% Version 1\n"), "version 1"),
        ("a.raw", evt2_bytes(*columns, header=b"% evt 4.0\n"), "'4.0'.*EVT 2.0, EVT 2.1, EVT 3.0"),
        ("b.raw", b"% evt 2.0", "ends inside its header"),
        ("a.aedat4", aedat4_bytes(*columns, compression=3), "compressed in way 3; LZ4 and none"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CorruptFileError, match=words):
            read_events(tmp_path / name)


def test_an_event_outside_the_sensor_is_named(tmp_path):
    t, x, y, on = random_events()
    (tmp_path / "a.bin").write_bytes(nmnist_bytes(t, x + 30, y, on))
    with pytest.raises(CorruptFileError, match="x = 6[0-9].*34×34.*data.sensor_width"):
        read_events(tmp_path / "a.bin")
    assert len(read_events(tmp_path / "a.bin", 240, 304)) == len(t)


@pytest.mark.parametrize("name", ["a.dat", "evt2.raw", "evt21.raw", "evt3.raw", "a.aedat4"])
def test_a_stray_event_is_dropped_and_counted_when_asked(name, tmp_path):
    t, x, y, on = random_events()
    stray = y.copy()
    stray[100] = 60
    (tmp_path / name).write_bytes(WRITERS[name](t, x, stray, on))
    with pytest.raises(CorruptFileError, match=r"y = 60, .*34×34 \(1 of 200 events.*data.stray_events=drop"):
        read_events(tmp_path / name)
    events = read_events(tmp_path / name, drop_stray=True)
    assert (len(events), events.stray) == (199, 1)
    assert np.array_equal(events.t, np.delete(t, 100))
    assert np.array_equal(events.y, np.delete(y, 100))


def test_more_than_a_few_strays_are_a_wrong_size(tmp_path):
    t, x, y, on = random_events()
    (tmp_path / "a.dat").write_bytes(dat_bytes(t, x + 3, y, on))
    with pytest.raises(CorruptFileError, match="more than a few"):
        read_events(tmp_path / "a.dat", drop_stray=True)


def test_a_sensor_as_large_as_a_header_likes_is_not_made(tmp_path):
    columns = random_events()
    (tmp_path / "a.dat").write_bytes(dat_bytes(*columns, header=b"% Version 2\n% Height 900000\n% Width 34\n"))
    with pytest.raises(CorruptFileError, match="34×900000.*at most 16384"):
        read_events(tmp_path / "a.dat")


# Frames.


def test_frames_by_hand():
    events = Events(
        np.array([10, 11, 14, 19]), np.array([0, 1, 1, 3]), np.array([0, 0, 1, 1]), np.array([1, 0, 1, 1], bool), 2, 4
    )
    frames = to_frames(events, 2)
    expected = torch.zeros(2, 2, 2, 4)
    expected[0, 1, 0, 0] = expected[0, 0, 0, 1] = expected[0, 1, 1, 1] = expected[1, 1, 1, 3] = 1
    assert torch.equal(frames, expected)
    by_count = to_frames(events, 2, "count")
    assert by_count.flatten(1).sum(1).tolist() == [2, 2]
    small = to_frames(events, 1, size=(1, 2))
    assert small.tolist() == [[[[1, 0]], [[2, 1]]]]


@pytest.mark.parametrize("by", ["time", "count"])
@pytest.mark.parametrize("parts", [1, 7, 10, 1000])
def test_no_event_is_lost(by, parts):
    t, x, y, on = random_events(991)
    frames = to_frames(Events(t, x, y, on, 34, 34), parts, by)
    assert frames.shape == (parts, 2, 34, 34)
    assert frames.sum() == 991
    assert frames[:, 1].sum() == on.sum()
    if parts <= 10:
        assert (frames.flatten(1).sum(1) > 0).all()


def test_no_event_of_the_real_digit_is_lost():
    assert to_frames(read_events(real("sample_nmnist.bin")), 10).sum() == 4_325


def test_frames_that_cannot_be_made_say_why():
    events = Events(*(np.array([1]),) * 3, np.array([True]), 3, 3)
    with pytest.raises(InvalidArgumentError, match="≥ 1"):
        to_frames(events, 0)
    with pytest.raises(UnknownNameError, match="'count'"):
        to_frames(events, 2, "counts")
    with pytest.raises(InvalidArgumentError, match="sensor"):
        to_frames(Events(*(np.array([1]),) * 3, np.array([True])), 2)


# Folders.


def settings(folder, **changes):
    given = {"dataset": "event_folder", "source": str(folder), "frames": 5, "batch_size": 2, "shift_pixels": 0}
    return DataConfig(**{**given, "flip": False, **changes})


def test_a_folder_of_recordings(tmp_path):
    data = load_images(settings(recordings(tmp_path)), seed=0)
    assert data.classes == ("off", "on")
    assert data.image_shape == (2, 34, 34)
    for frames, labels in (*data.train, *data.test):
        assert frames.shape == (5, 2, 2, 34, 34)
        for n, label in enumerate(labels.tolist()):
            assert frames[:, n, label].sum() == 200
            assert frames[:, n, 1 - label].sum() == 0
    moved = next(iter(load_images(settings(tmp_path, shift_pixels=3, flip=True), seed=0).train))[0]
    assert 100 < moved[:, 0].sum() <= 200


def test_one_shift_moves_all_frames_of_a_recording(tmp_path):
    """One event a frame at one pixel: it is at one pixel after the shift too."""
    for split in ("train", "val"):
        (tmp_path / split / "dot").mkdir(parents=True)
        place = np.full(5, 20)
        content = nmnist_bytes(np.arange(5) * 1000, place, place, np.ones(5, bool))
        (tmp_path / split / "dot" / "a.bin").write_bytes(content)
    places = set()
    for seed in range(8):
        frames, _ = next(iter(load_images(settings(tmp_path, shift_pixels=3), seed=seed).train))
        assert torch.equal(frames.sum((1, 2, 3, 4)), torch.ones(5))
        assert (frames == frames[:1]).all()
        places.add(int(frames[0].argmax()))
    assert len(places) > 1


def test_a_damaged_recording_stops_or_is_skipped(tmp_path):
    recordings(tmp_path)
    bad = tmp_path / "train" / "on" / "1.bin"
    bad.write_bytes(bad.read_bytes()[:-2])
    with pytest.raises(CorruptFileError, match=r"1\.bin is cut short"):
        list(load_images(settings(tmp_path), seed=0).train)
    data = load_images(settings(tmp_path, on_corrupt="skip", batch_size=4), seed=0)
    assert [len(labels) for _, labels in data.train] == [4]
    assert "1.bin" in data.train.skipped[0]


@pytest.mark.parametrize("workers", [0, 1])
def test_dropped_events_of_a_folder_are_counted_and_the_rest_is_used(tmp_path, workers):
    recordings(tmp_path)
    t, x, y, _ = random_events()
    y[7] = 99
    for split in ("train", "val"):
        (tmp_path / split / "on" / "1.bin").write_bytes(nmnist_bytes(t, x, y, np.ones(200)))
    with pytest.raises(CorruptFileError, match="y = 99"):
        list(load_images(settings(tmp_path), seed=0).train)
    data = load_images(settings(tmp_path, stray_events="drop", batch_size=4, workers=workers), seed=0)
    for batches in (data.train, data.test):
        ((frames, labels),) = list(batches)
        assert sorted(labels.tolist()) == [0, 0, 1, 1]
        assert frames.sum() == 799
        assert len(batches.skipped) == 1
        assert "1.bin: 1 of 200 events outside of 34×34 dropped" in batches.skipped[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stray_events": "keep"}, "data.stray_events"),
        ({"frames": 0}, "data.frames=0"),
        ({"erase": 0.2}, "data.erase=0.2.*flipped and shifted"),
        ({"rand_augment": "rand-m9"}, "data.rand_augment"),
        ({"part_by": "seconds"}, "data.part_by"),
    ],
)
def test_settings_that_do_not_fit_events_are_named(tmp_path, changes, words):
    with pytest.raises((InvalidArgumentError, UnknownNameError), match=words):
        load_images(settings(recordings(tmp_path), **changes), seed=0)


def test_a_sensor_that_nobody_names(tmp_path):
    for split in ("train", "val"):
        (tmp_path / split / "a").mkdir(parents=True)
        (tmp_path / split / "a" / "a.dat").write_bytes(dat_bytes(*random_events(), header=b"% Version 2\n"))
    with pytest.raises(InvalidArgumentError, match="data.sensor_height"):
        list(load_images(settings(tmp_path), seed=0).train)
    data = load_images(settings(tmp_path, sensor_height=40, sensor_width=50), seed=0)
    assert data.image_shape == (2, 40, 50)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
@pytest.mark.parametrize("time_first", [False, True])
def test_mixing_treats_all_frames_of_a_sample_alike(kind, time_first):
    """Sample n is n everywhere: mixed, it is a blend of two numbers, the same in every frame."""
    frames, batch = 3, 3  # as many frames as samples: nothing can be told from the sizes
    clips = torch.arange(float(batch)).view(batch, 1, 1, 1, 1).expand(batch, 2, frames, 8, 8).contiguous()
    given = clips.permute(2, 0, 1, 3, 4).contiguous() if time_first else clips
    torch.manual_seed(1)
    mixed, soft = Mixing(DataConfig(**{kind: 1.0}), batch, time_first)((given, torch.arange(batch)))
    assert mixed.shape == given.shape
    by_sample = mixed.permute(1, 2, 0, 3, 4) if time_first else mixed
    assert (by_sample == by_sample[:, :1, :1]).all()
    means = by_sample.mean((1, 2, 3, 4))
    torch.testing.assert_close(means, soft @ torch.arange(float(batch)))
    assert not torch.equal(means, torch.arange(float(batch)))
