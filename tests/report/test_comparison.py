"""Several runs on one page: one energy model at a time, and never two technologies on an axis."""

from __future__ import annotations

import json

import pytest

from snnkit.report import ReportError, write_report
from snnkit.report.comparison import comparison
from snnkit.report.palette import Palette
from snnkit.report.read import read_runs

from .conftest import write_invented_run


def runs(invented, tmp_path, changes):
    """Folders of runs; each change is (factor of the energy, accuracy, what else is done to the models)."""
    folders = []
    for index, (factor, accuracy, change) in enumerate(changes):
        energy, summary = invented["energy.json"](), invented["summary.json"]()
        for model in energy["models"]:
            for result in model["results"].values():
                result |= {end: result[end] * factor for end in ("low", "nominal", "high")}
        if change:
            change(energy["models"])
        summary["final"]["accuracy"] = accuracy
        folders.append(write_invented_run(tmp_path / f"run-{index}", energy=energy, summary=summary))
    return folders


def compared(folders):
    run = read_runs(folders)
    return comparison(run, Palette(run))


def test_accuracy_stands_against_energy(invented, tmp_path):
    """Breaks when points are mixed up, or when a run that another one beats is marked as not beaten."""
    folders = runs(invented, tmp_path, [(1.0, 0.874, None), (0.5, 0.86, None), (2.0, 0.87, None), (0.5, 0.85, None)])
    found = compared(folders)
    model = found["models"][0]
    assert [point["accuracy"] for point in model["points"]] == [0.874, 0.86, 0.87, 0.85]
    assert [row["nominal"] for row in model["rows"]] == [f"{v}\u202fµJ" for v in ("4.33", "2.17", "8.66", "2.17")]
    assert [row["front"] for row in model["rows"]] == [True, True, False, False]
    assert [run["letter"] for run in found["runs"]] == ["A", "B", "C", "D"]
    page = write_report(*folders)
    assert page == folders[0] / "report.html"
    assert 'id="comparison"' in page.read_text(encoding="utf-8")
    assert not (folders[1] / "report.html").exists()


def test_other_technologies_and_constants_stay_off_the_axis(invented, tmp_path):
    """Breaks when a 28 nm price stands beside one of 14 nm, or one with another constant beside the rest."""

    def other_node(models):
        models[2]["technology_nm"] = 28.0

    def other_constant(models):
        models[0]["constants"][1]["value"] = 0.1
        del models[1]

    folders = runs(invented, tmp_path, [(1, 0.8, None), (1, 0.8, other_node), (1, 0.8, other_constant)])
    first, memory, loihi = compared(folders)["models"]
    assert [point is None for point in first["points"]] == [False, False, True]
    assert first["left_out"] == ["C was priced with another E_AC (0.1 instead of 0.9)"]
    assert [point is None for point in memory["points"]] == [False, False, True]
    assert memory["left_out"] == ["C has no price under it (snnkit energy run-2)"]
    assert [point is None for point in loihi["points"]] == [False, True, False]
    assert loihi["left_out"] == ["B was priced with another technology (28.0 instead of 14.0)"]


def test_accuracies_of_other_data_are_said_to_be(invented, tmp_path):
    folders = runs(invented, tmp_path, [(1, 0.8, None), (1, 0.9, None)])
    config = invented["config.json"]()
    config["data"]["name"] = "cifar10"
    (folders[1] / "config.json").write_text(json.dumps(config))
    assert compared(folders)["data_sets"] == ["cifar10", "fashion_mnist"]
    assert "Accuracies of different data sets:" in write_report(*folders).read_text(encoding="utf-8")


def test_runs_without_energy_are_still_listed(invented, tmp_path):
    folders = runs(invented, tmp_path, [(1, 0.8, None), (1, 0.9, None)])
    for folder in folders:
        (folder / "energy.json").unlink()
    found = compared(folders)
    assert found["models"] == []
    page = write_report(*folders).read_text(encoding="utf-8")
    assert "run-1" in page


def test_one_run_is_compared_with_nothing(make_run):
    assert 'id="comparison"' not in write_report(make_run()).read_text(encoding="utf-8")


def test_a_run_given_twice_is_refused(make_run):
    run = make_run()
    with pytest.raises(ReportError, match="given twice"):
        write_report(run, run)


def test_a_folder_that_is_no_run_is_named(make_run, tmp_path):
    with pytest.raises(ReportError, match="nowhere: no such folder"):
        write_report(make_run(), tmp_path / "nowhere")
