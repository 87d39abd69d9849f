"""Stable embedding: token vectors that bear 8-bit optimizers.

    y = LayerNorm(W[index]), the norm in float32; W starts Xavier-uniform; the states of W are float32

Rare tokens have gradients of other sizes than frequent ones; the norm evens out what reaches the network, and the full
states what reaches W. Dettmers et al. (arXiv 2110.02861), section 2.3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class StableEmbedding(nn.Module):
    """``nn.Embedding`` with a norm behind it and float32 optimizer states.

    Args:
        num_embeddings: tokens.
        embedding_dim: D.
        padding_idx: token whose vector is zero and stays so.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_embeddings, embedding_dim))
        self.norm = nn.LayerNorm(embedding_dim)
        if padding_idx is not None and padding_idx < 0:
            padding_idx += num_embeddings
        self.padding_idx = padding_idx
        self.reset_parameters()
        mark_stable_embeddings(self)

    def reset_parameters(self) -> None:
        """Draw the vectors anew."""
        nn.init.xavier_uniform_(self.weight)
        if self.padding_idx is not None:
            with torch.no_grad():
                self.weight[self.padding_idx].zero_()
        self.norm.reset_parameters()

    def forward(self, index: Tensor) -> Tensor:
        """Vectors (…, D) of tokens (…), in the dtype of the weight."""
        found = F.embedding(index, self.weight, self.padding_idx)
        weight, bias = self.norm.weight.float(), self.norm.bias.float()
        with torch.autocast(index.device.type, enabled=False):
            normed = F.layer_norm(found.float(), self.norm.normalized_shape, weight, bias, self.norm.eps)
        return normed.to(self.weight.dtype)


def mark_stable_embeddings(*modules: nn.Module) -> None:
    """Say on the weights of all stable embeddings that their states are float32; sharding makes new parameters."""
    for module in modules:
        for part in module.modules():
            if isinstance(part, StableEmbedding):
                part.weight.optim_bits = 32  # type: ignore[assignment]
