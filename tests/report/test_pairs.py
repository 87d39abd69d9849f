"""The section about images and texts: its figures are those of the files, and no file or text can break the page."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from support.browser import CHROMIUM, Browser

from snnkit.report import ReportError, write_report
from snnkit.report.headline import sentence, tiles
from snnkit.report.pairs import pairs
from snnkit.report.palette import Palette
from snnkit.report.read import read_run

from .conftest import write_invented_run
from .test_browser_use import FAULTS
from .test_page import Reader

TEXTS = ["a bright shoe", "two dark bags", "a coat that lies on its left side, far away from a dress", "a dress"]
CLASSES = ["Shoe", "Bag", "Coat"]
COUNTS = [[6, 2, 0], [0, 3, 1], [0, 0, 0]]


def found_pairs():
    near = [[0.71, 0.12, -0.05, 0.3], [0.1, 0.62, 0.2, 0.2], [0.4, 0.1, 0.35, 0.5], [0.2, 0.3, 0.1, 0.9]]
    examples = [
        {"text": TEXTS[0], "nearest": [{"text": TEXTS[0], "similarity": 0.71, "own": True}]},
        {"text": TEXTS[2], "nearest": [{"text": TEXTS[3], "similarity": 0.5, "own": False}]},
    ]
    return {
        "epoch": 3,
        "similarity": {"texts": TEXTS, "values": near},
        "examples": examples,
        "pictures": "pairs.png",
        "confusion": {"classes": CLASSES, "counts": COUNTS},
    }


def metrics():
    keys = [f"{side}_recall_{place}" for side in ("image", "text") for place in (1, 5, 10)]
    return [
        {"epoch": epoch, "train": {"loss": 4.0 / epoch}, "test": {"loss": 4.0 / epoch, "accuracy": 0.1 * epoch + 0.05}}
        for epoch in (1, 2, 3)
    ], keys


def write_pairs_run(folder: Path, steps: int = 48, **changed) -> Path:
    """An image–text run; ``changed`` replaces content by the file's stem, None leaves a file out."""
    lines, keys = metrics()
    for line in lines:
        line["test"] |= {key: 0.01 * line["epoch"] * (at + 1) for at, key in enumerate(keys)}
    out = ("graph.json", "counts.json", "energy.json", "mapping.json", "raster.json")
    write_invented_run(folder, leave_out=out, metrics=changed.pop("metrics", lines), summary={})
    walk = [
        {"step": n, "loss": 3.0, "scale": 14.3 - 0.001 * n, "gradient_norm": 1 + 99 * math.exp(-n / 9)}
        for n in range(1, steps + 1)
    ]
    memory = {"batch": [64, 1024, 256], "peak_bytes": [3e8, 2e9, 7e8], "predicted_bytes": [3.1e8, 2.1e9, 7.2e8]}
    for name, content in {"pairs": found_pairs(), "memory": memory, **changed}.items():
        if content is not None:
            (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in walk), encoding="utf-8")
    return folder


