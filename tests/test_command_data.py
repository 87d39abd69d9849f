"""What the verbs feed a network: runs on every kind of data set, which samples they take, and what they refuse.

Would break it: batch and time that change places, a cost per sample that depends on how many are counted, the first
samples by name, a program approved for inputs that its run never sees.
"""

import json
import shutil

import numpy as np
import pytest
import torch
from support import data as made
from support.data import photographs, random_events, small_source
from support.dense import BEYOND

from compiler.commands import source
from compiler.counting import count
from snnkit.data import DATASETS, DataConfig
from snnkit.engine import RunConfig, train
from snnkit.engine.config import ModelConfig
from snnkit.errors import InvalidArgumentError
from snnkit.files import read_json, write_json

CNN = ("spiking_cnn_small", {"width": 4})
VIDEO = ("uniformer_video_small", {"depths": (1, 1, 1, 1), "dims": (4, 4, 8, 8), "head_dim": 4})
KINDS = {
    "fashion_mnist": (*CNN, {"train_limit": 8, "test_limit": 5}),
    "image_folder": (*CNN, {"test_crops": 3}),
    "photographs": (*CNN, {}),
    "single_things": (*CNN, {}),
    "tar_shards": (*CNN, {}),
    "video_folder": (*VIDEO, {"test_clips": 2}),
    "video_folder, time first": (*CNN, {"time_first": True, "frames": 2}),
    "video_lists": (*VIDEO, {}),
    "moving_things": (*VIDEO, {}),
    "event_folder": (*CNN, {}),
}


def trained(folder, kind):
    """Train a small network for one epoch on a few samples of the kind; return its run folder."""
    name, sizes, changes = KINDS[kind]
    data = DataConfig(**{**small_source(kind.partition(",")[0], folder), "batch_size": 2, "shift_pixels": 0, **changes})
    return train(
        RunConfig(model=ModelConfig(name=name, sizes=sizes), data=data, epochs=1, threads=1), folder / "run"
    ).folder


@pytest.fixture(scope="module")
def event_run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("events"), "event_folder")


def test_every_data_set_is_here():
    """But for images without labels, which no network is trained on that could be counted, and those with more."""
    pairs = {"captioned_fashion_mnist", "captioned_folder", "captioned_photographs", "pair_shards"}
    assert {kind.partition(",")[0] for kind in KINDS} == set(DATASETS) - {"pass", *BEYOND} - pairs


