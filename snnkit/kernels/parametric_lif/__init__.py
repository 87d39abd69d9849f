"""LIF with tensors for constants over a whole sequence, as one operator ``torch.ops.snnkit.parametric_lif``."""

from snnkit.kernels.operator import Operator
from snnkit.kernels.parametric_lif import c, numba, triton
from snnkit.kernels.parametric_lif.reference import ParametricLIFParameters, rest, step

KERNELS = {"numba": numba, "c": c, "triton": triton}
OPERATOR = Operator("parametric_lif", ParametricLIFParameters, step, operations=(1, 2, 1), rest=rest, kernels=KERNELS)

__all__ = ["OPERATOR", "ParametricLIFParameters"]
