"""Sums of weighted rows against torch's ``embedding_bag``, whose gradient they are to give up to the order of sums.

Would break it: rows that nothing reads, weights of 0, a row that a sum reads twice, a second backward on rows in use.
"""

import pytest
import torch
import torch.nn.functional as F

from snnkit.layers.weighted_rows import weighted_rows


def case(rows, channels, sums, size, dtype):
    made = torch.Generator().manual_seed(0)
    places = torch.randint(0, max(rows // 2, 1), (sums, size), generator=made)  # nothing reads the second half
    weights = torch.rand(sums, size, generator=made, dtype=dtype)
    weights[::3] = 0
    given = torch.randn(sums, channels, generator=made, dtype=dtype)
    return torch.randn(rows, channels, generator=made, dtype=dtype), places, weights, given


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(40, 7, 100, 16), (1, 1, 1, 1), (300, 65, 50, 4), (5, 3, 0, 16)])
def test_values_and_gradients_are_torchs(shape, dtype):
    rows, places, weights, given = case(*shape, dtype)
    ours, theirs = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    found = weighted_rows(ours, places, weights)
    wanted = F.embedding_bag(places, theirs, mode="sum", per_sample_weights=weights)
    assert torch.equal(found, wanted)
    for turn in range(2):
        found.backward(given, retain_graph=turn == 0), wanted.backward(given, retain_graph=turn == 0)
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-13)
    assert not ours.grad[shape[0] // 2 or 1 :].any()


def test_gradients_that_lie_in_memory_otherwise():
    rows, places, weights, given = case(40, 7, 100, 16, torch.float64)
    ours, theirs = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    for one, way in ((ours, weighted_rows(ours, places, weights)), (theirs, weighted_rows(theirs, places, weights))):
        way.backward(given.t().contiguous().t() if one is ours else given)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-13)
