"""A network that segments, as ``snnkit simulate`` runs it: how many pixels are right, on the chip and before.

Would break it: pixels of unknown class counted, coarse maps compared with fine ones unscaled, the raster asking for the
class of an image.
"""

import pytest
import torch
from torch import nn

import compiler
from compiler.commands.stages import run_on_chip
from compiler.commands.tested import Labelled
from snnkit.data.dense import IGNORED
from snnkit.layers import over_time
from snnkit.neurons import IF


class _Bright(nn.Module):
    """Binary images (T, B, 1, H, W) → logits (T, B, 2, H/2, W/2): 1 where a square of four pixels is lit."""

    def __init__(self):
        super().__init__()
        self.conv, self.lif = nn.Conv2d(1, 1, 2, 2, bias=False), IF(v_threshold=1.0)
        self.out = nn.Conv2d(1, 2, 1)
        nn.init.constant_(self.conv.weight, 0.25)
        self.out.weight.data.copy_(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1))
        self.out.bias.data.copy_(torch.tensor([0.75, 0.0]))

    def forward(self, x):
        return over_time(self.out, self.lif(over_time(self.conv, x)))


def test_pixels_are_compared_at_the_size_of_the_truth():
    lit = torch.zeros(1, 1, 4, 8)
    lit[..., :4] = 1
    x = lit.expand(2, 1, 1, 4, 8)
    program = compiler.compile(_Bright(), chip="loihi2", example=x, input_type="binary")
    truth = torch.zeros(1, 4, 8, dtype=torch.long)
    truth[..., :4] = 1
    truth[0, 0, 0], truth[0, 3, 7] = IGNORED, 1
    found = run_on_chip(program, Labelled(x, truth, ("dark", "bright")), None)
    assert found["measure"] == "pixel accuracy"
    # Between the squares dark wins by its bias: every pixel is as its square is. Of one of 31 something else is known.
    assert found["chip_accuracy"] == found["float_accuracy"] == pytest.approx(30 / 31)
