"""Probes from end to end: which features, kept how long, which labels, and what is said where nothing can be measured.

Would break it: augmented images, features of another network or of older data out of the cache, a share of the labels
that leaves a class out, a collapsed network with an accuracy, test images that choose anything.
"""

import dataclasses
import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from support.data import PASS_SAMPLE, photographs, recordings, shards
from torch import nn

from snnkit.checkpoints import build_model, save_tensors, save_weights
from snnkit.data import DataConfig
from snnkit.errors import CorruptFileError, InvalidArgumentError, NonFiniteError, UnknownNameError
from snnkit.files import made_folder
from snnkit.models import create_model
from snnkit.probing import (
    CollapsedError,
    Encoder,
    Features,
    Settings,
    Split,
    compute,
    feeding,
    linear,
    load_encoder,
    probe,
    random_start,
)
from snnkit.probing.probes import FEW_L2, label_count

CLOTHES = {"source": "vendored", "train_limit": 60, "test_limit": 30}


def encoder(name="spiking_cnn_small", **sizes):
    torch.manual_seed(0)
    usual = {"in_chans": 1, "img_size": 28, "width": 4} if name == "spiking_cnn_small" else {}
    made = {"name": name, **usual, **sizes}
    return Encoder(create_model(**made).eval(), name, None, made)


def clothes(channels=1, **changes):
    return feeding(DataConfig(**{**CLOTHES, **changes}), channels, "it")


# Which features.


def test_features_of_a_spiking_network_are_means_over_time_and_place():
    found = encoder()
    images = torch.rand(3, 1, 28, 28)
    model = found.model
    expected = model.forward_features(images.expand(model.timesteps, *images.shape)).mean((0, 3, 4))
    with torch.no_grad():
        torch.testing.assert_close(found.features(images), expected)
        sequence = torch.rand(5, 3, 1, 28, 28)
        torch.testing.assert_close(found.features(sequence), model.forward_features(sequence).mean((0, 3, 4)))
        read = dataclasses.replace(found, at_head=True)
        repeated = images.expand(model.timesteps, *images.shape)
        expected = model.forward_head(model.forward_features(repeated), pre_logits=True).mean(0)
        torch.testing.assert_close(read.features(images), expected)
    assert found.key() != read.key()


@pytest.mark.parametrize("name", ["timm:resnet10t", "timm:vit_tiny_patch16_224"])
def test_features_of_an_ordinary_network_are_what_its_classifier_reads(name):
    sizes = {"img_size": 32} if "vit" in name else {}
    found = encoder(name, num_classes=7, **sizes)
    images, seen = torch.rand(2, 3, 32, 32), []
    found.model.get_classifier().register_forward_pre_hook(lambda _m, given: seen.append(given[0]))
    with torch.no_grad():
        found.model(images)
        torch.testing.assert_close(found.features(images), seen[0])


def test_training_images_are_not_augmented():
    features = compute(encoder(), clothes(flip=True, shift_pixels=4, rand_augment="rand-m9-mstd0.5"))
    again = compute(encoder(), clothes(flip=False, shift_pixels=0))
    assert torch.equal(features.train.x, again.train.x)
    assert (len(features.train), len(features.test)) == (60, 30)
    assert features.train.y.bincount().tolist() == [6] * 10


def test_views_are_averaged(tmp_path):
    folder = photographs(tmp_path)
    config = DataConfig("image_folder", str(folder), img_size=16, test_crops=3)
    network = encoder("spiking_cnn_small", in_chans=3, img_size=16)
    feed = feeding(config, 3, "it")
    features = compute(network, feed)
    assert (len(features.train), len(features.test)) == (6, 6)
    views, _ = feed.data.test.dataset[2]
    with torch.no_grad():
        torch.testing.assert_close(features.test.x[2], network.features(views).mean(0))


