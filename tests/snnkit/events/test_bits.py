"""Packing breaks if a bit lands in another place, a value is lost or counted twice, or a non-spike slips through."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snnkit.errors import InvalidArgumentError
from snnkit.events import bits
from snnkit.events.bits import pack, pack_pixels, popcount, unpack


@given(
    shape=st.lists(st.integers(1, 5), max_size=2),
    k=st.integers(1, 200),
    levels=st.integers(1, 5),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=60, deadline=None)
def test_round_trip_and_count(shape, k, levels, seed):
    x = torch.randint(0, levels + 1, (*shape, k), generator=torch.Generator().manual_seed(seed)).float()
    packed = pack(x, levels)
    assert torch.equal(unpack(packed), x)
    assert packed.spikes == popcount(packed.words) == int(x.sum())
    assert packed.rate == pytest.approx(x.mean().item())


def test_words_are_the_bits_that_numpy_packs():
    x = torch.rand(7, 130).lt(0.3).float()
    expected = np.packbits(x.numpy().astype(np.uint8), axis=1, bitorder="little")
    words = pack(x).words.numpy().view(np.uint8).reshape(7, -1)
    assert (words[:, : expected.shape[1]] == expected).all()
    assert not words[:, expected.shape[1] :].any()


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 64, 8, 8), (2, 130, 9, 11), (3, 1, 1, 65)])
@pytest.mark.parametrize("levels", [1, 4])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_images_are_packed_per_pixel(shape, levels, order):
    x = torch.randint(0, levels + 1, shape).float().contiguous(memory_format=order)
    packed = pack_pixels(x, levels)
    assert torch.equal(packed.words, pack(x.permute(0, 2, 3, 1).contiguous(), levels).words)
    assert torch.equal(unpack(packed).permute(0, 3, 1, 2), x)
    assert packed.spikes == int(x.sum())


def test_without_a_compiler_the_words_are_the_same(monkeypatch):
    x, images = torch.randint(0, 4, (5, 3, 77)).float(), torch.randint(0, 4, (2, 70, 3, 4)).float()
    expected, of_images = pack(x, 3), pack_pixels(images, 3)
    monkeypatch.setattr(bits, "why_not", lambda: "no compiler")
    assert torch.equal(pack(x, 3).words, expected.words)
    assert torch.equal(pack_pixels(images, 3).words, of_images.words)
    assert torch.equal(unpack(expected), x)
    assert popcount(expected.words) == expected.spikes == pack(x, 3).spikes
    assert bits.try_pack(x + 0.5) is None


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float64, torch.bfloat16, torch.float16])
def test_every_dtype_is_read(dtype):
    x = torch.rand(4, 70).lt(0.5)
    assert torch.equal(unpack(pack(x.to(dtype)), dtype), x.to(dtype))


@pytest.mark.parametrize("value", [0.5, -1.0, 2.0, float("nan"), float("inf"), 1e-40, 1.0000001])
@pytest.mark.parametrize("place", [0, 66])
def test_other_values_are_named(value, place):
    x = torch.zeros(3, 67)
    x[1, place] = value
    with pytest.raises(InvalidArgumentError, match=r"0 and 1, but 1 of 201 values are others: "):
        pack(x)
    with pytest.raises(InvalidArgumentError, match="but 1 of 201"):
        pack_pixels(x.view(1, 1, 3, 67))


def test_float64_is_not_rounded_to_a_spike():
    with pytest.raises(InvalidArgumentError, match="are others: 1"):
        pack(torch.tensor([[1.0 + 1e-12]], dtype=torch.float64))


def test_levels_have_a_range_and_images_four_dimensions():
    with pytest.raises(InvalidArgumentError, match="levels=16"):
        pack(torch.zeros(1, 1), levels=16)
    with pytest.raises(InvalidArgumentError, match="whole numbers from 0 to 3, but 1 of 2 values are others: 4"):
        pack(torch.tensor([[3.0, 4.0]]), levels=3)
    with pytest.raises(InvalidArgumentError, match="N, C, H, W"):
        pack_pixels(torch.zeros(2, 3))
    with pytest.raises(InvalidArgumentError, match="int64 words"):
        popcount(torch.zeros(3))


def test_nothing_is_packed_as_nothing():
    for shape in ((0, 5), (3, 0)):
        packed = pack(torch.zeros(shape))
        assert packed.spikes == 0
        assert packed.rate == 0.0
        assert unpack(packed).shape == shape
