"""Networks on a backbone begin with the weights of an image model: which files are taken for one.

Would break it: a classifier's file refused, or taken for a whole network's; a file of another image model that is
taken; a head of another task that is taken since it happens to fit; tensors that are said to be loaded and are not.
"""

import pytest
import torch

from snnkit import create_model
from snnkit.checkpoints import save_weights
from snnkit.engine.start import start_from
from snnkit.errors import InvalidArgumentError

NARROW = {"stem_type": "", "stem_width": 8, "channels": (8, 8, 16, 16)}
MS = {"widths": (8, 8), "depths": (1, 1), "timesteps": 1}
NECK = {"num_classes": 3, "fpn_channels": 8, "finest": 8, "levels": 1}
METHODS = {
    "semantic_fpn": {**NECK, "head_channels": 8},
    "mask_rcnn": {**NECK, "box_channels": 8, "mask_channels": 8},
    "retinanet": NECK,
    "pose": {"num_classes": 3, "head_channels": 8},
    "captioner": {"text_width": 8, "text_depth": 1, "text_heads": 1},
}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(("encoder", "sizes"), [("timm:resnet10t", NARROW), ("ms_resnet18", MS)])
@pytest.mark.parametrize("method", METHODS)
def test_a_classifier_fills_the_backbone(method, encoder, sizes, named, tmp_path):
    torch.manual_seed(1)
    classifier, file = create_model(encoder, num_classes=4, **sizes), tmp_path / "weights.safetensors"
    save_weights(classifier, file, {"name": encoder, "num_classes": 4, **sizes} if named else None)
    model = create_model(f"{method}:{encoder}", **sizes, **METHODS[method])
    report = start_from(model, str(file), strict=True)
    own = classifier.state_dict()
    filled = {key: value for key, value in model.backbone.encoder.state_dict().items() if key in report.loaded}
    assert len(filled) > 20
    assert all(torch.equal(value, own[key]) for key, value in filled.items())
    assert all(key.startswith(("fc.", "head.")) for key in report.unused)


def test_the_whole_fills_the_whole(tmp_path):
    given = {**NARROW, **METHODS["semantic_fpn"]}
    model, other = (create_model("semantic_fpn:timm:resnet10t", **given) for _ in range(2))
    for number, about in enumerate(({"name": "semantic_fpn:timm:resnet10t", **given}, None)):
        file = tmp_path / f"{number}.safetensors"
        save_weights(other, file, about)
        assert len(start_from(model, str(file), strict=True).loaded) == len(model.state_dict())


def test_another_image_model_is_refused(tmp_path):
    file = tmp_path / "weights.safetensors"
    wide = {**NARROW, "channels": (8, 8, 16, 32)}
    save_weights(create_model("timm:resnet10t", **wide), file, {"name": "timm:resnet10t", **wide})
    model = create_model("semantic_fpn:timm:resnet10t", **NARROW, **METHODS["semantic_fpn"])
    with pytest.raises(InvalidArgumentError, match="does not hold the encoder"):
        start_from(model, str(file), strict=True)


@pytest.mark.parametrize(("encoder", "sizes"), [("timm:resnet10t", NARROW), ("ms_resnet18", MS)])
@pytest.mark.parametrize("method", METHODS)
def test_a_network_for_another_task_lends_its_backbone(method, encoder, sizes, tmp_path):
    torch.manual_seed(1)
    lender = "mask_rcnn" if method != "mask_rcnn" else "semantic_fpn"
    given, file = {**sizes, **METHODS[lender]}, tmp_path / "weights.safetensors"
    other = create_model(f"{lender}:{encoder}", **given)
    save_weights(other, file, {"name": f"{lender}:{encoder}", **given})
    model = create_model(f"{method}:{encoder}", **sizes, **METHODS[method])
    before, report = {k: v.clone() for k, v in model.state_dict().items()}, start_from(model, str(file), strict=True)
    taken = {key for key in before if key.startswith("backbone.")} | {k for k in report.loaded if k.startswith("neck.")}
    assert set(report.loaded) == taken
    for key, value in model.state_dict().items():
        assert torch.equal(value, (other.state_dict() if key in taken else before)[key])
    if "fpn_channels" in METHODS[method]:
        assert any(key.startswith("neck.") for key in taken)


def test_a_narrower_backbone_is_not_lent(tmp_path):
    file, given = tmp_path / "weights.safetensors", {**NARROW, "channels": (8, 8, 16, 32), **METHODS["retinanet"]}
    save_weights(create_model("retinanet:timm:resnet10t", **given), file, {"name": "retinanet:timm:resnet10t", **given})
    model = create_model("semantic_fpn:timm:resnet10t", **NARROW, **METHODS["semantic_fpn"])
    with pytest.raises(InvalidArgumentError, match="does not hold the encoder"):
        start_from(model, str(file), strict=True)
