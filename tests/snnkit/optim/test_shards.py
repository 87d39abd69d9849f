"""Sharded parameters: each process moves its share as if it were alone, and norms are those of the whole.

Would break it: blocks that run across shards, an empty shard, a trust ratio or a percentile of one shard only, codes
that are read with the absmax of other blocks.
"""

import pytest
import torch
from support.processes import launched
from torch import nn

from snnkit.optim import dequantise, quantise
from snnkit.optim.shards import reblock


@pytest.mark.slow
def test_two_processes_with_shards():
    launched("sharded_8bit.py", None)


def test_codes_of_three_shards_become_those_of_one():
    """Seven rows in shards of three, three and one; blocks of 64 that end with each shard."""
    x = torch.randn(7, 50, generator=torch.Generator().manual_seed(0))
    parts = [quantise(part, True, 64) for part in x.split(3)]
    table = torch.zeros(3, 3)
    for row, (_, absmax) in zip(table, parts, strict=True):
        row[: len(absmax)] = absmax
    codes = torch.cat([part for part, _ in parts])
    numbers = torch.cat([dequantise(*part, True, 64) for part in parts])
    made = reblock(codes, table, nn.Parameter(x), True, False, 64)
    assert made.shape == (1, 6)
    expected, absmax = quantise(numbers, True, 64)
    assert torch.equal(codes, expected)
    assert torch.equal(made[0], absmax)
    assert (dequantise(codes, made[0], True, 64) - x).abs().max() < 0.02 * x.abs().max()
