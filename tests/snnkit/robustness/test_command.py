"""``snnkit robustness`` on a real run: what it prints, what it writes, and what it refuses.

Would break it: a clean accuracy other than that of ``snnkit eval``, a table wider than 80 columns, a file without the
number of images, a baseline's errors mixed up with one's own, clips that are corrupted as if they were images.
"""

import json
import re
import shutil
import sys

import pytest
from PIL import Image

from snnkit.checkpoints import save_weights
from snnkit.models import create_model


@pytest.fixture
def call(call, monkeypatch):
    """The command, with this verb also where the package was installed before it had one."""
    module = sys.modules["snnkit.cli.main"]
    build = module.build_app

    def with_verb():
        from snnkit.cli.robustness import robustness

        app = build()
        if "robustness" not in app:
            app.command(robustness, name="robustness")
        return app

    monkeypatch.setattr(module, "build_app", with_verb)
    return call


@pytest.fixture
def run(tiny_run, tmp_path):
    """A copy of the run, to write in."""
    return shutil.copytree(tiny_run.folder, tmp_path / "run")


def test_a_run_and_then_the_same_as_its_own_baseline(run, tmp_path, call):
    kinds = "impulse_noise,gaussian_noise,defocus_blur,contrast"
    code, out, err = call("robustness", run, "--corruptions", kinds, "--images", 60)
    assert code == 0, err
    assert all(len(line) <= 80 for line in out.splitlines() if str(run) not in line)  # paths stay whole
    saved = json.loads((run / "robustness.json").read_text())
    assert list(saved["corruptions"]) == kinds.split(",")
    cells = [cell for kind in saved["corruptions"].values() for cell in kind["severities"].values()]
    assert len(cells) == 20
    assert all(cell["images"] == 60 for cell in cells)
    assert saved["clean"]["images"] == 60
    assert saved["summary"]["mce"] is None
    assert "without a baseline" in out
    worst = saved["corruptions"]["contrast"]["severities"]["5"]["error"]
    assert worst > saved["clean"]["error"]
    row = next(line for line in out.splitlines() if line.strip().startswith("contrast"))
    assert row.split()[5] == f"{100 * worst:.1f}"

    again = ["robustness", run, "--corruptions", "contrast,impulse_noise", "--severities", "1,5", "--images", 60]
    code, out, err = call(*again, "--baseline", run / "robustness.json", "--output", tmp_path / "again.json")
    assert code == 0, err
    other = json.loads((tmp_path / "again.json").read_text())
    assert other["summary"]["mce"] == pytest.approx(1)
    assert "mCE 100.0%" in out
    for name in ("contrast", "impulse_noise"):
        for severity in ("1", "5"):
            one, two = (found["corruptions"][name]["severities"][severity] for found in (saved, other))
            assert one == two
    table = [line for line in out.splitlines() if line.strip().startswith(("error, %", "contrast", "impulse"))]
    assert len(table) == 3
    assert all(len(line) <= 80 for line in table)


def test_clean_accuracy_is_that_of_eval(run, call):
    code, out, err = call("robustness", run, "--corruptions", "none")
    assert code == 0, err
    _, told, _ = call("eval", run)
    exact = float(re.search(r"accuracy ([\d.]+)%", told)[1])
    assert 100 * json.loads((run / "robustness.json").read_text())["clean"]["accuracy"] == pytest.approx(
        exact, abs=0.01
    )
    assert "mean corruption error" not in out


def test_a_natural_test_set(run, tmp_path, call):
    for name in ("bag", "sneaker", "zebra"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("L", (50, 40), 80 * number).save(tmp_path / "set" / name / f"{number}.png")
    asked = ["robustness", run, "--corruptions", "none", "--folder", f"mine={tmp_path / 'set'}"]
    code, _, err = call(*asked)
    assert code == 2
    assert "zebra" in err
    assert "--on-missing skip" in err
    assert len(err.splitlines()) == 1
    code, out, err = call(*asked, "--on-missing", "skip")
    assert code == 0, err
    found = json.loads((run / "robustness.json").read_text())["folders"]["mine"]
    assert found["images"] == 6
    assert found["left_out"]["images"] == 3
    assert found["classes"] == 2
    assert "mine: accuracy" in out
    assert "among its 2 classes" in out
    assert found["accuracy"] >= found["accuracy_among_all_classes"]
    (tmp_path / "map").write_text("zebra\tShirt\n")
    code, out, err = call(*asked, "--mapping", f"mine={tmp_path / 'map'}")
    assert code == 0, err
    assert "among its 3 classes" in out


def test_two_towers_classify_by_prompts(tmp_path, call):
    sizes = {"in_chans": 1, "img_size": 28, "width": 4, "text_width": 16, "text_depth": 1, "text_heads": 2, "dim": 8}
    given = {"name": "basic:spiking_cnn_small", **sizes}
    save_weights(create_model(**given), tmp_path / "two.safetensors", given)
    asked = ["robustness", tmp_path / "two.safetensors", "--source", "vendored", "--images", 40]
    asked += ["--corruptions", "jpeg", "--severities", "1"]
    code, out, err = call(*asked, "--dataset", "captioned_fashion_mnist")
    assert code == 0, err
    assert "clean test images" in out
    assert not list(tmp_path.glob("*.json"))
    code, _, err = call(*asked, "--dataset", "fashion_mnist")
    assert code == 2
    assert "two towers" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--corruptions", "fogg"], "'fog'"),
        (["--severities", "1,7"], "severity 7"),
        (["--severities", "one"], "such as 1,3,5"),
        (["--images", "-1"], "--images -1"),
        (["--folder", "here"], "NAME=PATH"),
        (["--folder", "a=nowhere", "--corruptions", "none"], "nowhere is not a folder"),
        (["--mapping", "b=file"], "unknown test set"),
        (["--baseline", "nothing.json"], "nothing.json does not exist"),
    ],
)
def test_mistakes_are_one_line(tiny_run, call, words, said):
    code, _, err = call("robustness", tiny_run.folder, *words)
    assert code == 2
    assert said in err
    assert len(err.splitlines()) == 1, err


def test_other_images_than_the_baselines_are_told(run, tmp_path, call):
    asked = ["robustness", run, "--corruptions", "contrast", "--severities", "5"]
    assert call(*asked, "--images", 60, "--output", tmp_path / "b.json")[0] == 0
    code, out, _ = call(*asked, "--images", 40, "--seed", 1, "--baseline", tmp_path / "b.json")
    assert code == 0
    assert "other images than these" in " ".join(out.split())
    assert "from seed 0" in out
    code, _, err = call(*asked[:3], "jpeg", "--baseline", tmp_path / "b.json")
    assert code == 2
    assert "no error for jpeg, severity 1" in err
