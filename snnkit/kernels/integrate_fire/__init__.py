"""Integrate-and-fire over a whole sequence, as one operator ``torch.ops.snnkit.integrate_fire``."""

from snnkit.kernels.integrate_fire import numba, reference
from snnkit.kernels.integrate_fire.reference import IFParameters
from snnkit.kernels.operator import Operator

OPERATOR = Operator("integrate_fire", IFParameters, kernels={"reference": reference, "numba": numba})

__all__ = ["OPERATOR", "IFParameters"]
