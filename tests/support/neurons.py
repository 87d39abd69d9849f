"""One or more examples of every neuron, for tests that hold for all of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from snnkit import neurons
from snnkit.neurons import NEURONS, NO_RESET, PointNeuron

# Neurons that need arguments, and settings worth having beside the defaults. T is 6, channels are 5 everywhere.
_GIVEN: dict[str, tuple[Callable[[], nn.Module], ...]] = {
    "IF": (lambda: neurons.IF(), lambda: neurons.IF(v_reset=None), lambda: neurons.IF(v_reset=NO_RESET)),
    "LIF": (
        lambda: neurons.LIF(v_threshold=0.5),
        lambda: neurons.LIF(tau=1.7, v_threshold=0.4, v_reset=None, decay_input=False, detach_reset=False),
        lambda: neurons.LIF(tau=nn.Parameter(torch.linspace(1.5, 3, 5)), v_threshold=torch.linspace(0.3, 0.6, 5)),
    ),
    "ParametricLIF": (
        lambda: neurons.ParametricLIF(v_threshold=0.5),
        lambda: neurons.ParametricLIF(v_threshold=0.4, v_reset=None, channels=5),
    ),
    "DelayedResetLIF": (
        lambda: neurons.DelayedResetLIF(),
        lambda: neurons.DelayedResetLIF(0.8, 0.3, v_reset=0.0, reset_input=True, input_gain=0.7),
    ),
    "AlphaLIF": (
        lambda: neurons.AlphaLIF(v_threshold=0.3),
        lambda: neurons.AlphaLIF(0.95, 0.2, v_threshold=0.3, v_reset=None),
        lambda: neurons.AlphaLIF(
            nn.Parameter(torch.linspace(0.8, 0.95, 5)), nn.Parameter(torch.tensor(0.4)), torch.linspace(0.2, 0.4, 5)
        ),
    ),
    "MultiCompartmentLIF": (lambda: neurons.MultiCompartmentLIF(v_threshold=0.05),),
    "PSN": (lambda: neurons.PSN(6),),
    "MaskedPSN": (lambda: neurons.MaskedPSN(2, 6),),
    "Tracer": (lambda: neurons.Tracer(0.4, -4, 4), lambda: neurons.Tracer(0.3, 0, 15, max_exponent=2)),
    "MembraneNormLIF": (lambda: neurons.MembraneNormLIF(5),),
    "FewSpikes": (lambda: neurons.FewSpikes.relu(6, 8.0),),
    "Izhikevich": (lambda: neurons.Izhikevich(), lambda: neurons.Izhikevich(a=0.2, b=0.3, tau_w=5.0, w_rest=0.1)),
    "ALIF": (lambda: neurons.ALIF(beta=0.3, v_threshold=0.5, tau_adaptation=5.0),),
    "AdEx": (lambda: neurons.AdEx(tau=2.0, tau_w=10.0, a=0.3, b=0.1, v_threshold=0.8),),
    "KLIF": (lambda: neurons.KLIF(v_threshold=0.5), lambda: neurons.KLIF(v_reset=None, scale_reset=True)),
    "SlidingPSN": (lambda: neurons.SlidingPSN(2),),
    "GatedLIF": (lambda: neurons.GatedLIF(6),),
}


def examples() -> dict[str, Callable[[], nn.Module]]:
    """Return test id → factory for every class in NEURONS."""
    found = {}
    for cls in NEURONS:
        makers = _GIVEN.get(cls.__name__, (cls,))
        for number, make in enumerate(makers):
            found[cls.__name__ + (f"-{number}" if number else "")] = make
    return found


def point_examples() -> dict[str, Callable[[], nn.Module]]:
    """The same for neurons with a step."""
    point = {cls.__name__ for cls in NEURONS if issubclass(cls, PointNeuron)}
    return {name: make for name, make in examples().items() if name.split("-")[0] in point}
