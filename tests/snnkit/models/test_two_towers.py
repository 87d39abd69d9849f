"""Two towers: what pads a text changes nothing, towers keep their bounds, classifiers fill and are filled.

Would break it: attention to padding, an average over it, positions beyond the context, an image tower whose weights do
not come from the classifier of that name.
"""

import pytest
import torch

import snnkit
from snnkit.checkpoints import build_model, save_tensors
from snnkit.engine.start import start_from
from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.layers.selective import selectively
from snnkit.models.text_transformer import TextTransformer
from snnkit.models.two_towers import TwoTowers

TEXT = {"text_width": 16, "text_depth": 2, "text_heads": 2, "dim": 8, "vocabulary": 20, "context": 6}


def towers(name="timm:resnet10t", **changes):
    torch.manual_seed(0)
    return snnkit.create_model(f"basic:{name}", in_chans=1, **{**TEXT, **changes})


def test_padding_changes_nothing():
    torch.manual_seed(0)
    for training in (False, True):
        text = TextTransformer(20, 6, 16, 2, 2).train(training)
        tokens = torch.tensor([[3, 4, 5, 0, 0, 0], [3, 4, 5, 6, 7, 8]])
        found = text(tokens)
        torch.testing.assert_close(found[0], text(tokens[:1, :3])[0])
        assert not torch.allclose(found[0], found[1])
        turned = text(tokens[:, [2, 1, 0, 3, 4, 5]])
        assert not torch.allclose(found[0], turned[0], atol=1e-3), "order counts"


def test_a_text_without_tokens_is_no_nan():
    text = TextTransformer(20, 6, 16, 2, 2)
    found = text(torch.tensor([[0, 0, 0], [1, 2, 0]]))
    assert found.isfinite().all()
    assert not found[0].any()


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (torch.ones(2, 7, dtype=torch.int64), "up to 6"),
        (torch.ones(2, 3), "whole numbers"),
        (torch.ones(3).long(), "B"),
    ],
)
def test_bad_tokens(tokens, words):
    with pytest.raises(InvalidArgumentError, match=words):
        TextTransformer(20, 6, 16, 1, 2)(tokens)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"text_heads": 3}, "text_width=16: must be a multiple of 3, its heads; 15 or 18"),
        ({"dim": 0}, "dim=0"),
        ({"scale": 1000.0}, "at most at 100"),
        ({"dim": 0.5}, "dim=0.5: must be a whole number"),
        ({"text_depth": 0}, "text_depth=0"),
        ({"text_heads": 0}, "text_heads=0"),
    ],
)
def test_bad_sizes(changes, words):
    with pytest.raises(InvalidArgumentError, match=words):
        towers(**changes)


def test_unknown_sizes_and_towers():
    with pytest.raises(UnknownNameError, match="resnet10t"):
        snnkit.create_model("basic:timm:resnet10")
    with pytest.raises(InvalidArgumentError, match="refuses"):
        towers(text_widht=3)


@pytest.mark.parametrize("name", ["timm:resnet10t", "spiking_cnn_small", "moat_0", "swinv2_tiny_window8_256"])
def test_images_of_any_model(name):
    sizes = (
        {"img_size": 64, "embed_dim": 8, "num_heads": (1, 2, 2, 4), "pretrained_window_size": 0}
        if "swin" in name
        else {}
    )
    sizes |= {"img_size": 32} if "moat" in name else {}
    model = towers(name, **sizes).eval()
    side = 64 if "swin" in name else 28 if "cnn" in name else 32
    f, g = model(torch.randn(2, 1, side, side), torch.randint(1, 20, (2, 6)))
    for rows in (f, g):
        assert rows.shape == (2, 8)
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(2))


def test_checkpointing_of_either_kind_changes_no_gradient():
    tokens, images = torch.randint(1, 20, (3, 6)), torch.randn(3, 1, 28, 28)
    gradients = {}
    for kind in ("plain", "selective", "blocks"):
        model = towers("spiking_cnn_small" if kind != "blocks" else "timm:resnet10t", text_dropout=0.5).train()
        other = towers("timm:resnet10t", text_dropout=0.5).train()
        for one in (model, other):
            if kind == "selective":
                one.set_selective_checkpointing()
            if kind == "blocks":
                one.set_grad_checkpointing()
        torch.manual_seed(1)
        f, g = other(images, tokens)
        (f * g).sum().backward()
        gradients[kind] = {key: p.grad for key, p in other.named_parameters() if p.grad is not None}
    for kind in ("selective", "blocks"):
        assert gradients[kind].keys() == gradients["plain"].keys()
        for key, value in gradients["plain"].items():
            torch.testing.assert_close(gradients[kind][key], value)


def test_selective_checkpointing_keeps_products_alone():
    """What the backward finds kept: fewer bytes than all of it; products are not made again."""
    made = []

    class Product(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            made.append(function.name())
            return function(*args, **(kwargs or {}))

    weight = torch.randn(8, 8, requires_grad=True)

    def function(x):
        return torch.nn.functional.gelu(x @ weight).sin()

    x = torch.randn(4, 8, requires_grad=True)
    found = selectively(function, x).sum()
    with Product():
        found.backward()
    assert made.count("aten::gelu") == 1
    assert made.count("aten::mm") == 2  # of the backward; the forward's is not made again


def test_a_classifier_fills_the_image_tower_and_the_other_way_round(tmp_path):
    classifier = snnkit.create_model("spiking_cnn_small", num_classes=3)
    save_tensors(classifier.state_dict(), tmp_path / "c.safetensors", {"name": "spiking_cnn_small", "num_classes": 3})
    model = towers("spiking_cnn_small")
    start_from(model, str(tmp_path / "c.safetensors"), strict=True)
    for key, value in classifier.state_dict().items():
        if not key.startswith("head."):
            assert torch.equal(model.encoder.state_dict()[key], value)
    about = {"name": "basic:spiking_cnn_small", "in_chans": 1, **TEXT}
    save_tensors(model.state_dict(), tmp_path / "t.safetensors", about)
    again, _ = build_model(tmp_path / "t.safetensors")
    assert isinstance(again, TwoTowers)
    fresh = snnkit.create_model("spiking_cnn_small", num_classes=5)
    start_from(fresh, str(tmp_path / "t.safetensors"), strict=True)
    assert torch.equal(fresh.state_dict()["stem.conv.weight"], classifier.state_dict()["stem.conv.weight"])
    other = snnkit.create_model("spiking_vgg11", num_classes=3)
    save_tensors(other.state_dict(), tmp_path / "v.safetensors", {"name": "spiking_vgg11", "num_classes": 3})
    with pytest.raises(InvalidArgumentError, match="does not hold the encoder"):
        start_from(towers("spiking_cnn_small"), str(tmp_path / "v.safetensors"), strict=True)
