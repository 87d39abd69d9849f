"""The artifact for lava: what is written is read back as the same network of integers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from compiler.exchange import lava
from compiler.network import INPUT, Network, Population, Projection


def network() -> Network:
    rng = np.random.default_rng(0)
    weights = csr_array(rng.integers(-100, 100, (4, 3)).astype(np.int32))
    back = csr_array(rng.integers(-100, 100, (4, 4)).astype(np.int32))
    cells = Population("cells", 4095, 512, 300, np.arange(4, dtype=np.int32), np.ones(4, np.int32))
    inputs = rng.integers(0, 2, (3, 7)).astype(np.uint8)
    return Network((cells,), (Projection(INPUT, 0, weights, 2, 8), Projection(0, 0, back, 0, 8)), inputs)


def test_an_artifact_makes_the_round(tmp_path):
    made = network()
    given = []
    program = SimpleNamespace(network=lambda image: given.append(image) or made)
    image = torch.zeros(1, 2)
    assert lava.write(program, tmp_path / "net.npz", image) is made
    assert given[0] is image
    back = lava.read(tmp_path / "net.npz")
    assert isinstance(back, Network)
    np.testing.assert_array_equal(back.inputs, made.inputs)
    (cells,) = back.populations
    assert (cells.name, cells.du, cells.dv, cells.vth) == ("cells", 4095, 512, 300)
    np.testing.assert_array_equal(cells.bias, made.populations[0].bias)
    for one, other in zip(back.projections, made.projections, strict=True):
        assert (one.source, one.target, one.weight_exp, one.weight_bits) == (
            other.source, other.target, other.weight_exp, other.weight_bits
        )  # fmt: skip
        np.testing.assert_array_equal(one.weights.toarray(), other.weights.toarray())


def test_a_damaged_artifact_is_refused_in_one_line(tmp_path):
    program = SimpleNamespace(network=lambda image: network())
    lava.write(program, tmp_path / "net.npz", torch.zeros(1))
    whole = (tmp_path / "net.npz").read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"\x80\x04not a pickle either"):
        (tmp_path / "net.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"net\.npz") as caught:
            lava.read(tmp_path / "net.npz")
        assert "\n" not in str(caught.value)
        assert type(caught.value).user_error
