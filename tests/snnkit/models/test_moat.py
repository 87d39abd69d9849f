"""MOAT against the published TensorFlow code, through both kinds of its names, and what must be refused.

Would break it: padding by torch's rule, pads counted in a mean, a bias indexed by query − key or resized otherwise, a
last block that stays in its windows, squeeze-and-excitation beside attention, heads mixed up by the names' converter.
"""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from parity import Reference, close
from support.forms import one_graph
from support.macs import gmacs

import snnkit
from snnkit.deploy import deploy
from snnkit.errors import InvalidArgumentError
from snnkit.layers.moat_block import MoatBlock
from snnkit.layers.position_bias import RelativePositionBias, bias_of_table
from snnkit.layers.same_padding import SameAvgPool2d, SameConv2d
from snnkit.models.moat import from_tf

NAMES = ("moat_global_pool2", "moat_window_pool3", "moat_window_globalend", "moat_nope")
MAPS = ("stem", "stage1", "stage2", "stage3", "stage4")


def build(name, **settings):
    """The model of a reference, in its reference's sizes."""
    reference = Reference(name)
    config = reference.config
    given = {
        "num_classes": config["classes"],
        "img_size": tuple(config["input_hw"]),
        "stem_dim": config["stem_size"][0],
        "dims": tuple(config["hidden_size"]),
        "depths": tuple(config["num_blocks"]),
        "window_size": config["window"],
        "pool_size": config["pool"],
        "position_bias": config.get("pe", True),
        "global_end": config.get("global_end", False),
        **settings,
    }
    return snnkit.create_model("moat_0", **given).double().eval(), reference


@pytest.mark.parametrize("name", NAMES)
def test_equals_the_published_code(name):
    model, reference = build(name)
    assert snnkit.load_weights(model, reference.state()).complete
    assert sum(p.numel() for p in model.parameters()) == int(reference.arrays["params"])
    with torch.no_grad():
        for y, key in zip(model.forward_stages(reference.input), MAPS, strict=True):
            close(y, reference[f"feat_{key}"], 1e-6)
        close(model(reference.input), reference["logits"], 1e-6)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("moat_global_pool2", {"pool_size": 3}),
        ("moat_window_pool3", {"window_size": None}),
        ("moat_window_globalend", {"global_end": False}),
        ("moat_window_pool3", {"window_size": (None, None, 4, 2)}),
    ],
    ids=repr,
)
def test_the_references_tell_variants_apart(name, wrong):
    model, reference = build(name, **wrong)
    snnkit.load_weights(model, reference.state())
    with torch.no_grad():
        got = model(reference.input)
    assert (got - reference["logits"]).abs().max() > 1e-4 * reference["logits"].abs().max()


@pytest.mark.parametrize(
    ("name", "side", "printed"),
    [
        ("moat_0", 224, 5.7),
        ("moat_1", 224, 9.1),
        ("moat_2", 384, 54.3),
        ("tiny_moat_0", 256, 1.1),
        ("tiny_moat_3", 256, 6.0),
    ],
)
def test_products_make_up_the_printed_operations(name, side, printed):
    """The printed figures count more than products, the more the longer the rows of attention: 1 to 3 percent here."""
    tiny = 0.05 / printed  # half of the last digit
    assert 0.975 - tiny < gmacs(name, 3, side, side, img_size=side) / printed <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["moat_nope", "moat_window_globalend"])
def test_every_form_is_one_graph(name):
    """What the family's small build is not; that with biases deployed."""
    model, reference = build(name, depths=(1, 1, 1, 2))
    one_graph(model if name == "moat_nope" else deploy(model), reference.input)


# TensorFlow's names.


def tf_arrays(reference):
    """The weights of a reference in TensorFlow's axes, each axis moved by a rule of its own, not the converter's."""
    names, shapes = (json.loads(str(reference.arrays[key])) for key in ("tf_names", "tf_shapes"))
    arrays = {}
    for (key, value), name, shape in zip(reference.state().items(), names, shapes, strict=True):
        array = value.numpy()
        if name.endswith("depthwise_kernel:0"):
            array = np.einsum("cohw->hwco", array)
        elif name.endswith("kernel:0"):
            array = np.einsum("oihw->hwio", array)
        elif name.endswith("attention/o/weight:0"):
            array = np.stack(np.split(array.T, shape[0]))
        elif name.endswith("/weight:0"):
            array = np.stack(np.split(array.T, shape[1], axis=1), axis=1)
        elif name.endswith(("/q/bias:0", "/k/bias:0", "/v/bias:0")):
            array = np.stack(np.split(array, shape[0]))
        assert list(array.shape) == shape, (key, name)
        arrays[name] = array
    return arrays


