"""Stateless multi-level spikes over a whole sequence, as one operator ``torch.ops.snnkit.multi_spike``."""

from snnkit.kernels.multi_spike import elementwise
from snnkit.kernels.multi_spike.reference import MultiSpikeParameters, step
from snnkit.kernels.operator import Operator

OPERATOR = Operator(
    "multi_spike",
    MultiSpikeParameters,
    step,
    operations=(1, 0, 3),  # two of the comparisons clip, one rounds
    state=(),
    kernels={"elementwise": elementwise},
    events=lambda p: ("integer", 0, p.levels, 1 / p.divisor),
)

__all__ = ["OPERATOR", "MultiSpikeParameters"]
