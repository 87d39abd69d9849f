"""The registry: names, arguments, cards and parameter counts.

Would break it: a name or an argument that is not checked, a parameter count out of date, a model that cannot be built
without memory for its weights, a card that leaves out what is open.
"""

import io
from dataclasses import astuple

import pytest
import torch

import snnkit
from snnkit.checkpoints import build_model
from snnkit.cli.models import models
from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.models import families, register_model, spiking_cnn
from snnkit.neurons import IF, LIF

MODELS = snnkit.list_models()


# The registry.


def test_lists():
    assert sorted(MODELS) == MODELS
    assert "spiking_cnn_small" in snnkit.list_models("spiking_*")
    assert snnkit.list_models("no_such_*") == []
    assert set(snnkit.list_models(kind="snn")) | set(snnkit.list_models(kind="ann")) == set(MODELS)
    assert not set(snnkit.list_models(kind="snn")) & set(snnkit.list_models(kind="ann"))


def test_an_unknown_kind_names_the_nearest():
    with pytest.raises(UnknownNameError, match="'snn'"):
        snnkit.list_models(kind="snnn")


@pytest.mark.parametrize("ask", [snnkit.create_model, snnkit.model_info])
def test_an_unknown_model_names_the_nearest(ask):
    with pytest.raises(UnknownNameError, match="'spiking_cnn_small'"):
        ask("spiking_cnn_smal")
    with pytest.raises(UnknownNameError, match="snnkit models"):
        ask("zzz")


def test_an_unknown_argument_names_model_and_nearest():
    with pytest.raises(UnknownNameError, match=r"spiking_cnn_small.*'width'"):
        snnkit.create_model("spiking_cnn_small", widht=8)


@pytest.mark.parametrize("key", ["num_classes", "in_chans", "img_size", "timesteps"])
@pytest.mark.parametrize("value", [-1, 2.5, True, float("nan"), float("inf"), "ten", [1]], ids=repr)
def test_bad_values_are_named(key, value):
    with pytest.raises(InvalidArgumentError, match=key):
        snnkit.create_model("spiking_cnn_small", **{key: value})


BAD_SIZES = [
    *({"width": width} for width in (0, -3, 1.5, "six")),
    *({"tau": tau} for tau in (1.0, 0)),
    {"dropout": 1.0},
]


@pytest.mark.parametrize("settings", BAD_SIZES, ids=repr)
def test_bad_sizes_are_named(settings):
    with pytest.raises(InvalidArgumentError, match=next(iter(settings))):
        snnkit.create_model("spiking_cnn_small", **settings)


NO_SIZES = [
    ("e_spikeformer_t", "num_heads", 0),
    ("e_spikeformer_t", "embed_dim", 16),
    ("e_spikeformer_t", "depths", (0, 2)),
    ("e_spikeformer_t", "value_ratio", 1.5),
    ("e_spikeformer_12_512", "embed_dim", (8, 8)),
    ("e_spikeformer_12_512", "depth", 1.5),
    ("e_spikeformer_mae_12_512", "decoder_heads", 0),
    ("e_spikeformer_mae_12_512", "mask_ratio", float("nan")),
    ("spikformer_v2_mae_8_384", "decoder_dim", 0),
    ("spikformer_8_384", "embed_dim", (16, 16)),
    ("sdt_v1_8_384", "depth", [2]),
    ("qkformer_10_384", "depths", 3),
    ("ms_resnet18", "stem_kernel", (3, 3)),
    ("swinv2_tiny_window8_256", "embed_dim", -1),
    ("swinv2_tiny_window8_256", "pretrained_window_size", 1.5),
    ("moat_0", "stem_dim", (64,)),
    ("uniformer_small", "head_dim", (32,)),
    *(
        (name, "mlp_ratio", value)
        for name in ("e_spikeformer_t", "e_spikeformer_12_512", "spikformer_8_384", "sdt_v1_8_384", "qkformer_10_384",
                     "spikformer_v2_8_384", "lookupvit_small", "swinv2_tiny_window8_256", "uniformer_small",
                     "uniformer_xxs", "uniformer_dense_small", "uniformer_video_small")
        for value in (-1, float("nan"), "four")
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "key", "value"), NO_SIZES, ids=repr)
def test_sizes_that_cannot_be_are_named(name, key, value):
    with torch.device("meta"), pytest.raises(InvalidArgumentError, match=key):
        snnkit.create_model(name, **{key: value})


@pytest.mark.parametrize("value", ["a tenth", (0.1,), 1.0, -0.1], ids=repr)
def test_a_rate_of_stochastic_depth_is_a_share(value):
    with torch.device("meta"), pytest.raises(InvalidArgumentError, match="drop_path_rate"):
        snnkit.create_model("moat_0", drop_path_rate=value)


@pytest.mark.parametrize("value", [2.5, "ten", True, -1], ids=repr)
def test_a_new_head_has_a_whole_number_of_classes(value):
    with torch.device("meta"), pytest.raises(InvalidArgumentError, match="num_classes"):
        snnkit.create_model("tiny_moat_0").reset_classifier(value)


def test_whole_numbers_may_be_floats():
    """What passes the check must also build."""
    model = snnkit.create_model("spiking_cnn_small", num_classes=10.0, img_size=28.0, timesteps=4.0)
    assert model(torch.zeros(1, 1, 28, 28)).shape == (1, 10)


@pytest.mark.parametrize(("given", "offered"), [(30, "28 or 32"), (3, "4 or 8"), (7, "4 or 8"), ((28, 32), "one side")])
def test_an_image_size_that_strides_do_not_divide_names_the_next(given, offered):
    with pytest.raises(InvalidArgumentError, match=offered):
        snnkit.create_model("spiking_cnn_small", img_size=given)


