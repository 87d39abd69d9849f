"""Selective activation checkpointing: products are kept, what is cheap is computed again in the backward.

Kept are the results of matrix products, convolutions, attention and neurons; norms, activations, sums and copies are
made again from them. Random numbers are drawn as they were.

Source: Pham et al., "Combined Scaling for Zero-shot Transfer Learning", arXiv 2111.10050 (rematerialisation of cheap
operations); torch.utils.checkpoint does the work.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

_PRODUCTS = (
    *("mm", "addmm", "bmm", "baddbmm", "convolution", "_scaled_dot_product_flash_attention"),
    *("_scaled_dot_product_efficient_attention", "_scaled_dot_product_flash_attention_for_cpu"),
    *("_scaled_dot_product_cudnn_attention", "_scaled_dot_product_attention_math"),
)


def selectively(function: Callable[..., Any], *given: Any) -> Any:
    """Return ``function(*given)``; of what happens inside, its backward finds products and neurons kept."""
    contexts = partial(create_selective_checkpoint_contexts, _policy)
    return checkpoint(function, *given, use_reentrant=False, context_fn=contexts)


def _policy(_context: Any, operator: Any, *_args: Any, **_kwargs: Any) -> CheckpointPolicy:
    space, _, name = operator.name().partition("::")
    kept = space == "snnkit" or (space == "aten" and name.partition(".")[0] in _PRODUCTS)
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE
