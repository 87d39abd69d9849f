"""Integer LIF (I-LIF) over a whole sequence, as one operator ``torch.ops.snnkit.multilevel_lif``."""

from snnkit.kernels.multilevel_lif import numba, triton
from snnkit.kernels.multilevel_lif.reference import MultilevelLIFParameters, step
from snnkit.kernels.operator import Operator

OPERATOR = Operator(
    "multilevel_lif",
    MultilevelLIFParameters,
    step,
    operations=(3, 3, 3),  # two of the comparisons clip, one rounds
    kernels={"numba": numba, "triton": triton},
    events=lambda p: ("integer", 0, p.levels),
)

__all__ = ["OPERATOR", "MultilevelLIFParameters"]
