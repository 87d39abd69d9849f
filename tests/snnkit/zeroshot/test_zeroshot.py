"""Classifiers out of texts: logits by hand, kept features, what a run is tested on, bad input.

Would break it: features kept for other texts or other weights, names in another order than the labels, recalls of
another data set.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from support.data import png

import snnkit
from snnkit.data import DataConfig, load_images
from snnkit.data.tokens import Bytes, fitted, make_tokens, train_bpe
from snnkit.engine import evaluating, find_checkpoint, resume, train
from snnkit.engine.feeding import on_other_data
from snnkit.errors import CorruptFileError, InvalidArgumentError, NonFiniteError
from snnkit.recipes import get_recipe
from snnkit.zeroshot import classify, load_towers, retrieve, zero_shot


def towers(channels=1):
    torch.manual_seed(0)
    sizes = {"text_width": 16, "text_depth": 1, "text_heads": 2, "dim": 8, "context": 80}
    return snnkit.create_model("basic:timm:resnet10t", in_chans=channels, **sizes).eval()


def test_logits(tmp_path):
    model, images = towers(), torch.randn(3, 1, 28, 28)
    network = zero_shot(model, ["cat", "dog"], ["a {}", "the {}."], kept=tmp_path)
    with torch.no_grad():
        f = model.encode_images(images)
        for k, name in enumerate(("cat", "dog")):
            rows = torch.stack([fitted(Bytes().encode(t.format(name)), 80)[0] for t in ("a {}", "the {}.")])
            w = F.normalize(model.encode_texts(rows).mean(0), dim=0)
            torch.testing.assert_close(network(images)[:, k], model.scale() * f @ w)


def test_features_are_kept_for_these_texts_and_weights(tmp_path, monkeypatch):
    model = towers()
    first = zero_shot(model, ["cat", "dog"], kept=tmp_path).weights
    calls = []
    encode = model.encode_texts
    monkeypatch.setattr(model, "encode_texts", lambda tokens: calls.append(1) or encode(tokens))
    assert torch.equal(zero_shot(model, ["cat", "dog"], kept=tmp_path).weights, first)
    assert not calls
    zero_shot(model, ["dog", "cat"], kept=tmp_path)
    assert calls
    calls.clear()
    with torch.no_grad():
        model.text.norm.bias += 1
    assert not torch.equal(zero_shot(model, ["cat", "dog"], kept=tmp_path).weights, first)
    assert calls
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(b"damaged")
    calls.clear()
    zero_shot(model, ["cat", "dog"], kept=tmp_path)
    assert calls


@pytest.mark.parametrize(
    ("classes", "templates", "words"),
    [([], ["{}"], "one class"), (["a", " "], ["{}"], "none of them empty"), (["a"], ["b"], "one {}")],
)
def test_bad_texts(classes, templates, words):
    with pytest.raises(InvalidArgumentError, match=words):
        zero_shot(towers(), classes, templates)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = get_recipe("pairs_fashion_mnist")
    config.data.source, config.data.train_limit, config.data.test_limit = "vendored", 512, 80
    config.data.batch_size, config.optim.accumulate, config.epochs, config.threads = 32, 2, 1, 1
    return train(config, tmp_path_factory.mktemp("zeroshot") / "run").folder


def test_a_run(run, call):
    code, out, err = call("zeroshot", str(run))
    assert code == 0, err
    assert "test images of 10 classes, 5 texts of the data set for each" in " ".join(out.split())
    found = json.loads((run / "zeroshot.json").read_text())
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["test"]
    assert found["accuracy"] == pytest.approx(last["accuracy"])
    code, out, err = call("zeroshot", str(run), "--retrieval")
    assert code == 0, err
    recalls = json.loads((run / "retrieval.json").read_text())
    for key in ("image_recall_1", "text_recall_10"):
        assert recalls[key] == pytest.approx(last[key])
    assert recalls["pairs"] == 80


def test_eval_says_what_the_test_of_the_training_said(run, call):
    code, out, err = call("eval", str(run))
    assert code == 0, err
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["test"]
    told = evaluating.test(
        evaluating.run_of(find_checkpoint(run)), load_towers(run).towers, load_images(load_towers(run).data, seed=0), ()
    )
    assert told == pytest.approx(last, rel=1e-5)
    assert f"{last['accuracy']:.1%}" in out


@pytest.mark.parametrize("batch", [80, 7])
def test_the_loss_of_a_test_does_not_hang_on_its_batches(run, batch):
    trained = load_towers(run)
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["test"]
    data = load_images(replace(trained.data, batch_size=batch), seed=0)
    assert evaluating.test(evaluating.run_of(find_checkpoint(run)), trained.towers, data, ())["loss"] == pytest.approx(
        last["loss"], rel=1e-5
    )


def test_one_class_is_nothing_to_tell_apart(run, tmp_path):
    for split in ("train", "val"):
        (tmp_path / split / "owl").mkdir(parents=True)
        (tmp_path / split / "owl" / "0.png").write_bytes(png(50))
    with pytest.raises(InvalidArgumentError, match="has one class, 'owl'"):
        classify(replace(load_towers(run), towers=towers(3)), "captioned_folder", str(tmp_path))


def test_texts_of_the_data_set_name_its_classes(run, tmp_path):
    """As in the tests of a training: templates of a folder's file, and not the plain ones."""
    for name in ("tree_frog", "owl"):
        for split in ("train", "val"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "0.png").write_bytes(png(50))
    (tmp_path / "templates.txt").write_text("seen: {}\n", encoding="utf-8")
    trained = load_towers(run)
    with pytest.raises(InvalidArgumentError, match="have 3 channels, the image tower takes 1"):
        classify(trained, "captioned_folder", str(tmp_path))
    trained = replace(trained, towers=towers(3))
    found = classify(trained, "captioned_folder", str(tmp_path))
    assert (found["templates"], found["of_the_data"]) == (["seen: owl"], True)
    found = classify(trained, "captioned_folder", str(tmp_path), templates=("a {}",))
    assert (found["templates"], found["of_the_data"]) == (["a {}"], False)