@pytest.mark.parametrize("name", NAMES)
def test_tensorflow_names(name):
    model, reference = build(name)
    arrays = tf_arrays(reference)
    assert snnkit.load_weights(model, from_tf(arrays)).complete
    close(model(reference.input).detach(), reference["logits"], 1e-6)
    # As published: everything under moat/, no :0, averages and an optimiser beside, and tensors at once.
    stored = {}
    for key, array in arrays.items():
        path = key.removesuffix(":0").removeprefix("moat/")
        path = f"moat/stem/{path}" if path.startswith(("conv_", "norm_")) else f"moat/{path}"
        stored[path] = torch.from_numpy(array.copy())
        stored[f"{path}/ExponentialMovingAverage"] = stored[path] * 3
        stored[f"{path}/Adam_1"] = stored[path] * 5
    stored["global_step"] = torch.tensor(7)
    other, _ = build(name)
    report = snnkit.load_weights(other, stored)
    assert report.complete
    assert len(report.ignored) == 2 * len(arrays) + 1
    assert all(torch.equal(a, b) for a, b in zip(other.state_dict().values(), model.state_dict().values(), strict=True))
    averaged, _ = build(name)
    assert snnkit.load_weights(averaged, from_tf(stored, average=True)).complete
    torch.testing.assert_close(averaged.head.weight, 3 * model.head.weight)


