"""Weights on disk and into a model: what changed is told, what fits is taken, what is wrong is named, never half of it.

Would break it: a file that is believed, a value that is converted in silence, a model that is left half overwritten.
"""

import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import snnkit
from snnkit import archives
from snnkit.checkpoints import build_model, read_any, save_weights
from snnkit.errors import CorruptFileError, InvalidArgumentError, NonFiniteError, SnnkitError

SIZES = {"width": 4, "num_classes": 10, "img_size": 28}
CONFIG = {"name": "spiking_cnn_small", **SIZES}


def small(**changes):
    return snnkit.create_model("spiking_cnn_small", **{**SIZES, **changes})


def copied(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def unchanged(model, before):
    return all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.fixture
def saved(tmp_path):
    """A checkpoint and the model that it was saved from."""
    model = small()
    save_weights(model, tmp_path / "w.safetensors", CONFIG)
    return tmp_path / "w.safetensors", model


# A file that changed.


def test_every_flipped_bit_is_told(saved):
    """200 bits all over the file: none is used in silence; without the checksum nearly all were."""
    path, model = saved
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    before = copied(model)
    for at in generator.integers(8 * len(whole), size=200).tolist():
        content = bytearray(whole)
        content[at // 8] ^= 1 << at % 8
        path.write_bytes(content)
        try:
            other, config = build_model(path)
        except SnnkitError as error:
            assert "w.safetensors" in str(error)  # noqa: PT017
        else:  # a bit of the names of metadata
            assert config == CONFIG
            assert unchanged(other, before)


def test_one_weight_that_changed_is_told_by_eval_and_by_load(saved):
    path = saved[0]
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    for read in (build_model, read_any, lambda p: snnkit.load_weights(small(), p)):
        with pytest.raises(CorruptFileError, match=r"w\.safetensors has changed since it was written"):
            read(path)


def test_files_of_the_format_before_have_no_checksum_and_are_read(saved, tmp_path):
    _, model = saved
    metadata = {"format": "snnkit-weights-1", "model": json.dumps(CONFIG)}
    save_file(dict(model.state_dict()), tmp_path / "old.safetensors", metadata)
    assert unchanged(build_model(tmp_path / "old.safetensors")[0], copied(model))
    save_file(dict(model.state_dict()), tmp_path / "new.safetensors", metadata | {"format": "snnkit-weights-3"})
    with pytest.raises(CorruptFileError, match="'snnkit-weights-3'; this version reads snnkit-weights-1 and"):
        build_model(tmp_path / "new.safetensors")


# Values.


def with_value(model, key, value):
    state = copied(model)
    state[key].view(-1)[1] = value
    return state


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("key", ["head.weight", "stem.bn.running_var"])
def test_values_that_are_no_numbers_are_named(saved, tmp_path, key, value):
    _, model = saved
    key = next(name for name in model.state_dict() if name.endswith(key.split(".", 1)[1]) and key.split(".")[0] in name)
    other, state = small(), with_value(model, key, value)
    before = copied(other)
    with pytest.raises(NonFiniteError, match=rf"{key} holds -?(nan|inf) \(1 of \d+ values"):
        snnkit.load_weights(other, state)
    assert unchanged(other, before)
    model.load_state_dict(state)
    save_weights(model, tmp_path / "bad.safetensors", CONFIG)
    with pytest.raises(NonFiniteError, match=rf"bad\.safetensors: {key} holds"):
        build_model(tmp_path / "bad.safetensors")


def test_numbers_that_the_model_has_no_room_for_are_named(saved):
    state = with_value(saved[1].double(), "head.weight", 1e60)
    with pytest.raises(NonFiniteError, match="head.weight holds inf"):
        snnkit.load_weights(small(), state)
    assert snnkit.load_weights(small().double(), state).complete


def test_infinity_where_the_model_has_it_too_means_something():
    """A mask of attention is a buffer of minus infinities."""

    class Masked(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.tensor([0.0, -float("inf")]))

    assert snnkit.load_weights(Masked(), Masked().state_dict()).complete
    with pytest.raises(NonFiniteError, match="mask holds nan"):
        snnkit.load_weights(Masked(), {"mask": torch.tensor([0.0, float("nan")])})


BAD_TENSORS = {
    "sparse": (lambda w: w.to_sparse(), "head.weight of the file has no plain values"),
    "compressed": (lambda w: w.to_sparse_csr(), "head.weight of the file has no plain values"),
    "meta": (lambda w: w.to("meta"), "head.weight of the file has no memory"),
    "complex": (lambda w: w + 1j, "head.weight is complex64, the model float32: its imaginary part"),
    "whole numbers": (lambda w: (w * 100).to(torch.int8), "head.weight is int8, .* scales"),
    "quantised": (lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8), "head.weight of the file has no plain"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("case", BAD_TENSORS)
def test_a_tensor_that_cannot_be_taken_leaves_the_model_as_it_was(saved, case, strict):
    change, words = BAD_TENSORS[case]
    other, state = small(), copied(saved[1])
    state["head.weight"] = change(state["head.weight"])
    before = copied(other)
    with pytest.raises(InvalidArgumentError, match=words) as caught:
        snnkit.load_weights(other, state, strict=strict)
    assert "\n" not in str(caught.value)
    assert unchanged(other, before)


def test_a_model_without_memory_is_not_said_to_be_filled(saved):
    with torch.device("meta"):
        other = small()
    with pytest.raises(InvalidArgumentError, match="of the model has no memory"):
        snnkit.load_weights(other, saved[1].state_dict())


def test_fractions_for_a_counter_are_refused_and_whole_floats_taken(saved):
    counter = next(key for key in saved[1].state_dict() if key.endswith("num_batches_tracked"))
    state = copied(saved[1])
    assert snnkit.load_weights(small(), {**state, counter: torch.tensor(7.0)}).complete
    with pytest.raises(InvalidArgumentError, match=f"{counter} is float32, the model int64: its values would change"):
        snnkit.load_weights(small(), {**state, counter: torch.tensor(7.5)})


# Fine-tuning.


def test_another_number_of_classes_leaves_the_head_and_names_it(saved):
    path, model = saved
    other = small(num_classes=20)
    before = copied(other)
    with pytest.raises(
        InvalidArgumentError, match=r"head.weight has shape \(10, .*strict=False to leave .*such as a new head"
    ):
        snnkit.load_weights(other, path)
    assert unchanged(other, before)
    report = snnkit.load_weights(other, path, strict=False)
    assert report.left == ("head.weight", "head.bias")
    assert not report.complete
    assert set(report.loaded) == set(before) - set(report.left)
    assert "2 (head.weight, head.bias) start as the model has them" in str(report)
    for key, value in other.state_dict().items():
        assert torch.equal(value, before[key] if key in report.left else model.state_dict()[key])


def test_nothing_that_fits_is_an_error(saved):
    with pytest.raises(InvalidArgumentError, match="none of these 1 tensors fits"):
        snnkit.load_weights(small(), {"head.weight": torch.zeros(3, 3)}, strict=False)


@pytest.mark.parametrize("strict", [True, False])
def test_three_colours_are_summed_for_grey_images(strict):
    """A grey image gives what it gave as three equal channels, to rounding."""
    colour, grey = small(in_chans=3).eval(), small(in_chans=1).eval()
    report = snnkit.load_weights(grey, colour.state_dict(), strict=strict)
    (stem,) = report.adapted
    assert report.complete
    assert f"{stem} adapted to the channels" in str(report)
    wide, narrow = colour.state_dict()[stem], grey.state_dict()[stem]
    assert torch.equal(narrow, wide.sum(1, keepdim=True))
    x = torch.rand(2, 1, 28, 28, dtype=torch.float64)
    with torch.no_grad():
        expected = colour.double().forward_stem(x.expand(2, 3, 28, 28)[None])
        torch.testing.assert_close(grey.double().forward_stem(x[None]), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("channels", [2, 4, 5, 6])
def test_other_channels_repeat_the_colours_as_timm_does(channels):
    timm = pytest.importorskip("timm.models")
    colour, other = small(in_chans=3), small(in_chans=channels)
    (stem,) = snnkit.load_weights(other, colour.state_dict()).adapted
    expected = timm.adapt_input_conv(channels, colour.state_dict()[stem])
    torch.testing.assert_close(other.state_dict()[stem], expected, rtol=1e-6, atol=0)


def test_channels_elsewhere_or_from_other_numbers_are_not_adapted():
    with pytest.raises(InvalidArgumentError, match="has shape"):
        snnkit.load_weights(small(in_chans=3), small(in_chans=1).state_dict())
    with pytest.raises(InvalidArgumentError, match="has shape"):
        snnkit.load_weights(small(in_chans=1), small(in_chans=2).state_dict())


# What a file may ask for.


def described(path, model, config):
    save_file(dict(model.state_dict()), path, {"format": "snnkit-weights-1", "model": json.dumps(config)})
    return path


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ([1, 2], "describes its model by a list"),
        ("spiking_cnn_small", "describes its model by a str"),
        (None, "describes its model by a NoneType"),
        ({}, "does not say which model"),
        ({"name": 3}, "does not say which model"),
        ({"name": ["spiking_cnn_small"]}, "does not say which model"),
        ({**CONFIG, "width": {"a": 1}}, "only numbers, words and lists"),
        ({**CONFIG, "width": [[[4]]]}, "only numbers, words and lists"),
        ({**CONFIG, "width": 1e30}, "only numbers, words and lists"),
        ({**CONFIG, "trained_size": 28}, r"trained_size=28; it must be \[height, width\]"),
        ({**CONFIG, "trained_size": [28, "x"]}, "trained_size"),
        ({**CONFIG, "name": "spiking_cnn_smal"}, "cannot be made.*'spiking_cnn_small'"),
        ({**CONFIG, "widht": 4}, "cannot be made.*'width'"),
        ({**CONFIG, "width": "four"}, "cannot be made.*width"),
        ({**CONFIG, "width": 8}, r"whose \S+ has shape \(8, .*holds one of \(4,"),
        ({**CONFIG, "width": 1_000_000}, r"has shape \(1000000, "),
        ({**CONFIG, "num_classes": 0}, "other tensors than it holds"),
    ],
)
def test_a_description_that_is_none_is_refused_without_memory(tmp_path, config, words):
    """The model is compared with the file's tensors before its own are made: width a million would be terabytes."""
    path = described(tmp_path / "w.safetensors", small(), config)
    with pytest.raises(CorruptFileError, match=words) as caught:
        build_model(path)
    assert "w.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "extra",
    [
        {"pretrained": True},
        {"pretrained": False},
        {"checkpoint_path": "/etc/passwd"},
        {"cache_dir": "/tmp"},
        {"pretrained_cfg": "a1_in1k"},
        {"pretrained_strict": False},
        {"scriptable": True},
        {"num_classes": "file:///etc"},
    ],
    ids=str,
)
def test_a_file_gives_timm_nothing_but_sizes(tmp_path, extra, monkeypatch):
    timm = pytest.importorskip("timm")
    model = snnkit.create_model("timm:resnet10t", num_classes=3)
    good = {"name": "timm:resnet10t", "num_classes": 3}
    assert build_model(described(tmp_path / "good.safetensors", model, good))[1] == good
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("timm was asked"))
    path = described(tmp_path / "w.safetensors", model, good | extra)
    with pytest.raises(CorruptFileError, match=f"{next(iter(extra))}=.*only sizes are taken from a file"):
        build_model(path)


