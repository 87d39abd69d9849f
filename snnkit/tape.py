"""Looking inside a model while it runs: spikes, firing rates and membranes of every neuron layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.neurons import Neuron, PointNeuron
from snnkit.neurons.base import event_neurons
from snnkit.neurons.carry import Carry, active_carry, as_written


@dataclass
class Layer:
    """What one neuron layer did in the last call.

    A spike is an output that is not 0: one message, of either sign and whatever it is worth. Its level says how many
    unit events it stands for: |value| / scale, where the neuron's operator says what it sends. Binary and ternary
    neurons send spikes of level 1, ``ILIF``, ``MultiSpike`` and ``Tracer`` also of higher ones.

    Attributes:
        neuron: the module.
        currents: what drove it, (T, B, …).
        spikes: what it sent, (T, B, …).
        start: the state it began with inside a stream, None where it began at rest.
    """

    neuron: Neuron
    currents: Tensor
    spikes: Tensor
    start: tuple[Tensor, ...] | None = None

    @property
    def levels(self) -> Tensor:
        """The level of every output, whole numbers ≥ 0 (T, B, …).

        Raises:
            InvalidArgumentError: the neuron sends real values; so do the counts and rates below.
        """
        return self.neuron.events_in(self.spikes)

    @property
    def message_count(self) -> int:
        """Number of outputs that are not 0, whatever their level."""
        return int(self.levels.count_nonzero())

    @property
    def spike_count(self) -> int:
        """Number of spikes: the sum of the levels, one of level 3 counts three times."""
        return int(self.levels.sum(dtype=torch.float64))

    @property
    def message_rate(self) -> float:
        """Outputs that are not 0 per neuron and time step, 0 … 1."""
        return self.message_count / self.spikes.numel()

    @property
    def rate(self) -> float:
        """Spikes per neuron and time step; above ``message_rate`` where levels are above 1."""
        return self.spike_count / self.spikes.numel()

    @property
    def membranes(self) -> Tensor:
        """Membrane after each reset (T, B, …), recomputed from the currents."""
        if not isinstance(self.neuron, PointNeuron):
            raise InvalidArgumentError(f"{type(self.neuron).__name__} has no membrane that could be recomputed.")
        with torch.no_grad():
            return self.neuron.membranes(self.currents, self.start)


@dataclass
class Tape:
    """Recordings by layer name; a second call of the same neuron in one forward is ``name#1``.

    Counts and rates are those of ``Layer``, of the layers that send events, each spike once: a ``LeakyIntegrator``,
    which sends its membrane, is recorded and not counted, and so is the neuron inside of a ``Noisy`` one.
    """

    layers: dict[str, Layer] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Layer:
        if name not in self.layers:
            raise unknown_name("recorded layer", name, self.layers)
        return self.layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def message_rates(self) -> dict[str, float]:
        """Outputs that are not 0 per neuron and time step, by layer."""
        return {name: layer.message_rate for name, layer in self._counted()}

    @property
    def rates(self) -> dict[str, float]:
        """Spikes per neuron and time step, by layer."""
        return {name: layer.rate for name, layer in self._counted()}

    @property
    def message_counts(self) -> dict[str, int]:
        """Number of outputs that are not 0 by layer, over all steps, samples and neurons."""
        return {name: layer.message_count for name, layer in self._counted()}

    @property
    def spike_counts(self) -> dict[str, int]:
        """Number of spikes by layer, over all steps, samples and neurons."""
        return {name: layer.spike_count for name, layer in self._counted()}

    def _counted(self) -> Iterator[tuple[str, Layer]]:
        counted = event_neurons(layer.neuron for layer in self.layers.values())
        return ((name, layer) for name, layer in self.layers.items() if layer.neuron in counted)


@contextmanager
def record(model: nn.Module) -> Iterator[Tape]:
    """Record every neuron layer of ``model`` while the block runs.

    Each forward of the model, and each step of a stream of it, starts the tape anew.

    Example:
        ``with snnkit.record(model) as tape: model(images)``, then ``tape.rates``, ``tape.spike_counts`` or
        ``tape["stem.lif"].spikes``.
    """
    tape = Tape()
    starts: dict[Neuron, tuple[Tensor, ...] | None] = {}
    step: list[tuple[Carry | None, int]] = [(None, 0)]

    def before(neuron: Neuron, _inputs: tuple[Tensor, ...]) -> None:
        carry = active_carry()
        now = (carry, carry.steps if carry else 0)
        if carry and step[0] != now:
            tape.layers.clear()
        step[0] = now
        start = carry.peek(neuron) if carry else None
        starts[neuron] = None if start is None else tuple(value.detach() for value in start)

    def watch(name: str, neuron: Neuron) -> list[RemovableHandle]:
        def after(_module: nn.Module, inputs: tuple[Tensor, ...], spikes: Tensor) -> None:
            call = sum(1 for known in tape.layers if known.split("#")[0] == name)
            key = f"{name}#{call}" if call else name
            tape.layers[key] = Layer(neuron, inputs[0].detach(), spikes.detach(), starts.pop(neuron))

        return [neuron.register_forward_pre_hook(before), neuron.register_forward_hook(after)]

    handles = [model.register_forward_pre_hook(lambda *_: tape.layers.clear())]
    for name, module in model.named_modules():
        if isinstance(module, Neuron):
            handles += watch(name or "neuron", module)
    try:
        with as_written():  # compiled code passes by hooks
            yield tape
    finally:
        for handle in handles:
            handle.remove()
