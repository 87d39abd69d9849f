"""Bytes for numbers: the published maps bit for bit, and the nearest value always.

Would break it: a map one ulp off, a tie to the wrong side, a bucket that two midpoints cut, a block that ends late.
"""

import numpy as np
import pytest
import torch

from snnkit.optim import codebook, dequantise, quantise


@pytest.fixture(scope="module")
def stored(golden):
    return dict(np.load(golden / "opt8bit_quant.npz"))


@pytest.mark.parametrize("kind", ["signed", "unsigned"])
def test_maps_are_the_published_ones_bit_for_bit(stored, kind):
    book = codebook(kind == "signed")
    assert (book.values.numpy().view(np.int32) == stored[f"out_map_{kind}"].view(np.int32)).all()
    assert book.values[book.zero] == 0
    assert book.zero == (127 if kind == "signed" else 0)


@pytest.mark.parametrize("block", [64, 256, 2048])
@pytest.mark.parametrize("kind", ["signed", "unsigned"])
def test_codes_and_absmax_are_the_stored_ones(stored, kind, block):
    codes, absmax = quantise(torch.as_tensor(stored[f"in_x_{kind}"]), kind == "signed", block)
    safe = stored[f"out_safe_{kind}_{block}"]
    assert safe.mean() > 0.99
    assert (codes.numpy() == stored[f"out_idx_{kind}_{block}"])[safe].all()
    assert (absmax.numpy() == stored[f"out_absmax_{kind}_{block}"]).all()
    back = dequantise(codes, absmax, kind == "signed", block)
    np.testing.assert_allclose(back.numpy()[safe], stored[f"out_deq_{kind}_{block}"][safe], rtol=1e-7, atol=0)


def around(book):
    """Every limit and value, a float below and a float above, on both sides of zero; and what is very small."""
    near = torch.cat([book.values, book.limits, (book.values[1:] + book.values[:-1]) / 2]).numpy()
    found = [near, np.nextafter(near, np.float32(2)), np.nextafter(near, np.float32(-2))]
    found.append(np.geomspace(1e-44, 1e-6, 200).astype(np.float32))
    found = np.concatenate(found)
    found = np.concatenate([found, -found]) if book.span else np.abs(found)
    return np.unique(found[np.abs(found) <= 1])


def nearest(book, y):
    """In float64, where the distance to both neighbours is exact."""
    distance = np.abs(y.astype(np.float64)[:, None] - book.values.numpy().astype(np.float64))
    return distance.argmin(1)  # the first of equals


@pytest.mark.parametrize("signed", [True, False])
def test_ties_and_neighbours_of_every_midpoint(signed):
    book = codebook(signed)
    y = around(book)
    expected = nearest(book, y)
    padded = np.concatenate([y, np.ones(1, np.float32)])  # an absmax of 1 leaves y as it is
    codes, _ = quantise(torch.from_numpy(padded), signed, 4096)
    assert len(padded) <= 4096
    assert (codes.numpy()[:-1] == expected).all()
    ties = [k for k in range(255) if float(book.limits[k]) == (float(book.values[k]) + float(book.values[k + 1])) / 2]
    assert len(ties) > 20, "some midpoints are floats, so that ties occur"


def entry(book, y):
    """What blockwise.c does with one number."""
    bits = int(np.float32(y).view(np.int32))
    negative, size = bits < 0, max(bits & 0x7FFFFFFF, book.lowest)
    at = (size >> book.shift) - (book.lowest >> book.shift) + (book.span if negative else 0)
    place = (int(book.buckets[at]) + (size & ((1 << book.shift) - 1))) >> book.shift
    return book.zero + (-place if negative else place)


@pytest.mark.parametrize("signed", [True, False])
def test_one_look_up_finds_the_nearest(signed):
    book = codebook(signed)
    generator = np.random.default_rng(0)
    y = np.concatenate([around(book), (10 ** generator.uniform(-9, 0, 3000)).astype(np.float32)])
    y = np.concatenate([y, -y[-3000:]]) if signed else y
    assert [entry(book, value) for value in y] == nearest(book, y).tolist()


@pytest.mark.parametrize("signed", [True, False])
def test_zeros_and_the_guard(signed):
    zero = codebook(signed).zero
    codes, absmax = quantise(torch.zeros(300), signed, 256, guard=True)
    assert (codes == zero).all()
    assert absmax.tolist() == [0, 0]
    x = torch.tensor([1.0, 0.0, 1e-30, 1e-44])
    assert quantise(x, signed, 256)[0].tolist() == [255, zero, zero, zero]
    assert quantise(x, signed, 256, guard=True)[0].tolist() == [255, zero, zero + 1, zero + 1]


def test_what_is_not_finite_leaves_its_block_alone():
    x = torch.tensor([1.0, float("nan"), float("-inf"), 0.5])
    codes, absmax = quantise(x, True, 64)
    assert absmax.item() == 1
    assert dequantise(codes, absmax, True, 64)[1:3].tolist() == [0, 0]


def test_the_negative_end_is_not_minus_one():
    codes, absmax = quantise(torch.tensor([-2.0, 1.0]), True, 64)
    assert dequantise(codes, absmax, True, 64)[0].item() == pytest.approx(-2 * 0.99297, rel=1e-5)
