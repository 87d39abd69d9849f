"""The picture of a test: truth beside what was found, in the colours of the classes, and the same in the records.

Would break it: boxes drawn in pixels of another size than the picture's, things that are hardly believed, crowds, a
colour that is another class's, an image that is not square drawn out of shape, images of an earlier test.
"""

import numpy as np
import pytest
import torch
from PIL import Image

from snnkit.files import read_json
from snnkit.tasks.drawing import colours, fitted, with_things

from .test_detection import found, marked, task

pytest.importorskip("pycocotools", reason="no AP: pip install pycocotools")
SIDE, STEP = 288, 290  # of a version in the picture, and to the next


def evaluated(made, image, target, said):
    """Test on one image, of which this is found."""
    made.eval()
    made.model.find = lambda seen, sizes=(): [said]
    with torch.no_grad():
        made(([image], [target]))
    return made.compute()


def test_truth_stands_beside_what_was_found(tmp_path):
    """The image is seen in 64 × 32 pixels and stored in 128 × 64, where things are marked: drawn 2.25 fold."""
    made = task()
    target = marked((8, 8, 48, 40), (60, 8, 120, 60), labels=[0, 2], side=128, size=torch.tensor([64, 128]))
    target["masks"] = target["masks"][:, :64]
    target["iscrowd"] = torch.tensor([0, 1])
    said = found(marked((16, 8, 56, 40), (80, 8, 120, 60), labels=[1, 0], side=128), 0.9, 0.4)
    said["masks"] = said["masks"][:, :64]
    evaluated(made, torch.zeros(3, 32, 64), target, said)
    made.keep_records(tmp_path, 2)
    pixels = np.asarray(Image.open(tmp_path / "predictions.png")).astype(int)
    assert pixels.shape == (STEP, 2 * STEP + 6, 3)
    truth, seen = pixels[:SIDE, :SIDE], pixels[:SIDE, STEP : STEP + SIDE]
    first, second, _ = colours(3)
    for part, left, colour in ((truth, 18, first), (seen, 36, second)):
        assert tuple(part[54, left]) == colour  # the left edge, half way down
        assert tuple(part[54, left - 3]) == (0, 0, 0)
        veil = part[54, left + 40]
        assert veil == pytest.approx(0.4 * np.array(colour), abs=2)
        assert (part[:144, 150:] == 0).all(), "a crowd, or a thing that is hardly believed"
        assert (part[144:] == 255).all(), "the image is as wide as it was against its height"
    told = read_json(tmp_path / "detection.json")
    assert told["shown"] == [
        {
            "truth": [{"name": "a", "box": [8, 8, 48, 40]}],
            "found": [{"name": "b", "box": [16, 8, 56, 40], "score": 0.9}],
            "size": [64, 128],
        }
    ]
    assert [row["colour"] for row in told["classes"]] == ["#{:02x}{:02x}{:02x}".format(*one) for one in colours(3)]


def test_images_are_those_of_the_last_test(tmp_path):
    made = task(predicts=False)
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long), "scores": torch.zeros(0)}
    for place in (4, 14):
        target = {key: value for key, value in marked((place, 4, 24, 24)).items() if key != "masks"}
        evaluated(made, torch.rand(3, 64, 64), target, nothing)
    made.keep_records(tmp_path, 2)
    (one,) = read_json(tmp_path / "detection.json")["shown"]
    assert (one["truth"][0]["box"], one["found"]) == ([14, 4, 24, 24], [])
    assert Image.open(tmp_path / "predictions.png").size == (2 * STEP + 6, STEP)


def test_classes_have_every_figure_that_their_things_allow(tmp_path):
    made = task()
    target = marked((4, 4, 24, 24), (0, 0, 60, 60), labels=[0, 1])
    said = found(target, 0.9, 0.8)
    said["boxes"] = torch.tensor([[4.0, 4, 24, 24], [0, 0, 37, 60]])  # the second at IoU 0.62
    made.note([said], [target])
    made.losses.update(1.0)
    made.compute()
    made.keep_records(tmp_path, 1)
    assert not (tmp_path / "predictions.png").exists()  # no image was seen
    first, second, third = read_json(tmp_path / "detection.json")["classes"]
    for key, value in {"box_ap50": 1.0, "box_ap75": 0.0, "box_ap_medium": 0.3, "mask_ap75": 1.0}.items():
        assert second[key] == pytest.approx(value), key
    assert first["box_ap_small"] == pytest.approx(1.0)
    assert (second["box_ap_small"], first["box_ap_medium"], first["box_ap_large"]) == (None, None, None)
    assert "box_ap75" not in third


def test_pictures_fill_a_side_and_keep_their_shape():
    image = torch.tensor([[[-1.0, 3.0], [1.0, 1.0]]])
    large = fitted(image, 8)
    assert large.shape == (3, 8, 8)
    assert large[:, ::4, ::4].tolist() == [[[0, 255], [128, 128]]] * 3
    assert fitted(torch.rand(3, 100, 40), 50).shape == (3, 50, 20)
    assert fitted(torch.rand(2, 1, 500), 50).shape == (3, 1, 50)
    picture = torch.zeros(3, 10, 10, dtype=torch.uint8)
    assert with_things(picture, torch.zeros(0, 4), []) is picture
    outside = with_things(picture, torch.tensor([[-5.0, 2, 30, 6]]), [(9, 8, 7)])
    assert outside[:, 2, 9].tolist() == [9, 8, 7]
