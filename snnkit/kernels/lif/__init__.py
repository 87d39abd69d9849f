"""Leaky integrate-and-fire over a whole sequence, as one operator ``torch.ops.snnkit.lif``."""

from snnkit.kernels.lif import numba, reference
from snnkit.kernels.lif.reference import LIFParameters
from snnkit.kernels.operator import Operator

OPERATOR = Operator("lif", LIFParameters, kernels={"reference": reference, "numba": numba})

__all__ = ["OPERATOR", "LIFParameters"]
