"""How much a network fires: what its neurons send is listened to while a block runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from snnkit.neurons import Neuron
from snnkit.neurons.base import event_neurons


def firing_neurons(model: nn.Module) -> list[Neuron]:
    """Return the neurons whose events can be counted; layers that send real values have none."""
    return list(event_neurons(module for module in model.modules() if isinstance(module, Neuron)))


@contextmanager
def listening(neurons: Sequence[Neuron]) -> Iterator[list[Tensor]]:
    """Fill the list with a firing rate for every run of a neuron inside the block.

    A layer's firing rate is its spikes, of either sign and any level, per neuron and step: one of level 3 is three.
    """
    rates: list[Tensor] = []

    def hook(neuron: nn.Module, _inputs: object, spikes: Tensor) -> None:
        assert isinstance(neuron, Neuron)
        rates.append(neuron.events_in(spikes.detach()).mean(dtype=torch.float32))

    handles = [neuron.register_forward_hook(hook) for neuron in neurons]
    try:
        yield rates
    finally:
        for handle in handles:
            handle.remove()
