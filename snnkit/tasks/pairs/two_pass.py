"""One step of a contrastive batch in parts: the gradient of the whole batch, in the memory of one part.

    1. every part goes through the towers without gradients; its features are kept, and the states of the generators
    2. the loss of all features at once: ∂L/∂f, ∂L/∂g, ∂L/∂s, ∂L/∂b                              (``losses.pull``)
    3. every part goes through the towers again, with the same random numbers, and pulls back ⟨f, ∂L/∂f⟩ + ⟨g, ∂L/∂g⟩

The sum of these is the gradient of L to the last bit but for the order of sums, where no sample changes another's
features (``coupling``). A call of a network of this package starts at rest, so neurons are so in both passes. Each
part is compared with what it was: a tower that gives other features the second time is told, since its gradient would
not be that of the loss.

    step = TwoPass(towers)                        # towers(images, texts) -> (f, g); scale(), bias()
    for images, texts in parts: step.look(images, texts)
    loss = step.compare()
    for images, texts in parts: step.pull_back(images, texts).backward()

Source: Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", arXiv 2101.06983;
Pham et al., arXiv 2111.10050.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.tasks.contrastive.processes import rank_and_world
from snnkit.tasks.pairs.coupling import check_norms, norms_frozen, statistics_kept
from snnkit.tasks.pairs.draws import Draws
from snnkit.tasks.pairs.losses import ALONE, CHUNK, Exchange, pull

_SAME = 1e-3
"""Share of Σ |f · ∂L/∂f| by which ⟨f, ∂L/∂f⟩ may differ between the passes; half precision rounds by 0.4 %."""


class Towers(Protocol):
    """Two towers: of images and texts unit features (B, D) of both; their scale, and bias where there is one."""

    def __call__(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features."""

    def scale(self) -> Tensor:
        """Return s, ()."""

    def bias(self) -> Tensor | None:
        """Return b, (), or None."""


class TwoPass:
    """A step in parts; see the module.

    Args:
        towers: the model: a module that ``Towers`` describes.
        loss: "clip" or "siglip".
        exchange: how processes share the loss.
        chunk: numbers of the B × B matrix in memory at once.
    """

    def __init__(
        self,
        towers: Any,
        loss: str = "clip",
        exchange: Exchange = ALONE,
        chunk: int = CHUNK,
    ):
        self._towers, self._loss, self._exchange, self._chunk = towers, loss, exchange, chunk
        self._features: list[tuple[Tensor, Tensor]] = []
        self._draws: list[Draws] = []
        self._sizes: list[int] = []
        self._expected: list[tuple[float, float]] = []
        self._images = self._texts = torch.empty(0)
        self._scale: Tensor | None = None
        self._bias: Tensor | None = None
        self._done = 0
        self.loss = torch.empty(0)
        self.differs = 0.0
        """The largest difference of the second pass from the first so far, as a share."""

    @torch.no_grad()
    def look(self, images: Tensor, texts: Tensor) -> None:
        """Run a part through the towers and keep its features."""
        self._draws.append(Draws.now(self._towers, images.device))
        with statistics_kept(self._towers):
            found = self._towers(images, texts)
        self._features.append((found[0].detach(), found[1].detach()))
        self._sizes.append(len(found[0]))

    def compare(self) -> Tensor:
        """Return the loss of all parts that were looked at, (), and keep where it pulls in place of the features.

        Raises:
            InvalidArgumentError: no part, or what ``losses.pull`` refuses.
        """
        if not self._features:
            raise InvalidArgumentError("there is no part to compare; let the towers look at one first.")
        images, texts = (torch.cat([pair[side] for pair in self._features]) for side in (0, 1))
        self._features = []
        bias = self._towers.bias()
        found = pull(
            images,
            texts,
            self._towers.scale(),
            bias,
            loss=self._loss,
            exchange=self._exchange,
            chunk=self._chunk,
        )
        assert found.images is not None
        assert found.texts is not None
        first = 0
        for size in self._sizes:
            rows = slice(first, first + size)
            self._expected.append(_met(images[rows], found.images[rows], texts[rows], found.texts[rows]))
            first += size
        self._images, self._texts, self._scale, self._bias = found.images, found.texts, found.scale, found.bias
        self.loss = found.loss
        return self.loss

    def pull_back(self, images: Tensor, texts: Tensor) -> Tensor:
        """Run the next part again and return what is to be differentiated, ().

        Its value is the part's share of the loss: those of all parts add up to the loss itself.
        """
        number, parts, world = self._done, self.parts, rank_and_world()[1]
        first = sum(self._sizes[:number])
        rows = slice(first, first + self._sizes[number])
        with self._draws[number].again(self._towers, images.device):
            f, g = self._towers(images, texts)
        self._check(number, f, g, rows)
        pulled = ((f * self._images[rows]).sum() + (g * self._texts[rows]).sum()) * world  # at least float32
        if number == parts - 1:
            # Once a step: every process knows the whole of these.
            pulled = pulled + self._towers.scale() * self._scale
            bias = self._towers.bias()
            if bias is not None and self._bias is not None:
                pulled = pulled + bias * self._bias
        self._done += 1
        return pulled - pulled.detach() + self.loss / parts

    def _check(self, number: int, f: Tensor, g: Tensor, rows: slice) -> None:
        now, _ = _met(f.detach(), self._images[rows], g.detach(), self._texts[rows])
        then, size = self._expected[number]
        if size:
            self.differs = max(self.differs, abs(now - then) / size)

    @property
    def parts(self) -> int:
        """How many parts the step has."""
        return len(self._sizes)

    @property
    def exact(self) -> bool:
        """Whether the second pass gave the features of the first, as far as the loss can tell."""
        return self.differs <= _SAME