def test_accuracy_is_that_of_texts(tmp_path):
    """Not of all test images: pairs without a class have none."""
    run = write_pairs_run(tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    for task, label, words in (
        ("pairs", "Zero-shot accuracy", "of the labelled test images correctly by the texts of their classes"),
        ("classification", "Test accuracy", "of the test images correctly"),
    ):
        (run / "config.json").write_text(json.dumps({**config, "task": {"name": task}}))
        told = read_run(run)
        assert [tile["label"] for tile in tiles(told) if "ccuracy" in tile["label"]] == [label]
        assert words in sentence(told)


def draw(folder: Path, count: int) -> None:
    import torch

    from snnkit.tasks.pictures import write_rows

    write_rows(folder / "pairs.png", [torch.rand(count, 1, 28, 28)])


def made(run: Path):
    read = read_run(run)
    return pairs(read, Palette(read))


def test_figures_are_those_of_the_files(tmp_path):
    """Breaks when rows and columns are swapped, a share has another denominator, or a curve belongs to another key."""
    found = made(write_pairs_run(tmp_path / "run"))
    assert found["similarity"]["own"] == pytest.approx((0.71 + 0.62 + 0.35 + 0.9) / 4)
    assert found["similarity"]["others"] == pytest.approx((0.37 + 0.5 + 1.0 + 0.6) / 12)
    assert found["similarity"]["table"][0]["cells"][2] == {"value": -0.05, "shown": "−0.05"}
    table = found["confusion"]["table"]
    assert [(row["images"], row["right"], row["mistaken"]) for row in table] == [
        (8, 0.75, "Bag (2 images)"),
        (4, 0.75, "Coat (1 image)"),
        (0, None, "–"),
    ]
    assert found["confusion"]["accuracy"] == pytest.approx(9 / 12)
    views = {view["key"]: view["curves"] for view in found["recall"]["views"]}
    assert views["image"][1] == {"name": "among 5 nearest", "values": pytest.approx([0.02, 0.04, 0.06])}
    assert views["text"][2]["values"] == pytest.approx([0.06, 0.12, 0.18])
    assert views["accuracy"][0]["values"] == pytest.approx([0.15, 0.25, 0.35])
    assert found["steps"]["scale"][0] == pytest.approx(14.299)
    assert len(found["steps"]["steps"]) == 48
    assert found["memory"]["batch"] == [64, 256, 1024]
    assert found["memory"]["predicted_bytes"] == [3.1e8, 7.2e8, 2.1e9]


def test_page_shows_them(tmp_path):
    reader = Reader(write_report(write_pairs_run(tmp_path / "run")))
    assert "pairs" in reader.sections
    assert "3.0 % of the test images lie nearest to their own text" in reader.text
    assert "12.0 % of the texts nearest to an image of theirs" in reader.text
    assert "test after epoch 3" in reader.text
    assert "The prompts put 75.0 % of 12 images into their class; chance would be 33.3 %" in reader.text
    assert f"Own text, farther away: {TEXTS[2]}" in reader.text
    assert reader.text.count("own text 0.71") == 1
    assert "Shoe Bag 2 25.0 %" in reader.text
    data = json.loads(reader.data)["pairs"]
    assert data["similarity"]["texts"] == TEXTS
    assert data["confusion"]["counts"] == COUNTS


def test_picture_is_beside_its_texts(tmp_path):
    """Breaks when the boxes do not lie where pictures are drawn, or the picture is a link."""
    run = write_pairs_run(tmp_path / "run")
    draw(run, 2)
    page = write_report(run)
    reader = Reader(page)
    boxes = re.findall(r'viewBox="([\d ]+)" role="img"', page.read_text(encoding="utf-8"))
    assert boxes == ["0 0 84 84", "92 0 84 84"]
    assert all(load.startswith(("#", "data:")) for load in reader.loads)
    assert sum(load.startswith("data:image/png;base64,") for load in reader.loads) == 1


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(40)])
def test_a_picture_that_is_none_is_left_out(content, tmp_path):
    run = write_pairs_run(tmp_path / "run")
    (run / "pairs.png").write_bytes(content)
    reader = Reader(write_report(run))
    assert not any(load.startswith("data:image") for load in reader.loads)
    assert "Image 1" in reader.text


def test_a_picture_of_another_layout_is_shown_whole(tmp_path):
    run = write_pairs_run(tmp_path / "run", pairs=found_pairs() | {"examples": found_pairs()["examples"] * 3})
    draw(run, 4)  # of six examples: no box could be right
    page = write_report(run).read_text(encoding="utf-8")
    assert '<img class="picture"' in page
    assert 'role="img"' not in page


def test_many_steps_are_means_with_their_highest(tmp_path):
    """Breaks when the page grows with the run, or a peak of the gradient is lost in a mean."""
    steps = made(write_pairs_run(tmp_path / "run", steps=1001))["steps"]
    assert steps["each"] == 6
    assert len(steps["steps"]) == 167
    assert (steps["steps"][0], steps["steps"][-1]) == (6, 1001)
    norms = [1 + 99 * math.exp(-n / 9) for n in range(1, 7)]
    assert steps["gradient_norm"][0] == pytest.approx(sum(norms) / 6)
    assert steps["highest"][0] == pytest.approx(norms[0])


def test_other_runs_have_no_such_section(make_run):
    run = make_run()
    (run / "steps.jsonl").write_text("not read of such a run\n")
    reader = Reader(write_report(run))
    assert "pairs" not in reader.sections
    assert "Images and texts" not in reader.text


