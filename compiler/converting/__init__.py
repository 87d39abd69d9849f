"""Conversions: Graph → Graph of another meaning, each saying what it keeps."""

from compiler.converting.chip_clean import chip_clean
from compiler.converting.comparing import Comparison, compare
from compiler.converting.conversion import Converted, SpikingRun, convert
from compiler.converting.finetuning import distilled, fine_tuned, fine_tuning
from compiler.converting.places import Place, Places
from compiler.converting.planning import Plan, plan
from compiler.converting.quantisers import Quantiser
from compiler.converting.rate import rate_coded, rate_logits
from compiler.converting.rate_calibration import calibrated_rate_coded
from compiler.converting.relu_twin import relu_twin
from compiler.converting.trainable import GraphModule

__all__ = [
    "Comparison",
    "Converted",
    "GraphModule",
    "Place",
    "Places",
    "Plan",
    "Quantiser",
    "SpikingRun",
    "calibrated_rate_coded",
    "chip_clean",
    "compare",
    "convert",
    "distilled",
    "fine_tuned",
    "fine_tuning",
    "plan",
    "rate_coded",
    "rate_logits",
    "relu_twin",
]