def test_sequences_are_probed(tmp_path):
    config = DataConfig("event_folder", str(recordings(tmp_path)), img_size=32, frames=3)
    network = encoder("spiking_cnn_small", in_chans=2, img_size=32)
    with torch.no_grad():
        for module in network.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.fill_(20.0)  # else nothing fires
    feed = feeding(config, 2, "it")
    features = compute(network, feed)
    sequence, label = feed.data.test.dataset[1]
    with torch.no_grad():
        expected = network.model.forward_features(sequence[:, None]).mean((0, 3, 4))[0]
    torch.testing.assert_close(features.test.x[1], expected)
    assert (features.train.x.shape, features.test.y[1]) == ((4, len(expected)), label)


def test_grey_images_are_repeated_for_an_encoder_of_three_channels():
    network = encoder("timm:resnet10t")
    feed = clothes(network.channels)
    assert network.channels == 3
    features = compute(network, feed)
    assert features.notes == ("grey images repeated to three channels",)
    images, _ = feed.data.test.dataset[4]
    with torch.no_grad():
        torch.testing.assert_close(features.test.x[4], network.features(images.repeat(3, 1, 1)[None])[0])


# Kept on disk.


def watched(found):
    """Count the batches that an encoder computes."""
    counted = []

    def watch(items, title, count):
        counted.append(title)
        return items

    return counted, watch


def test_kept_features_are_used_until_anything_changes(tmp_path):
    counted, watch = watched(None)
    first = compute(encoder(), clothes(), tmp_path, watch)
    again = compute(encoder(), clothes(flip=False, batch_size=7, erase=0.5), tmp_path, watch)
    assert counted == ["train", "test"]
    for one, other in ((first.train, again.train), (first.test, again.test)):
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.y, other.y)
    changed = encoder()
    with torch.no_grad():
        next(changed.model.parameters()).view(-1)[0] += 1e-3
    for network, feed in (
        (changed, clothes()),
        (encoder(timesteps=2), clothes()),
        (dataclasses.replace(encoder(), at_head=True), clothes()),
        (encoder(img_size=32), clothes(img_size=32)),
        (encoder(), clothes(train_limit=70)),
        (encoder(), clothes(sample_seed=1)),
    ):
        before = len(counted)
        assert compute(network, feed, tmp_path, watch).key != first.key
        assert len(counted) == before + 2
    path = tmp_path / f"features-{first.key[:16]}.safetensors"
    path.write_bytes(path.read_bytes()[:-3] + b"abc")  # damaged
    before = len(counted)
    assert torch.equal(compute(encoder(), clothes(), tmp_path, watch).train.x, first.train.x)
    assert len(counted) == before + 2
    assert torch.equal(compute(encoder(), clothes(), tmp_path, watch).train.x, first.train.x)
    assert len(counted) == before + 2


@pytest.mark.parametrize("kind", ["image_folder", "tar_shards"])
def test_features_of_files_that_changed_are_computed_anew(kind, tmp_path):
    folder = photographs(tmp_path / "d") if kind == "image_folder" else shards(tmp_path / "d")
    counted, watch = watched(None)

    def key():
        feed = feeding(DataConfig(kind, str(folder), img_size=16), 3, "it")
        return compute(encoder(in_chans=3, img_size=16), feed, tmp_path / "kept", watch).key

    first = key()
    assert first
    assert key() == first
    assert len(counted) == 2
    if kind == "image_folder":
        path = sorted((folder / "val").rglob("*.png"))[0]
        path.write_bytes(path.read_bytes() + b" ")
    else:
        shards(folder, counts=(4, 4, 4))
    assert key() != first
    assert len(counted) == 4


def test_a_cache_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="--cache"):
        compute(encoder(), clothes(), tmp_path / "file")


# Which labels.


def made(count=200, classes=4, width=6, seed=0):
    """Features that tell classes apart, of unequal numbers."""
    generator = torch.Generator().manual_seed(seed)
    y = (torch.rand(count, generator=generator) ** 2 * classes).long()
    y[:classes] = torch.arange(classes)
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(9))
    split = Split(centres[y] + 0.5 * torch.randn(count, width, generator=generator), y)
    return split


def features():
    return Features(made(), made(seed=1), tuple("abcd"))


