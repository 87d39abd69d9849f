"""A plain transformer over the tokens of a text, its outputs averaged: the text tower of image–text training.

    x = embed(tokens) + position;  x = blocks(x), no token sees padding;  out = mean over tokens of norm(x)

Blocks are torch's, the norm first. Token 0 is padding (``PADDING``).

Source: Pham et al., "Combined Scaling for Zero-shot Transfer Learning", arXiv 2111.10050 (a plain transformer with
average pooling, instead of a class token). Letters: B texts, L tokens, V vocabulary, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from snnkit.errors import InvalidArgumentError
from snnkit.models.sizes import check_divides, check_whole

PADDING = 0


class TextTransformer(nn.Module):
    """(B, L) tokens → (B, D) features.

    Args:
        vocabulary: V, padding included.
        context: the most tokens of a text.
        width: D.
        depth: blocks.
        heads: of their attention; divides D.
        mlp_ratio: width of a block's hidden layer, by D.
        dropout: share of numbers that are dropped while training.

    Raises:
        InvalidArgumentError: a number below 1, or heads that do not divide the width.
    """

    def __init__(
        self,
        vocabulary: int,
        context: int,
        width: int = 256,
        depth: int = 4,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
    ):
        super().__init__()
        check_whole(vocabulary=vocabulary, context=context, text_width=width, text_depth=depth, text_heads=heads)
        check_divides("text_width", width, heads, "its heads")
        self.vocabulary, self.context, self.num_features = vocabulary, context, width
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        self.position = nn.Parameter(torch.zeros(context, width))
        hidden = round(width * mlp_ratio)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, hidden, dropout, "gelu", batch_first=True, norm_first=True)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self._checkpointed = False
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.position, std=0.01)
        with torch.no_grad():
            self.embedding.weight[PADDING].zero_()

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """Return the features of texts.

        Raises:
            InvalidArgumentError: more tokens than the context has, or other than whole numbers (B, L).
        """
        if tokens_BL.ndim != 2 or tokens_BL.is_floating_point() or tokens_BL.shape[1] > self.context:
            raise InvalidArgumentError(
                f"the text tower takes whole numbers (B, up to {self.context}), got {tokens_BL.dtype} "
                f"{tuple(tokens_BL.shape)}; cut texts to the context, or make the tower with a longer one."
            )
        hidden_BL = tokens_BL == PADDING
        x = self.embedding(tokens_BL) + self.position[: tokens_BL.shape[1]]
        # A text without tokens would have no attention at all; it sees its padding, and its average is 0.
        mask_BL = hidden_BL & ~hidden_BL.all(1, keepdim=True)
        for block in self.blocks:
            if self._checkpointed and self.training and torch.is_grad_enabled():
                x = checkpoint(block, x, src_key_padding_mask=mask_BL, use_reentrant=False)
            else:
                x = block(x, src_key_padding_mask=mask_BL)
        seen_BL1 = (~hidden_BL).unsqueeze(2).to(x.dtype)
        return (self.norm(x) * seen_BL1).sum(1) / seen_BL1.sum(1).clamp(min=1)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the inputs of blocks while training, and compute them again in the backward."""
        self._checkpointed = enable

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that must not decay, beyond those with one dimension."""
        return {"position", "embedding.weight"}