def test_a_name_is_given_once():
    def spiking_cnn_small():
        """Another one."""

    with pytest.raises(ValueError, match="spiking_cnn_small"):
        register_model(spiking_cnn.FAMILY, params=0)(spiking_cnn_small)


@pytest.mark.parametrize("name", MODELS)
def test_info(name):
    """The declared parameter count is counted, without memory for the weights."""
    info = snnkit.model_info(name)
    with torch.device("meta"):
        model = snnkit.create_model(name)
    assert info.params == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert info.name == model.model_name == name
    assert info.kind in ("snn", "ann")
    assert info.paper
    assert info.source
    assert len(info.summary) > 10


def test_params_by_hand():
    """width 16: 144 + 6912 + 432 + 2304 weights, 2·(16 + 3·48) of batch norm, 48·49·10 + 10 of the head."""
    assert snnkit.model_info("spiking_cnn_small").params == 144 + 6912 + 432 + 2304 + 320 + 23530


def test_every_model_belongs_to_one_family_with_a_card():
    cards = families()
    assert len({card.name for card in cards}) == len(cards)
    for card in cards:
        assert card.tiny["name"] in MODELS
        assert {result.model for result in card.published} <= set(MODELS)
        assert snnkit.model_info(card.tiny["name"]).family is card


@pytest.mark.parametrize("card", families(), ids=lambda card: card.name)
def test_what_a_card_shows(card, monkeypatch):
    from rich.console import Console

    from snnkit.engine import progress

    paper = Console(width=400, record=True, file=io.StringIO())
    monkeypatch.setattr(progress, "console", paper)
    models(card.tiny["name"])
    text = paper.export_text()
    on_one_line = " ".join(text.split())
    for part in (card.paper, card.source, *card.checkpoints, *card.unconfirmed):
        assert " ".join(part.split()) in on_one_line
    lines = text.splitlines()[-len(card.published) :] if card.published else []
    for result, line in zip(card.published, lines, strict=True):
        shown = (result.top1, result.params_m, result.energy_mj, result.timesteps, result.img_size)
        numbers = [f"{value:g}" for value in shown if value is not None]
        assert line.split() == [result.model, *numbers, *result.note.split()]
    assert "``" not in text
    assert ("energy mJ" in text) == any(result.energy_mj for result in card.published)


@pytest.mark.parametrize("name", ["swinv2_tiny_window8_256", "meta_spikeformer_15m"])
def test_a_card_on_a_narrow_screen_keeps_the_names(name, monkeypatch):
    from rich.console import Console

    from snnkit.engine import progress

    paper = Console(width=80, record=True, file=io.StringIO())
    monkeypatch.setattr(progress, "console", paper)
    models(name)
    words = paper.export_text().split()
    assert {result.model for result in snnkit.model_info(name).family.published} <= set(words)


def test_an_unknown_tag_of_timm_names_the_nearest():
    with pytest.raises(UnknownNameError, match=r"resnet18 'a1_in1'.*'a1_in1k'"):
        snnkit.create_model("timm:resnet18.a1_in1")


def test_a_model_of_timm():
    pytest.importorskip("timm")
    model = snnkit.create_model("timm:resnet10t", num_classes=7, in_chans=1).eval()
    assert model(torch.zeros(1, 1, 32, 32)).shape == (1, 7)
    assert "timm:resnet10t" in snnkit.list_models("timm:resnet10*")
    with pytest.raises(UnknownNameError, match="'resnet10t'"):
        snnkit.create_model("timm:resnet10tt")
    with pytest.raises(InvalidArgumentError, match="no time steps"):
        snnkit.create_model("timm:resnet10t", timesteps=4)


@pytest.mark.parametrize(
    ("name", "side"), [("vit_tiny_patch16_224", 64), ("coatnet_pico_rw_224", 128)], ids=["vit", "coatnet"]
)
def test_a_model_of_timm_end_to_end(name, side, tmp_path):
    """Built, saved, built again from its file alone, filled with timm's own weights, and asked for its maps."""
    timm = pytest.importorskip("timm")
    config = {"name": f"timm:{name}", "num_classes": 7, "img_size": side}
    model, x = snnkit.create_model(**config).eval(), torch.randn(1, 3, side, side)
    snnkit.save_weights(model, tmp_path / "w.safetensors", config)
    again, _ = build_model(tmp_path / "w.safetensors")
    peer = timm.create_model(name, num_classes=7, img_size=side).eval()
    with torch.no_grad():
        assert torch.equal(again(x), model(x))
        assert snnkit.load_weights(model, peer.state_dict()).complete
        assert torch.equal(model(x), peer(x))
        maps = snnkit.create_model(**config, features_only=True).eval()(x)
    assert [y.shape[0] for y in maps] == [1] * len(maps)
    assert len(maps) >= 3


@pytest.mark.parametrize("kernel", ["reference", "numba", "c"])
@pytest.mark.parametrize("cls", [IF, LIF])
def test_the_memory_order_that_compilers_are_told_is_the_real_one(cls, kernel):
    """A sequence that is dense but permuted, as a channels-last convolution leaves it."""
    neuron = cls()
    x = torch.randn(3, 2, 4, 4, 5).permute(0, 1, 4, 2, 3)
    v = torch.zeros(2, 4, 4, 5).permute(0, 3, 1, 2)
    arguments = (x, v, *astuple(neuron.constants()), [], "", "sigmoid", [4.0], "exact", False, kernel)
    torch.library.opcheck(getattr(torch.ops.snnkit, cls.operator.name).default, arguments, test_utils="test_faketensor")