@pytest.mark.parametrize("method", ["linear", "sgd", "knn"])
def test_a_share_of_the_labels_is_stratified_and_seeded(method, monkeypatch):
    monkeypatch.setattr(linear, "LEAST_STEPS", 300)
    monkeypatch.setattr(linear, "EPOCHS", 10)
    whole, settings = features(), Settings(k=5, l2=1e-2, seeds=3)
    few = probe(whole, method, 0.1, settings)
    assert (few.images, len(few.accuracies)) == (20, 3)
    assert few.accuracies == probe(whole, method, 0.1, settings).accuracies
    assert few.mean == pytest.approx(sum(few.accuracies) / 3)
    assert few.deviation == pytest.approx(np.std(few.accuracies, ddof=1))
    full = probe(whole, method, 1.0, settings)
    assert full.images == 200
    assert len(full.accuracies) == (3 if method == "sgd" else 1)  # nothing else is drawn
    assert full.mean > 0.9
    hidden = Features(whole.train, Split(whole.test.x, whole.test.y.roll(7)), whole.classes)
    assert probe(hidden, method, 1.0, settings).settings == full.settings  # test labels choose nothing


def test_the_decay_is_chosen_only_where_there_are_images_to_choose_on():
    whole = features()
    assert probe(whole, "linear", 0.1).settings[0]["l2"] == FEW_L2
    assert probe(whole, "linear", 1.0).settings[0]["l2"] in (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
    assert probe(whole, "linear", 1.0, Settings(l2=0.7)).settings[0]["l2"] == 0.7


@pytest.mark.parametrize(
    ("share", "message"),
    [(0.0, "above 0"), (1.5, "at most 1"), (float("nan"), "labels=nan"), (0.01, "2 of 200 images, fewer than the 4")],
)
def test_a_share_that_cannot_be_drawn_is_named(share, message):
    with pytest.raises(InvalidArgumentError, match=message):
        label_count(features(), share)


def test_bad_settings_are_named():
    with pytest.raises(UnknownNameError, match="'linear'"):
        probe(features(), "liner")
    with pytest.raises(InvalidArgumentError, match=r"k=20: there are 10 labelled images"):
        probe(features(), "knn", 0.05)
    with pytest.raises(InvalidArgumentError, match="seeds=0"):
        probe(features(), "knn", 1.0, Settings(seeds=0))


# Where nothing can be measured.


def test_a_collapsed_encoder_is_named():
    dead = encoder()
    with torch.no_grad():
        for parameter in dead.model.parameters():
            parameter.zero_()
    with pytest.raises(CollapsedError, match="features of all 60 training images are all zero: nothing fires"):
        compute(dead, clothes())
    same = encoder("timm:resnet10t", in_chans=1)
    with torch.no_grad():
        for name, parameter in same.model.named_parameters():
            if name.startswith("conv1") and parameter.ndim == 4:
                parameter.zero_()
        same.model.bn1.bias.fill_(1.0)
    with pytest.raises(CollapsedError, match=r"are equal within .* of the largest"):
        compute(same, clothes())


def test_features_that_are_no_numbers_are_named():
    bad = encoder("timm:resnet10t", in_chans=1)
    with torch.no_grad():
        bad.model.bn1.weight.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="features of 60 train images are NaN or infinite"):
        compute(bad, clothes())


def test_data_without_labels_or_of_other_channels_are_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match="pass has no labels to probe with"):
        feeding(DataConfig("pass", str(PASS_SAMPLE), img_size=16), 3, "it")
    with pytest.raises(InvalidArgumentError, match="reads images of 1 channels, .* has 3"):
        feeding(DataConfig("image_folder", str(photographs(tmp_path)), img_size=16), 1, "it")


def test_images_of_a_size_that_cannot_be_read_are_told():
    with pytest.raises(InvalidArgumentError, match=r"cannot read images \(1, 28, 28\).*--img-size"):
        compute(encoder("timm:vit_tiny_patch16_224", in_chans=1), clothes())


