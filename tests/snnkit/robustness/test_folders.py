"""Natural test sets: folders matched to the classes of a network, and accuracy with the others masked out.

Would break it: a folder counted under a wrong class, one without a class that goes unnoticed, numbers read in the order
of their letters (10 before 2), masking that lets another class win.
"""

import numpy as np
import pytest
import torch
from PIL import Image

from snnkit.data import DataConfig, load_images
from snnkit.errors import CorruptFileError, InvalidArgumentError, UnknownNameError
from snnkit.robustness import find_folders, score_folder

CLASSES = ("tree_frog", "Ankle boot", "cat", "dog")


def images(root, sides=(20,), **folders):
    """Grey images: NAME=[values]."""
    for name, values in folders.items():
        (root / name).mkdir(parents=True)
        for number, value in enumerate(values):
            side = sides[number % len(sides)]
            Image.new("RGB", (side, side), (value,) * 3).save(root / name / f"{number}.png")
    return root


class Like:
    """A test set of which only the transform is asked for."""

    transform = staticmethod(lambda image: image.float() / 255)


def by_value(images):
    """Value n/10 is class n, the next class up comes second."""
    top = (images.mean((1, 2, 3)) * 10).round().long()
    return torch.stack([-(torch.arange(len(CLASSES)) - t - 0.1).abs() for t in top])


def test_names_are_matched_whatever_their_case_and_spaces(tmp_path):
    found = find_folders(images(tmp_path, **{"Tree-Frog": [0], "ankle_boot": [1, 2], "CAT": [3]}), CLASSES)
    assert found.folders == ("CAT", "Tree-Frog", "ankle_boot")
    assert found.right == ((2,), (0,), (1,))
    assert not found.missing
    assert [number for _, number in found.samples] == [0, 1, 2, 2]


def test_a_folder_without_a_class_stops_or_is_left_out_and_counted(tmp_path):
    images(tmp_path, cat=[51], dgo=[1, 2, 3], zebra=[4])
    with pytest.raises(InvalidArgumentError, match=r"no class for 2 of its folders \(dgo, zebra\)") as error:
        find_folders(tmp_path, CLASSES)
    assert "'dog'" in str(error.value)
    assert "\n" not in str(error.value)
    found = find_folders(tmp_path, CLASSES, on_missing="skip")
    assert found.folders == ("cat",)
    assert found.missing == {"dgo": 3, "zebra": 1}
    scored = score_folder(by_value, found, Like(), 4)
    assert scored["left_out"] == {"folders": 2, "images": 4, "names": ["dgo", "zebra"]}
    assert scored["images"] == 1
    assert scored["accuracy"] == 1
    with pytest.raises(InvalidArgumentError, match="no class for 4"):
        find_folders(images(tmp_path / "none", a=[1], b=[1], c=[1], d=[1]), CLASSES, on_missing="skip")


def test_accuracy_among_all_classes_and_among_those_that_are_there(tmp_path):
    # Value 51 looks like class 2, a cat; 77 like class 3, which does not lie there: then class 2 wins.
    images(tmp_path, cat=[51, 77, 77, 0], **{"tree frog": [0]})
    scored = score_folder(by_value, find_folders(tmp_path, CLASSES), Like(), 4, batch_size=2)
    assert scored["accuracy_among_all_classes"] == pytest.approx(2 / 5)
    assert scored["accuracy"] == pytest.approx(4 / 5)
    assert (scored["images"], scored["classes"], scored["classes_of_network"]) == (5, 2, 4)


def test_a_mapping_may_name_several_classes_and_classes_the_network_lacks(tmp_path):
    images(tmp_path / "set", pet=[51, 77, 0], shoe=[26])
    (tmp_path / "map.tsv").write_text("pet\tcat\npet\tdog\npet\tzebra\n\nshoe\tankle boot\n")
    found = find_folders(tmp_path / "set", CLASSES, tmp_path / "map.tsv")
    assert found.folders == ("pet", "shoe")
    assert found.right == ((2, 3), (1,))
    scored = score_folder(by_value, found, Like(), 4)
    assert scored["accuracy_among_all_classes"] == pytest.approx(3 / 4)
    assert scored["classes"] == 3
    (tmp_path / "map.tsv").write_text("pet cat\n")
    with pytest.raises(CorruptFileError, match="line 1"):
        find_folders(tmp_path / "set", CLASSES, tmp_path / "map.tsv")
    with pytest.raises(CorruptFileError, match="cannot be read"):
        find_folders(tmp_path / "set", CLASSES, tmp_path / "none.tsv")


def test_numbers_are_labels_unless_classes_are_called_so(tmp_path):
    names = [f"class {n}" for n in range(12)]
    found = find_folders(images(tmp_path, **{"10": [1], "2": [1]}), names)
    assert found.by_number
    assert found.folders == ("10", "2")
    assert found.right == ((10,), (2,))
    assert find_folders(tmp_path, ["2", "10"]).right == ((1,), (0,))
    with pytest.raises(InvalidArgumentError, match="no class for 2"):
        find_folders(tmp_path, names[:5])  # no class 10: then 2 may not be a label either


def test_images_of_any_size_fit_a_network_of_small_grey_ones(tmp_path):
    data = load_images(DataConfig(source="vendored", test_limit=4), seed=0)
    found = find_folders(images(tmp_path, (20, 28, 90), Bag=[0, 100, 200, 30]), data.classes)
    seen = []

    def predict(batch):
        seen.append(batch)
        return torch.eye(10)[[8] * len(batch)]

    scored = score_folder(predict, found, data.test.dataset, 10)
    assert seen[0].shape == (4, 1, 28, 28)
    assert scored["accuracy"] == 1
    mean = (np.array([0, 100, 200, 30]) / 255 - 0.2860) / 0.3530
    assert np.allclose(seen[0].mean((1, 2, 3)), mean, atol=0.01)


def test_what_cannot_be_read_stops_or_is_counted(tmp_path):
    images(tmp_path, cat=[51, 51])
    (tmp_path / "cat" / "broken.png").write_bytes(b"no image")
    found = find_folders(tmp_path, CLASSES)
    with pytest.raises(CorruptFileError, match=r"broken\.png"):
        score_folder(by_value, found, Like(), 4)
    scored = score_folder(by_value, found, Like(), 4, skip=True)
    assert (scored["images"], scored["unreadable"]) == (2, 1)


def test_mistakes_are_one_line(tmp_path):
    with pytest.raises(InvalidArgumentError, match="not a folder"):
        find_folders(tmp_path / "none", CLASSES)
    (tmp_path / "cat").mkdir()
    with pytest.raises(InvalidArgumentError, match="no folders of images"):
        find_folders(tmp_path, CLASSES)
    with pytest.raises(UnknownNameError, match="on_missing"):
        find_folders(tmp_path, CLASSES, on_missing="go on")
