"""Linear probes: scikit-learn's minimum, values by hand, and SGD that comes near.

Would break it: a decay of another scale, a bias that decays, features standardised by the test images, a class that was
not there and is predicted, a first step of another size.
"""

import math

import numpy as np
import pytest
import torch

from snnkit.errors import InvalidArgumentError
from snnkit.probing import fit_lbfgs, fit_sgd
from snnkit.probing.linear import Problem
from snnkit.probing.probes import choose_l2

linear_model = pytest.importorskip("sklearn.linear_model", reason="pip install scikit-learn")


def digits(count=400, seed=0):
    """Features (N, 64), some of them constant, and labels of handwritten digits."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    chosen = np.random.default_rng(seed).permutation(len(y))[:count]
    return torch.tensor(x[chosen], dtype=torch.float32), torch.tensor(y[chosen])


@pytest.mark.parametrize("l2", [1.0, 1e-2, 1e-4])
def test_the_minimum_is_that_of_scikit_learn(l2):
    from sklearn.preprocessing import StandardScaler

    x, y = digits()
    fitted = fit_lbfgs(x, y, l2, tolerance=1e-9, most=5000)
    scaled = StandardScaler().fit_transform(x.double().numpy())
    peer = linear_model.LogisticRegression(C=1 / (l2 * len(y)), tol=1e-8, max_iter=10_000).fit(scaled, y.numpy())
    np.testing.assert_allclose(fitted.weight.numpy(), peer.coef_, atol=1e-3 * np.abs(peer.coef_).max())
    bias = fitted.bias.numpy() - fitted.bias.numpy().mean()  # a shift of all is free
    np.testing.assert_allclose(bias, peer.intercept_ - peer.intercept_.mean(), atol=1e-3)
    new, _ = digits(600, seed=1)
    theirs = peer.predict(StandardScaler().fit(x.double().numpy()).transform(new.double().numpy()))
    assert (fitted.predict(new).numpy() == theirs).mean() > 0.998


def test_two_points_by_hand():
    """z = ±1, W = (−w, w): L = log(1 + e^{−2w}) + λ w², whose slope is zero where λ w = 1 / (1 + e^{2w})."""
    x, y = torch.tensor([[3.0], [7.0]]), torch.tensor([4, 9])
    fitted = fit_lbfgs(x, y, 0.1, tolerance=1e-10)
    w = float(fitted.weight[1, 0])
    assert float(fitted.weight[0, 0]) == pytest.approx(-w)
    assert 0.1 * w == pytest.approx(1 / (1 + math.exp(2 * w)), rel=1e-6)
    assert fitted.loss == pytest.approx(math.log1p(math.exp(-2 * w)) + 0.1 * w * w, rel=1e-6)
    assert fitted.predict(torch.tensor([[4.9], [5.1]])).tolist() == [4, 9]


def test_the_gradient_is_that_of_autograd():
    x, y = digits(50)
    problem = Problem(x, y)
    flat = np.random.default_rng(0).normal(size=problem.start().shape)
    parameters = torch.tensor(flat, requires_grad=True)
    table = parameters.view(len(problem.classes), -1)
    logits = problem.z @ table[:, :-1].T + table[:, -1]
    loss = torch.nn.functional.cross_entropy(logits, problem.y) + 0.3 / 2 * table[:, :-1].square().sum()
    loss.backward()
    value, gradient = problem.value(flat, 0.3)
    assert value == pytest.approx(float(loss.detach()))
    np.testing.assert_allclose(gradient, parameters.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("fit", [fit_lbfgs, fit_sgd])
def test_features_on_any_scale_give_the_same_and_absent_classes_are_not_predicted(fit):
    x, y = digits(200)
    kept = (y != 3) & (y != 5)
    x, y = x[kept], y[kept]
    one, other = fit(x, y, 1e-2), fit(1000 * x + 5, y, 1e-2)
    assert (one.predict(x) == other.predict(1000 * x + 5)).double().mean() > 0.98
    assert one.loss == pytest.approx(other.loss, rel=1e-3)
    assert set(one.predict(torch.randn(500, 64) * 50).tolist()) <= set(y.tolist())


def test_a_step_of_sgd_by_hand():
    """The whole set in a step: W = −η · ∂L/∂W at 0, p = 1/k for all."""
    x, y = torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]]), torch.tensor([0, 1, 1])
    fitted = fit_sgd(x, y, 0.5, learning_rate=0.2, batch_size=3, steps=1)
    z = (x[:, 0].double() - 2) / math.sqrt(8 / 3)  # the second feature is constant: 0
    error = torch.tensor([[-0.5, 0.5, 0.5], [0.5, -0.5, -0.5]], dtype=torch.float64)  # p − one-hot
    expected = -0.2 * error @ torch.stack([z, torch.zeros(3, dtype=torch.float64)], 1) / 3
    torch.testing.assert_close(fitted.weight, expected, atol=1e-7, rtol=0)
    torch.testing.assert_close(fitted.bias, -0.2 * error.sum(1) / 3, atol=1e-7, rtol=0)


@pytest.mark.parametrize("l2", [1e-1, 1e-3])
def test_sgd_comes_near_the_minimum(l2):
    x, y = digits(300)
    best, near = fit_lbfgs(x, y, l2), fit_sgd(x, y, l2, batch_size=64)
    assert best.loss <= near.loss <= 1.03 * best.loss
    new, labels = digits(800, seed=1)
    assert abs((best.predict(new) == labels).double().mean() - (near.predict(new) == labels).double().mean()) < 0.02
    again, other = fit_sgd(x, y, l2, batch_size=64), fit_sgd(x, y, l2, seed=1, batch_size=64)
    assert torch.equal(again.weight, near.weight)
    assert not torch.equal(other.weight, near.weight)


def test_a_large_decay_is_chosen_where_it_helps():
    """380 features that each tell a little, and a fifth of the labels wrong: little decay learns the wrong ones."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(500) % 2
    x, new = (torch.randn(500, 380, generator=generator) + (2 * y - 1)[:, None] * 0.12 for _ in range(2))
    noisy = torch.where(torch.rand(500, generator=generator) < 0.2, 1 - y, y)
    assert choose_l2(x, noisy, seed=0) == 1.0
    strong, weak = (float((fit_lbfgs(x, noisy, l2).predict(new) == y).double().mean()) for l2 in (1.0, 1e-5))
    assert strong > weak + 0.1


