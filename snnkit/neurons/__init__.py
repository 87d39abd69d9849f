"""Spiking neurons: modules that map a current sequence (T, B, …) to a spike sequence (T, B, …).

A call is a whole sequence and starts at rest; nothing is kept afterwards. To carry state from call to call, use
``snnkit.Stream``. Each dynamics is one file with its equation, units and defaults.
"""

from snnkit.kernels import Operator
from snnkit.kernels.charge_fire_reset import NO_RESET
from snnkit.neurons.base import Neuron, PointNeuron
from snnkit.neurons.delay import AxonalDelay
from snnkit.neurons.delayed_reset import DelayedResetLIF
from snnkit.neurons.integrate_fire import IF
from snnkit.neurons.lif import LIF
from snnkit.neurons.multi_compartment import MultiCompartmentLIF
from snnkit.neurons.noisy import Noisy
from snnkit.neurons.parametric_lif import ParametricLIF
from snnkit.neurons.recurrent import Recurrent, SelfFeedback
from snnkit.neurons.two_compartment import TwoCompartmentLIF

NEURONS: tuple[type[Neuron], ...] = (IF, LIF, ParametricLIF, DelayedResetLIF, TwoCompartmentLIF, MultiCompartmentLIF)

OPERATORS: dict[str, Operator] = {
    neuron.operator.name: neuron.operator for neuron in NEURONS if issubclass(neuron, PointNeuron)
}

__all__ = [
    "IF",
    "LIF",
    "NEURONS",
    "NO_RESET",
    "OPERATORS",
    "AxonalDelay",
    "DelayedResetLIF",
    "MultiCompartmentLIF",
    "Neuron",
    "Noisy",
    "ParametricLIF",
    "PointNeuron",
    "Recurrent",
    "SelfFeedback",
    "TwoCompartmentLIF",
]
