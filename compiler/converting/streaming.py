"""A spiking form as a module on sequences, so that ``snnkit.Stream`` can hold its state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compiler.converting.running import Stepper
from compiler.graph import Graph
from snnkit.errors import InvalidArgumentError
from snnkit.neurons.carry import active_carry


class SpikingModule(nn.Module):
    """A spiking form: inputs (T, B, …) → outputs (T, B, K), from rest, or within a stream from where that was.

    Frames may change from step to step: the network sends what changed.

    Args:
        graph: of ``spiking_form``, with one input.

    Raises:
        InvalidArgumentError: the graph has several inputs.
    """

    def __init__(self, graph: Graph):
        super().__init__()
        if len(graph.inputs) != 1:
            raise InvalidArgumentError(f"{graph.name} has {len(graph.inputs)} inputs; a stream feeds one.")
        self.graph = graph

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Run a sequence, (T, B, …) → (T, B, …).

        Raises:
            InvalidArgumentError: it does not fit the network.
        """
        shape = self.graph.shape(self.graph.inputs[0])
        if x.ndim != len(shape) + 2 or tuple(x.shape[2:]) != shape or not len(x):
            wanted = ", ".join(map(str, shape))
            raise InvalidArgumentError(f"{self.graph.name} takes (T, B, {wanted}), got {tuple(x.shape)}.")
        carry, names = active_carry(), [state.read for state in self.graph.states]
        key, before = (None, None) if carry is None else carry.start(self, x)
        stepper = Stepper(self.graph, x.shape[1], x[0], plainly=True)
        if before is not None:
            stepper.go_on(dict(zip(names, before[1:], strict=True)))
        outputs = [stepper.step((x_t,))[0] for x_t in x]
        if carry is not None and key is not None:
            carry.leave(key, (x[-1], *(stepper.states[name] for name in names)))
        return torch.stack(outputs)
