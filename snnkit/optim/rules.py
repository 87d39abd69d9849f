"""The update rules of the block-wise optimizers on real numbers: p parameters, g gradient, m and v moments.

    ADAM      m ← β1 m + (1 − β1) g;  v ← β2 v + (1 − β2) g²;  p ← p (1 − lr wd) − lr / c1 · m / (√v / c2 + ε)
    LAMB      the same m and v;  u = m / c1 / (√v / c2 + ε) + wd p;  p ← p − lr r u, r the trust ratio
    MOMENTUM  m ← β m + g + wd p;  p ← p − lr m
    LION      p ← p (1 − lr wd) − lr sign(β1 m + (1 − β1) g);  m ← β2 m + (1 − β2) g
    RMSPROP   g ← g + wd p;  v ← α v + (1 − α) g²;  p ← p − lr g / (√v + ε)
    ADAGRAD   g ← g + wd p;  v ← v + g²;  p ← p − lr g / (√v + ε)

c1 = 1 − β1ᵗ and c2 = √(1 − β2ᵗ) at step t. The gradient is multiplied by ``scale`` first. Parameters move by the fresh
moments; only what is kept for the next step is rounded. These functions are the truth: ``csrc/blockwise.c`` and the
Triton kernel do the same operations in the same order. A rule that they do not know stands beside its optimizer, with
``number=None``, and runs in torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

COMPILED_ORDER = (
    *("scale", "beta1", "rest1", "beta2", "rest2", "root", "eps", "decay", "rate", "weight_decay", "correction"),
)
"""The fields of ``Numbers`` in the order of the compiled kernels."""


@dataclass(frozen=True)
class Numbers:
    """What a step multiplies by, from a group's settings and the number of the step.

    Attributes:
        rate: factor on the move; in ADAM lr / c1.
        scale: of the gradient.
        beta1, rest1, beta2, rest2: shares of the old moment and of the new value.
        root: factor on √v, 1 / c2.
        eps: beside √v.
        decay: factor on the parameters, 1 − lr·wd.
        weight_decay: share of the parameters that is added to the gradient, or to LAMB's direction.
        correction: factor on LAMB's m, 1 / c1.
    """

    rate: float
    scale: float = 1.0
    beta1: float = 0.0
    rest1: float = 1.0
    beta2: float = 0.0
    rest2: float = 1.0
    root: float = 1.0
    eps: float = 0.0
    decay: float = 1.0
    weight_decay: float = 0.0
    correction: float = 1.0


@dataclass(frozen=True)
class Moment:
    """One state of a rule: its key, its map, and whether the guard against underflow is for it."""

    key: str
    signed: bool = True
    guarded: bool = False


@dataclass(frozen=True)
class Rule:
    """An update.

    Attributes:
        number: in the compiled kernels; None for a rule that runs in torch alone.
        moments: its states.
        apply: (p, g, moments, numbers, out) → new moments; moves p in place, or writes the direction to ``out``.
    """

    number: int | None
    moments: tuple[Moment, ...]
    apply: Callable[[Tensor, Tensor, list[Tensor], Numbers, Tensor | None], list[Tensor]]


def _root(v: Tensor) -> Tensor:
    """√v to the last bit, which torch's own of float32 is not."""
    return v.double().sqrt().to(v.dtype)


def _moments(g: Tensor, old: list[Tensor], k: Numbers) -> tuple[Tensor, Tensor]:
    return old[0] * k.beta1 + g * k.rest1, old[1] * k.beta2 + g * g * k.rest2


def _adam(p: Tensor, g: Tensor, old: list[Tensor], k: Numbers, out: Tensor | None) -> list[Tensor]:
    m, v = _moments(g * k.scale, old, k)
    p.copy_(p * k.decay - m / (_root(v) * k.root + k.eps) * k.rate)
    return [m, v]


def _lamb(p: Tensor, g: Tensor, old: list[Tensor], k: Numbers, out: Tensor | None) -> list[Tensor]:
    m, v = _moments(g * k.scale, old, k)
    assert out is not None
    out.copy_(m * k.correction / (_root(v) * k.root + k.eps) + p * k.weight_decay)
    return [m, v]


def _momentum(p: Tensor, g: Tensor, old: list[Tensor], k: Numbers, out: Tensor | None) -> list[Tensor]:
    m = old[0] * k.beta1 + (g * k.scale + p * k.weight_decay)
    if out is None:
        p.copy_(p - m * k.rate)
    else:
        out.copy_(m)
    return [m]


def _lion(p: Tensor, g: Tensor, old: list[Tensor], k: Numbers, out: Tensor | None) -> list[Tensor]:
    g = g * k.scale
    p.copy_(p * k.decay - (old[0] * k.beta1 + g * k.rest1).sign() * k.rate)
    return [old[0] * k.beta2 + g * k.rest2]


def _rmsprop(p: Tensor, g: Tensor, old: list[Tensor], k: Numbers, out: Tensor | None) -> list[Tensor]:
    g = g * k.scale + p * k.weight_decay
    v = old[0] * k.beta2 + g * g * k.rest2
    p.copy_(p - g / (_root(v) + k.eps) * k.rate)
    return [v]


# The published implementation keeps the only state of a rule in the signed map, second moments too.
_TWO = (Moment("exp_avg"), Moment("exp_avg_sq", signed=False, guarded=True))
ADAM = Rule(0, _TWO, _adam)
LAMB = Rule(1, _TWO, _lamb)
MOMENTUM = Rule(2, (Moment("momentum_buffer"),), _momentum)
LION = Rule(3, (Moment("exp_avg"),), _lion)
RMSPROP = Rule(4, (Moment("square_avg", guarded=True),), _rmsprop)
ADAGRAD = Rule(5, (Moment("sum", guarded=True),), _rmsprop)
