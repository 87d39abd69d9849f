"""Lists of videos: which lines are taken how, which classes they make, what is said of what is not there or too short.

Would break it: a path or a class cut at a blank, labels of the two lists numbered apart, a missing video that shifts
the labels of those behind it, a run that goes on without half of its videos and says nothing.
"""

import json

import pytest
import torch
from support.data import video, videos

from snnkit.data import DataConfig, load_images, video_lists
from snnkit.data.video_folder import ClipReader, VideoInfo
from snnkit.data.video_lists import read_list
from snnkit.errors import CorruptFileError, InvalidArgumentError, UnknownNameError


def config(folder, **changes):
    given = {"dataset": "video_lists", "source": str(folder), "frames": 4, "frame_stride": 2, "batch_size": 2}
    return DataConfig(**{**given, "img_size": 32, "shift_pixels": 0, "flip": False, **changes})


def write(folder, train, val, names=("train.txt", "val.txt"), touch=True):
    """Write two lists, and empty files where their videos lie: who only looks for them does not open them."""
    for name, lines in zip(names, (train, val), strict=True):
        (folder / name).write_text("\n".join(lines) + "\n")
        for path in video_lists.read_list(folder / name).paths if touch else ():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).touch()
    return folder


def loaded(folder, **changes):
    data = load_images(config(folder, **changes), seed=0)
    names = [[name.removeprefix(f"{folder}/") for name in part.dataset.names] for part in (data.train, data.test)]
    labels = [list(part.dataset.labels) for part in (data.train, data.test)]
    return data, names, labels


@pytest.mark.parametrize(
    ("line", "path", "label"),
    [
        ("a/b.mp4 3", "a/b.mp4", "3"),
        ("a b/c d.mp4 3", "a b/c d.mp4", "3"),
        ("a,b/c.MKV,3", "a,b/c.MKV", "3"),
        ("a.mp4,playing guitar", "a.mp4", "playing guitar"),
        ("a.webm\tLifting something, then letting it drop", "a.webm", "Lifting something, then letting it drop"),
        ("78687 5", "78687", "5"),
        ("78687, Lifting something, then letting it drop", "78687", "Lifting something, then letting it drop"),
        ('"a b.mp4","x"', "a b.mp4", "x"),
        ("a.mp4.mp4 x", "a.mp4.mp4", "x"),
        ("clips.mp4/a.avi 12", "clips.mp4/a.avi", "12"),
    ],
)
def test_lines_are_parted_behind_the_video(line, path, label, tmp_path):
    (tmp_path / "train.txt").write_text(f"\n{line}\r\n\n")
    found = read_list(tmp_path / "train.txt")
    assert (found.paths, found.labels, found.lines) == ((path,), (label,), (2,))


def test_a_line_of_column_names_is_passed_over(tmp_path):
    (tmp_path / "train.csv").write_text("\ufeffpath,label\na.mp4,label\n")
    assert read_list(tmp_path / "train.csv").paths == ("a.mp4",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.mp4 0\nb.mp4\n", "line 2: 'b.mp4' has no label"),
        ("alone\n", "line 1: 'alone' has no label"),
        ("a.mp4 300 5\n", "line 1: 'a.mp4 300 5' has two numbers, as lists of folders of frames"),
    ],
)
def test_lines_that_are_none_are_named(text, said, tmp_path):
    (tmp_path / "train.txt").write_text(text)
    with pytest.raises(InvalidArgumentError, match=said) as caught:
        read_list(tmp_path / "train.txt")
    assert "train.txt" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"path label\n", b"\xff\xfe\x00"])
def test_files_that_are_no_lists_are_named(content, tmp_path):
    (tmp_path / "train.txt").write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"train\.txt"):
        read_list(tmp_path / "train.txt")


# Classes.


def test_numbers_keep_their_order_and_gaps_are_closed(tmp_path):
    write(tmp_path, ["a.mp4 10", "b.mp4 2", "c.mp4 07"], ["d.mp4 7", "e.mp4 10", "f.mp4 2"])
    data, names, labels = loaded(tmp_path)
    assert data.classes == ("2", "7", "10")
    assert labels == [[2, 0, 1], [1, 2, 0]]
    assert names == [["a.mp4", "b.mp4", "c.mp4"], ["d.mp4", "e.mp4", "f.mp4"]]


def test_names_are_classes(tmp_path):
    write(tmp_path, ["a.mp4 run", "b.mp4 fly high"], ["c.mp4 fly high", "d.mp4 run"])
    data, _, labels = loaded(tmp_path)
    assert (data.classes, labels) == (("fly high", "run"), [[1, 0], [0, 1]])


