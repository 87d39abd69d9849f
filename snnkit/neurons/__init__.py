"""Spiking neurons: modules that map a current sequence (T, B, …) to a spike sequence (T, B, …).

A call is a whole sequence and starts at rest; nothing is kept afterwards. To carry state from call to call, use
``snnkit.Stream``. Each dynamics is one file with its equation, units and defaults. To add one: a file, imported below,
and its line in the first list.
"""

from snnkit.kernels import Operator
from snnkit.kernels.charge_fire_reset import NO_RESET
from snnkit.neurons.adaptive_exponential import AdEx
from snnkit.neurons.adaptive_lif import ALIF
from snnkit.neurons.alpha_lif import AlphaLIF
from snnkit.neurons.base import Neuron, PointNeuron
from snnkit.neurons.complementary_lif import ComplementaryLIF
from snnkit.neurons.cuba_lif import CuBaLIF
from snnkit.neurons.delay import AxonalDelay
from snnkit.neurons.delayed_reset import DelayedResetLIF
from snnkit.neurons.exponential_integrate_fire import EIF
from snnkit.neurons.few_spikes import FewSpikes
from snnkit.neurons.gated_lif import GatedLIF
from snnkit.neurons.integrate_fire import IF
from snnkit.neurons.izhikevich import Izhikevich
from snnkit.neurons.k_lif import KLIF
from snnkit.neurons.leaky_integrator import LeakyIntegrator
from snnkit.neurons.lif import LIF
from snnkit.neurons.membrane_norm_lif import MembraneNormLIF
from snnkit.neurons.multi_compartment import MultiCompartmentLIF
from snnkit.neurons.multilevel_lif import ILIF, MultiSpike
from snnkit.neurons.noisy import Noisy
from snnkit.neurons.parallel import PSN, MaskedPSN, SlidingPSN
from snnkit.neurons.parametric_lif import ParametricLIF
from snnkit.neurons.quadratic_integrate_fire import QIF
from snnkit.neurons.recurrent import Recurrent, SelfFeedback
from snnkit.neurons.ternary import TernaryIF, TernaryLIF
from snnkit.neurons.tracer import Tracer
from snnkit.neurons.two_compartment import TwoCompartmentLIF

__all__ = [
    "ALIF",
    "EIF",
    "IF",
    "ILIF",
    "KLIF",
    "LIF",
    "PSN",
    "QIF",
    "AdEx",
    "AlphaLIF",
    "ComplementaryLIF",
    "CuBaLIF",
    "DelayedResetLIF",
    "FewSpikes",
    "GatedLIF",
    "Izhikevich",
    "LeakyIntegrator",
    "MaskedPSN",
    "MembraneNormLIF",
    "MultiCompartmentLIF",
    "ParametricLIF",
    "SlidingPSN",
    "TernaryIF",
    "TernaryLIF",
    "Tracer",
    "TwoCompartmentLIF",
]

NEURONS: tuple[type[Neuron], ...] = tuple(globals()[name] for name in __all__)

OPERATORS: dict[str, Operator] = {
    # MultiSpike is no dynamics, since it has no state; for everything else it is a neuron like the others.
    neuron.operator.name: neuron.operator
    for neuron in (*NEURONS, MultiSpike)
    if issubclass(neuron, PointNeuron)
}

__all__ += [
    "NEURONS",
    "NO_RESET",
    "OPERATORS",
    "AxonalDelay",
    "MultiSpike",
    "Neuron",
    "Noisy",
    "PointNeuron",
    "Recurrent",
    "SelfFeedback",
]
