"""Integrate-and-fire over a whole sequence, as one operator ``torch.ops.snnkit.integrate_fire``."""

from snnkit.kernels.integrate_fire import c, numba, triton
from snnkit.kernels.integrate_fire.reference import IFParameters, rest, step
from snnkit.kernels.operator import Operator

KERNELS = {"numba": numba, "c": c, "triton": triton}
OPERATOR = Operator(
    "integrate_fire",
    IFParameters,
    step,
    operations=(0, 1, 1),
    rest=rest,
    kernels=KERNELS,
)

__all__ = ["OPERATOR", "IFParameters"]
