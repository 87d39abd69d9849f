"""Every neuron alone, neurons of the user's own, and modules that carry a state without being neurons."""

from __future__ import annotations

import torch
from support.neurons import examples
from support.own_operator import Leaky
from torch import Tensor, nn

from snnkit import neurons
from snnkit.layers import over_time
from snnkit.neurons import IF, LIF, AxonalDelay, MultiSpike, Neuron, Recurrent, SelfFeedback, SlidingPSN
from snnkit.neurons.carry import active_carry

from .case import Case

_STEPS, _SHAPE = 6, (5, 4)


class Loop(Neuron):
    """A user's neuron without an operator: ``step`` and ``rest`` written in torch, looped over time here."""

    def __init__(self, channels: int = 5):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 0.9, channels))

    def rest(self, x: Tensor) -> tuple[Tensor, ...]:
        """State variables (B, …) at rest for a sequence (T, B, …)."""
        return (torch.full_like(x[0], -0.2),)

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One time step: current (B, C, …) → (spike, state)."""
        (v,) = state
        v = self.weight.view(-1, *[1] * (x.ndim - 2)) * v + x
        out = (v >= 1.0).to(x.dtype)
        return out, (v * (1.0 - out),)

    def forward(self, x: Tensor) -> Tensor:
        """Currents (T, B, C, …) → spikes."""
        carry = active_carry()
        key, state = (None, None) if carry is None else carry.start(self, x)
        state, outs = self.rest(x) if state is None else state, []
        for x_t in x:
            out, state = self.step(x_t, state)
            outs.append(out)
        if carry is not None:
            carry.leave(key, state)
        return torch.stack(outs)


class Net(nn.Module):
    """Linear, neuron, linear, neuron (T, B, F) → (T, B, K), with a shortcut around the second."""

    def __init__(self, first: nn.Module, second: nn.Module | None = None):
        super().__init__()
        self.fc1, self.first = nn.Linear(6, 5), first
        self.fc2, self.second = nn.Linear(5, 5), second or LIF(v_threshold=0.3)

    def forward(self, x: Tensor) -> Tensor:
        """Currents in, spikes and counts out."""
        one = self.first(3.0 * self.fc1(x))
        return self.second(3.0 * self.fc2(one)) + one


class Twice(nn.Module):
    """One convolution and one neuron, each used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lif = nn.Conv2d(4, 4, 3, padding=1), LIF(v_threshold=0.2)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (T, B, 4, H, W)."""
        return self.lif(over_time(self.conv, self.lif(over_time(self.conv, x))))


class Delayed(nn.Module):
    """Spikes, each channel delayed by a number of steps of its own, into another layer."""

    def __init__(self, trainable: bool):
        super().__init__()
        steps = [0.0, 1.0, 3.0, 2.0, 0.0] if not trainable else [0.0, 1.25, 3.0, 2.5, 0.75]
        self.lif = LIF(v_threshold=0.5)
        self.delay = AxonalDelay(5, 3, trainable, torch.tensor(steps))
        self.fc, self.out = nn.Linear(5, 5), LIF(v_threshold=0.2)

    def forward(self, x: Tensor) -> Tensor:
        """Currents (T, B, 5)."""
        return self.out(2.0 * self.fc(self.delay(self.lif(x))))


_OTHERS = {
    "own operator": (lambda: Net(Leaky()), (6,)),
    "own loop": (lambda: Net(Loop()), (6,)),
    "own operator alone": (Leaky, _SHAPE),
    "own loop alone": (Loop, _SHAPE),
    "recurrent": (lambda: Net(Recurrent(LIF(v_threshold=0.4), SelfFeedback(5, 0.4))), (6,)),
    "recurrent linear": (lambda: Net(Recurrent(IF(v_reset=None), nn.Linear(5, 5))), (6,)),
    "recurrent convolution": (lambda: Recurrent(LIF(), nn.Conv2d(3, 3, 3, padding=1)), (3, 6, 6)),
    "recurrent alone": (lambda: Recurrent(LIF(), SelfFeedback(5, -0.5)), _SHAPE),
    "sliding": (lambda: Net(SlidingPSN(3)), (6,)),
    "delay": (lambda: Delayed(False), (5,)),
    "delay between steps": (lambda: Delayed(True), (5,)),
    "delay alone": (lambda: AxonalDelay(5, 2, delay=torch.tensor([0.0, 1.0, 2.0, 1.0, 2.0])), _SHAPE),
    "cuba": (lambda: Net(neurons.CuBaLIF()), (6,)),
    "ternary": (lambda: Net(neurons.TernaryLIF(v_threshold=0.5), neurons.TernaryIF()), (6,)),
    "multi spike": (lambda: Net(MultiSpike(4)), (6,)),
    "multi spike alone": (lambda: MultiSpike(4), _SHAPE),
    "used twice": (Twice, (4, 6, 6)),
}
_WHOLE_SEQUENCE = ("PSN", "MaskedPSN", "GatedLIF", "FewSpikes")

NEURONS = [
    *(
        Case(f"neuron {name}", "neurons", make, (_SHAPE,), _STEPS)
        for name, make in examples().items()
        if name.split("-")[0] not in _WHOLE_SEQUENCE
    ),
    *(Case(name, "neurons in networks", make, (shape,), _STEPS) for name, (make, shape) in _OTHERS.items()),
]
MIXING_TIME = {name: make for name, make in examples().items() if name.split("-")[0] in _WHOLE_SEQUENCE}
