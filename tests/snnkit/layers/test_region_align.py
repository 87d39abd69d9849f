"""Regions of a pyramid against torchvision's RoIAlign: values and gradients, with and without time.

Would break it: a sample beside its place, weights of the last row or column, regions beyond the map, levels or images
exchanged, steps that are channels, a gradient for one of two regions that read the same pixel.
"""

import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper

from snnkit.layers.region_align import RegionAlign

STRIDES, SIDE = (4, 8, 16), 64


def theirs(side):
    pool = MultiScaleRoIAlign(["0", "1", "2"], side, sampling_ratio=2)
    pool.scales, pool.map_levels = [1 / stride for stride in STRIDES], LevelMapper(0, 2, 14 * STRIDES[0], 0)
    return pool


def pyramid(*before, dtype=torch.float64):
    made = torch.Generator().manual_seed(0)
    return {
        str(level): torch.randn(
            *before, 3, SIDE // stride, SIDE // stride, generator=made, dtype=dtype
        ).requires_grad_()
        for level, stride in enumerate(STRIDES)
    }


def boxes(dtype=torch.float64):
    """Of three images: small and large, at and beyond every border, of no width, one image without any."""
    first = [[0, 0, 8, 8], [1.3, 2.7, 60.2, 61.9], [-6, -9, 5, 7], [50, 55, 80, 90], [10, 10, 10, 30], [63, 63, 64, 64]]
    first += [[-100, -100, 30, 40], [-200, -150, 80, 90]]  # of the second level, and of the third
    second = [[200, 200, 240, 260], [-90, -90, -50, -40], [0, 0, 64, 64]]
    return [torch.tensor(first, dtype=dtype), torch.zeros(0, 4, dtype=dtype), torch.tensor(second, dtype=dtype)]


@pytest.mark.parametrize("side", [7, 14, 1])
def test_values_and_gradients_are_torchvisions(side):
    levels, same = pyramid(3), pyramid(3)
    found = RegionAlign(STRIDES, side)(levels, boxes(), [(SIDE, SIDE)] * 3)
    wanted = theirs(side)(same, boxes(), [(SIDE, SIDE)] * 3)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    given = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found.backward(given), wanted.backward(given)
    for name, level in levels.items():
        torch.testing.assert_close(level.grad, same[name].grad, rtol=0, atol=1e-11)
        assert level.grad.any()


def test_steps_are_cut_alike():
    levels = {name: level.float() for name, level in pyramid(2, 3).items()}
    found = RegionAlign(STRIDES, 7)(levels, boxes(torch.float32), [(SIDE, SIDE)] * 3)
    assert found.shape == (2, 11, 3, 7, 7)
    for step in range(2):
        one = {name: level[step] for name, level in levels.items()}
        alone = RegionAlign(STRIDES, 7)(one, boxes(torch.float32), [(SIDE, SIDE)] * 3)
        torch.testing.assert_close(found[step], alone, rtol=0, atol=1e-6)
        torch.testing.assert_close(alone, theirs(7)(one, boxes(torch.float32), [(SIDE, SIDE)] * 3), rtol=0, atol=1e-5)


@pytest.mark.parametrize("before", [(1,), (2, 1)])
def test_no_region(before):
    found = RegionAlign(STRIDES, 7)(pyramid(*before), [torch.zeros(0, 4)], [(SIDE, SIDE)])
    assert found.shape == (*before[:-1], 0, 3, 7, 7)


def test_half_precision_is_summed_in_float32():
    level = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    one = [torch.tensor([[1.0, 2, 60, 50]])]
    found = RegionAlign((4,), 7)({"0": level}, one, [(SIDE, SIDE)])
    wanted = RegionAlign((4,), 7)({"0": level.float()}, one, [(SIDE, SIDE)])
    assert torch.equal(found, wanted.bfloat16())


def test_a_box_that_is_no_number_reads_nothing():
    wrong = [torch.tensor([[float("nan")] * 4, [0, 0, float("inf"), 8]])]
    found = RegionAlign((4,), 7)({"0": torch.ones(1, 3, 16, 16)}, wrong, [(SIDE, SIDE)])
    assert not found[0].any()
