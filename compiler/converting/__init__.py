"""Conversions: Graph → Graph of another meaning, each saying what it keeps."""

from compiler.converting.comparing import Comparison, compare
from compiler.converting.conversion import Converted, SpikingRun, convert
from compiler.converting.places import Place, Places
from compiler.converting.planning import Plan, plan
from compiler.converting.quantisers import Quantiser
from compiler.converting.rate import rate_coded, rate_logits
from compiler.converting.rate_calibration import calibrated_rate_coded
from compiler.converting.relu_twin import relu_twin

__all__ = [
    "Comparison",
    "Converted",
    "Place",
    "Places",
    "Plan",
    "Quantiser",
    "SpikingRun",
    "calibrated_rate_coded",
    "compare",
    "convert",
    "plan",
    "rate_coded",
    "rate_logits",
    "relu_twin",
]