@pytest.mark.parametrize("name", ["timm:hf-hub:someone/model", "timm:hf_hub:someone/model", "timm:local-dir:/tmp"])
def test_a_file_cannot_name_a_model_of_a_hub(tmp_path, name):
    with pytest.raises(CorruptFileError, match="cannot be made: unknown timm model"):
        build_model(described(tmp_path / "w.safetensors", small(), {"name": name}))


# Torch files.


def test_a_dictionary_that_holds_itself_is_read_once(saved):
    state = copied(saved[1])
    loop = dict(state)
    loop["model"] = loop
    assert snnkit.load_weights(small(), loop).complete
    first, second = {"w": torch.zeros(1)}, {"w": torch.zeros(1)}
    first["model"], second["state_dict"] = second, first
    with pytest.raises(InvalidArgumentError):
        snnkit.load_weights(small(), first)


@pytest.mark.parametrize("key", [0, (1, 2), None, b"head.weight"], ids=repr)
def test_tensors_under_what_are_no_names(tmp_path, saved, key):
    content = {**copied(saved[1]), key: torch.zeros(1)}
    torch.save(content, tmp_path / "w.pth")
    for given in (content, tmp_path / "w.pth"):
        with pytest.raises(InvalidArgumentError, match="it is no state dict"):
            snnkit.load_weights(small(), given)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("ending", [".safetensors", ".pth", ".bin"])
