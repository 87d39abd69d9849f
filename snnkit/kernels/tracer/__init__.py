"""The tracer neuron (ST-BIF and its power-of-two form) over a whole sequence, as ``torch.ops.snnkit.tracer``."""

from torch import Tensor

from snnkit.kernels.operator import Operator
from snnkit.kernels.tracer import numba, triton
from snnkit.kernels.tracer.reference import GRADED, TracerParameters, rest, step


def events(p: TracerParameters) -> tuple[str, float, float, float | Tensor]:
    """Return what is sent, in units of the scale: ±1, ± powers of two up to 2^K, or any correction; and the scale."""
    if p.max_exponent == GRADED:
        return ("integer", p.low - p.high, p.high - p.low, p.scale)
    largest = 2**p.max_exponent
    return ("signed" if largest == 1 else "pow2", -largest, largest, p.scale)


OPERATOR = Operator(
    "tracer",
    TracerParameters,
    step,
    operations=(2, 5, 3),  # of the comparisons one rounds down and two clip
    state=("q", "total"),
    rest=rest,
    kernels={"numba": numba, "triton": triton},
    events=events,
)

__all__ = ["GRADED", "OPERATOR", "TracerParameters"]