# Which encoders.


def test_a_random_start_is_the_same_network_before_training():
    trained = encoder()
    with torch.no_grad():
        for parameter in trained.model.parameters():
            parameter += 1.0
    feed = clothes()
    start = random_start(trained, feed.drawn(3), seed=3)
    torch.manual_seed(3)
    fresh = create_model(**trained.made).state_dict()
    found = start.model.state_dict()
    assert found.keys() == fresh.keys()
    norms = [key for key in found if "running" in key or "batches_tracked" in key]
    assert all(torch.equal(found[key], fresh[key]) for key in found.keys() - set(norms))
    assert any(not torch.equal(found[key], fresh[key]) for key in norms)  # they saw images
    assert not start.model.training
    assert start.key() != trained.key()


def test_the_encoder_of_a_pre_training_is_probed(tmp_path):
    sizes = {"name": "spikformer_v2_mae_8_384", "in_chans": 1, "img_size": 32}
    masked = create_model(**sizes)
    save_weights(masked, tmp_path / "m.safetensors", sizes)
    found = load_encoder(str(tmp_path / "m.safetensors"))
    assert type(found.model) is type(masked.encoder)
    assert torch.equal(next(found.model.parameters()), next(masked.encoder.parameters()))
    assert found.features(torch.rand(2, 1, 32, 32)).shape == (2, masked.encoder.num_features)


def test_names_with_weights(tmp_path):
    network = encoder("timm:resnet10t", in_chans=1, num_classes=5)
    save_weights(network.model, tmp_path / "w.safetensors")
    found = load_encoder(f"timm:resnet10t@{tmp_path / 'w.safetensors'}", in_chans=1)
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(found.features(images), network.features(images))
    assert "2 unused (fc.bias, fc.weight)" in found.note  # the head
    lacking = {key: value for key, value in network.model.state_dict().items() if "layer4" not in key}
    save_tensors(lacking, tmp_path / "part.safetensors")
    with pytest.raises(InvalidArgumentError, match=r"tensors would stay random \(layer4"):
        load_encoder(f"timm:resnet10t@{tmp_path / 'part.safetensors'}", in_chans=1)
    for target, error in (
        ("nowhere.safetensors", CorruptFileError),
        ("runs/none", CorruptFileError),
        ("resnt", UnknownNameError),
        ("timm:resnt18", UnknownNameError),
    ):
        with pytest.raises(error):
            load_encoder(target)
    save_weights(nn.Linear(2, 2), tmp_path / "l.safetensors", {"name": "spiking_cnn_small"})
    with pytest.raises(CorruptFileError):
        load_encoder(str(tmp_path / "l.safetensors"))


# The command.


def test_the_command(tiny_run, tmp_path, call):
    run = shutil.copytree(tiny_run.folder, tmp_path / "run")
    code, out, err = call("probe", run, "--labels", "0.1,1", "--seeds", 2, "--random", "--l2", 0.01)
    assert (code, err) == (0, "")
    assert "640 + 100 images, 10 classes, chance 1" in " ".join(out.split())
    assert "mean over time and place of the last feature map" in " ".join(out.split())
    assert max(len(line) for line in out.splitlines() if str(run) not in line) <= 80
    written = json.loads((run / "probe.json").read_text())
    found = {(one["encoder"], one["method"], one["labels"]): one for one in written["probes"]}
    assert len(found) == 8
    assert found["trained", "linear", 1.0]["mean"] > 3 * written["chance"]
    assert len(found["random", "knn", 0.1]["accuracies"]) == 2
    assert len(list((run / "features").glob("*.safetensors"))) == 2
    model, _ = build_model(run / "checkpoints" / "last.safetensors")
    assert written["width"] == model.forward_features(torch.zeros(1, 1, 1, 28, 28)).shape[2]
    code, out, _ = call("probe", run, "--method", "knn", "--k", 7)  # the other results are kept
    again = json.loads((run / "probe.json").read_text())["probes"]
    assert len(again) == 8
    chosen = [one for one in again if one["method"] == "knn" and one["encoder"] == "trained"]
    assert [one["settings"][0]["k"] for one in chosen] == [20, 7]


