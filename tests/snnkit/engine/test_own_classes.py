"""Numbers of classes mean what the run's data called them, wherever it is tested, resumed or teaches.

Would break it: a network tested on folders of the same classes in another order, or of others, whose accuracy is a
number all the same; a run that goes on with a folder more; a teacher whose third class is the student's second.
"""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from torchvision.io import write_png

from snnkit.engine import RunConfig, resume, train
from snnkit.engine.config import ModelConfig
from snnkit.engine.own_classes import check_classes, own_classes, run_classes
from snnkit.engine.predicting import Predictor
from snnkit.errors import CorruptFileError, InvalidArgumentError
from snnkit.files import write_json

NAMES = ("ant", "bee", "cat")


def folders(root, names, count=4):
    for number, name in enumerate(names):
        for part in ("train", "val"):
            (root / part / name).mkdir(parents=True)
            for index in range(count):
                write_png(
                    torch.full((3, 16, 16), 40 * number + index, dtype=torch.uint8),
                    str(root / part / name / f"{index}.png"),
                )
    return root


def configured(source):
    config = RunConfig(model=ModelConfig("timm:resnet10t", sizes={"stem_width": 8, "channels": (8, 8, 8, 8)}))
    config.data.dataset, config.data.source, config.data.img_size = "image_folder", str(source), 16
    config.data.batch_size, config.epochs, config.threads = 4, 2, 1
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("own")
    return train(configured(folders(place / "data", NAMES)), place / "run").folder


def test_a_run_says_what_its_classes_are_as_it_begins(run, tmp_path):
    assert own_classes(run) == run_classes(run / "checkpoints" / "last.safetensors") == NAMES
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "summary.json").unlink()  # as of a run that was killed
    assert own_classes(copy) == Predictor(copy).classes == NAMES
    shutil.copy(run / "summary.json", copy)
    (copy / "classes.json").unlink()  # as of a run from before
    assert own_classes(copy) == NAMES
    (copy / "summary.json").write_text("[1]")
    assert own_classes(copy) == run_classes(tmp_path / "lone.safetensors") == ()
    assert Predictor(copy).classes == ("0", "1", "2")
    write_json(copy / "classes.json", ["a", "b"])
    with pytest.raises(CorruptFileError, match="names 2 classes, and its network tells 3 apart"):
        Predictor(copy)


def of(classes, targets="labels", tokens=None):
    return SimpleNamespace(classes=classes, targets=targets, tokens=tokens, origin="other")


@pytest.mark.parametrize(
    ("own", "data", "outputs", "words"),
    [
        (
            NAMES,
            of(("bee", "ant", "cat")),
            3,
            "other: 'bee' is number 0 of its classes, and number 1 of those that the",
        ),
        (NAMES, of(("dog", "ant", "cat"), "maps"), 3, "'ant' is number 1 of its classes, and number 0"),
        (NAMES, of((*NAMES, "dog"), "objects"), 3, "the network tells 3 classes apart, but other has 4"),
        (NAMES, of(NAMES[:2], "keypoints"), 3, "the network tells 3 key points apart, but other has 2"),
        ((), of(NAMES), 1000, "tells 1000 classes apart, but other has 3"),
        (NAMES, of(NAMES[:2], tokens=object()), 3, "tells 3 classes apart"),  # a classifier on pairs
        (NAMES, of(NAMES), 4, "tells 4 classes apart"),  # weights of another head lie in the run's folder
    ],
)
def test_other_classes_are_refused(own, data, outputs, words):
    with pytest.raises(InvalidArgumentError, match=words) as caught:
        check_classes(own, data, outputs)
    assert "\n" not in str(caught.value)


def test_what_may_differ(capsys):
    check_classes(NAMES, of(NAMES), 3)
    check_classes((), of(("x", "y")), 0)
    check_classes(NAMES, of((), "captions"), 7)  # no numbers of classes
    check_classes(NAMES, of(("x",), tokens=object()))  # two towers, which the data's own texts tell
    assert capsys.readouterr().out == ""
    check_classes(NAMES, of(("ant", "wasp", "dog")), 3)
    said = " ".join(capsys.readouterr().out.split())
    assert said == "note: classes are matched by number, and 2 are called otherwise: 'wasp' is taken for 'bee'."


def test_eval_on_folders_in_another_order(run, tmp_path, call):
    turned = folders(tmp_path / "turned", ("bee0", "ant", "cat"))  # ant, bee0, cat: one of another name
    code, out, err = call("eval", run, "--source", turned)
    assert (code, err) == (0, "")
    assert "'bee0' is taken for 'bee'" in " ".join(out.split())
    assert "accuracy" in out
    for names, words in ((("bee", "cat", "dog"), "'bee' is number 0"), (("ant", "bee"), "3 classes apart, but")):
        other = folders(tmp_path / "-".join(names), names)
        for verb in ("eval", "robustness"):
            code, _, err = call(verb, run, "--source", other)
            assert code != 0
            assert words in " ".join(err.split())
        code, _, err = call("convert", run, "--data", other, "--calibration", 4, "--images", 4)
        assert code != 0
        assert words in " ".join(err.split())


def test_a_run_goes_on_with_the_same_classes_alone(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    config = json.loads((copy / "config.json").read_text())
    source = folders(tmp_path / "data", ("ant", "bee", "aardvark"))
    config["data"]["source"] = str(source)
    write_json(copy / "config.json", config)
    (copy / "summary.json").unlink()
    before = {file.name: file.read_bytes() for file in copy.iterdir() if file.is_file()}
    with pytest.raises(InvalidArgumentError, match="'ant' is number 1 of its classes, and number 0 of those"):
        resume(copy)
    assert {file.name: file.read_bytes() for file in copy.iterdir() if file.is_file()} == before


def test_a_teacher_of_classes_in_another_order_is_refused(run, tmp_path):
    config = configured(folders(tmp_path / "data", ("bee", "cat", "dog")))
    config.task.name, config.task.options = "distillation", {"teachers": str(run)}
    with pytest.raises(
        InvalidArgumentError, match=r"'bee' is number 0 .* number 1 of those that teacher .*run was trained on"
    ):
        train(config, tmp_path / "student")
    assert not (tmp_path / "student").exists()
