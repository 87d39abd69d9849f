"""Leaky integrate-and-fire over a whole sequence, as one operator ``torch.ops.snnkit.lif``."""

from snnkit.kernels.lif import c, numba, triton
from snnkit.kernels.lif.reference import LIFParameters, rest, step
from snnkit.kernels.operator import Operator

KERNELS = {"numba": numba, "c": c, "triton": triton}
OPERATOR = Operator("lif", LIFParameters, step, operations=(1, 2, 1), rest=rest, kernels=KERNELS)

__all__ = ["OPERATOR", "LIFParameters"]
