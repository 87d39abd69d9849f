"""Leaky integrate-and-fire over a whole sequence, as one operator ``torch.ops.snnkit.lif``."""

from snnkit.kernels.lif import c, numba
from snnkit.kernels.lif.reference import LIFParameters, rest, step
from snnkit.kernels.operator import Operator

OPERATOR = Operator("lif", LIFParameters, step, operations=(1, 2, 1), rest=rest, kernels={"numba": numba, "c": c})

__all__ = ["OPERATOR", "LIFParameters"]