def counted(call, folder, images):
    code, _, err = call("energy", folder, "--images", images)
    assert code == 0, err
    found = read_json(folder / "counts.json")
    assert found["images"] == images
    return found["network"]["totals"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_energy_of_a_sample_does_not_depend_on_how_many_are_counted(kind, tmp_path, call, event_run):
    folder = shutil.copytree(event_run, tmp_path / "copy") if kind == "event_folder" else trained(tmp_path, kind)
    found = counted(call, folder, 3)
    assert found["mac"] > 0
    given = source.resolve(str(folder))
    x, labels, _ = given.test_images(3)
    axis = source.batch_axis(given.graph, x)
    assert x.shape[axis] == len(labels) == 3
    alone = [count(given.graph, [sample]) for sample in x.split(1, axis)]
    for key in ("mac", "ac", "spikes"):
        assert found[key] == pytest.approx(sum(one.total(key) for one in alone) / 3), key


FORMATS = {
    ".bin": made.nmnist_bytes,
    ".dat": made.dat_bytes,
    ".aedat4": made.aedat4_bytes,
    ".evt2.raw": made.evt2_bytes,
    ".evt21.raw": made.evt21_bytes,
    ".evt3.raw": made.evt3_bytes,
}


def recorded(folder, ending, columns):
    """Two classes with two recordings each of the same events."""
    for split in ("train", "val"):
        for name in ("off", "on"):
            (folder / split / name).mkdir(parents=True)
            for index in range(2):
                (folder / split / name / f"{index}{ending}").write_bytes(FORMATS[ending](*columns))
    return folder


def on_other_data(run, folder, **changes):
    """A copy of a run whose configuration reads other data."""
    copy = shutil.copytree(run, folder)
    config = read_json(copy / "config.json")
    config["data"].update(changes)
    write_json(copy / "config.json", config)
    return copy


@pytest.fixture(scope="module")
def costs():
    return {}


@pytest.mark.parametrize("ending", FORMATS)
def test_every_kind_of_recording_is_counted(ending, event_run, tmp_path, call, costs):
    """The same events in another format cost the same."""
    folder, sensor = recorded(tmp_path / "data", ending, random_events()), {"sensor_height": 34, "sensor_width": 34}
    run = on_other_data(event_run, tmp_path / "run", source=str(folder), **sensor)
    costs[ending] = counted(call, run, 2)
    assert costs[ending]["mac"] > 0
    for others in costs.values():
        assert others == pytest.approx(costs[ending])


def test_samples_are_of_every_class(tmp_path):
    """Five of 600 by name would all be of the first class; the same are taken each time, in the data set's order."""
    given = source.Source("run", torch.nn.Identity(), {}, tmp_path, DataConfig(source="vendored"))
    x, labels, classes = given._tested(20)
    assert np.bincount(labels, minlength=10).tolist() == [2] * len(classes)
    again, _, _ = given._tested(20)
    assert torch.equal(x, again)
    _, others, _ = given._tested(1000)
    from snnkit.data import fashion_mnist

    assert others.tolist() == fashion_mnist.load("vendored").y_test.tolist()


def test_unreadable_samples_are_said(tmp_path, capsys):
    root = photographs(tmp_path / "photos")
    (root / "val" / "red" / "10.png").write_bytes(b"no image")
    settings = {"source": str(root), "img_size": 16, "on_corrupt": "skip"}
    given = source.Source("run", torch.nn.Identity(), {}, tmp_path, DataConfig("image_folder", **settings))
    x, labels, _ = given._tested(100)
    assert (x.shape, labels.tolist()) == ((5, 3, 16, 16), [0, 0, 0, 1, 1])
    said = " ".join(capsys.readouterr().out.split())
    assert "1 of 6 test samples cannot be read and are left out" in said
    assert "10.png" in said


def test_samples_of_several_sizes_and_too_many_of_them(tmp_path, monkeypatch):
    root = photographs(tmp_path / "photos")
    settings = {"source": str(root), "shift_pixels": 0, "flip": False}
    given = source.Source("run", torch.nn.Identity(), {}, tmp_path, DataConfig("image_folder", **settings))
    with pytest.raises(InvalidArgumentError, match=r"differ in shape: .* set data.img_size"):
        given._tested(2)
    monkeypatch.setattr(source, "_free_memory", lambda: 2 * 1000 * 28 * 28 * 4 - 1)
    given = source.Source("run", torch.nn.Identity(), {}, tmp_path, DataConfig(source="vendored"))
    assert len(given._tested(999)[1]) == 999
    with pytest.raises(InvalidArgumentError, match=r"1,000 samples .* more than memory holds; 499 fit well"):
        given._tested(1000)


def test_a_type_is_approved_where_the_samples_are_of_it(event_run, tmp_path, call):
    """Recordings of at most one event a pixel are spikes; of more, they are none, which every verb says."""
    pixels = np.random.default_rng(0).permutation(32 * 32)[:300]
    spikes = (np.arange(300) * 100, pixels % 32, pixels // 32, pixels % 2 == 0)
    folder, sensor = recorded(tmp_path / "data", ".bin", spikes), {"sensor_height": 32, "sensor_width": 32}
    run = on_other_data(event_run, tmp_path / "run", source=str(folder), **sensor)
    for verb in ("check", "compile", "simulate"):
        code, out, err = call(verb, run, "--input-type", "binary")
        assert code == 0, (verb, out, err)
    assert read_json(run / "mapping.json")["equality"]["spike_mismatches"] == 0

    (run / "network.program").unlink()
    many = recorded(tmp_path / "many", ".bin", random_events(4000, 32, 32))
    run = on_other_data(run, tmp_path / "other", source=str(many))
    code, out, _ = call("check", run, "--input-type", "binary")
    assert (code, "the input needs to be binary, but the test samples hold values from 0 to" in out) == (3, True)
    code, _, err = call("compile", run, "--input-type", "binary")
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert "test samples hold values from 0 to" in err
    assert not (run / "network.program").exists()
    code, _, err = call("export", run, "--input-type", "binary", "--format", "speck")
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert "test samples hold values from 0 to" in err
    assert not (run / "speck.json").exists()


def test_where_the_data_are_gone_the_type_is_not_known(event_run, tmp_path, call):
    run = on_other_data(event_run, tmp_path / "run", source=str(tmp_path / "nowhere"))
    code, out, _ = call("check", run, "--input-type", "binary")
    assert code == 0
    assert "whether its test samples are binary is not known" in " ".join(out.split())
    code, _, err = call("energy", run)
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert json.dumps(str(tmp_path / "nowhere"))[1:-1] in err