def test_a_renamed_pickle_gives_one_line_whatever_it_is_called(tmp_path, protocol, ending):
    path = tmp_path / f"w{ending}"
    path.write_bytes(pickle.dumps({"head.weight": [1.0, 2.0]}, protocol))
    for read in (build_model, lambda p: snnkit.load_weights(small(), p)):
        with pytest.raises((CorruptFileError, InvalidArgumentError)) as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400


def test_a_torch_file_given_as_a_run_says_what_to_do(tmp_path, saved):
    torch.save(saved[1].state_dict(), tmp_path / "w.pth")
    with pytest.raises(CorruptFileError, match="not a safetensors file.*convert-checkpoint"):
        build_model(tmp_path / "w.pth")


def test_a_torch_file_that_claims_more_than_it_may_is_not_unpacked(tmp_path, saved, monkeypatch):
    torch.save(saved[1].state_dict() | {"zeros": torch.zeros(1 << 20)}, tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth") as plain, zipfile.ZipFile(tmp_path / "b.pth", "w", 8) as packed:
        for member in plain.infolist():
            packed.writestr(member.filename, plain.read(member))
    monkeypatch.setattr(archives, "MOST_BYTES", 1 << 20)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(CorruptFileError, match="claims to unpack to"):
        read_any(tmp_path / "b.pth")


def test_what_is_written_can_be_read_by_others(saved):
    """The checksum lies in the metadata: the file is a plain safetensors file."""
    with safe_open(saved[0], framework="pt") as file:
        assert set(file.metadata()) == {"format", "model", "sha256"}
        assert len(file.metadata()["sha256"]) == 64


@pytest.mark.parametrize("length", [640, 896, 1152, 1408])
def test_a_header_whose_length_looks_like_a_pickles_sign_is_read(tmp_path, length):
    """Such lengths are written as 80 02, 80 03, 80 04 and 80 05, with which pickles begin."""
    path, weight = tmp_path / "w.safetensors", torch.arange(3.0)
    for padding in range(length):
        save_file({"weight": weight}, path, {"note": "n" * padding})
        if path.read_bytes()[:2] == length.to_bytes(2, "little"):
            break
    assert path.read_bytes()[:8] == length.to_bytes(8, "little")
    content, _ = read_any(path)
    assert torch.equal(content["weight"], weight)