TEMPLATES = ["Covering something", "Lifting something, then letting it drop", "Pushing something from left to right"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("something-something-v2-labels.json", json.dumps({name: str(n) for n, name in enumerate(TEMPLATES)})),
        ("labels.json", json.dumps({str(n): name for n, name in enumerate(TEMPLATES)})),
        ("labels.json", json.dumps({name: n for n, name in reversed(list(enumerate(TEMPLATES)))})),
        ("labels.json", json.dumps(TEMPLATES)),
        ("labels.txt", "\n".join(TEMPLATES) + "\n"),
    ],
)
@pytest.mark.parametrize("by_name", [False, True])
def test_a_file_says_the_classes(file, content, by_name, tmp_path):
    """Also those that no video has; Something-Something's brackets around things are no part of a name."""
    (tmp_path / file).write_text(content)
    label = [TEMPLATES[0], TEMPLATES[1].replace("something", "[something]")] if by_name else ["0", "1"]
    write(tmp_path, [f"9.webm,{label[1]}", f"8.webm,{label[0]}"], [f"7.webm,{label[0]}", f"6.webm,{label[1]}"])
    data, _, labels = loaded(tmp_path)
    assert data.classes == tuple(TEMPLATES)
    assert labels == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    "content", ["{", "3", "[]", "[1, 2]", '{"a": "0", "b": "2"}', '{"0": "a", "1": "a"}', '{"a": 0, "b": null}']
)
def test_a_file_that_says_no_classes_is_named(content, tmp_path):
    (tmp_path / "labels.json").write_text(content)
    write(tmp_path, ["a.mp4 0"], ["b.mp4 0"])
    with pytest.raises(CorruptFileError, match=r"labels\.json") as caught:
        loaded(tmp_path)
    assert "\n" not in str(caught.value)


def test_labels_that_the_classes_do_not_have_are_named(tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps(TEMPLATES))
    write(tmp_path, ["a.mp4 0", "b.mp4 3"], ["c.mp4 0"])
    with pytest.raises(UnknownNameError, match=r"train\.txt, line 2: '3'"):
        loaded(tmp_path)
    write(tmp_path, ["a.mp4 Covering somethin"], ["c.mp4 Covering something"])
    with pytest.raises(UnknownNameError, match=r"line 1: 'Covering somethin'.*'Covering something'"):
        loaded(tmp_path)


def test_lists_with_different_classes_are_refused(tmp_path):
    write(tmp_path, ["a.mp4 run", "b.mp4 fly"], ["c.mp4 run", "d.mp4 swim"])
    with pytest.raises(InvalidArgumentError, match=r"only in train\.txt fly, only in val\.txt swim"):
        loaded(tmp_path)
    write(tmp_path, ["a.mp4 0", "b.mp4 1"], ["c.mp4 0", "d.mp4 run"])
    with pytest.raises(InvalidArgumentError, match=r"numbers, '0' \(train.txt, line 1\), and names, 'run' \(val.txt"):
        loaded(tmp_path)


# Which lists, which videos.


def test_lists_are_found_by_their_names(tmp_path):
    names = ("kinetics400_train_list_videos.csv", "kinetics400_val_list_videos.csv")
    write(tmp_path, ["a.mp4 0", "c.mp4 1"], ["b.mp4 1", "d.mp4 0"], names)
    (tmp_path / "test.csv").write_text("x.mp4 0\n")  # test is taken where there is no val
    (tmp_path / "readme.txt").write_text("train well")
    assert loaded(tmp_path)[1][1] == ["b.mp4", "d.mp4"]
    (tmp_path / "train_small.txt").write_text("a.mp4 0\n")
    with pytest.raises(InvalidArgumentError, match="2 lists with train in their names"):
        loaded(tmp_path)
    (tmp_path / "train_small.txt").unlink()
    (tmp_path / names[0]).unlink()
    with pytest.raises(InvalidArgumentError, match=r"no list with train in its name.*readme\.txt"):
        loaded(tmp_path)
    with pytest.raises(InvalidArgumentError, match="is not a folder"):
        loaded(tmp_path / "nowhere")
    with pytest.raises(InvalidArgumentError, match="data.frames=0"):
        loaded(tmp_path, frames=0)


def test_videos_lie_beside_the_lists_in_videos_or_anywhere(tmp_path):
    home, other = tmp_path / "home", tmp_path / "other.mp4"
    (home / "videos").mkdir(parents=True)
    for path in (home / "a.mp4", home / "videos" / "78687.webm", other, home / "videos" / "b.mkv"):
        path.touch()
    write(home, ["a.mp4 0", "78687 1"], [f"{other} 0", "b.mkv 1"], touch=False)
    names = [sorted(part) for part in loaded(home)[1]]
    assert names == [["a.mp4", "videos/78687.webm"], [str(other), "videos/b.mkv"]]


