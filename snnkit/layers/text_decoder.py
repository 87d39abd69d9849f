"""A causal decoder of texts that reads an image: token by token, from all that stand before it and from image tokens.

    x = embed(begin, t₁ … t₍L₋₁₎) + position
    block:  x += attention(norm(x), tokens up to this one);  x += attention(norm(x), image);  x += mlp(norm(x))
    logits of t₁ … t_L = linear(norm(x))

Token 0 pads a text; as an input it is where a text begins, as a prediction where it ends, so that no token is needed
beyond those of the data. While a text is written, keys and values of what stands there already are kept (``Kept``).

Source: Vaswani et al., "Attention Is All You Need", arXiv 1706.03762, with the norms first. Letters: B texts, L tokens,
N image tokens, D width, h heads, d = D / h, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from snnkit.errors import InvalidArgumentError
from snnkit.layers.mlp import Mlp
from snnkit.layers.self_attention import split_heads

END = 0
"""Token that pads: what begins a text as an input and ends it as a prediction."""


@dataclass
class Kept:
    """What a block keeps while texts are written: keys and values (B, h, n, d) of their tokens and of the images."""

    keys: Tensor | None = None
    values: Tensor | None = None
    image_keys: Tensor | None = None
    image_values: Tensor | None = None

    def choose(self, rows: Tensor) -> None:
        """Go on with texts ``rows`` (B,) of those before; each must be of the same image as the one it takes over."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[rows], self.values[rows]


class DecoderBlock(nn.Module):
    """(B, L, D) tokens, (B, N, D) image tokens → (B, L, D).

    Args:
        dim: D.
        heads: h; divides D.
        hidden: width of the two-layer perceptron.
        dropout: share of numbers behind each of the three parts that training drops.
    """

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.norm1, self.qkv, self.proj = nn.LayerNorm(dim), nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.norm2, self.query, self.read = nn.LayerNorm(dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.norm3, self.mlp = nn.LayerNorm(dim), Mlp(dim, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLD: Tensor, image_BND: Tensor, kept: Kept | None = None) -> Tensor:
        """Return the tokens, changed; with ``kept`` they follow those that it keeps, and are kept too."""
        x = x_BLD + self.dropout(self.proj(self._look_back(self.norm1(x_BLD), kept)))
        x = x + self.dropout(self.read(self._look_at(self.norm2(x), image_BND, kept)))
        return x + self.dropout(self.mlp(self.norm3(x)))

    def _look_back(self, x_BLD: Tensor, kept: Kept | None) -> Tensor:
        """Every token from itself and those before it."""
        query, key, value = split_heads(self.qkv(x_BLD), self.heads)
        if kept is None:
            return _joined(F.scaled_dot_product_attention(query, key, value, is_causal=True))
        if kept.keys is not None and kept.values is not None:
            key, value = torch.cat([kept.keys, key], 2), torch.cat([kept.values, value], 2)
        kept.keys, kept.values = key, value
        new, all_ = query.shape[2], key.shape[2]
        mask = torch.ones(new, all_, dtype=torch.bool, device=key.device).tril(all_ - new) if new > 1 else None
        return _joined(F.scaled_dot_product_attention(query, key, value, attn_mask=mask))

    def _look_at(self, x_BLD: Tensor, image_BND: Tensor, kept: Kept | None) -> Tensor:
        """Every token from all tokens of its image."""
        query = self.query(x_BLD).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        if kept is not None and kept.image_keys is not None and kept.image_values is not None:
            key, value = kept.image_keys, kept.image_values
        else:
            key, value = self.key_value(image_BND).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
            if kept is not None:
                kept.image_keys, kept.image_values = key, value
        return _joined(F.scaled_dot_product_attention(query, key, value))


def _joined(heads_BhLd: Tensor) -> Tensor:
    """(B, h, L, d) → (B, L, D)."""
    return heads_BhLd.transpose(1, 2).flatten(2)


class TextDecoder(nn.Module):
    """Inputs (B, L) and image tokens (B, N, D) → logits (B, L, V) of the token behind each input.

    Args:
        vocabulary: V, padding included.
        context: the most tokens of a text.
        width: D.
        depth: blocks.
        heads: of their attention; divides D.
        mlp_ratio: width of a block's hidden layer, by D.
        dropout: share of numbers that training drops.

    Raises:
        InvalidArgumentError: a number outside its range, or heads that do not divide the width.
    """

    def __init__(
        self,
        vocabulary: int,
        context: int,
        width: int = 256,
        depth: int = 4,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        dropout: float = 0.1,
    ):
        super().__init__()
        given = {"vocabulary": vocabulary, "context": context, "text_width": width, "text_depth": depth}
        for name, value in {**given, "text_heads": heads}.items():
            low = 2 if name == "vocabulary" else 1
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise InvalidArgumentError(f"text decoder: {name}={value!r}: must be a whole number ≥ {low}.")
        if width % heads:
            raise InvalidArgumentError(f"text decoder: {heads} heads do not divide the width {width}.")
        if not 0 <= dropout < 1:
            raise InvalidArgumentError(f"text decoder: dropout={dropout!r}: must be at least 0 and below 1.")
        self.vocabulary, self.context, self.width = vocabulary, context, width
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.zeros(context, width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(DecoderBlock(width, heads, round(width * mlp_ratio), dropout) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)
        self._checkpointed = False
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.position, std=0.01)

    def forward(self, inputs_BL: Tensor, image_BND: Tensor, kept: list[Kept] | None = None) -> Tensor:
        """Return logits; with ``kept``, one a block, the inputs follow those that were given with it before.

        Raises:
            InvalidArgumentError: more inputs than the context has, or other than whole numbers (B, L).
        """
        before = 0 if not kept or kept[0].keys is None else kept[0].keys.shape[2]
        if inputs_BL.ndim != 2 or inputs_BL.is_floating_point() or before + inputs_BL.shape[1] > self.context:
            raise InvalidArgumentError(
                f"the text decoder takes whole numbers (B, up to {self.context}), got {inputs_BL.dtype} "
                f"{tuple(inputs_BL.shape)}{f' behind {before}' if before else ''}; cut texts to the context, or make "
                "the decoder with a longer one."
            )
        x = self.embedding(inputs_BL) + self.position[before : before + inputs_BL.shape[1]]
        x = self.dropout(x)
        for number, block in enumerate(self.blocks):
            if self._checkpointed and self.training and torch.is_grad_enabled():
                x = checkpoint(block, x, image_BND, use_reentrant=False)
            else:
                x = block(x, image_BND, None if kept is None else kept[number])
        logits: Tensor = self.head(self.norm(x))
        return logits

    def keeping(self) -> list[Kept]:
        """Return what ``forward`` keeps keys and values in, empty."""
        return [Kept() for _ in self.blocks]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the inputs of blocks while training, and compute them again in the backward."""
        self._checkpointed = enable

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that must not decay, beyond those with one dimension."""
        return {"position", "embedding.weight"}


def as_inputs(tokens_BL: Tensor) -> Tensor:
    """Return what a decoder is given to predict texts: one further back, behind the token that begins them."""
    return F.pad(tokens_BL[:, :-1], (1, 0), value=END)


def as_targets(tokens_BL: Tensor, ignored: int = -100) -> Tensor:
    """Return what a decoder is to predict: the tokens of texts and the first that pads; ``ignored`` behind it.

    A text that fills the context has no end to be learned: it may have been cut there.
    """
    ends_BL = tokens_BL == END
    return tokens_BL.masked_fill((ends_BL.cumsum(1) - ends_BL.long()) > 0, ignored)