def test_names_are_probed_and_what_is_random_is_said(tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = photographs(tmp_path / "d", sizes=((20, 30), (25, 18), (40, 40)))
    words = ("--dataset", "image_folder", "--source", folder, "--img-size", 32, "--method", "knn", "--k", 3)
    code, _, err = call("probe", "timm:resnet10t", *words, "--output", "p.json", "--random")
    assert code == 2
    assert "--random: timm:resnet10t has random weights itself" in err
    code, out, err = call("probe", "timm:resnet10t", *words, "--output", "p.json")
    assert (code, err) == (0, "")
    assert "the weights are random: give a run, a checkpoint, or NAME@weights" in out
    assert "trained " not in out.partition("accuracy")[2]
    found = json.loads((tmp_path / "p.json").read_text())
    assert (found["target"], found["img_size"]) == ("timm:resnet10t", [32, 32])
    assert (found["probes"][0]["encoder"], found["probes"][0]["mean"]) == ("random", 1.0)  # red or blue


def test_results_of_other_features_are_moved_and_not_lost(tiny_run, tmp_path, call):
    path, words = tmp_path / "p.json", ("--method", "knn", "--cache", tmp_path, "--output", tmp_path / "p.json")
    call("probe", tiny_run.checkpoint, *words)
    first = json.loads(path.read_text())
    code, out, _ = call("probe", tiny_run.checkpoint, *words, "--at-head")
    moved = tmp_path / f"p-{first['key'][:8]}.json"
    assert code == 0
    assert f"{moved}: what stood in p.json, of other features" in out
    assert json.loads(moved.read_text()) == first
    second = json.loads(path.read_text())
    assert second["img_size"] == [28, 28]
    assert second["pooling"] != first["pooling"]
    assert second["key"] != first["key"]


def test_captions_are_no_labels(tiny_run, call):
    code, _, err = call("probe", tiny_run.checkpoint, "--dataset", "captioned_fashion_mnist")
    assert code == 2
    assert "captioned_fashion_mnist has no labels to probe with" in err


def test_norms_of_a_random_start_see_images_of_all_classes(tmp_path):
    """Of a folder images come class by class."""
    for split, name, shade in itertools.product(("train", "val"), ("a", "b", "c"), range(7)):
        path = made_folder(tmp_path / split / name) / f"{shade}.png"
        Image.new("RGB", (16, 16), (10 * shade, 80 * "abc".index(name), 0)).save(path)
    feed = feeding(DataConfig("image_folder", str(tmp_path), img_size=16), 3, "it")
    feed.train.batch_size = 4
    images = list(feed.drawn(0, 2))
    assert [len(batch) for batch in images] == [4, 4]
    shown = [tuple(image[:, 0, 0].tolist()) for batch in images for image in batch]
    assert len({shade for _, shade, _ in shown}) == 3  # of each class some; the first eight in order are of two
    assert len(set(shown)) == 8
    assert [len(batch) for batch in feed.drawn(0)] == [4] * 5  # one image alone has no variance
    assert all(torch.equal(a, b) for a, b in zip(images, feed.drawn(0, 2), strict=True))


def test_the_commands_mistakes_are_one_line(tiny_run, tmp_path, call):
    run = tiny_run.checkpoint
    for words, message in (
        (("--method", "liner"), "Did you mean 'linear'?"),
        (("--labels", "few"), "give shares with commas between"),
        (("--labels", "0.001", "--cache", tmp_path), "fewer than the 10 classes"),
        (("--method", "knn", "--k", "9999", "--cache", tmp_path), "k=9999"),
        (("--dataset", "pass", "--source", PASS_SAMPLE), "has no labels"),
    ):
        code, _, err = call("probe", run, *words)
        assert code == 2, words
        assert message in err
        assert len(err.splitlines()) == 1
    code, _, err = call("probe", tmp_path / "none")
    assert code == 2
    assert "no such folder" in err
