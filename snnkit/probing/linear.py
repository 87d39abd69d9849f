"""Linear probes: multinomial logistic regression on standardised features, by L-BFGS or by SGD.

    z = (x − μ) / σ                                    μ, σ of the training features; σ = 1 where a feature is constant
    L(W, b) = mean CE(W z + b, y) + λ/2 · ‖W‖²         W (K, F), b (K,) free of decay

λ is the ``l2`` of these functions: scikit-learn's C = 1 / (λ · N). Started at W = b = 0, L is convex: L-BFGS
(scipy's) finds its minimum; SGD with momentum, the way of the published tables, comes near it. Classes that the
training images lack are never predicted.

Sources: He et al., MoCo, arXiv 1911.05722, §4.1 and He et al., MAE, arXiv 2111.06377, A.1 (linear probes by SGD, cosine
schedule, normalised features); Radford et al., CLIP, arXiv 2103.00020, A.3 (L-BFGS, λ chosen on images set aside).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from torch import Tensor

from snnkit.errors import InvalidArgumentError

MOMENTUM, BATCH, EPOCHS, LEAST_STEPS = 0.9, 256, 100, 2000


@dataclass(frozen=True)
class Linear:
    """A fitted probe.

    Attributes:
        weight, bias: float64 (k, F) and (k,) over standardised features, for the k classes that were there.
        mean, deviation: μ and σ, (F,).
        classes: labels of these classes (k,).
        l2: λ.
        loss: L at the end.
        converged: whether the minimum was found; SGD does not look.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    deviation: Tensor
    classes: Tensor
    l2: float
    loss: float
    converged: bool = True

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits (N, k) of features (N, F)."""
        return _scaled(x, self.mean, self.deviation) @ self.weight.T + self.bias

    def predict(self, x: Tensor) -> Tensor:
        """Return the labels (N,) of features (N, F)."""
        return self.classes[self.logits(x).argmax(1)]


def _scaled(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    return (x.double() - mean) / deviation


class Problem:
    """Features and labels, standardised, and L of them.

    Args:
        x: features (N, F).
        y: labels (N,).

    Raises:
        InvalidArgumentError: images of fewer than two classes, or not a label for each.
    """

    def __init__(self, x: Tensor, y: Tensor):
        if len(x) != len(y):
            raise InvalidArgumentError(f"{len(x)} rows of features, but {len(y)} labels.")
        self.classes, self.y = y.unique(return_inverse=True)
        if len(self.classes) < 2:
            raise InvalidArgumentError(f"{len(x)} images of {len(self.classes)} class: a probe needs two.")
        double = x.double()
        self.mean, deviation = double.mean(0), double.std(0, correction=0)
        # Of a constant feature rounding leaves some deviation.
        constant = deviation <= 1e-7 * self.mean.abs()
        self.deviation = torch.where(constant | (deviation == 0), torch.ones_like(deviation), deviation)
        self.z = _scaled(x, self.mean, self.deviation)

    def value(self, flat: np.ndarray, l2: float) -> tuple[float, np.ndarray]:
        """Return L and its gradient at W and b, side by side in one vector (k · (F + 1),)."""
        parameters = torch.from_numpy(flat).view(len(self.classes), -1)
        weight, bias = parameters[:, :-1], parameters[:, -1]
        logits = self.z @ weight.T + bias
        loss = F.cross_entropy(logits, self.y) + l2 / 2 * weight.square().sum()
        error = logits.softmax(1)
        error[torch.arange(len(self.y)), self.y] -= 1
        error /= len(self.y)
        gradient = torch.cat([error.T @ self.z + l2 * weight, error.sum(0)[:, None]], 1)
        return float(loss), gradient.flatten().numpy()

    def fitted(self, flat: np.ndarray, l2: float, converged: bool) -> Linear:
        """Return the probe with these parameters."""
        parameters = torch.from_numpy(flat).view(len(self.classes), -1)
        loss = self.value(flat, l2)[0]
        weight, bias = parameters[:, :-1].clone(), parameters[:, -1].clone()
        return Linear(weight, bias, self.mean, self.deviation, self.classes, l2, loss, converged)

    def start(self) -> np.ndarray:
        """W = 0, b = 0."""
        return np.zeros(len(self.classes) * (self.z.shape[1] + 1))


def check_l2(l2: float) -> None:
    """Raise InvalidArgumentError unless λ is a finite number ≥ 0."""
    if not 0 <= l2 < float("inf"):
        raise InvalidArgumentError(f"l2={l2}: must be a finite number, at least 0.")


def minimum(problem: Problem, l2: float, start: np.ndarray, tolerance: float, most: int) -> tuple[np.ndarray, bool]:
    """Return where L is smallest, as one vector, and whether it was found.

    Args:
        problem: features and labels.
        l2: λ.
        start: where to begin.
        tolerance: largest component of the gradient at the end.
        most: iterations.
    """
    options = {"maxiter": most, "gtol": tolerance, "ftol": 64 * np.finfo(float).eps, "maxls": 50}
    found = minimize(lambda flat: problem.value(flat, l2), start, jac=True, method="L-BFGS-B", options=options)
    return found.x, bool(found.success)


def fit_lbfgs(x: Tensor, y: Tensor, l2: float, tolerance: float = 1e-5, most: int = 3000) -> Linear:
    """Fit a probe at the minimum of L.

    Args:
        x: features (N, F).
        y: labels (N,).
        l2: λ.
        tolerance: largest component of the gradient at the end.
        most: iterations, after which it ends where it is (``converged`` is False).

    Raises:
        InvalidArgumentError: fewer than two classes, or an impossible λ.
    """
    check_l2(l2)
    problem = Problem(x, y)
    flat, found = minimum(problem, l2, problem.start(), tolerance, most)
    return problem.fitted(flat, l2, found)


def fit_sgd(
    x: Tensor,
    y: Tensor,
    l2: float = 0.0,
    seed: int = 0,
    learning_rate: float | None = None,
    batch_size: int = BATCH,
    steps: int | None = None,
) -> Linear:
    """Fit a probe by SGD: momentum 0.9, the rate falling as half a cosine to 0.

    Args:
        x: features (N, F).
        y: labels (N,).
        l2: λ.
        seed: of the order of images.
        learning_rate: at the start; None for 1 / (λmax / 2 + λ), λmax the largest eigenvalue of the features'
            covariance: L curves at most as much.
        batch_size: images of a step.
        steps: None for a hundred epochs, and at least 2,000.

    Raises:
        InvalidArgumentError: fewer than two classes, or a setting out of range.
    """
    check_l2(l2)
    for name, value in (("batch_size", batch_size), ("steps", 1 if steps is None else steps)):
        if value < 1:
            raise InvalidArgumentError(f"{name}={value}: must be at least 1.")
    if learning_rate is not None and not 0 < learning_rate < float("inf"):
        raise InvalidArgumentError(f"learning_rate={learning_rate}: must be a finite number above 0.")
    problem = Problem(x, y)
    z, labels, count = problem.z.float(), problem.y, len(y)
    batch_size = min(batch_size, count)
    steps = steps or max(EPOCHS * count // batch_size, LEAST_STEPS)
    rate = learning_rate or 1 / (_largest_curvature(z) + l2)
    generator = torch.Generator().manual_seed(seed)
    weight, bias = torch.zeros(len(problem.classes), z.shape[1]), torch.zeros(len(problem.classes))
    weight.requires_grad_()
    bias.requires_grad_()
    groups = [{"params": [weight], "weight_decay": l2}, {"params": [bias], "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=rate, momentum=MOMENTUM)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(order) < batch_size:
            order = torch.randperm(count, generator=generator)
        chosen, order = order[:batch_size], order[batch_size:]
        F.cross_entropy(z[chosen] @ weight.T + bias, labels[chosen]).backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    flat = torch.cat([weight.detach(), bias.detach()[:, None]], 1).double().flatten().numpy()
    return problem.fitted(flat, l2, True)


def _largest_curvature(z: Tensor, rounds: int = 50) -> float:
    """Half of the largest eigenvalue of ZᵀZ / N, by power iteration: CE curves at most as much along any direction."""
    v = torch.ones(z.shape[1]) / z.shape[1] ** 0.5
    size = 1.0
    for _ in range(rounds):
        u = z.T @ (z @ v) / len(z)
        size = float(u.norm())
        if size == 0:
            return 1.0
        v = u / size
    return max(size, 1.0) / 2  # the bias sees ones: 1
