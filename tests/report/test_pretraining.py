"""The section about training without labels: its curves, a collapse that is told, pictures with named columns."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.browser import CHROMIUM, Browser

from snnkit.report import ReportError, write_report
from snnkit.report.palette import Palette
from snnkit.report.pictures import groups, picture
from snnkit.report.pretraining import COLLAPSED, pretraining
from snnkit.report.read import read_run

from .conftest import write_invented_run
from .test_browser_use import FAULTS
from .test_page import Reader

COLUMNS = ["given", "seen", "painted"]


def found(task: str = "mr_mae", **changed):
    lines = [
        {"epoch": n, "loss": 2.0 / n, "reconstruction": 1.5 / n, "mimic": 0.5 / n, "feature_spread": 0.5 / n}
        | {"pictures": "reconstructions.png", "columns": COLUMNS}
        for n in (1, 2, 3)
    ]
    return {"task": task, "epochs": lines, "collapsed": False} | changed


def write_pretraining_run(folder: Path, content, images: int = 8, columns: int = 3, name="reconstructions.png") -> Path:
    out = ("graph.json", "counts.json", "energy.json", "mapping.json", "raster.json")
    metrics = [{"epoch": n, "train": {"loss": 3.0 / n}, "test": {"loss": 2.0 / n}} for n in (1, 2, 3)]
    write_invented_run(folder, leave_out=out, metrics=metrics, summary={})
    (folder / "pretraining.json").write_text(json.dumps(content), encoding="utf-8")
    if images:
        draw(folder / name, images, columns)
    return folder


def draw(path: Path, images: int, columns: int, size: int = 32) -> None:
    import torch

    from snnkit.tasks.pictures import write_rows

    write_rows(path, [torch.rand(images, 1, size, size) for _ in range(columns)])


def made(run: Path):
    read = read_run(run)
    return pretraining(read, Palette(read))


def test_figures_are_those_of_the_files(tmp_path):
    """Breaks when a part is missing, or when training and test change places."""
    section = made(write_pretraining_run(tmp_path / "run", found()))
    loss = {curve["name"]: curve["values"] for curve in section["data"]["loss"]}
    assert loss == {
        "Loss": [2.0, 1.0, 2 / 3],
        "Reconstruction": [1.5, 0.75, 0.5],
        "Mimic": [0.5, 0.25, 0.5 / 3],
        "Loss in training": [3.0, 1.5, 1.0],
    }
    assert section["data"]["spread"] == [{"name": "Spread of features", "values": [0.5, 0.25, 0.5 / 3]}]
    assert section["data"]["shares"] == []
    assert section["table"][1] == {"epoch": "2", "values": ["1", "0.75", "0.25", "1.5", "0.25"]}


def test_limit_is_that_of_the_task():
    """The line of collapse is where tasks draw it."""
    from snnkit.tasks import pretraining as task

    assert task._COLLAPSED == COLLAPSED
    assert task._STEPS == 20, "the page speaks of 20 batches"


def test_collapse_is_told_plainly(tmp_path):
    text = Reader(write_report(write_pretraining_run(tmp_path / "a", found()))).text
    assert "This run has collapsed" not in text
    assert "this one has not been seen to" in text
    content = found(collapsed=True)
    content["epochs"][-1]["feature_spread"] = 0.0
    text = Reader(write_report(write_pretraining_run(tmp_path / "b", content))).text
    assert "This run has collapsed." in text
    assert "spread of features of the last test is 0, of 1" in text
    assert "this one has not been seen to" not in text


def test_a_part_that_is_the_loss_is_named_instead_of_drawn(tmp_path):
    content = found("masked")
    for line in content["epochs"]:
        line |= {"reconstruction": line["loss"]}
        del line["mimic"]
    run = write_pretraining_run(tmp_path / "run", content)
    assert [curve["name"] for curve in made(run)["data"]["loss"]] == ["Loss", "Loss in training"]
    assert "The loss is reconstruction alone." in Reader(write_report(run)).text


@pytest.mark.parametrize(("task", "key"), [("moco", "matched"), ("dino", "assignment_entropy")])
def test_shares_of_contrastive_tasks_have_an_axis_of_their_own(task, key, tmp_path):
    lines = [{"epoch": n, "loss": 5.0, "score": -5.0, "feature_spread": 0.4, key: 0.2 * n} for n in (1, 2)]
    lines[-1]["pictures"] = "views.png"
    run = write_pretraining_run(tmp_path / "run", {"task": task, "epochs": lines}, columns=2, name="views.png")
    section = made(run)
    assert [curve["values"] for curve in section["data"]["shares"]] == [[0.2, 0.4]]
    assert [curve["name"] for curve in section["data"]["loss"]] == ["Loss", "Loss in training"]
    assert len(section["pictures"]["groups"]) == 8
    assert "Views of test images after epoch 2" in Reader(write_report(run)).text


@pytest.mark.parametrize("place", ["recorded", "configured", "nowhere"])
def test_share_of_the_mask(place, tmp_path, invented):
    """Breaks when the page makes up a share that no file has."""
    content = found()
    if place == "recorded":
        content["epochs"][-1]["mask_ratio"] = 0.75
    run = write_pretraining_run(tmp_path / "run", content)
    if place == "configured":
        config = invented["config.json"]()
        config["model"]["sizes"] = {"mask_ratio": 0.6}
        (run / "config.json").write_text(json.dumps(config))
    text = Reader(write_report(run)).text
    said = {"recorded": "The hidden share of an image is 75 %.", "configured": "The hidden share of an image is 60 %."}
    assert said.get(place, "painted") in text
    assert ("hidden share" in text) == (place != "nowhere")
    assert "Mask ratio" not in text


@pytest.mark.parametrize(("images", "columns"), [(1, 3), (2, 3), (3, 3), (4, 3), (8, 3), (8, 2), (16, 1), (3, 1)])
def test_boxes_lie_where_pictures_are_drawn(images, columns, tmp_path):
    """Breaks when the layout of pictures changes: the boxes are compared with pixels of drawn columns."""
    import numpy as np
    import torch
    from PIL import Image

    from snnkit.tasks.pictures import write_rows

    path = tmp_path / "picture.png"
    flat = torch.linspace(0.2, 0.8, images).view(-1, 1, 1, 1) * torch.ones(images, 1, 32, 32)
    flat[:, :, 0, 0], flat[:, :, 0, 1] = 0.0, 1.0  # so that each keeps its shade
    write_rows(path, [flat] * columns)
    shown = picture(path.read_bytes())
    pixels = np.asarray(Image.open(path))
    for count in (None, images):
        boxes = groups(shown, columns, count)
        assert len(boxes) == images
        for number, box in enumerate(boxes):
            x, y, wide, tall = map(int, box.split())
            assert (wide, tall) == (columns * 66 - 2, 64)
            inside = pixels[y + 8 : y + tall, x : x + wide, 0]
            assert set(np.unique(inside)) - {255} == {round(float(flat[number, 0, 9, 9]) * 255)}


def test_picture_and_columns_are_on_the_page(tmp_path):
    page = write_report(write_pretraining_run(tmp_path / "run", found()))
    reader = Reader(page)
    assert reader.text.count("given seen painted") == 8
    assert "Test images after epoch 3: given, seen, painted" in reader.text
    assert sum(load.startswith("data:image/png;base64,") for load in reader.loads) == 1
    assert all(load.startswith(("#", "data:")) for load in reader.loads)
    assert 'aria-label="Test image 8: given, seen, painted"' in page.read_text(encoding="utf-8")


def test_picture_without_columns_is_shown_whole(tmp_path):
    content = found()
    del content["epochs"][-1]["columns"]
    page = write_report(write_pretraining_run(tmp_path / "run", content)).read_text(encoding="utf-8")
    assert '<img class="picture" src="data:image/png;base64,' in page


@pytest.mark.parametrize("name", ["../secret.png", "config.json", 3, ["reconstructions.png"]])
def test_no_other_file_gets_into_the_page(name, tmp_path):
    content = found()
    for line in content["epochs"]:
        line["pictures"] = name
    draw(tmp_path / "secret.png", 2, 3)
    reader = Reader(write_report(write_pretraining_run(tmp_path / "run", content)))
    assert not any(load.startswith("data:image") for load in reader.loads)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"epochs": None},
        {"epochs": [None, 3]},
        {"epochs": [{}], "collapsed": "yes"},
        {"epochs": [{"epoch": [1], "loss": "x", "feature_spread": None, "columns": 3, "pictures": 3}]},
    ],
)
def test_poor_files_leave_no_section(content, tmp_path):
    reader = Reader(write_report(write_pretraining_run(tmp_path / "run", content)))
    assert "pretraining" not in reader.sections
    assert not re.search(r"\b(None|NaN|nan|undefined)\b", reader.text)


def test_missing_figures_leave_the_others(tmp_path):
    content = {"epochs": [{"epoch": 1, "loss": 1.0}, {"loss": None, "feature_spread": 0.2}, {"epoch": 3}]}
    run = write_pretraining_run(tmp_path / "run", content, images=0)
    section = made(run)
    assert section["data"]["loss"][0]["values"] == [1.0, None, None]
    assert section["data"]["spread"][0]["values"] == [None, 0.2, None]
    assert not re.search(r"\b(None|NaN|nan|undefined)\b", Reader(write_report(run)).text)


def test_damaged_files(tmp_path):
    run = write_pretraining_run(tmp_path / "run", found())
    (run / "reconstructions.png").write_bytes(b"no picture")
    assert made(run)["pictures"] is None
    (run / "pretraining.json").write_text("[1]")
    with pytest.raises(ReportError, match="pretraining.json, line 1: expected a JSON object"):
        write_report(run)


def test_other_runs_have_no_such_section(make_run):
    assert "pretraining" not in Reader(write_report(make_run())).sections


def hostile():
    name = "</script><script>alert(1)</script><img src=x onerror=\"alert('2')\">&"
    content = found(name)
    for line in content["epochs"]:
        line |= {name: 0.5, "columns": [name, "seen", "painted"], "epoch": line["epoch"]}
    content["epochs"][0]["epoch"] = name
    return content


def test_names_stay_words(tmp_path):
    clean = Reader(write_report(write_pretraining_run(tmp_path / "clean", found())))
    reader = Reader(write_report(write_pretraining_run(tmp_path / "run", hostile())))
    assert reader.tags.count("script") == clean.tags.count("script")
    assert "img" not in reader.tags


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_it_can_be_used_in_a_browser(tmp_path):
    """Breaks on a script error, on what is wider than a phone, crossing words, or a spread of 0 not drawn."""
    collapsed = found(collapsed=True)
    collapsed["epochs"][-1] |= {"feature_spread": 0.0, "matched": 0.3}
    run = write_pretraining_run(tmp_path / "run", collapsed)
    pages = [write_report(run), write_report(write_pretraining_run(tmp_path / "hostile", hostile()))]
    with Browser(tmp_path / "profile") as browser:
        for page in pages:
            for width in (420, 1280):
                browser.open(page, width, dark=width == 420)
                if page == pages[0]:
                    assert browser.run(FAULTS) == []
        browser.open(pages[0], 1280)
        browser.run("document.getElementById('chart-pretraining-spread').focus()")
        browser.press("End")
        said = browser.run("document.getElementById('walk-says').textContent")
        assert said == "Epoch 3; Spread of features 0; Below the line of collapse."
        drawn = "Report.charts.get('pretraining-spread').chart.getOption().series[0].data[2]"
        assert browser.run(drawn) == pytest.approx(COLLAPSED / 10)
        browser.open(pages[1], 1280)
        browser.run("document.getElementById('chart-pretraining-loss').focus()")
        browser.press("ArrowRight")
        assert browser.run("document.querySelectorAll('main img').length") == 0
        assert browser.errors == []
