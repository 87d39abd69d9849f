"""The benchmark of training in the chip's integers: its rows by hand, the whole on a few images.

Would break it: a gap of the wrong sign, a bar on what is not the chip, coarse weights that stay fine, a finished
training that is done again.
"""

import pytest

from compiler.bench import qat
from compiler.training import Agreement
from snnkit.bench import about, modules
from snnkit.engine.progress import console


def test_the_command_finds_it():
    assert modules()["qat"] == "compiler.bench.qat"
    assert "chip" in about("qat")


@pytest.mark.parametrize(("after", "gap", "reached"), [(0.87, 0.3, False), (0.872, 0.1, True), (0.88, -0.7, True)])
@pytest.mark.parametrize("bits", [0, 4])
def test_rows_by_hand(after, gap, reached, bits):
    accuracies = {"float": 0.873, "chip, quantised after training": 0.86, "chip, trained in its integers": after}
    agreement = Agreement(100, 0, 1000, 0, 5000, 2, 0.5, 0.5)
    rows = {row["variant"]: row for row in qat.rows(qat.Case("net", qat.demo, bits=bits), accuracies, agreement)}
    assert rows["float"]["value"] == 87.3
    assert rows["gap: chip, quantised after training"]["value"] == 1.3
    assert "bar" not in rows["gap: chip, quantised after training"]
    found = rows["gap: chip, trained in its integers"]
    assert found["value"] == gap
    assert found.get("reached") == (None if bits else reached)
    assert rows["predictions of 100 that differ, training and chip"]["reached"] is True
    assert rows["spikes of 5,000 that differ, training and chip"]["reached"] is False


@pytest.mark.parametrize(("bits", "most"), [(0, 8), (4, 4), (3, 3)])
def test_bits_of_a_weight(bits, most):
    assert max(qat.chip_of(bits).arithmetic.weight_bits) == most


@pytest.mark.slow
def test_the_whole_on_a_few_images(tmp_path, monkeypatch):
    monkeypatch.setattr(console, "quiet", True)
    amounts = qat.Amounts("vendored", epochs=1, test=40, compared=10)

    def few():
        config = qat.demo()
        config.epochs, config.data.train_limit, config.data.test_limit = 1, 96, 20
        return config

    case = qat.Case("net", few)
    rows = qat.measured(case, amounts, tmp_path)
    assert {row["unit"] for row in rows} == {"%", "points", ""}
    assert [row["reached"] for row in rows[-3:]] == [True] * 3
    folders = {folder.name.rpartition("-")[0] for folder in tmp_path.iterdir()}
    assert folders == {"demo", "demo-chip", "demo-float"}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert qat.measured(case, amounts, tmp_path) == rows
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == before
