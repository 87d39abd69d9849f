"""The C code of deployed windows: what does not fit is named before a pointer is taken.

Would break it: an image of another size, a kind of window without a bias, another dtype.
"""

import pytest
import torch
from torch import nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers import window_kernels

needs_c = pytest.mark.skipif(bool(window_kernels.why_not(4, 32)), reason="no C compiler")


def attention(tokens=8, width=96, dtype=torch.float32, kinds=2, kind=(0, 1), keys=4):
    qkv = torch.zeros(1, tokens, width, dtype=dtype)
    return window_kernels.attention(qkv, torch.ones(1), torch.zeros(kinds, keys, keys), torch.tensor(kind))


@needs_c
@pytest.mark.parametrize(
    "changes",
    [{"tokens": 7}, {"tokens": 4}, {"width": 95}, {"kind": (0, 2)}, {"kind": (-1, 0)}, {"dtype": torch.float64}],
)
def test_attention(changes):
    assert attention().shape == (1, 8, 32)
    with pytest.raises(InvalidArgumentError, match="window attention"):
        attention(**changes)


@needs_c
def test_the_others():
    x, norm = torch.zeros(3, 32), nn.LayerNorm(32)
    assert torch.equal(window_kernels.add_norm(x, x, norm), x)
    for wrong in (
        lambda: window_kernels.gelu_(x.double()),
        lambda: window_kernels.gelu_(torch.zeros(4, 64)[:, ::2]),
        lambda: window_kernels.add_norm(x, x[:2], norm),
        lambda: window_kernels.add_norm(x, x, nn.LayerNorm(16)),
        lambda: window_kernels.add_norm(x, x.double(), norm),
    ):
        with pytest.raises(InvalidArgumentError, match="takes"):
            wrong()