def test_missing_videos_are_counted_and_named(tmp_path):
    write(tmp_path, ["a.mp4 0", "gone.mp4 1", "b.mp4 1", "lost.mp4 0"], ["c.mp4 0", "d.mp4 1"])
    for name in ("gone", "lost"):
        (tmp_path / f"{name}.mp4").unlink()
    with pytest.raises(InvalidArgumentError, match=r"2 of 4 videos are missing \(gone.mp4, lost.mp4\).*missing=skip"):
        loaded(tmp_path)
    data, names, labels = loaded(tmp_path, on_missing="skip")
    assert (names[0], labels[0]) == (["a.mp4", "b.mp4"], [0, 1])
    (note,) = data.notes
    assert "train.txt: 2 of 4 videos are missing (gone.mp4, lost.mp4), and are left out" in note
    for name in ("c", "d"):
        (tmp_path / f"{name}.mp4").unlink()
    with pytest.raises(InvalidArgumentError, match=r"2 of 2 videos are missing.*lie in the list's folder"):
        loaded(tmp_path, on_missing="skip")


def test_what_makes_a_test_worthless_is_said(tmp_path):
    write(tmp_path, ["a.mp4 Turning left", "b.mp4 Falling"], ["a.mp4 Turning left", "c.mp4 Falling"])
    both, sides = loaded(tmp_path, flip=True)[0].notes
    assert both.startswith(f"1 video is ({tmp_path / 'a.mp4'}) in both train.txt and val.txt")
    assert "data.flip=true mirrors" in sides
    assert "Turning left" in sides
    assert len(loaded(tmp_path)[0].notes) == 1


# Clips.


def test_lists_and_folders_of_the_same_videos_give_the_same_batches(tmp_path):
    videos(tmp_path)
    for split, name in (("train", "train.txt"), ("val", "val.txt")):
        found = sorted((tmp_path / split).rglob("*.mp4"))
        lines = [f"{path.relative_to(tmp_path)} {path.parent.name}" for path in found]
        (tmp_path / name).write_text("\n".join(lines))
    for settings in ({}, {"sampling": "segment", "time_first": True}, {"test_clips": 2, "test_crops": 3}):
        listed = load_images(config(tmp_path, **settings), seed=1)
        in_folders = load_images(config(tmp_path, dataset="video_folder", **settings), seed=1)
        assert listed.classes == in_folders.classes
        assert listed.views == in_folders.views
        for split in ("train", "test"):
            for (a, one), (b, two) in zip(getattr(listed, split), getattr(in_folders, split), strict=True):
                assert torch.equal(a, b)
                assert torch.equal(one, two)


@pytest.mark.parametrize(("sampling", "needs"), [("dense", 8), ("segment", 4)])
def test_short_videos_repeat_frames_and_are_counted(sampling, needs, tmp_path):
    for name in ("a", "b", "d"):
        video(tmp_path / f"{name}.mp4", frames=needs, step=10)
    video(tmp_path / "c.mp4", frames=3, step=10)
    write(tmp_path, ["a.mp4 0", "c.mp4 1"], ["b.mp4 0", "d.mp4 1"], touch=False)
    data = load_images(config(tmp_path, sampling=sampling), seed=0)
    clip = next(iter(data.train))[0]
    (said,) = data.train.skipped
    assert said.endswith(f"c.mp4: 3 frames, and a clip spans {needs}; some are repeated")
    assert list(data.test)
    assert not data.test.skipped
    assert torch.isfinite(clip).all()
    short = data.train.dataset.source.read(1).sample
    levels = short.float().mean((1, 2, 3)).round().tolist()
    assert levels == pytest.approx({"dense": [0, 20, 20, 20], "segment": [0, 0, 10, 20]}[sampling], abs=3)


def test_a_span_at_another_rate_is_what_counts():
    reader = ClipReader(DataConfig(frames=4, frame_stride=8, target_fps=30.0), True)
    assert reader.spans(VideoInfo(64, 60.0, 8, 8)) == 64
    assert reader.spans(VideoInfo(64, 30.0, 8, 8)) == 32


def test_unreadable_videos_stop_or_are_skipped(tmp_path):
    for name in ("a", "c", "d"):
        video(tmp_path / f"{name}.mp4")
    (tmp_path / "b.mp4").write_bytes(b"no video")
    write(tmp_path, ["a.mp4 0", "b.mp4 1"], ["c.mp4 0", "d.mp4 1"], touch=False)
    with pytest.raises(CorruptFileError, match=r"b\.mp4.*on_corrupt=skip"):
        list(load_images(config(tmp_path), seed=0).train)
    data = load_images(config(tmp_path, on_corrupt="skip"), seed=0)
    list(data.train)
    assert "b.mp4" in data.train.skipped[0]
