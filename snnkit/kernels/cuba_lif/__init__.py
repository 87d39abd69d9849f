"""Current-based LIF over a whole sequence, as one operator ``torch.ops.snnkit.cuba_lif``."""

from snnkit.kernels.cuba_lif import numba, triton
from snnkit.kernels.cuba_lif.reference import CuBaLIFParameters, rest, step
from snnkit.kernels.operator import Operator

OPERATOR = Operator(
    "cuba_lif",
    CuBaLIFParameters,
    step,
    operations=(2, 2, 1),
    state=("v", "i"),
    rest=rest,
    kernels={"numba": numba, "triton": triton},
)

__all__ = ["OPERATOR", "CuBaLIFParameters"]