# The parts.


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (2, 2), (1, 2), (5, 2)])
@pytest.mark.parametrize("size", [(6, 8), (7, 9), (1, 2), (5, 6)])
def test_same_padding_by_its_definition(kernel, stride, size):
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    conv = SameConv2d(3, 4, kernel, stride).double()
    pool = SameAvgPool2d(kernel, stride)
    rows, columns = (-(-side // stride) for side in size)
    tops = [max((n - 1) * stride + kernel - side, 0) // 2 for n, side in zip((rows, columns), size, strict=True)]
    for row in range(rows):
        for column in range(columns):
            seen = torch.zeros(2, 3, kernel, kernel, dtype=torch.float64)
            total, count = 0, 0
            for i in range(kernel):
                for j in range(kernel):
                    a, b = row * stride + i - tops[0], column * stride + j - tops[1]
                    if 0 <= a < size[0] and 0 <= b < size[1]:
                        seen[:, :, i, j] = x[:, :, a, b]
                        total, count = total + x[:, :, a, b], count + 1
            expected = torch.einsum("bcij,ocij->bo", seen, conv.weight) + conv.bias
            torch.testing.assert_close(conv(x)[:, :, row, column], expected, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(pool(x)[:, :, row, column], total / count, rtol=1e-12, atol=1e-12)
    assert conv(x).shape[2:] == pool(x).shape[2:] == (rows, columns)


@pytest.mark.parametrize("size", [(6, 8), (7, 8), (5, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_padded_kernel_is_padded_maps(size, bias):
    torch.manual_seed(0)
    conv, x = SameConv2d(6, 6, 3, 2, groups=6, bias=bias).double(), torch.randn(2, 6, *size).double()
    made = conv.merged()
    assert made is not conv
    torch.testing.assert_close(made(x), conv(x), rtol=1e-13, atol=1e-13)
    dense = SameConv2d(6, 6, 3, 2)
    assert dense.merged() is dense


@pytest.mark.parametrize("size", [(3, 3), (2, 5), (4, 1)])
def test_position_bias_by_its_definition(size):
    torch.manual_seed(0)
    table = torch.randn(2, 5, 5, dtype=torch.float64)
    height, width = size
    resized = F.interpolate(table[None], (2 * height - 1, 2 * width - 1), mode="bilinear", align_corners=False)[0]
    bias = bias_of_table(table, height, width).view(2, height, width, height, width)
    for a, b, c, d in np.ndindex(height, width, height, width):
        assert torch.equal(bias[:, a, b, c, d], resized[:, c - a + height - 1, d - b + width - 1])


def test_a_kept_bias_serves_other_sizes_too():
    position = RelativePositionBias(2, 3, (4, 4))
    kept = position.merged()
    assert kept.bias.shape == (2, 16, 16)
    for size in ((4, 4), (3, 5)):
        torch.testing.assert_close(kept(*size), position(*size), rtol=0, atol=0)
    large = RelativePositionBias(12, 14, (64, 64))
    assert large.merged() is large


def test_stochastic_depth_never_reaches_its_full_rate():
    with torch.device("meta"):
        model = snnkit.create_model("moat_0")
    drops = [module.drop_path.p for module in model.modules() if isinstance(module, MoatBlock)]
    assert drops == pytest.approx([0.2 * i / 14 for i in range(14)])


def test_a_state_dict_runs_at_other_sizes():
    model, reference = build("moat_global_pool2")
    snnkit.load_weights(model, reference.state())
    other, _ = build("moat_global_pool2", img_size=(96, 50))
    snnkit.load_weights(other, model.state_dict())
    x = torch.rand(1, 3, 96, 50).double()
    with torch.no_grad():
        maps = other.forward_stages(x)
        assert [tuple(y.shape[2:]) for y in maps] == [(48, 25), (24, 13), (12, 7), (6, 4), (3, 2)]
        torch.testing.assert_close(model(x), other(x), rtol=1e-12, atol=1e-12)


def test_input_of_weights_from_the_larger_set():
    with torch.device("meta"):
        assert snnkit.create_model("moat_2").pretrained_cfg["mean"] == (0.5, 0.5, 0.5)
        assert snnkit.create_model("moat_0").pretrained_cfg["mean"] == (0.485, 0.456, 0.406)
        assert snnkit.create_model("tiny_moat_0").pretrained_cfg["input_size"] == (3, 256, 256)


# Bad input.


def test_sizes_that_windows_do_not_divide():
    windows = (None, None, 14, 7)
    for size, said in ((256, "224 or 448"), ((224, 250), "224 or 448 would do for 250"), (100, "224 would do")):
        with pytest.raises(InvalidArgumentError, match=said):
            snnkit.create_model("moat_0", window_size=windows, img_size=size)
    with torch.device("meta"):
        model = snnkit.create_model("moat_0", window_size=windows, img_size=448)
        with pytest.raises(InvalidArgumentError, match="image size.*224 or 448"):
            model(torch.zeros(1, 3, 224, 240))
    with pytest.raises(InvalidArgumentError, match="img_size.*448 or 896"):
        snnkit.create_model("moat_0", window_size=(None, None, (14, 28), (7, 7)), img_size=(224, 608))


@pytest.mark.parametrize(
    "wrong", [14, (14, 7), (None, None, 0, 7), (7, None, None, None), (None, None, (1, 2, 3), None), "none"], ids=repr
)
def test_windows_that_are_none(wrong):
    with pytest.raises(InvalidArgumentError, match="window_size"):
        snnkit.create_model("moat_0", window_size=wrong)


def test_other_bad_arguments():
    for key, wrong in (("pool_size", 4), ("stem_dim", 0), ("dims", (8, 8, 32)), ("depths", (1, 1, 1, 1.5))):
        with pytest.raises(InvalidArgumentError, match=key):
            snnkit.create_model("moat_0", **{key: wrong})
    with pytest.raises(InvalidArgumentError, match=r"dims=40.*32 or 64"):
        snnkit.create_model("moat_0", dims=(8, 16, 40, 64))


def test_weights_of_other_variants_are_named():
    with pytest.raises(InvalidArgumentError, match="lack position biases.*position_bias=False"):
        snnkit.load_weights(build("moat_global_pool2")[0], Reference("moat_nope").state())
    with pytest.raises(InvalidArgumentError, match="have position biases.*position_bias=True"):
        snnkit.load_weights(build("moat_nope")[0], Reference("moat_global_pool2").state())
    with pytest.raises(InvalidArgumentError, match="belong to UniFormer"):
        snnkit.load_weights(build("moat_nope")[0], Reference("uniformer_image").state())
    with torch.device("meta"):
        uniformer = snnkit.create_model("uniformer_small")
    with pytest.raises(InvalidArgumentError, match="belong to MOAT"):
        snnkit.load_weights(uniformer, Reference("moat_nope").state())
    with pytest.raises(InvalidArgumentError, match="shape"):
        snnkit.load_weights(build("moat_nope", num_classes=7)[0], Reference("moat_nope").state())