@pytest.mark.parametrize(
    ("changed", "gone"),
    [
        ({"memory": None}, "memory"),
        ({"memory": {"batch": 3}}, "memory"),
        ({"memory": {"batch": [1, "x"], "peak_bytes": [None, 3], "predicted_bytes": "x"}}, "memory"),
        ({"metrics": [{"epoch": 1, "test": {"loss": 1.0}}]}, "recall"),
        ({"metrics": [{"epoch": 1, "test": {"image_recall_1": "all"}}]}, "recall"),
        ({"pairs": found_pairs() | {"similarity": {"texts": TEXTS, "values": [[1.0]]}}}, "similarity"),
        ({"pairs": found_pairs() | {"similarity": {"texts": TEXTS, "values": [["x"] * 4] * 4}}}, "similarity"),
        ({"pairs": found_pairs() | {"similarity": 3}}, "similarity"),
        ({"pairs": found_pairs() | {"confusion": {"classes": None, "counts": COUNTS}}}, "confusion"),
        ({"pairs": found_pairs() | {"confusion": {"classes": CLASSES, "counts": [1, 2, 3]}}}, "confusion"),
        ({"pairs": found_pairs() | {"examples": [None, {"nearest": 3}, {"text": 1}]}}, "examples"),
        ({"pairs": {}}, "similarity"),
    ],
)
def test_wrong_parts_are_left_out(changed, gone, tmp_path):
    """Breaks when one wrong part takes others with it, or reaches the reader as None or nan."""
    run = write_pairs_run(tmp_path / "run", **changed)
    assert not made(run)[gone]
    reader = Reader(write_report(run))
    assert "pairs" in reader.sections
    assert not re.search(r"\b(None|NaN|nan|undefined)\b", reader.text)
    assert made(run)["steps"]


def test_ragged_matrices_have_gaps(tmp_path):
    values = found_pairs()["similarity"]["values"]
    values[1] = [0.1]
    content = found_pairs() | {"similarity": {"texts": TEXTS, "values": values}, "epoch": "x"}
    found = made(write_pairs_run(tmp_path / "run", pairs=content))["similarity"]
    assert found["values"][1] == [0.1, None, None, None]
    assert found["table"][1]["cells"][1]["shown"] == "–"


def test_damaged_file_is_named(tmp_path):
    run = write_pairs_run(tmp_path / "run")
    (run / "pairs.json").write_text('{"epoch":\n')
    with pytest.raises(ReportError, match="pairs.json, line 2"):
        write_report(run)


def hostile_run(folder: Path) -> Path:
    name = "</script><script>alert(1)</script><img src=x onerror=\"alert('2')\"> & "
    content = found_pairs()
    content["similarity"]["texts"] = [name + words for words in TEXTS]
    content["confusion"]["classes"] = [name + words for words in CLASSES]
    content["pictures"] = name
    for example in content["examples"]:
        example["text"] = example["nearest"][0]["text"] = name
    return write_pairs_run(folder, pairs=content)


def test_texts_stay_words(tmp_path):
    """Breaks when a caption is put into the page as markup."""
    clean = Reader(write_report(write_pairs_run(tmp_path / "clean")))
    reader = Reader(write_report(hostile_run(tmp_path / "run")))
    assert reader.tags.count("script") == clean.tags.count("script")
    assert "img" not in reader.tags
    assert "& a bright shoe" in reader.text


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_it_can_be_used_in_a_browser(tmp_path):
    """Breaks on a script error, on what is wider than a phone, on crossing words, on values that keys do not reach."""
    run = write_pairs_run(tmp_path / "run")
    draw(run, 2)
    pages = [write_report(run), write_report(hostile_run(tmp_path / "hostile"))]
    with Browser(tmp_path / "profile") as browser:
        for page in pages:
            for width in (420, 1280):
                browser.open(page, width, dark=width == 420)
                assert browser.run(FAULTS) == []
        browser.open(pages[0], 1280)
        logarithmic = "Report.charts.get('{}').chart.getOption().yAxis[0].type"
        assert browser.run(logarithmic.format("pairs-gradient")) == "log"
        assert browser.run(logarithmic.format("pairs-scale")) == "value"
        browser.run("document.querySelector('[data-switch=pairs-recall] [data-view=accuracy]').click()")
        for chart, keys, says in (
            ("pairs-similarity", 1, "An image and its own text; Similarity 0.710; Image 1: a bright shoe"),
            ("pairs-similarity", 2, f"Similarity 0.120; Image 1: {TEXTS[0]}; Text 2: {TEXTS[1]}"),
            ("pairs-confusion", 2, "Images 2 of 8; Share 25.0 %; Class: Shoe; Put into: Bag"),
            ("pairs-recall", 3, "Epoch 3; Zero-shot accuracy 35 %"),
            ("pairs-memory", 1, "64 images in a batch; Measured 300 MB; Predicted 310 MB"),
        ):
            browser.run(f"document.getElementById('chart-{chart}').focus()")
            browser.press("Home")
            for _ in range(keys - 1):
                browser.press("ArrowRight")
            said = browser.run("document.getElementById('walk-says').textContent").replace("\u202f", " ")
            assert says in said
        browser.open(pages[1], 1280)
        browser.run("document.getElementById('chart-pairs-similarity').focus()")
        browser.press("ArrowRight")
        assert browser.run("document.querySelectorAll('main img').length") == 0
        assert browser.errors == []