def _met(f: Tensor, pull_f: Tensor, g: Tensor, pull_g: Tensor) -> tuple[float, float]:
    """Return ⟨f, ∂L/∂f⟩ + ⟨g, ∂L/∂g⟩ of a part, and the sum of its terms' sizes."""
    terms = torch.stack([(f * pull_f).sum(1), (g * pull_g).sum(1)]).double()
    return float(terms.sum()), float(terms.abs().sum())


def contrastive_step(
    towers: nn.Module,
    images: Tensor | Iterable[Tensor],
    texts: Tensor | Iterable[Tensor],
    micro_batch: int = 0,
    *,
    loss: str = "clip",
    exchange: Exchange = ALONE,
    chunk: int = CHUNK,
    batch_norm: str = "refuse",
) -> Tensor:
    """Add the gradient of a batch's loss to the parameters' ``.grad``, in parts; returns the loss, ().

    Args:
        towers: any two towers in a module that ``Towers`` describes, in training mode.
        images, texts: of the batch: tensors, or the parts themselves, in lists.
        micro_batch: pairs of a part; the last part is smaller where they do not divide the batch, which changes
            nothing. 0 for parts as they are given.
        loss, exchange, chunk: as for ``TwoPass``.
        batch_norm: "refuse", "frozen" or "each" (``coupling``).

    Raises:
        InvalidArgumentError: images and texts of unequal number, batch norms, or what ``losses.pull`` refuses.
    """
    parts = [_parts(values, micro_batch) for values in (images, texts)]
    if [len(part) for part in parts[0]] != [len(part) for part in parts[1]]:
        raise InvalidArgumentError(
            f"{sum(map(len, parts[0]))} images and {sum(map(len, parts[1]))} texts: every image has one text, in parts "
            "of the same sizes."
        )
    check_norms(towers, batch_norm, len(parts[0]) * rank_and_world()[1])
    step = TwoPass(towers, loss, exchange, chunk)
    with norms_frozen(towers) if batch_norm == "frozen" else nullcontext():
        for part in zip(*parts, strict=True):
            step.look(*part)
        found = step.compare()
        for part in zip(*parts, strict=True):
            step.pull_back(*part).backward()
    if not step.exact:
        raise InvalidArgumentError(
            f"the towers gave other features in the second pass (by {step.differs:.1%}), so the gradient is not that "
            "of the loss: they keep a state between calls, or draw numbers of their own. Reset them before each call."
        )
    return found


def _parts(values: Tensor | Iterable[Tensor], size: int) -> list[Tensor]:
    if isinstance(values, Tensor):
        return list(values.split(size or max(len(values), 1)))
    return [part for given in values for part in (given.split(size) if size else (given,))]
