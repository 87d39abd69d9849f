"""Detection: AP by hand, losses and their weights, records, several processes, and a run from training to eval.

Would break it: boxes compared in other pixels than they are marked in, crowds that count as errors, sizes of things by
their scaled pixels, masks that are measured as boxes, a loss that is none on tests, a class in another one's row,
images of one process that are counted twice, a resumed run that goes on otherwise.
"""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from support.processes import launched

import snnkit
from snnkit.engine import RunConfig, resume, train
from snnkit.engine.config import ModelConfig, TaskConfig
from snnkit.engine.evaluating import run_of, task_of
from snnkit.errors import InvalidArgumentError
from snnkit.files import read_json
from snnkit.measures import MEASURES
from snnkit.tasks import TASKS, build_task
from snnkit.tasks.detection import box_ap
from snnkit.tasks.task import Plan

pytest.importorskip("pycocotools", reason="no AP: pip install pycocotools")

SMALL = {
    "stem_type": "", "stem_width": 8, "channels": (8, 8, 16, 16), "fpn_channels": 8, "box_channels": 16,
    "mask_channels": 8, "mask_layers": 1, "regions": 8, "proposals": 16,
}  # fmt: skip
SPIKES = {"embed_dim": (8, 8, 16, 16), "depths": (1, 1, 1, 1, 1), "num_heads": 1, "mlp_ratio": 2}
HALF = 51 / 101  # recall of a half, at 101 places


def task(predicts=True, **options):
    torch.manual_seed(0)
    model = snnkit.create_model("mask_rcnn:timm:resnet10t", num_classes=3, masks=predicts, **SMALL)
    made = build_task("detection", model, 3, options)
    made.begin(Plan(1, 1, 2, classes=("a", "b", "c")))
    return made


