"""Recomputing (activation checkpointing), right for spiking layers: forget activations, compute them again in backward.

A call of a spiking layer is a whole sequence that starts at rest, so computing it again gives the same spikes. Batch
norm would count every batch twice, though: its running statistics stay frozen while the block runs again. Random
numbers (dropout, stochastic depth, encoders) are replayed by torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Keep batch norms of ``module`` from updating their running statistics; what they return does not change.

    They are handed copies and a momentum of zero meanwhile: autograd saves as many tensors as in the first run, which
    checkpoint counts, and layers that read the statistics after the update (``RepConv``) find those of the first run.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._NormBase) and m.training]
    kept = [(norm.momentum, dict(norm._buffers)) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm._buffers.update({name: value if value is None else value.clone() for name, value in norm._buffers.items()})
    try:
        yield
    finally:
        for norm, (momentum, buffers) in zip(norms, kept, strict=True):
            norm.momentum = momentum
            norm._buffers.update(buffers)


def recompute(module: nn.Module, *inputs: Tensor) -> Tensor:
    """Return ``module(*inputs)``, keeping its inputs only; backward runs it again.

    Equal to the plain call in outputs, gradients and running statistics. Not inside a ``Stream``: the second run
    happens outside of the step and would start at rest.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), frozen_statistics(module)

    return checkpoint(module, *inputs, use_reentrant=False, context_fn=contexts)
