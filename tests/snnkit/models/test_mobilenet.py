"""MobileNets against torchvision and timm, ULSAM against the authors' block, published counts, bad input.

Would break it: another rounding of widths, a softmax over channels, subspaces joined in another order, a layer counted
from 0, an inserted block that shifts the wrong keys, a map taken from before an inserted block.
"""

import pytest
import torch
from parity import Reference, close
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import snnkit
from snnkit.deploy import deploy
from snnkit.errors import InvalidArgumentError
from snnkit.layers.ulsam import ULSAM, join_subspaces

TOLERANCE = 1e-6


def statistics(model):
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.2, 0.2)
            nn.init.uniform_(part.running_var, 0.5, 1.0)
    return model.double().eval()


@pytest.mark.parametrize("subspaces", [1, 4])
def test_the_authors_block(subspaces):
    golden = Reference(f"ulsam_block_g{subspaces}")
    block = ULSAM(32, subspaces).double().eval()
    assert snnkit.load_weights(block, join_subspaces(golden.state())).complete
    with torch.no_grad():
        y = block(golden.input)
    close(y, golden["logits"], TOLERANCE)
    close(y[:, : 32 // subspaces], golden["feat_subspace0"], TOLERANCE)


@pytest.mark.parametrize("name", ["mobilenetv2_ulsam_sub_13_14_16_17", "mobilenetv2_ulsam_ins_17"])
def test_the_authors_blocks_in_torchvisions_network(name):
    golden = Reference(name)
    config = golden.config
    model = snnkit.create_model(
        "mobilenetv2",
        width=config["width_mult"],
        num_classes=10,
        ulsam_substitute=tuple(config["substitute_layers"]),
        ulsam_insert=tuple(config["insert_after"]),
        ulsam_subspaces=config["num_splits"],
    )
    model = model.double().eval()
    report = snnkit.load_weights(model, {"model": golden.state()})
    assert report.complete
    assert "MobileNet V2" in report.source
    seen = {}
    for number in (11, 13, 16, 17):
        model.layers[number].register_forward_hook(lambda m, x, y, n=number: seen.__setitem__(f"feat_feat{n}", y))
    with torch.no_grad():
        close(model(golden.input), golden["logits"], TOLERANCE)
    compared = [key for key in seen if key in golden]
    for key in compared:
        close(seen[key], golden[key], TOLERANCE)
    assert compared


def test_params_of_a_block():
    assert sum(p.numel() for p in ULSAM(512, 4).parameters()) == 5 * 512 + 3 * 4


V1_LAYER = 9  # one of the five of 512 channels
COUNTS = [
    # name, settings, parameters, million MACs
    ("mobilenetv1", {}, 4231976, 568.7),
    ("mobilenetv1", {"width": 0.75}, 2585560, 325.4),
    ("mobilenetv1", {"width": 0.5}, 1331592, 149.5),
    ("mobilenetv1", {"ulsam_substitute": (V1_LAYER,)}, 3965748, 516.7),
    ("mobilenetv1", {"ulsam_substitute": (V1_LAYER,), "width": 0.75}, 2435044, 296.0),
    ("mobilenetv1", {"ulsam_substitute": (V1_LAYER,), "width": 0.5}, 1264020, 136.3),
    ("mobilenetv2", {}, 3504872, 300.8),
    ("mobilenetv2", {"ulsam_insert": (17,)}, 3505684, 300.79),
    ("mobilenetv2", {"ulsam_substitute": (14,)}, 3387092, 278.1),
    ("mobilenetv2", {"ulsam_substitute": (17,)}, 3185684, 285.3),
    ("mobilenetv2", {"ulsam_substitute": (14, 17)}, 3067904, 262.7),
    ("mobilenetv2", {"ulsam_substitute": (16, 17)}, 2866496, 269.9),
    ("mobilenetv2", {"ulsam_substitute": (13, 14, 16, 17)}, 2630936, 224.5),
]


@pytest.mark.parametrize(("name", "settings", "params", "macs"), COUNTS)
def test_published_counts(name, settings, params, macs):
    with torch.device("meta"):
        model = snnkit.create_model(name, **settings).eval()
    assert sum(p.numel() for p in model.parameters()) == params
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 224, 224, device="meta"))
    assert counter.get_total_flops() / 2e6 == pytest.approx(macs, rel=0.001)


@pytest.mark.parametrize("width", [0.25, 1.0])
def test_torchvisions_weights_and_outputs(width):
    torchvision = pytest.importorskip("torchvision")
    peer = statistics(torchvision.models.mobilenet_v2(num_classes=7, width_mult=width))
    model = snnkit.create_model("mobilenetv2", width=width, num_classes=7).double().eval()
    assert snnkit.load_weights(model, peer.state_dict()).complete
    x = torch.randn(2, 3, 72, 56, dtype=torch.float64)
    with torch.no_grad():
        close(model(x), peer(x), 1e-12)


def test_timms_weights_and_outputs():
    timm = pytest.importorskip("timm")
    peer = statistics(timm.create_model("mobilenetv2_100", num_classes=7))
    model = snnkit.create_model("mobilenetv2", num_classes=7).double().eval()
    assert snnkit.load_weights(model, peer.state_dict()).complete
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        close(model(x), peer(x), 1e-12)


def test_a_first_version_without_its_own_keys():
    """The head is called fc in the form that weights of the first version are exchanged in."""
    model = statistics(snnkit.create_model("mobilenetv1", width=0.125, num_classes=5))
    state = {key.replace("head.", "fc."): value for key, value in model.state_dict().items()}
    assert {key.split(".")[0] for key in state} == {"layers", "fc"}
    other = snnkit.create_model("mobilenetv1", width=0.125, num_classes=5).double().eval()
    assert snnkit.load_weights(other, state).complete
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(other(x), model(x))


def test_the_last_map_of_a_stride_is_that_behind_an_inserted_block():
    model = snnkit.create_model("mobilenetv2", width=0.25, ulsam_insert=(14,), features_only=True)
    assert isinstance(model.layers[14], ULSAM)
    assert model.feature_info.module_name() == [f"layers.{i}" for i in (1, 3, 6, 14, 19)]
    assert model.feature_info.reduction() == [2, 4, 8, 16, 32]


@pytest.mark.parametrize("name", ["mobilenetv1", "mobilenetv2"])
def test_all_norms_fold(name):
    model = statistics(snnkit.create_model(name, width=0.125, ulsam_substitute=(11,), ulsam_insert=(13,)))
    deployed = deploy(model)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in deployed.modules())
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        close(deployed(x), model(x), 1e-12)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ulsam_insert": (17,), "ulsam_subspaces": 7}, r"7 does not divide the 160 channels of layer 17; 5 or 8"),
        ({"ulsam_substitute": (14,), "ulsam_subspaces": 0}, "ulsam_subspaces=0"),
        ({"ulsam_substitute": (15,)}, r"ulsam_substitute=\(15,\).*13, 14, 16, 17"),
        ({"ulsam_substitute": 14}, "ulsam_substitute=14"),
        ({"ulsam_insert": (20,)}, "ulsam_insert"),
        ({"width": 0}, "width"),
        ({"width": float("nan")}, "width"),
        ({"dropout": 1.0}, "dropout"),
    ],
    ids=repr,
)
def test_bad_sizes_are_named(settings, words):
    with pytest.raises(InvalidArgumentError, match=words), torch.device("meta"):
        snnkit.create_model("mobilenetv2", **settings)


def test_weights_of_the_other_version_are_refused():
    first = snnkit.create_model("mobilenetv1", width=0.125)
    second = snnkit.create_model("mobilenetv2", width=0.125)
    with pytest.raises(InvalidArgumentError, match="belong to MobileNet V1"):
        snnkit.load_weights(second, first.state_dict())
    with pytest.raises(InvalidArgumentError, match="missing|sizes"):
        snnkit.load_weights(second, snnkit.create_model("mobilenetv2", width=0.125, ulsam_insert=(3,)).state_dict())
