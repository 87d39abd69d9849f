"""Operators of the spiking core, one folder each: ``reference.py`` is the truth, other files are faster kernels.

A dynamics over all its time steps is one node for autograd, ``torch.compile`` and ``torch.export``: an ``Operator``
registers it with ``torch.library`` under the namespace ``snnkit``. Dynamics that need no faster kernel are declared
beside their neuron, in ``snnkit.neurons``.
"""

from snnkit.kernels.operator import Operator


def availability() -> dict[str, str]:
    """Return, for each family of fast kernels, "" where it can run on this machine, else the reason."""
    import torch

    from snnkit.kernels import fused_c, native, triton_call

    no_gpu = "" if torch.cuda.is_available() else "no GPU here; the CPU kernels run instead."
    return {"C kernels": native.why_not(fused_c.SOURCE), "Triton kernels": triton_call.why_not() or no_gpu}


__all__ = ["Operator", "availability"]
