"""What a run says of pictures, folders and videos.

Would break it: a picture fed otherwise than the run's test images, an answer in other pixels than the picture's, a file
that is written over by another of the same name, a damaged picture that loses the answers about the others, a video
whose frames are counted wrongly.
"""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.data import video, videos
from torchvision.io import ImageReadMode, decode_image, write_png
from torchvision.transforms.v2 import functional as vision

from snnkit.cli.predict import _names, _written, predict
from snnkit.data import load_images
from snnkit.data.coco_file import write_instances
from snnkit.data.image_folder import MEAN, STD
from snnkit.data.keypoints import crop_map, cut
from snnkit.data.scenes import Scenes
from snnkit.data.transforms import Normalise
from snnkit.engine import RunConfig, train
from snnkit.engine.config import ModelConfig, TaskConfig
from snnkit.engine.predicting import Picture, Predictor, files_in, grey, pictures
from snnkit.errors import SnnkitError
from snnkit.files import read_json
from snnkit.tasks.drawing import with_words

SMALL = {"stem_type": "", "stem_width": 8, "channels": (8, 8, 16, 16), "fpn_channels": 8, "head_channels": 8}


@pytest.fixture(scope="module")
def segments(tmp_path_factory):
    """A run of segmentation whose network knows the background from the rest at least."""
    pytest.importorskip("skimage", reason="no photographs: pip install scikit-image")
    config = RunConfig(model=ModelConfig("semantic_fpn:timm:resnet10t", sizes=dict(SMALL)))
    config.task, config.epochs, config.threads = TaskConfig("segmentation"), 1, 1
    config.data.dataset, config.data.source, config.data.img_size = "scenes", "vendored", 32
    config.data.batch_size, config.data.train_limit, config.data.test_limit = 4, 12, 11
    return train(config, tmp_path_factory.mktemp("seg") / "run")


def test_a_classifier_names_its_best_classes(tiny_run, tmp_path, capsys):
    data = load_images(tiny_run.config.data, 0)
    image = data.test.dataset.whole.images[0] if hasattr(data.test.dataset, "whole") else data.test.dataset.images[0]
    write_png(image.expand(3, -1, -1).contiguous(), str(tmp_path / "one.png"))
    predictor = Predictor(tiny_run.folder, top=3)
    (picture,) = pictures(tmp_path / "one.png", "one")
    found = predictor(picture)["classes"]
    assert len(found) == 3
    assert [one["probability"] for one in found] == sorted((one["probability"] for one in found), reverse=True)
    with torch.no_grad():
        normalised = (image.float() / 255 - 0.2860) / 0.3530
        expected = predictor.model(normalised[None])[0].softmax(0)
    assert found[0]["class"] == data.classes[int(expected.argmax())]
    assert found[0]["probability"] == pytest.approx(float(expected.max()), abs=1e-3)
    predict(tiny_run.folder, tmp_path / "one.png", output=tmp_path / "out", top=2)
    assert f"one: {found[0]['class']} {found[0]['probability']}" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["predictions.json"]  # nothing to draw


@pytest.mark.parametrize("dataset", ["image_folder", "fashion_mnist"])
def test_a_classifier_is_given_what_tests_are(tmp_path, dataset, monkeypatch):
    """A wide photograph is cut, not squeezed, where the run's tests cut it; small images are enlarged alike."""
    for part, label in itertools.product(("train", "val"), ("cat", "dog")):
        (tmp_path / "data" / part / label).mkdir(parents=True)
        for number in range(2):
            drawn = torch.randint(0, 255, (3, 30, 50), dtype=torch.uint8)
            write_png(drawn, str(tmp_path / "data" / part / label / f"{number}.png"))
    sizes = {"stem_type": "", "stem_width": 8, "channels": (8, 8, 16, 16)}
    config = RunConfig(model=ModelConfig("timm:resnet10t", sizes=sizes), epochs=1, threads=1)
    config.data.dataset, config.data.img_size, config.data.batch_size = dataset, 32, 2
    config.data.source = "vendored" if dataset == "fashion_mnist" else str(tmp_path / "data")
    config.data.train_limit, config.data.test_limit = 4, 4
    predictor = Predictor(train(config, tmp_path / "run").folder)
    tested = load_images(config.data, 0).test.dataset[0][0]
    picture = next(pictures(tmp_path / "data" / "val" / "cat" / "0.png", "0")).pixels
    if dataset == "fashion_mnist":
        config.data.img_size = 0
        stored = load_images(config.data, 0).test.dataset[0][0]
        picture = (stored * 0.3530 + 0.2860).mul(255).round().to(torch.uint8).expand(3, -1, -1)
    seen = []
    monkeypatch.setattr(predictor, "model", lambda image: seen.append(image) or torch.zeros(1, len(predictor.classes)))
    predictor(Picture(None, "x", None, picture))
    torch.testing.assert_close(seen[0][0], tested, atol=1e-5, rtol=0)


def test_maps_are_in_the_pixels_of_the_picture(segments, tmp_path):
    scene = Scenes("vendored", False, 1, side=48).read(0)
    write_png(scene.image, str(tmp_path / "a.png"))
    predict(segments.folder, tmp_path / "a.png", output=tmp_path / "out")
    (line,) = read_json(tmp_path / "out" / "predictions.json")
    assert line["map"] == "a.map.png"
    drawn = decode_image(str(tmp_path / "out" / "a.map.png"))
    assert drawn.shape == (1, 48, 48)
    assert sum(one["share"] for one in line["covered"]) == pytest.approx(1, abs=1e-3)
    shares = [one["share"] for one in line["covered"]]
    assert shares == sorted(shares, reverse=True)
    painted = decode_image(str(tmp_path / "out" / line["picture"]), ImageReadMode.RGB)
    background = drawn[0] == 0
    assert torch.equal(painted[:, background], scene.image[:, background])  # the background has no colour
    # By hand: resized to what the run was trained at, and the logits back to the picture.
    predictor = Predictor(segments.folder)
    resized = vision.resize(scene.image, [32, 32], antialias=True).float() / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        logits = predictor.model(((resized - mean) / std)[None])
        for size in ((32, 32), (48, 48)):
            logits = torch.nn.functional.interpolate(logits, size, mode="bilinear", align_corners=False)
    assert (drawn[0] == logits[0].argmax(0)).float().mean() > 0.999


def test_colours_lie_where_classes_do(segments):
    task = Predictor(segments.folder).task
    picture, classes = torch.full((3, 4, 4), 100, dtype=torch.uint8), torch.zeros(4, 4).long()
    classes[0, 0], classes[1, 1] = 1, 2
    painted = task.draw(picture, {"map": classes})
    changed = (painted != picture).any(0)
    assert changed.nonzero().tolist() == [[0, 0], [1, 1]]
    assert not torch.equal(painted[:, 0, 0], painted[:, 1, 1])


def test_files_of_one_name_and_damaged_ones(segments, tmp_path, capsys):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_png(torch.zeros(3, 32, 32, dtype=torch.uint8), str(tmp_path / folder / "a.png"))
    (tmp_path / "x" / "b.png").write_bytes(b"nothing")
    predict(segments.folder, tmp_path / "x", tmp_path / "y", output=tmp_path / "out")
    told = read_json(tmp_path / "out" / "predictions.json")
    assert [one.get("picture") for one in told] == ["a.png", None, "a-2.png"]
    assert "b.png is not a readable image" in told[1]["error"]
    assert "2 pictures, 1 could not be read" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("files", "called"),
    [
        (["a/x.jpg", "b/x.jpg", "c/x-2.jpg"], ["x", "x-2", "x-2-2"]),
        (["X.jpg", "x.jpg"], ["X", "x-2"]),
        (["v.mp4", "v-000003.jpg"], ["v", "v-000003-2"]),
        (["v-000003.jpg", "v.mp4"], ["v-000003", "v-2"]),
        (["IMG-000001.jpg", "IMG-000002.jpg"], ["IMG-000001", "IMG-000002"]),
        (["a.jpg", "a.map.jpg", "a.masks.jpg"], ["a", "a.map-2", "a.masks-2"]),
    ],
)
def test_no_file_is_written_over_by_that_of_another(files, called):
    assert _names([Path(file) for file in files]) == called