def test_a_small_decay_is_chosen_where_it_helps():
    """What tells is the small difference of two large features: decay hides it."""
    generator = torch.Generator().manual_seed(0)
    y, size = torch.arange(300) % 3, torch.randn(300, 1, generator=generator)
    noise = 0.01 * torch.randn(300, 1, generator=generator)
    x = torch.cat([size, size + 0.05 * (y - 1)[:, None] + noise], 1)
    assert choose_l2(x, y, seed=0) == 1e-5
    assert float((fit_lbfgs(x, y, 1.0).predict(x) == y).double().mean()) < 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: fit_lbfgs(x, torch.zeros(8, dtype=torch.long), 1.0), "8 images of 1 class"),
        (lambda x, y: fit_lbfgs(x, y[:4], 1.0), "8 rows of features, but 4 labels"),
        (lambda x, y: fit_lbfgs(x, y, -1.0), "l2=-1.0"),
        (lambda x, y: fit_sgd(x, y, float("nan")), "l2=nan"),
        (lambda x, y: fit_sgd(x, y, steps=0), "steps=0"),
        (lambda x, y: fit_sgd(x, y, batch_size=0), "batch_size=0"),
        (lambda x, y: fit_sgd(x, y, learning_rate=0.0), "learning_rate=0.0"),
    ],
)
def test_bad_input_is_named(call, message):
    x, y = torch.randn(8, 3), torch.arange(8) % 2
    with pytest.raises(InvalidArgumentError, match=message):
        call(x, y)
