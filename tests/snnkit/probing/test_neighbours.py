"""Nearest neighbours: values by hand, scikit-learn's on real features, whatever the size of a chunk.

Would break it: distances in place of cosines, weights that do not fall with T, a k that takes all, a lost chunk.
"""

import math

import numpy as np
import pytest
import torch

from snnkit.errors import InvalidArgumentError
from snnkit.probing import neighbours, vote


def test_votes_by_hand():
    """Angles 0°, 60°, 90° and 180° to the query: cosines 1, ½, 0, −1."""
    angles = torch.tensor([0.0, math.pi / 3, math.pi / 2, math.pi])
    train = torch.stack([angles.cos(), angles.sin()], 1) * torch.tensor([[1.0], [9.0], [0.1], [4.0]])
    labels, query = torch.tensor([2, 0, 0, 1]), torch.tensor([[5.0, 0.0]])
    e = [math.exp(s / 0.5) for s in (1, 0.5, 0, -1)]
    for k, shares in (
        (1, [0, 0, e[0]]),
        (2, [e[1], 0, e[0]]),
        (3, [e[1] + e[2], 0, e[0]]),
        (4, [e[1] + e[2], e[3], e[0]]),
    ):
        expected = torch.tensor([shares]) / sum(shares)
        torch.testing.assert_close(vote(train, labels, query, 3, k, 0.5), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (7, 1.0), (200, 0.5)])
def test_votes_are_those_of_scikit_learn(k, temperature, monkeypatch):
    pytest.importorskip("sklearn", reason="pip install scikit-learn")
    from sklearn.datasets import load_digits
    from sklearn.neighbors import KNeighborsClassifier

    x, y = load_digits(return_X_y=True)
    peer = KNeighborsClassifier(k, metric="cosine", weights=lambda d: np.exp((1 - d) / temperature))
    peer.fit(x[:1000], y[:1000])
    expected = peer.predict_proba(x[1000:1300])
    tensors = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    for entries in (1 << 24, 7000):  # 7 queries at a time
        monkeypatch.setattr(neighbours, "_ENTRIES", entries)
        found = vote(tensors[0][:1000], tensors[1][:1000], tensors[0][1000:1300], 10, k, temperature)
        np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)


def test_no_temperature_overflows():
    train, labels = torch.eye(3), torch.arange(3)
    assert vote(train, labels, torch.tensor([[1.0, 0.9, 0.0]]), 3, 3, 1e-4).tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("k", "temperature", "message"),
    [
        (5, 0.07, r"k=5: there are 4 labelled images"),
        (0, 0.07, "k=0"),
        (2, 0.0, "temperature=0.0"),
        (2, math.nan, "nan"),
    ],
)
def test_bad_input_is_named(k, temperature, message):
    with pytest.raises(InvalidArgumentError, match=message):
        vote(torch.eye(4), torch.arange(4), torch.eye(4), 4, k, temperature)