def shown(predictor, picture, monkeypatch):
    """What the network is given of a picture, (1, C, H, W)."""
    seen = []
    answer = predictor.task.predict
    monkeypatch.setattr(predictor.task, "predict", lambda image, size: seen.append(image) or answer(image, size))
    predictor(Picture(None, "x", None, picture))
    return seen[0]


def test_pictures_keep_their_shape_where_things_have_places(segments, monkeypatch):
    picture = torch.randint(0, 255, (3, 48, 96), dtype=torch.uint8)
    given = shown(Predictor(segments.folder), picture, monkeypatch)
    wanted = Normalise(MEAN, STD)(vision.resize(picture, [32, 64], antialias=True))
    assert torch.equal(given[0], wanted)


def test_a_picture_is_scaled_as_tests_of_a_folder_are(tmp_path, monkeypatch):
    for part in ("train", "val"):
        (tmp_path / part).mkdir()
        for name in ("a.png", "b.png"):
            drawn = torch.randint(0, 255, (3, 24, 40), dtype=torch.uint8)
            write_png(drawn, str(tmp_path / part / name))
        boxes = {"boxes": torch.tensor([[4.0, 4.0, 20.0, 20.0]]), "labels": torch.tensor([0])}
        write_instances(tmp_path / f"{part}.json", [(n, (24, 40), boxes) for n in ("a.png", "b.png")], ("thing",))
    sizes = {**SMALL, "fpn_channels": 8, "proposals": 8, "regions": 8, "box_channels": 16, "masks": False}
    del sizes["head_channels"]
    config = RunConfig(model=ModelConfig("mask_rcnn:timm:resnet10t", sizes=sizes), epochs=1, threads=1)
    config.task, config.data.dataset, config.data.source = TaskConfig("detection"), "coco", str(tmp_path)
    config.data.img_size, config.data.batch_size, config.data.shift_pixels = 48, 2, 0
    run = train(config, tmp_path / "run")
    picture = decode_image(str(tmp_path / "val" / "b.png"))
    config.data.targets = "objects"
    tested = load_images(config.data, 0).test.dataset[1][0]
    assert tested.shape == (3, 48, 80)
    assert torch.equal(shown(Predictor(run.folder), picture, monkeypatch)[0], tested)


