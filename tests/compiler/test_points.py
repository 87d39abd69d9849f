"""Key points read off heat maps of a chip, or of the forms of a conversion.

Would break it: places scored in the crop and not in the image, key points that are nobody's counted, an agreement that
asks what is true, a run whose way of reading heat maps is not taken.
"""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from compiler.commands.points import Crops, Points, test_crops
from compiler.commands.source import Source
from snnkit.data import DataConfig
from snnkit.errors import InvalidArgumentError
from snnkit.tasks import build_task
from snnkit.tasks.heat_maps import heat_maps

test_crops.__test__ = False  # a function of the package, no test
STRIDE, CELLS = 4.0, 16


class _Heat(nn.Module):
    stride = STRIDE


@pytest.fixture
def judge():
    return Points(build_task("pose", _Heat(), 2, {"flip_test": False}).eval())


@pytest.fixture
def targets():
    """Three crops, twice as large in their images and moved; of the last the second key point is nowhere."""
    points = torch.tensor([[[16.0, 20, 2], [40, 44, 2]], [[24, 12, 2], [48, 32, 2]], [[20, 20, 2], [12, 52, 0]]])
    back = torch.tensor([[2.0, 0, 10], [0, 2, 20]]).expand(3, 2, 3)
    return {
        "points": points,
        "back": back,
        "mirror": torch.tensor([[1, 0]] * 3),
        "sigmas": torch.full((3, 2), 0.1),
        "box": torch.tensor([[10.0, 20, 138, 148]] * 3),
        "area": torch.full((3,), 128.0 * 128),
        "image": torch.arange(3),
    }


def maps_of(points):
    return heat_maps(points, (CELLS, CELLS), STRIDE, 2.0)[0]


def test_heat_maps_with_their_peaks_where_they_belong_are_right(judge, targets):
    said = judge.decide(maps_of(targets["points"]), torch.zeros(3, 1, 64, 64), targets)
    assert judge.score([said], []) == pytest.approx(1.0)
    assert judge.agreement([said], [said]) == 1.0


def test_far_away_is_wrong_and_batches_are_judged_together(judge, targets):
    x, far = torch.zeros(3, 1, 64, 64), targets["points"].clone()
    far[0, 0, 0] += 36  # 72 pixels in the image, more than half of the box
    right, wrong = (judge.decide(maps_of(points), x, targets) for points in (targets["points"], far))
    assert judge.agreement([wrong], [right]) == judge.agreement([right], [wrong]) == pytest.approx(4 / 5)
    assert judge.agreement([right, wrong], [right, right]) == pytest.approx(9 / 10)
    assert judge.score([wrong], []) < judge.score([right], [])


def test_agreement_does_not_ask_what_is_true(judge, targets):
    x, far = torch.zeros(3, 1, 64, 64), targets["points"].clone()
    far[..., :2] = far[..., :2].flip(0)
    said = judge.decide(maps_of(far), x, targets)
    assert judge.agreement([said], [said]) == 1.0


def test_what_a_chip_puts_out_is_scored_beside_what_it_should(judge, targets):
    x, far = torch.zeros(3, 1, 64, 64), targets["points"].clone()
    far[0, 0, 0] += 36
    equality = SimpleNamespace(float_logits=maps_of(targets["points"]), quantised_logits=maps_of(far))
    crops = Crops(judge, x, targets)
    found = crops.scores(SimpleNamespace(), SimpleNamespace(logits=maps_of(far).double()), equality)
    assert crops.measure == "AP of key points"
    assert found["float_accuracy"] == pytest.approx(1.0)
    assert found["quantised_accuracy"] == found["chip_accuracy"] < 0.9


def test_batches_keep_what_is_true_beside_their_crops(judge, targets):
    x = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 1, 64, 64)
    (first, one), (second, two) = Crops(judge, x, targets).pairs(torch.split(x, [2, 1]))
    assert (len(first), len(second)) == (2, 1)
    assert torch.equal(torch.cat([one["points"], two["points"]]), targets["points"])
    assert set(one) == set(targets)


def test_a_network_without_a_run_is_not_read():
    with pytest.raises(InvalidArgumentError, match=r"how key points are read .* net\.graph is none"):
        test_crops(Source("net.graph", nn.Identity(), {}, None, DataConfig()), 4)
