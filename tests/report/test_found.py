"""The section of predictions: its figures are those of the files, and no record, picture or name can break the page.

Would break it: a figure in another class's row, a picture cut in another place than it is drawn in, a column that has
no number, a record of another program that stops the page or reaches the reader as None, a name taken as markup.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
from support.browser import CHROMIUM, Browser

from snnkit.report import ReportError, write_report
from snnkit.report.found.blocks import colour
from snnkit.report.found.kinds import KINDS
from snnkit.report.found.section import found, tiles
from snnkit.report.palette import Palette
from snnkit.report.read import read_run

from .conftest import write_invented_run
from .test_browser_use import FAULTS
from .test_page import Reader

CLASSES = ("coat", "bag", "shoe")
COLOURS = ("#b81c0c", "#405eff", "#75ff1a")
VERSIONS = {"segmentation": 3, "detection": 2, "pose": 3, "captions": 1}


def segmentation():
    rows = [
        {"name": name, "iou": 0.5 + 0.1 * at, "recall": 0.6, "precision": None if at == 2 else 0.7, "pixels": 1000 * at}
        for at, name in enumerate(CLASSES)
    ]
    return {"epoch": 2, "classes": rows, "confusion": [[90, 10, 0], [30, 60, 10], [0, 0, 0]]}


def detection(classes=CLASSES):
    recall = [round(at / 100, 2) for at in range(101)]
    falls = [[round(max(0.9 - at / (50 + 20 * k), 0), 4) for at in range(101)] for k in range(4)]
    rows = [
        {"name": name, "things": 4 + at, "colour": COLOURS[at % 3], "box_ap": 0.4, "box_ap50": 0.5 + at / 100}
        | {"box_ap75": 0.3, "box_ap_small": 0.2, "box_ap_medium": None, "box_ap_large": None, "mask_ap": None}
        | {"box_precision50": falls[at % 4], "mask_precision50": None}
        for at, name in enumerate(classes)
    ]
    curves = {"recall": recall, "box_precision50": falls[0], "box_precision75": falls[1], "mask_precision50": falls[2]}
    thing = {"name": "bag", "box": [1, 2, 30, 40]}
    shown = [{"truth": [thing], "found": [thing | {"score": 0.876}]}, {"truth": [thing] * 8, "found": []}]
    summary = {"box_ap": 0.41, "box_ap50": 0.52, "box_ap75": 0.33, "mask_ap": 0.25, "mask_ap50": 0.44}
    return {"epoch": 3, "summary": summary, "classes": rows, "curves": curves, "shown": shown}


def pose():
    points = [{"name": f"corner {at}", "marked": 30, "pck": at / 10, "sigma": 0.05} for at in range(4)]
    points.append({"name": "never seen", "marked": 0, "pck": None, "sigma": 0.05})
    ap = {f"{0.5 + at / 20:.2f}": 0.9 - at / 12 for at in range(10)}
    shown = [{"image": at, "oks": 0.5, "truth": [[1, 2, 2]], "found": [[1, 2]]} for at in range(2)]
    return {"epoch": 4, "things": 30, "ap": ap, "pck_within": 0.1, "points": points, "shown": shown}


def captions(count=8):
    shown = [
        {"caption": f"a red coat {at}", "references": ["a coat", "one red coat"], "cider": at / 4}
        for at in range(count)
    ]
    scores = {"cider": 1.25, "bleu_1": 0.7, "bleu_4": 0.3, "rouge_l": 0.6}
    search = {"beam": 3, "length_penalty": 0.7, "words": "lower case"}
    return {"epoch": 5, "images": 40, "scores": scores, **search, "shown": shown}


RECORDS = {"segmentation": segmentation, "detection": detection, "pose": pose, "captions": captions}


def write_found_run(folder: Path, kind: str, content=None, images: int | None = None) -> Path:
    out = ("graph.json", "counts.json", "energy.json", "mapping.json", "raster.json", "metrics.jsonl")
    write_invented_run(folder, leave_out=out, summary={})
    content = RECORDS[kind]() if content is None else content
    (folder / f"{kind}.json").write_text(json.dumps(content), encoding="utf-8")
    if images != 0:
        draw(folder / "predictions.png", images or (8 if kind == "captions" else 2), VERSIONS[kind])
    return folder


def draw(path: Path, images: int, versions: int) -> None:
    import torch

    from snnkit.tasks.pictures import write_rows

    write_rows(path, [torch.rand(images, 3, 32, 32) for _ in range(versions)])


def made(run: Path):
    read = read_run(run)
    return found(read, Palette(read))


def blocks(section):
    return {block.kind: block for row in section["rows"] for block in row}


def test_every_kind_has_records_here():
    assert RECORDS.keys() == KINDS.keys()


def test_segmentation(tmp_path):
    run = write_found_run(tmp_path / "run", "segmentation")
    section = made(run)
    assert section["data"] == [
        {"id": "confusion", "kind": "confusion", "unit": "Pixels", "classes": list(CLASSES)}
        | {"counts": segmentation()["confusion"]}
    ]
    text = Reader(write_report(run)).text
    assert "Test images after epoch 2: as it is, its classes, predicted" in text
    assert "shoe 70.0 % 60.0 % – 2,000" in text
    assert "75.0 % of all is right" in text


def test_detection(tmp_path):
    run = write_found_run(tmp_path / "run", "detection")
    table = blocks(made(run))["table"]
    assert table.columns == ["Things", "Box AP", "Box AP50", "Box AP75", "Box AP small", "Mask AP", "Mask AP50"]
    page = write_report(run)
    reader = Reader(page)
    assert "bag 5 40.0 % 51.0 % 30.0 % 20.0 % – – " in reader.text
    assert "Mean 41.0 % 52.0 % 33.0 % 25.0 % 44.0 %" in reader.text
    assert "truth: bag found: bag 88 %" in reader.text
    assert "truth: bag bag bag bag bag 3 more found: nothing" in reader.text
    html = page.read_text(encoding="utf-8")
    assert html.count('style="--c:rgb(64,94,255)"') == 1 + 2 + 5
    assert re.findall(r'viewBox="([\d ]+)" role="img"', html) == ["0 0 130 64", "138 0 130 64"]
    (chart,) = json.loads(reader.data)["found"]
    views = {view["key"]: view["lines"] for view in chart["views"]}
    assert chart["x"][:3] == [0, 1, 2]
    assert [(one["name"], one["values"][1]) for one in views["mean"]] == [
        ("Boxes, IoU 0.50", 0.88),
        ("Boxes, IoU 0.75", 0.8857),
        ("Masks, IoU 0.50", 0.8889),
    ]
    assert [(one["name"], one["rgb"]) for one in views["box"]] == [
        ("coat", "rgb(184,28,12)"),
        ("bag", "rgb(64,94,255)"),
        ("shoe", "rgb(117,255,26)"),
    ]
    assert "mask" not in views
    assert tiles(read_run(run)) == [
        {"label": "Box AP at IoU 0.50", "value": "52.0\u202f%", "note": "33.0\u202f% at IoU 0.75"},
        {"label": "Mask AP", "value": "25.0\u202f%", "note": "44.0\u202f% at IoU 0.50"},
    ]
    assert "Box AP at IoU 0.50 52.0 % 33.0 % at IoU 0.75" in reader.text


def test_many_classes_have_no_line_each(tmp_path):
    run = write_found_run(tmp_path / "run", "detection", detection([f"class {at}" for at in range(13)]))
    assert [view.key for view in blocks(made(run))["curves"].views] == ["mean"]


def test_pose(tmp_path):
    run = write_found_run(tmp_path / "run", "pose")
    text = Reader(write_report(run)).text
    assert "Test images after epoch 4: as it is, marked, found" in text
    assert "corner 3 30.0 % 30 0.050 never seen – 0 0.050" in text
    assert "within 0.1 of the longer side" in text
    curves = blocks(made(run))["curves"]
    assert (curves.x[0], curves.x[-1]) == ("0.50", "0.95")
    assert curves.views[0].lines[0].values == pytest.approx([0.9 - at / 12 for at in range(10)])


def test_captions(tmp_path):
    run = write_found_run(tmp_path / "run", "captions", images=8)
    page = write_report(run)
    text = Reader(page).text
    assert "Written about test images after epoch 5" in text
    assert "a red coat 3 0.750 a coat one red coat" in text
    assert "More images (2)" in text
    assert "40 images 1.250 0.700 0.300 0.600" in text
    assert "The best of 3 captions written at once, ranked by log p over length to the power of 0.7." in text
    boxes = re.findall(r'viewBox="([\d ]+)" role="img"', page.read_text(encoding="utf-8"))
    assert boxes[:5] == ["0 0 64 64", "72 0 64 64", "144 0 64 64", "216 0 64 64", "0 66 64 64"]
    (run / "predictions.png").unlink()
    assert "Image 8 a red coat 7 1.750" in Reader(write_report(run)).text


@pytest.mark.parametrize("kind", RECORDS)
def test_a_picture_of_another_layout_is_shown_whole(kind, tmp_path):
    run = write_found_run(tmp_path / "run", kind)
    draw(run / "predictions.png", 3, 5)
    page = write_report(run)
    assert '<img class="picture"' in page.read_text(encoding="utf-8")
    (run / "predictions.png").write_bytes(b"no picture")
    assert "found" in Reader(write_report(run)).sections


@pytest.mark.parametrize("value", ["red", "#12345", "#1234567", "#12345g", "#123456;x:y", 3, None, ["#123456"]])
def test_only_colours_are_colours(value):
    assert colour(value) == ""
    assert colour("#0aF010") == "rgb(10,240,16)"


@pytest.mark.parametrize("kind", RECORDS)
@pytest.mark.parametrize(
    "content", [{}, {"epoch": None, "classes": 3, "points": "x", "shown": {}, "curves": [], "ap": 1}]
)
def test_foreign_records_leave_no_section(kind, content, tmp_path):
    run = write_found_run(tmp_path / "run", kind, content, images=0)
    assert "found" not in Reader(write_report(run)).sections


def test_records_that_are_no_json_are_named(tmp_path):
    run = write_found_run(tmp_path / "run", "detection")
    (run / "detection.json").write_text('{"epoch": 1,\n')
    with pytest.raises(ReportError, match="detection.json, line 2"):
        write_report(run)


def mutated(value, draws):
    """The same JSON with some values of another kind, some missing, some lists cut or filled."""
    strange = [None, True, "x", -1, 0.5, 10**400, 1e308, [], {}, [None], [[1]], {"name": None}, "</script><u>"]
    if draws.random() < 0.04:
        return draws.choice(strange)
    if isinstance(value, dict):
        return {key: mutated(item, draws) for key, item in value.items() if draws.random() > 0.03}
    if isinstance(value, list):
        kept = [mutated(item, draws) for item in value]
        return kept[: draws.randrange(len(kept) + 1)] if draws.random() < 0.05 else kept
    return value


@pytest.mark.parametrize("kind", RECORDS)
def test_mutated_records_never_stop_the_page(kind, tmp_path):
    """Breaks on an error, on a value that is not in JSON, and on what reaches the reader as None or nan."""
    run, draws = write_found_run(tmp_path / "run", kind), random.Random(0)
    for _ in range(150):
        content = {key: mutated(value, draws) for key, value in RECORDS[kind]().items() if draws.random() > 0.03}
        (run / f"{kind}.json").write_text(json.dumps(content))
        reader = Reader(write_report(run))
        assert not re.search(r"\b(NaN|nan|inf|Infinity|undefined)\b", reader.text + reader.data)
        assert "u" not in reader.tags


def hostile(kind):
    name = "</script><script>alert(1)</script><img src=x onerror=\"alert('2')\">&"

    def poisoned(value):
        if isinstance(value, dict):
            return {name if kind == "pose" and "0." in key else key: poisoned(item) for key, item in value.items()}
        if isinstance(value, list):
            return [poisoned(item) for item in value]
        return name if isinstance(value, str) else value

    return poisoned(RECORDS[kind]())


@pytest.mark.parametrize("kind", RECORDS)
def test_names_stay_words(kind, tmp_path):
    clean = Reader(write_report(write_found_run(tmp_path / "clean", kind)))
    reader = Reader(write_report(write_found_run(tmp_path / "run", kind, hostile(kind))))
    assert reader.tags.count("script") == clean.tags.count("script")
    assert "img" not in reader.tags
    assert "<img src=x" in reader.text


@pytest.mark.parametrize(
    ("kind", "verbs"),
    [
        ("segmentation", {"compile", "simulate", "convert"}),
        ("pose", {"compile"}),
        ("detection", {"compile", "simulate", "convert"}),
        ("captions", set()),
    ],
)
def test_only_verbs_that_take_such_a_run_are_said_to_add_a_section(kind, verbs, tmp_path):
    text = write_report(write_found_run(tmp_path / "run", kind)).read_text()
    assert {verb for verb in ("compile", "simulate", "convert") if f"snnkit {verb} run" in text} <= verbs
    assert kind != "segmentation" or "snnkit compile run" in text
    assert "snnkit energy run" in text


def test_other_runs_have_no_such_section(make_run):
    assert "found" not in Reader(write_report(make_run())).sections


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_it_can_be_used_in_a_browser(tmp_path):
    """Breaks on a script error, on what is wider than a phone, crossing words, on values that keys do not reach."""
    with Browser(tmp_path / "profile") as browser:
        for kind in RECORDS:
            pages = [
                write_report(write_found_run(tmp_path / kind, kind)),
                write_report(write_found_run(tmp_path / f"hostile {kind}", kind, hostile(kind))),
            ]
            for page in pages:
                for width in (420, 1280):
                    browser.open(page, width, dark=width == 420)
                    if page == pages[0]:
                        assert browser.run(FAULTS) == [], (kind, width)
            assert browser.run("document.querySelectorAll('main img').length") == 0
        for kind, view, says in (
            ("detection", "box", "Recall of 0 %; coat 90.0 %; bag 90.0 %; shoe 90.0 %"),
            ("pose", "", "OKS of 0.50 at least; AP 90.0 %"),
            ("segmentation", "", "Put into their own class; Pixels 90 of 100; Share 90.0 %; Class: coat"),
        ):
            browser.open(tmp_path / kind / "report.html", 1280)
            if view:
                browser.run(f"document.querySelector('[data-view={view}]').click()")
                assert browser.run(FAULTS) == []
            browser.run("document.querySelector('#found .chart').focus()")
            browser.press("Home")
            assert browser.run("document.getElementById('walk-says').textContent").replace("\u202f", " ") == says
        assert browser.errors == []
