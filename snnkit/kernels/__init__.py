"""Operators of the spiking core, one folder each: ``reference.py`` is the truth, other files are faster kernels.

Importing this package registers every operator with ``torch.library`` under the namespace ``snnkit``, so that a
neuron over all its time steps is one node for autograd, ``torch.compile`` and ``torch.export``.
"""

from snnkit.kernels import integrate_fire, lif
from snnkit.kernels.operator import Operator

OPERATORS: dict[str, Operator] = {op.name: op for op in (integrate_fire.OPERATOR, lif.OPERATOR)}

__all__ = ["OPERATORS", "Operator"]
