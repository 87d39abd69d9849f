"""How much memory a step of image–text training will take, before it is taken.

    while parts run      activations of one part, its gradients beside those of the parts before it (``snnkit.memory``)
                         + 2 · B · D numbers: ∂L/∂f, ∂L/∂g
    while all compare    4 · B · D numbers, features and their gradients, + three chunks of the B × B matrix
    all the time         the pairs of the batch, unless they are read again

Everything but the first grows with the batch by 4 · D numbers and one pair for each of its pairs. In several processes
B pairs of all have features in each; parts and pairs are its own. Bytes are above what parameters and optimizer take.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snnkit.memory import show_bytes, simulate
from snnkit.memory.allocations import allocations, highest
from snnkit.models.two_towers import TwoTowers
from snnkit.tasks.classification import channels_last
from snnkit.tasks.pairs.losses import CHUNK
from snnkit.tasks.pairs.two_pass import TwoPass

_CHUNKS = 3  # of the matrix that are alive at once: scores, their gradient, one on the way


@dataclass(frozen=True)
class Prediction:
    """Bytes of a step, by what takes them.

    Attributes:
        part: activations and gradients of one part.
        pulls: gradients of the loss with respect to features, kept while parts run.
        comparing: features, their gradients and chunks of the matrix, while all are compared.
        pairs: images and tokens that wait for their second pass.
    """

    part: int
    pulls: int
    comparing: int
    pairs: int

    @property
    def peak(self) -> int:
        """Most bytes alive at any time."""
        return max(self.part + self.pulls, self.comparing) + self.pairs

    def __str__(self) -> str:
        return (
            f"{show_bytes(self.peak)}: {show_bytes(self.part)} for a part, {show_bytes(self.pulls)} for gradients of "
            f"features, {show_bytes(self.comparing)} while all are compared, {show_bytes(self.pairs)} for waiting pairs"
        )


def predict(
    towers: TwoTowers,
    images: Sequence[int],
    tokens: int,
    parts: int = 1,
    processes: int = 1,
    chunk: int = CHUNK,
    kept: bool = True,
) -> Prediction:
    """Return the memory of a step in parts; nothing is allocated.

    Args:
        towers: in training mode.
        images: shape of the images of one part, (b, C, H, W).
        tokens: L, of its texts.
        parts: of one process; one part is one pass.
        processes: how many train together.
        chunk: numbers of the matrix in memory at once.
        kept: whether the pairs of all parts are kept for the second pass.

    Raises:
        InvalidArgumentError: the towers cannot be run on such images.
    """
    like = next(towers.parameters())
    x = torch.zeros(tuple(images), dtype=like.dtype)
    pulled = _Pulled(towers, torch.ones(images[0], tokens, dtype=torch.int64))
    part = simulate(pulled, channels_last(x), accumulated=parts > 1).peak
    width = towers.image_projection.out_features
    own, every = images[0] * parts, images[0] * parts * processes
    number = max(like.element_size(), 4)
    block = min(max(chunk, every), own * every)
    comparing = number * (2 * width * (own + every) + _CHUNKS * block)
    if parts == 1:
        return Prediction(part + comparing, 0, 0, 0)
    waiting = own * (x[0].numel() * x.element_size() + 8 * tokens) if kept else 0
    for tower, projection in ((towers.encoder, towers.image_projection), (towers.text, towers.text_projection)):
        if not any(parameter.requires_grad for parameter in tower.parameters()):
            waiting += own * projection.in_features * like.element_size()  # a frozen tower's rows are kept
    return Prediction(part, 2 * number * width * own, comparing, waiting)


def over_batches(
    towers: TwoTowers, images: Sequence[int], tokens: int, parts: int = 1, chunk: int = CHUNK, kept: bool = True
) -> dict[int, int]:
    """Return the predicted peak in bytes by batch: of two parts, four, …, beyond ``parts`` up to four times as many.

    The arguments are those of ``predict``, which is asked for one process.
    """
    found, count = {}, 2
    while count <= max(4 * parts, 64):
        found[count * images[0]] = predict(towers, images, tokens, count, 1, chunk, kept).peak
        count *= 2
    return found


def measured(towers: TwoTowers, images: Sequence[int], tokens: int, parts: int, chunk: int = CHUNK) -> int:
    """Return the most bytes that a step in parts takes, above parameters, on the CPU; parts are made when asked for.

    Args:
        towers: in training mode, on the CPU; its gradients are dropped.
        images: shape of one part, (b, C, H, W).
        tokens: L, of its texts.
        parts: of the batch.
        chunk: numbers of the matrix in memory at once.
    """

    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(0)
        for _ in range(parts):
            made = torch.rand(tuple(images), generator=generator)
            yield (
                channels_last(made),
                torch.randint(1, towers.text.vocabulary, (images[0], tokens), generator=generator),
            )

    def step() -> None:
        one = TwoPass(towers, chunk=chunk)
        for pair in pairs():
            one.look(*pair)
        one.compare()
        for pair in pairs():
            one.pull_back(*pair).backward()

    towers.zero_grad(set_to_none=True)
    found = highest(allocations(step))
    towers.zero_grad(set_to_none=True)
    return found


class _Pulled(nn.Module):
    """The second pass of a part: both towers, on the texts given."""

    tokens: Tensor

    def __init__(self, towers: TwoTowers, tokens_BL: Tensor):
        super().__init__()
        self.towers = towers
        self.register_buffer("tokens", tokens_BL)

    def forward(self, images: Tensor) -> Tensor:
        f, g = self.towers(images, self.tokens)
        return (f * g).sum()