def test_key_points_are_found_on_a_crop_as_they_were_learnt(tmp_path, monkeypatch):
    """A wide picture is a box: with the border of crops, and not squeezed into their shape."""
    pytest.importorskip("skimage", reason="no photographs: pip install scikit-image")
    sizes = {key: value for key, value in SMALL.items() if key != "fpn_channels"}
    config = RunConfig(model=ModelConfig("pose:timm:resnet10t", sizes=sizes), epochs=1, threads=1)
    config.task, config.data.dataset, config.data.source = TaskConfig("pose"), "scenes", "vendored"
    config.data.img_size, config.data.crop_height, config.data.crop_width = 48, 32, 32
    config.data.batch_size, config.data.train_limit, config.data.test_limit = 4, 4, 4
    predictor = Predictor(train(config, tmp_path / "run").folder)
    picture = torch.randint(0, 255, (3, 20, 40), dtype=torch.uint8)
    back = crop_map(torch.tensor([0.0, 0.0, 40.0, 20.0]), (32, 32))
    assert torch.equal(shown(predictor, picture, monkeypatch)[0], Normalise(MEAN, STD)(cut(picture, back, (32, 32))))
    points = {"points": [{"name": "middle", "x": 16.0, "y": 16.0}, {"name": "corner", "x": 3.2, "y": 9.6}]}
    monkeypatch.setattr(predictor.task, "predict", lambda image, size: points)
    found = predictor(Picture(None, "x", None, picture))["points"]
    # 32 pixels of the crop are 1.25 · 40 of the picture, whose middle is theirs.
    assert [(one["x"], one["y"]) for one in found] == [(20.0, 10.0), (0.0, 0.0)]


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (ModelConfig("spiking_cnn_small"), {"time_first": True}),
        (ModelConfig("spiking_cnn_small"), {"time_first": True, "test_clips": 2}),
        (ModelConfig("uniformer_video_small", sizes={"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16), "head_dim": 8}),
         {"test_clips": 2, "test_crops": 3}),
    ],
)  # fmt: skip
def test_a_network_for_clips_is_shown_those_of_the_test(tmp_path, capsys, model, settings):
    """Not single frames: what moves is not seen in one."""
    config = RunConfig(model=model, epochs=1, threads=1)
    config.data.dataset, config.data.source = "video_folder", str(videos(tmp_path / "data"))
    config.data.img_size, config.data.frames, config.data.frame_stride, config.data.batch_size = 32, 4, 2, 2
    for key, value in settings.items():
        setattr(config.data, key, value)
    run = train(config, tmp_path / "run")
    data, predictor = load_images(config.data, 0).test.dataset, Predictor(run.folder)
    sample = data[0][0]
    views = sample if isinstance(sample, list) else list(sample) if sample.ndim == 5 else [sample]
    batch = torch.stack(views, 1 if config.data.time_first else 0)
    with torch.no_grad():
        wanted = predictor.model(batch).float().softmax(1).mean(0)
    file = Path(data.names[0])
    predict(run.folder, file, output=tmp_path / "out")
    (line,) = read_json(tmp_path / "out" / "predictions.json")
    assert {one["class"]: one["probability"] for one in line["classes"]} == {
        name: pytest.approx(float(share), abs=1e-4) for name, share in zip(predictor.classes, wanted, strict=True)
    }
    assert "frame" not in line
    write_png(torch.zeros(3, 32, 32, dtype=torch.uint8), str(tmp_path / "still.png"))
    with pytest.raises(SnnkitError, match=r"still\.png is a picture, and this network was trained on clips"):
        predict(run.folder, file, tmp_path / "still.png", output=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_captions_are_those_of_the_test(tmp_path):
    pytest.importorskip("skimage", reason="no photographs: pip install scikit-image")
    sizes = {key: value for key, value in SMALL.items() if "_channels" not in key}
    sizes |= {"text_width": 32, "text_depth": 1, "text_heads": 2, "frozen": False}
    config = RunConfig(model=ModelConfig("captioner:timm:resnet10t", sizes=sizes), epochs=1, threads=1)
    config.task, config.data.dataset, config.data.source = TaskConfig("captioning"), "scenes", "vendored"
    config.data.img_size, config.data.context, config.data.batch_size = 48, 24, 4
    config.data.flip, config.data.shift_pixels, config.data.train_limit, config.data.test_limit = False, 0, 8, 2
    run = train(config, tmp_path / "run")
    config.data.targets = "captions"
    wanted = read_json(run.folder / "captions.json")["shown"]
    names = load_images(config.data, 0).test.dataset.names
    scenes = Scenes("vendored", False, 500, side=48)
    for number, name in enumerate(names):
        write_png(scenes.read(int(name.split()[-1])).image, str(tmp_path / f"{number}.png"))
    predict(run.folder, *(tmp_path / f"{n}.png" for n in range(len(names))), output=tmp_path / "out")
    found = read_json(tmp_path / "out" / "predictions.json")
    assert [one["caption"] for one in found] == [one["caption"] for one in wanted]
    drawn = decode_image(str(tmp_path / "out" / found[0]["picture"]))
    assert (drawn.shape[-1], drawn.shape[-2] > 240) == (240, True)  # five times as large, above its words
    assert torch.equal(drawn[:, :240:5, ::5], decode_image(str(tmp_path / "0.png")))


def test_words_stand_below_a_picture():
    picture = torch.full((3, 100, 300), 90, dtype=torch.uint8)
    one, more = with_words(picture, "a red coat"), with_words(picture, "a red coat " * 20)
    assert torch.equal(one[:, :100], picture)
    assert 100 < one.shape[1] < more.shape[1]
    assert (one[:, 100:] < 100).any(), "words are black"
    assert with_words(picture, "").shape[1] > 100


def test_frames_of_a_video(tmp_path):
    path = video(tmp_path / "v.mp4", frames=20, fps=10, step=10)
    found = list(pictures(path, "v", every=0.5))
    assert [one.frame for one in found] == [0, 5, 10, 15]
    assert [one.name for one in found] == [f"v-{n:06d}" for n in (0, 5, 10, 15)]
    for one in found:
        assert abs(float(one.pixels.float().mean()) - 10 * one.frame) < 6


def test_folders_are_read_in_the_order_of_names(tmp_path):
    for name in ("b.png", "a.jpg", "c.txt", ".d.png"):
        (tmp_path / name).write_bytes(b"")
    assert [p.name for p in files_in([tmp_path])] == ["a.jpg", "b.png"]


@pytest.mark.parametrize(
    ("given", "words"),
    [("nowhere.png", "does not exist"), ("notes.txt", "neither a picture"), ("empty", "holds no picture")],
)
def test_what_cannot_be_shown(tmp_path, given, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(SnnkitError, match=words):
        files_in([tmp_path / given])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({}, "no pictures are given"), ({"top": 0}, "--top 0"), ({"every": 0.0}, "--every 0")],
)
def test_settings_that_cannot_be(tmp_path, arguments, words):
    files = () if not arguments else (tmp_path,)
    with pytest.raises(SnnkitError, match=words):
        predict(tmp_path, *files, output=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_more_than_255_things_keep_their_numbers(tmp_path):
    for most in (255, 300):
        numbers = torch.arange(most + 1).view(1, -1)
        _written(tmp_path, f"{most}", {"masks": numbers}, None)
        with Image.open(tmp_path / f"{most}.masks.png") as image:
            assert image.mode == ("L" if most == 255 else "I;16")
            assert np.array(image).tolist() == numbers.tolist()


def test_a_command_that_could_read_nothing_fails(segments, tmp_path, call):
    (tmp_path / "bad.png").write_bytes(b"no image")
    write_png(torch.zeros(3, 32, 32, dtype=torch.uint8), str(tmp_path / "good.png"))
    assert call("predict", segments.folder, tmp_path / "good.png", tmp_path / "bad.png", "--output", tmp_path)[0] == 0
    code, _, err = call("predict", segments.folder, tmp_path / "bad.png", "--output", tmp_path)
    assert code != 0
    assert "none of 1 files could be read" in err
    assert "bad.png is not a readable image" in read_json(tmp_path / "predictions.json")[0]["error"]


def test_weights_without_a_run_are_refused(segments, tmp_path):
    alone = tmp_path / "last.safetensors"
    alone.write_bytes(segments.checkpoint.read_bytes())
    with pytest.raises(SnnkitError, match="lies in no run's folder"):
        Predictor(alone)


def test_a_run_on_events_is_refused(tiny_run, tmp_path):
    shutil.copytree(tiny_run.folder, tmp_path / "run")
    about = read_json(tmp_path / "run" / "config.json")
    about["data"]["dataset"] = "event_folder"
    (tmp_path / "run" / "config.json").write_text(json.dumps(about))
    with pytest.raises(SnnkitError, match="was trained on recordings of events"):
        Predictor(tmp_path / "run")


def test_a_picture_is_grey_where_the_network_reads_one_channel(tiny_run):
    pixels = torch.zeros(3, 28, 28, dtype=torch.uint8)
    pixels[1] = 200
    said = Predictor(tiny_run.folder)(Picture(None, "x", None, pixels))["classes"]
    assert grey(pixels).unique().tolist() == [117]  # 0.587 * 200 = 117.4
    assert said == Predictor(tiny_run.folder)(Picture(None, "y", None, grey(pixels).expand(3, -1, -1)))["classes"]


def test_what_is_grey_already_keeps_its_level():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    assert torch.equal(grey(levels.expand(3, -1, -1)), levels)
