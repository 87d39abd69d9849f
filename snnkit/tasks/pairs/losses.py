"""Contrastive losses of images and texts: gradients in chunks, the B × B matrix never whole in memory.

    z_ij = s · f_i·g_j + b           f, g unit rows; s the inverse temperature; b a bias, of the second loss only
    softmax   L = 1/2B Σ_i [lse_j z_ij − z_ii] + 1/2B Σ_j [lse_i z_ij − z_jj]
    sigmoid   L = 1/B Σ_ij softplus(z_ij) − 1/B Σ_i z_ii

Every process holds the rows i of its own images and all texts, so it makes a block (n, B) of the matrix, some rows at a
time. The sums over columns, the texts' gradients and those of s and b are added up over the processes; nothing else is
exchanged. Numbers are those of the features, at least float32.

Sources: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", arXiv 2103.00020 (the
softmax); Zhai et al., "Sigmoid Loss for Language Image Pre-Training", arXiv 2303.15343; Pham et al., "Combined Scaling
for Zero-shot Transfer Learning", arXiv 2111.10050 (batches beyond memory).
Letters: B pairs of all processes, n of this one, D width of features, c rows of a chunk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.tasks.contrastive.losses import at_least_single, uncast
from snnkit.tasks.contrastive.processes import gathered, largest, rank_and_world, summed

CHUNK = 1 << 20
"""Numbers of the matrix that are in memory at once, unless the caller says otherwise."""


@dataclass
class Pull:
    """A loss and where it pulls.

    Attributes:
        loss: of the whole batch, ().
        images, texts: its gradients with respect to this process's features, (n, D); None where they were not asked.
        scale, bias: with respect to s and b, complete in every process, ().
    """

    loss: Tensor
    images: Tensor | None = None
    texts: Tensor | None = None
    scale: Tensor | None = None
    bias: Tensor | None = None


@dataclass(frozen=True)
class Exchange:
    """How the processes of a run share the loss of their common batch.

    ``local`` has each compute the rows of its own images and exchange the gradients of texts; without it each computes
    the whole matrix, and nobody needs another's gradients. Both are exact. Rows of its own with gradients that stay
    (``gradients=False``) would leave out what others' images say of a text, and is refused.
    """

    local: bool = True
    gradients: bool = True

    def check(self) -> None:
        """Raise InvalidArgumentError for the combination that is wrong."""
        if self.local and not self.gradients:
            raise InvalidArgumentError(
                "local_loss=true with gather_gradient=false: a text's gradient would lack what the other processes' "
                "images say of it, so that the step is not that of the big batch. Set gather_gradient=true, or "
                "local_loss=false."
            )


ALONE = Exchange()


def softmax_pull(
    images_nD: Tensor,
    texts_BD: Tensor,
    own: Tensor,
    scale: Tensor,
    bias: Tensor | None,
    add_up: AddUp,
    gradients: bool,
    chunk: int,
) -> Pull:
    """Return the softmax loss and its gradients; ``own`` says which text belongs to each image; no bias is asked."""
    n, total = len(images_nD), len(texts_BD)
    row_n, self_n = (images_nD.new_empty(n) for _ in range(2))
    top_B, sum_B = images_nD.new_full((total,), -math.inf), images_nD.new_zeros(total)
    for rows in _chunks(n, total, chunk):
        z = torch.mm(images_nD[rows], texts_BD.t()).mul_(scale)
        self_n[rows] = z.gather(1, own[rows, None])[:, 0]
        row_n[rows] = torch.logsumexp(z, 1)
        higher = torch.maximum(top_B, z.amax(0))
        sum_B = sum_B * (top_B - higher).exp_() + z.sub_(higher).exp_().sum(0)
        top_B = higher
    most_B = add_up.largest(top_B)
    column_B = most_B + add_up(sum_B * (top_B - most_B).exp_()).log_()
    # Each process tells of its own rows, and of the columns of its own texts.
    mine = _double(row_n) + _double(column_B[own]) - 2 * _double(self_n)
    found = Pull((add_up(mine) / (2 * total)).to(images_nD.dtype))
    if gradients:
        texts = torch.zeros_like(texts_BD)
        pull = torch.empty_like(images_nD)
        for rows in _chunks(n, total, chunk):
            z = torch.mm(images_nD[rows], texts_BD.t()).mul_(scale)
            p = (z - column_B).exp_()
            p += z.sub_(row_n[rows, None]).exp_()
            p.scatter_add_(1, own[rows, None], p.new_full((len(p), 1), -2.0))
            p.mul_(0.5 / total)
            _gather_pull(p, rows, images_nD, texts_BD, pull, texts)
        _settle(found, pull, texts, images_nD, own, scale, add_up)
    return found


def sigmoid_pull(
    images_nD: Tensor,
    texts_BD: Tensor,
    own: Tensor,
    scale: Tensor,
    bias: Tensor | None,
    add_up: AddUp,
    gradients: bool,
    chunk: int,
) -> Pull:
    """Return the sigmoid loss and its gradients; arguments as for ``softmax_pull``."""
    assert bias is not None
    n, total = len(images_nD), len(texts_BD)
    texts, pull = torch.zeros_like(texts_BD), torch.empty_like(images_nD)
    loss, pushed = (torch.zeros((), dtype=torch.float64, device=images_nD.device) for _ in range(2))
    for rows in _chunks(n, total, chunk):
        z = torch.mm(images_nD[rows], texts_BD.t()).mul_(scale).add_(bias)
        loss -= _double(z.gather(1, own[rows, None]))
        loss -= _double(F.logsigmoid(-z).sum(1))
        if gradients:
            p = z.sigmoid_()
            p.scatter_add_(1, own[rows, None], p.new_full((len(p), 1), -1.0))
            p.mul_(1 / total)
            pushed += _double(p.sum(1))
            _gather_pull(p, rows, images_nD, texts_BD, pull, texts)
    found = Pull((add_up(loss) / total).to(images_nD.dtype))
    if gradients:
        _settle(found, pull, texts, images_nD, own, scale, add_up)
        found.bias = add_up(pushed).to(images_nD.dtype)
    return found


LOSSES: dict[str, Callable[..., Pull]] = {"clip": softmax_pull, "siglip": sigmoid_pull}


class AddUp:
    """Sums over the processes, or of one process that computes everything."""

    def __init__(self, shared: bool):
        self._shared = shared

    def __call__(self, values: Tensor) -> Tensor:
        """Return the sum over the processes."""
        return summed(values) if self._shared else values

    def largest(self, values: Tensor) -> Tensor:
        """Return the largest over the processes, value by value."""
        return largest(values) if self._shared else values


def _chunks(n: int, total: int, chunk: int) -> Iterator[slice]:
    rows = max(chunk // max(total, 1), 1)
    return (slice(first, min(first + rows, n)) for first in range(0, n, rows))


def _double(values: Tensor) -> Tensor:
    """The sum of many numbers, in as many bits as the machine has for it."""
    wide = torch.float32 if values.device.type == "mps" else torch.float64
    return values.sum(dtype=wide)


def _gather_pull(p: Tensor, rows: slice, images: Tensor, texts: Tensor, pull: Tensor, texts_pull: Tensor) -> None:
    """Add what the chunk p = ∂L/∂z of the matrix pulls at, still without the scale."""
    torch.mm(p, texts, out=pull[rows])
    texts_pull.addmm_(p.t(), images[rows])


def _settle(
    found: Pull, pull: Tensor, texts: Tensor, images: Tensor, own: Tensor, scale: Tensor, add_up: AddUp
) -> None:
    """Scale the gradients; that of s is Σ_i f_i · ∂L/∂f_i / s, since z is linear in both."""
    found.scale = add_up(_double((images * pull).sum(1))).to(images.dtype)
    found.images, found.texts = pull.mul_(scale), add_up(texts)[own].mul_(scale)


def pull(
    images_nD: Tensor,
    texts_nD: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    loss: str = "clip",
    exchange: Exchange = ALONE,
    gradients: bool = True,
    chunk: int = CHUNK,
    shared: bool = True,
) -> Pull:
    """Return the loss of a batch that all processes have together, and its gradients with respect to own features.

    Args:
        images_nD, texts_nD: features of this process's pairs, of unit length, (n, D) both; the same n everywhere.
        scale: s, ().
        bias: b, (); of the sigmoid loss.
        loss: "clip" (softmax) or "siglip" (sigmoid).
        exchange: how processes share the work.
        gradients: whether they are asked; without, the loss alone is computed.
        chunk: numbers of the matrix in memory at once.
        shared: whether the batch is that of all processes; else of this one alone.

    Raises:
        UnknownNameError: no such loss.
        InvalidArgumentError: features of other shapes, of unequal numbers in the processes, or a wrong exchange.
    """
    check_features(images_nD, texts_nD, loss, bias)
    exchange.check()
    with torch.no_grad(), uncast(images_nD):
        images, texts = at_least_single(images_nD.detach()), at_least_single(texts_nD.detach())
        s = scale.detach().to(images.dtype)
        b = None if bias is None else bias.detach().to(images.dtype)
        rank, world = rank_and_world() if shared else (0, 1)
        if world > 1:
            _same_number(len(images), images.device)
        total = len(images) * world
        own = torch.arange(rank, total, world, device=images.device)
        every = gathered(texts) if shared else texts
        if exchange.local or world == 1:
            return LOSSES[loss](images, every, own, s, b, AddUp(world > 1), gradients, chunk)
        all_own = torch.arange(total, device=images.device)
        found = LOSSES[loss](gathered(images), every, all_own, s, b, AddUp(False), gradients, chunk)
        if found.images is not None and found.texts is not None:
            found.images, found.texts = found.images[own], found.texts[own]
        return found


def check_features(images_nD: Tensor, texts_nD: Tensor, loss: str, bias: Tensor | None) -> None:
    """Raise what ``pull`` does for features or a loss that it does not take."""
    if loss not in LOSSES:
        raise unknown_name("contrastive loss", loss, LOSSES)
    if images_nD.ndim != 2 or images_nD.shape != texts_nD.shape or not len(images_nD):
        raise InvalidArgumentError(
            f"features of images {tuple(images_nD.shape)} and texts {tuple(texts_nD.shape)}: both must be (n, D), a "
            "row a pair; give the towers projections of one width."
        )
    if (bias is None) == (loss == "siglip"):
        raise InvalidArgumentError(f"loss {loss}: {'needs a bias b' if bias is None else 'has no bias'}.")


def _same_number(n: int, device: torch.device) -> None:
    """Refuse batches of different sizes, in every process alike, before they wait for each other for ever."""
    ends = largest(torch.tensor([n, -n], device=device))
    most, least = int(ends[0]), -int(ends[1])
    if most != least:
        raise InvalidArgumentError(
            f"the processes have batches of {least} to {most} pairs; every one must have as many, or rows of the "
            "common matrix would belong to no text."
        )


class _Contrast(torch.autograd.Function):
    """The loss as a function of features, scale and bias; the backward multiplies what the forward found."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor | None, settings: Any) -> Tensor:
        found = pull(images, texts, scale, bias, gradients=any(ctx.needs_input_grad), **settings)
        # DDP and FSDP average gradients over the processes; each brings those of its own features only.
        ctx.world, ctx.dtypes = rank_and_world()[1], (images.dtype, texts.dtype)
        ctx.save_for_backward(found.images, found.texts, found.scale, found.bias)
        return found.loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        images, texts, scale, bias = ctx.saved_tensors
        by = given * ctx.world
        dtypes = ctx.dtypes
        return (
            (images * by).to(dtypes[0]),
            (texts * by).to(dtypes[1]),
            scale * given,
            None if bias is None else bias * given,
            None,
        )


def contrastive_loss(
    images_nD: Tensor,
    texts_nD: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    loss: str = "clip",
    exchange: Exchange = ALONE,
    chunk: int = CHUNK,
) -> Tensor:
    """Return the loss of a batch, (), differentiable once; arguments and errors as for ``pull``.

    Where several processes train, gradients of features are so large that their mean over the processes (DDP, FSDP2)
    is the gradient of the whole batch; those of scale and bias are complete in each.
    """
    found: Tensor = _Contrast.apply(
        images_nD, texts_nD, scale, bias, {"loss": loss, "exchange": exchange, "chunk": chunk}
    )
    return found
