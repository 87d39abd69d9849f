"""Spiking neurons: modules that map a current sequence (T, B, …) to a spike sequence (T, B, …).

A call is a whole sequence and starts at rest; nothing is kept afterwards. To carry state from call to call, use
``snnkit.Stream``. Each dynamics is one file with its equation, units and defaults.
"""

from snnkit.kernels import Operator
from snnkit.kernels.charge_fire_reset import NO_RESET
from snnkit.neurons.base import Neuron, PointNeuron
from snnkit.neurons.integrate_fire import IF
from snnkit.neurons.lif import LIF

NEURONS: tuple[type[Neuron], ...] = (IF, LIF)

OPERATORS: dict[str, Operator] = {
    neuron.operator.name: neuron.operator for neuron in NEURONS if issubclass(neuron, PointNeuron)
}

__all__ = ["IF", "LIF", "NEURONS", "NO_RESET", "OPERATORS", "Neuron", "PointNeuron"]