def test_weights_that_are_not_finite_are_no_accuracy(run):
    trained = load_towers(run)
    with torch.no_grad():
        trained.towers.image_projection.weight.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="not finite"):
        classify(trained, most=10)
    with pytest.raises(NonFiniteError, match="not finite"):
        retrieve(trained, most=10)


def test_names_and_templates_of_files(run, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("names.txt").write_text("\n".join(f"thing {n}" for n in range(10)) + "\n")
    Path("templates.txt").write_text("one {}\n")
    code, _, err = call("zeroshot", str(run), "--classes", "names.txt", "--templates", "templates.txt")
    assert code == 0, err
    assert json.loads((run / "zeroshot.json").read_text())["templates"] == ["one {}"]
    Path("names.txt").write_text("one\n")
    code, _, err = call("zeroshot", str(run), "--classes", "names.txt")
    assert code == 2
    assert "10 classes, and 1 names" in " ".join(err.split())


@pytest.mark.parametrize(
    ("words", "told"),
    [(("--images", "-1"), "--images -1"), (("--classes", "none.txt"), "no such file"), (("--dataset", "x"), "dataset")],
)
def test_bad_words(run, call, words, told):
    code, _, err = call("zeroshot", str(run), *words)
    assert code == 2
    assert told in err
    assert err.count("\n") == 1


def test_one_tower(tmp_path):
    from snnkit.checkpoints import save_tensors

    model = snnkit.create_model("spiking_cnn_small", num_classes=3)
    save_tensors(model.state_dict(), tmp_path / "c.safetensors", {"name": "spiking_cnn_small", "num_classes": 3})
    with pytest.raises(InvalidArgumentError, match="one tower"):
        load_towers(tmp_path / "c.safetensors")
    with pytest.raises(CorruptFileError, match="does not exist"):
        load_towers(tmp_path / "nothing")


def test_a_tokenizer_that_changes_is_not_that_of_the_run(tmp_path):
    pytest.importorskip("tokenizers")
    path = tmp_path / "t.json"
    train_bpe(["a red shoe"] * 5, 270, path)
    config = get_recipe("pairs_fashion_mnist")
    config.data.source, config.data.train_limit, config.data.test_limit = "vendored", 64, 20
    config.data.batch_size, config.optim.accumulate, config.epochs, config.threads = 32, 2, 1, 1
    config.data.tokenizer, config.model.sizes["vocabulary"] = str(path), 300
    folder = train(config, tmp_path / "run").folder
    before = load_towers(folder).tokens.encode("a red shoe")
    train_bpe(["shades of bags"] * 5, 270, path)
    assert make_tokens(str(path)).encode("a red shoe") != before
    assert load_towers(folder).tokens.encode("a red shoe") == before
    config.epochs = 2
    resume(folder, config)
    assert load_towers(folder).tokens.encode("a red shoe") == before


def test_a_lone_file_has_the_context_of_its_tower(run, tmp_path):
    shutil.copy(find_checkpoint(run), tmp_path / "alone.safetensors")
    assert load_towers(tmp_path / "alone.safetensors").data.context == 80


def test_another_data_set_has_its_own_source():
    fed = DataConfig("captioned_fashion_mnist", "vendored")
    assert on_other_data(fed, "fashion_mnist", None).source == "auto"
    assert on_other_data(fed, None, None).source == on_other_data(fed, fed.dataset, None).source == "vendored"
    assert on_other_data(fed, "fashion_mnist", "full").source == "full"