def marked(*boxes, labels=None, side=64, **more):
    masks = torch.zeros(len(boxes), side, side, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    labels = torch.tensor(labels or [0] * len(boxes))
    return {"boxes": torch.tensor(boxes, dtype=torch.float32).view(-1, 4), "labels": labels, "masks": masks, **more}


def found(target, *scores):
    kept = {key: value[: len(scores)] for key, value in target.items() if key in ("boxes", "labels", "masks")}
    return kept | {"scores": torch.tensor(scores)}


def measured(made):
    made.losses.update(1.0)
    return made.compute()


def test_average_precision_by_hand():
    made, target = task(), marked((4, 4, 24, 24), (30, 30, 60, 60))
    made.note([found(target, 0.9)], [target])  # one of two, and nothing wrong
    result = measured(made)
    for key in ("box_ap", "box_ap50", "box_ap75", "mask_ap", "mask_ap50", "score"):
        assert result[key] == pytest.approx(HALF), key
    assert result["box_recall"] == pytest.approx(0.5)

    # A thing found at IoU 0.72 (18 of 25 columns more or less): right for thresholds 0.50 to 0.70, five of ten.
    target = marked((0, 0, 25, 10))
    made.note([found(marked((0, 0, 18, 10)), 0.9)], [target])
    result = measured(made)
    assert (result["box_ap50"], result["box_ap75"]) == (pytest.approx(1.0), pytest.approx(0.0))
    assert result["box_ap"] == pytest.approx(0.5)


def coco_ap(side, count, hits, kind):
    """AP of pycocotools alone: ``count`` things of 50 by 50 pixels, ``hits`` found as their upper ``side`` rows."""
    from pycocotools import mask
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def outline(rows):
        pixels = np.zeros((64, 64), np.uint8, order="F")
        pixels[10 : 10 + rows, 10:60] = 1
        return mask.encode(pixels)

    truth = [
        {"id": k + 1, "image_id": k, "category_id": 1, "bbox": [10, 10, 50, 50], "area": 2500, "iscrowd": 0}
        | {"segmentation": outline(50)}
        for k in range(count)
    ]
    said = [
        {"image_id": k, "category_id": 1, "score": 0.9 - k * 0.01}
        | ({"bbox": [10, 10, 50, side]} if kind == "bbox" else {"segmentation": outline(side)})
        for k in range(hits)
    ]
    known = COCO()
    images = [{"id": k, "height": 64, "width": 64} for k in range(count)]
    known.dataset = {"info": {}, "images": images, "categories": [{"id": 1}], "annotations": truth}
    known.createIndex()
    test = COCOeval(known, known.loadRes(said), kind)
    test.evaluate()
    test.accumulate()
    test.summarize()
    return dict(zip(("ap", "ap50", "ap75"), test.stats[:3].tolist(), strict=True)) | {"recall": float(test.stats[8])}


@pytest.mark.parametrize(("side", "count", "hits"), [(50, 5, 3), (50, 10, 7), (30, 5, 5)])
def test_average_precision_is_that_of_pycocotools_to_the_last_digit(tmp_path, side, count, hits):
    made, target = task(), marked((10, 10, 60, 60))
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    nothing |= {"masks": torch.zeros(0, 64, 64, dtype=torch.bool), "scores": torch.zeros(0)}
    said = [found(marked((10, 10, 60, 10 + side)), 0.9 - k * 0.01) if k < hits else nothing for k in range(count)]
    assert box_ap(said, [target] * count) == pytest.approx(coco_ap(side, count, hits, "bbox")["ap"], abs=1e-9)
    made.note(said, [target] * count)
    result = measured(made)
    made.keep_records(tmp_path, 1)
    row = read_json(tmp_path / "detection.json")["classes"][0]
    for kind, name in (("bbox", "box"), ("segm", "mask")):
        for key, value in coco_ap(side, count, hits, kind).items():
            assert result[f"{name}_{key}"] == pytest.approx(value, abs=1e-9), key
            if key != "recall":
                assert row[f"{name}_{key}"] == pytest.approx(value, abs=1e-9), key


def test_masks_are_measured_as_masks():
    made, target = task(), marked((4, 4, 24, 24))
    said = found(target, 0.9)
    said["masks"] = said["masks"].clone()
    said["masks"][:, :16] = False  # a third of the thing, in the right box
    made.note([said], [target])
    result = measured(made)
    assert (result["box_ap"], result["mask_ap"]) == (pytest.approx(1.0), pytest.approx(0.0))
    boxes = task(predicts=False)
    boxes.note([{key: said[key] for key in ("boxes", "labels", "scores")}], [target])
    assert "mask_ap" not in measured(boxes)


def test_what_is_found_on_a_crowd_is_no_error():
    made = task()
    target = marked((4, 4, 24, 24), (30, 30, 60, 60), iscrowd=torch.tensor([0, 1]))
    said = marked((30, 30, 50, 50), (4, 4, 24, 24))
    made.note([found(said, 0.9, 0.8)], [target])
    assert measured(made)["box_ap"] == pytest.approx(1.0)
    made.note([found(said, 0.9, 0.8)], [target | {"iscrowd": torch.tensor([0, 0])}])
    assert measured(made)["box_ap"] < 0.5


def test_sizes_are_those_that_the_source_says():
    made, target = task(), marked((4, 4, 24, 24))  # 400 pixels
    made.note([found(target, 0.9)], [target])
    result = measured(made)
    assert result["box_ap_small"] == pytest.approx(1.0)
    assert "box_ap_medium" not in result
    made.note([found(target, 0.9)], [target | {"area": torch.tensor([2000.0])}])
    result = measured(made)
    assert "box_ap_small" not in result
    assert "box_ap_large" not in result


def test_classes_have_their_own_rows(tmp_path):
    made = task()
    target = marked((4, 4, 24, 24), (30, 30, 60, 60), labels=[0, 2])
    said = found(target, 0.9, 0.8)
    said["labels"] = torch.tensor([0, 1])  # the second is called b, and is c
    made.note([said], [target])
    assert measured(made)["box_ap"] == pytest.approx(0.5)
    made.keep_records(tmp_path, 3)
    told = read_json(tmp_path / "detection.json")
    assert told["epoch"] == 3
    assert [(row["name"], row["things"], row.get("box_ap"), row.get("mask_ap50")) for row in told["classes"]] == [
        ("a", 1, pytest.approx(1.0), pytest.approx(1.0)),
        ("b", 0, None, None),
        ("c", 1, 0.0, 0.0),
    ]
    curve = told["curves"]["box_precision50"]
    assert len(curve) == len(told["curves"]["recall"]) == 101
    assert curve == [0.5] * 101
    assert told["classes"][0]["mask_precision50"] == [1.0] * 101


def test_nothing_there_and_nothing_found():
    made, nothing = task(), marked(labels=[])
    nothing["labels"] = torch.zeros(0, dtype=torch.long)
    made.note([nothing | {"scores": torch.zeros(0)}], [nothing])
    assert measured(made)["score"] == 0
    made.note([nothing | {"scores": torch.zeros(0)}], [marked((4, 4, 24, 24))])
    assert measured(made)["box_ap"] == 0


def test_the_loss_is_the_weighted_sum_of_the_detectors():
    images, targets = [torch.randn(3, 64, 64)], [marked((4, 4, 24, 24))]
    weights = {"objectness": 2.0, "proposals": 0.0, "classes": 0.5, "boxes": 3.0, "masks": 0.25}
    made = task(**weights)
    loss = made.loss((images, targets))
    parts = made.compute()
    assert float(loss) == pytest.approx(sum(weights[name] * parts[f"{name}_loss"] for name in weights), rel=1e-5)
    assert parts["score"] == -parts["loss"]
    assert "box_ap" not in parts
    assert set(parts) == {"loss", "score", *(f"{name}_loss" for name in weights)}


def test_a_test_image_is_measured_in_its_stored_pixels():
    made, asked = task().eval(), []
    model, find = made.model, made.model.find

    def watched(seen, sizes=()):
        asked.extend(sizes)
        return find(seen, sizes)

    model.find = watched
    target = marked((4, 4, 24, 24), side=64, size=torch.tensor([64, 64]), iscrowd=torch.tensor([0]))
    same = marked((8, 8, 48, 48), side=128)
    with torch.no_grad():
        image = torch.randn(3, 128, 128)
        made((([image]), [target]))
        wanted = model.test_losses(model.see([image]), [same])
    result = made.compute()
    assert asked == [(64, 64)]
    assert result["loss"] == pytest.approx(float(sum(wanted.values())), rel=1e-4)
    assert "firing_rate" not in result


@pytest.mark.parametrize(
    ("options", "words"), [({"masks": -1.0}, "masks=-1"), ({"mask": 1.0}, "'masks'"), ({"boxes": "x"}, "a number")]
)
def test_options_that_cannot_be(options, words):
    model = snnkit.create_model("mask_rcnn:timm:resnet10t", num_classes=3, **SMALL)
    with pytest.raises(snnkit.errors.SnnkitError, match=words):
        build_task("detection", model, 3, options)


def test_other_networks_are_refused():
    with pytest.raises(InvalidArgumentError, match="mask_rcnn:NAME"):
        build_task("detection", torch.nn.Linear(1, 1), 3, {})
    assert TASKS["detection"].measure in MEASURES


@pytest.mark.slow
def test_two_processes_measure_what_one_does(tmp_path):
    (tmp_path / "0").mkdir()
    (tmp_path / "1").mkdir()
    launched("detection_metric.py", tmp_path)
    alone, first, second = (read_json(tmp_path / f"{name}.json") for name in ("alone", "0", "1"))
    assert first == second
    for key, value in alone.items():
        assert first[key] == pytest.approx(value), key
    rows = read_json(tmp_path / "1" / "detection.json")["classes"]
    assert [row["things"] for row in rows] == [3, 2, 0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("coco")
    (root / "annotations").mkdir()
    for split, count in (("train", 6), ("val", 3)):
        (root / split).mkdir()
        images, rows = [], []
        for number in range(1, count + 1):
            picture = Image.new("RGB", (64, 48))
            left = 4 * number
            picture.paste((200, 40 * number, 0), (left, 8, left + 20, 40))
            picture.save(root / split / f"{number}.png")
            images.append({"id": number, "file_name": f"{number}.png", "width": 64, "height": 48})
            outline = [[left, 8, left + 20, 8, left + 20, 40, left, 40]]
            rows.append({"id": number, "image_id": number, "category_id": 1 + number % 2, "bbox": [left, 8, 20, 32],
                         "segmentation": outline})  # fmt: skip
        categories = [{"id": 1, "name": "even"}, {"id": 2, "name": "odd"}]
        about = {"images": images, "categories": categories, "annotations": rows}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(about))
    return root


def configured(root, name="mask_rcnn:timm:resnet10t", sizes=SMALL, epochs=2):
    config = RunConfig(model=ModelConfig(name, sizes=dict(sizes)), task=TaskConfig(name="detection"), epochs=epochs)
    config.threads, config.schedule.name = 1, "constant"  # whose rates do not hang on how many epochs there will be
    config.data.dataset, config.data.source, config.data.batch_size = "coco", str(root), 2
    config.data.short_sides, config.data.img_size = (32, 40), 40
    return config


def test_a_run_learns_goes_on_and_is_tested(folder, tmp_path):
    run = train(configured(folder), tmp_path / "run")
    assert run.measure == "box_ap"
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(0 < line["test"]["loss"] < 50 for line in lines)
    assert {"box_ap", "box_ap50", "mask_ap", "masks_loss"} <= set(lines[-1]["test"])
    assert [row["name"] for row in read_json(tmp_path / "run" / "detection.json")["classes"]] == ["even", "odd"]
    train(configured(folder, epochs=1), tmp_path / "half")
    resume(tmp_path / "half", configured(folder))
    whole, half = (load_file(tmp_path / name / "checkpoints" / "last.safetensors") for name in ("run", "half"))
    assert all(torch.equal(whole[key], half[key]) for key in whole)

    from snnkit.checkpoints import build_model
    from snnkit.data import load_images
    from snnkit.engine.feeding import fed_as

    checkpoint = tmp_path / "run" / "checkpoints" / "last.safetensors"
    model, _ = build_model(checkpoint)
    data = load_images(fed_as(checkpoint, model), seed=0)
    made = task_of(run_of(checkpoint), model, data)
    for batch in data.test:
        made(batch)
    assert made.compute() == pytest.approx(lines[-1]["test"], rel=1e-4)
    told = made.predict(torch.randn(3, 40, 53), (48, 64))
    assert {"things", "masks"} == set(told)
    assert told["masks"].shape == (48, 64)
    assert all(one["name"] in ("even", "odd") for one in told["things"])
    picture = torch.zeros(3, 48, 64, dtype=torch.uint8)
    sure = {"things": [{"name": "odd", "score": 0.9, "box": [4.0, 8.0, 24.0, 40.0]}], "masks": torch.zeros(48, 64)}
    sure["masks"][10:30, 6:20] = 1
    drawn = made.draw(picture, sure)
    assert drawn.shape == picture.shape
    assert drawn[:, 20, 10].any()
    assert not drawn[:, 2, 50].any()


def test_a_spiking_run_tells_its_firing_rate(folder, tmp_path):
    sizes = {**SPIKES, **{key: SMALL[key] for key in SMALL if key.endswith(("_channels", "ions", "als", "_layers"))}}
    config = configured(folder, "mask_rcnn:meta_spikeformer_15m", sizes, epochs=1)
    config.model.timesteps = 2
    train(config, tmp_path / "run")
    test = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())["test"]
    assert 0 <= test["firing_rate"] < 1
    assert 0 < test["loss"] < 50
