"""SLTT and OTTT: training with the graph of one time step at a time, in memory that does not grow with T.

Both cut the graph between time steps: the membrane a step starts from is a constant (``Momentary``). OTTT also replaces
what a weight's gradient sees of its input by the trace of that input (``Traced``):

    â[t] = λ·â[t-1] + s[t],   ∇W = Σₜ g[t]·â[t]ᵀ,   λ = 1 − 1/τ of the neurons that send s

``online(model)`` puts these into a copy of a model. Run that in a ``Stream`` and call ``backward`` on the loss of every
step: nothing of earlier steps is kept. On a whole sequence one ``backward`` gives the same gradients.

Source: SLTT: Meng et al., ICCV 2023, arXiv 2302.14311; OTTT: Xiao et al., NeurIPS 2022, arXiv 2210.04195.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from snnkit.checks import finite
from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.neurons import IF, TernaryIF
from snnkit.neurons.base import Neuron, PointNeuron, check_sequence
from snnkit.neurons.carry import active_carry

METHODS = ("sltt", "ottt")


class Momentary(Neuron):
    """A neuron whose membrane passes on values and no gradients: currents (T, B, …) → spikes (T, B, …).

    Args:
        neuron: the neuron to run, one with a ``step``.
    """

    def __init__(self, neuron: PointNeuron):
        super().__init__()
        if not isinstance(neuron, PointNeuron):
            raise InvalidArgumentError(f"Momentary takes a neuron with a step, got {type(neuron).__name__}.")
        self.neuron = neuron

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes (T, B, …) for the current ``x`` (T, B, …)."""
        check_sequence(self, x)
        carry = active_carry()
        key, state = (None, None) if carry is None else carry.start(self, x)
        state, spikes = self.neuron.rest(x) if state is None else state, []
        for x_t in x:
            s, state = self.neuron.step(x_t, tuple(v.detach() for v in state))
            spikes.append(s)
        if carry is not None:
            carry.leave(key, tuple(v.detach() for v in state))
        return torch.stack(spikes)


class Traced(nn.Module):
    """A layer whose weights' gradient sees the trace of its input: (T, B, …) → (T, B, …); outputs are the layer's.

    Args:
        layer: any layer on (T, B, …) or one that treats (B, …) alike at all steps.
        decay: λ, the share of the trace kept per step, 0 … 1.
    """

    def __init__(self, layer: nn.Module, decay: float):
        super().__init__()
        if not 0.0 <= finite(self, "decay", decay) <= 1.0:
            raise InvalidArgumentError(f"Traced(decay={decay!r}): must lie within 0 … 1.")
        self.layer, self.decay = layer, float(decay)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output for ``x`` (T, B, …)."""
        carry = active_carry()
        key, state = (None, None) if carry is None else carry.start(self, x)
        trace, traces = torch.zeros_like(x[0]) if state is None else state[0], []
        with torch.no_grad():
            for x_t in x:
                trace = self.decay * trace + x_t
                traces.append(trace)
        if carry is not None:
            carry.leave(key, (trace,))
        # The value of the layer at x, the gradient to weights at the trace, the gradient to x through the weights.
        weights = {name: p.detach() for name, p in self.layer.named_parameters()}
        by_input = torch.func.functional_call(self.layer, weights, (x,))
        by_weight = self.layer(torch.stack(traces))
        return by_input + (by_weight - by_weight.detach())


def online(model: nn.Module, method: str = "sltt") -> nn.Module:
    """Return a copy of ``model`` that learns with the graph of one time step at a time.

    Every neuron becomes ``Momentary``. For "ottt" every layer with weights that follows a neuron in an
    ``nn.Sequential`` becomes ``Traced`` with the share of its membrane that neuron keeps per step: 1 − 1/τ,
    1 − ``voltage_decay`` or ``decay`` where it has these, 1 for integrate-and-fire.

    Args:
        model: a network of point neurons; for "ottt" a (possibly nested) ``nn.Sequential``.
        method: "sltt" or "ottt".

    Raises:
        UnknownNameError: another method.
        InvalidArgumentError: ``model`` is no module; "ottt" on a network that is no ``nn.Sequential``, or with a neuron
            before a layer that keeps no one share of its membrane.
    """
    if not isinstance(model, nn.Module):
        raise InvalidArgumentError(f"online({model!r}): must be a network of point neurons.")
    if method not in METHODS:
        raise unknown_name("method of online learning", method, METHODS)
    made = copy.deepcopy(model)
    if method == "ottt":
        if not isinstance(made, nn.Sequential):
            raise InvalidArgumentError(
                f'online(method="ottt") needs to know which neurons feed which layer and takes an nn.Sequential, got '
                f"{type(model).__name__}. Put Traced around its layers by hand."
            )
        _trace(made, None)
    if isinstance(made, PointNeuron):
        return Momentary(made)
    _cut(made)
    return made


def _cut(module: nn.Module) -> None:
    for name, child in list(module.named_children()):
        if isinstance(child, PointNeuron):
            setattr(module, name, Momentary(child))
        else:
            _cut(child)


def _trace(row: nn.Sequential, sender: PointNeuron | None) -> PointNeuron | None:
    """Wrap the layers with weights of ``row`` that neurons feed; return the last neurons."""
    for name, child in list(row.named_children()):
        if isinstance(child, PointNeuron):
            sender = child
        elif isinstance(child, nn.Sequential):
            sender = _trace(child, sender)
        elif sender is not None and next(child.parameters(), None) is not None:
            setattr(row, name, Traced(child, _kept(sender)))
    return sender


def _kept(neuron: PointNeuron) -> float:
    """The share of its membrane that a neuron keeps per step.

    Raises:
        InvalidArgumentError: there is no such share, or not one for all.
    """
    leaks = {"tau": lambda tau: 1.0 - 1.0 / tau, "voltage_decay": lambda lost: 1.0 - lost, "decay": lambda kept: kept}
    name = next((name for name in leaks if hasattr(neuron, name)), None)
    if name is None and isinstance(neuron, (IF, TernaryIF)):
        return 1.0
    value = getattr(neuron, name) if name else None
    if value is None or (isinstance(value, Tensor) and value.numel() > 1):
        why = f"has a {name} per channel" if name else "keeps no share of its membrane that is one number"
        raise InvalidArgumentError(
            f'online(method="ottt"): {type(neuron).__name__} {why}, and the trace of what it sends needs one. Put '
            "Traced around the layer behind it by hand."
        )
    return leaks[name](float(value))
