"""An ordinary network that segments, converted: exact at rest, and measured on pixels.

Would break it: pixels of unknown class counted, maps of logits compared unscaled, events divided by pixels instead of
samples, a map whose channels are taken for classes of the last axis.
"""

import pytest
import torch
import torch.nn.functional as F

from compiler.converting import convert
from compiler.converting.comparing import compare
from snnkit.data.dense import IGNORED
from snnkit.errors import InvalidArgumentError
from snnkit.models import create_model

SIDE, CLASSES = 64, 3


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    narrow = {"stem_type": "", "stem_width": 8, "channels": (8, 8, 8, 16), "fpn_channels": 8, "head_channels": 32}
    return create_model("semantic_fpn:timm:resnet10t", num_classes=CLASSES, **narrow).eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def truth():
    maps = torch.randint(CLASSES, (4, SIDE, SIDE), generator=torch.Generator().manual_seed(2))
    maps[:, :5] = IGNORED
    return maps


def test_pixels_are_right_where_the_float_network_says_so(network, images):
    converted = convert(network, images, 8)
    maps = truth()
    whole = compare(converted, [(images[:3], maps[:3]), (images[3:], maps[3:])])
    assert whole.exact
    with torch.no_grad():
        said = F.interpolate(network(images), (SIDE, SIDE), mode="bilinear", align_corners=False).argmax(1)
    share = float((said == maps)[:, 5:].double().mean())
    forms = {form.name: form for form in whole.forms}
    assert forms["float"].accuracy == pytest.approx(share, abs=2 / (4 * (SIDE - 5) * SIDE))
    assert forms["spiking, at rest"].accuracy == forms["quantised"].accuracy
    assert 0 < forms["spiking, at rest"].events < 50, "of a neuron and sample"


def test_without_truth_places_of_the_map_are_compared(network, images):
    found = compare(convert(network, images, 8), [images], counted=False)
    assert found.exact
    assert all(form.accuracy is None for form in found.forms)
    assert found.forms[-1].agreement == 1.0


def test_the_class_of_an_image_says_nothing_of_a_map(network, images):
    with pytest.raises(InvalidArgumentError, match="decide for every place of a map, and the class of a sample is"):
        compare(convert(network, images, 8), [(images, torch.zeros(4, dtype=torch.long))])
