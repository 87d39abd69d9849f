"""One network of the zoo, and how it is brought to life."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import snnkit
from snnkit.neurons import Neuron

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """A network to capture: its name, the family it is counted under, how it is built, and what it reads.

    ``shapes`` are those of one sample, one an input. With ``steps`` inputs are sequences (T, B, …) of so many steps,
    without they are (B, …).
    """

    name: str
    family: str
    build: Callable[[], nn.Module]
    shapes: tuple[Shape, ...]
    steps: int = 0

    def inputs(self, batch: int, seed: int = 1) -> tuple[Tensor, ...]:
        """Random inputs, (T, B, …) or (B, …) each, with as many positive values as make neurons fire."""
        generator = torch.Generator().manual_seed(seed)
        lead = (self.steps, batch) if self.steps else (batch,)
        return tuple(1.2 * torch.randn(*lead, *shape, generator=generator).double() + 0.4 for shape in self.shapes)

    def model(self) -> nn.Module:
        """The network in eval mode and float64, with parameters that all matter and neurons that fire."""
        torch.manual_seed(0)
        model = self.build()
        vary(model, fires=bool(self.steps))
        model.double()  # the numbers stay those of float32: timm's exported forms round to it here and there
        if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in model.modules()):
            settle(model, self.inputs(4, seed=2))
        model.eval()
        if self.steps:
            awaken(model, self.inputs(2))
        return model


@torch.no_grad()
def vary(model: nn.Module, fires: bool, seed: int = 3) -> None:
    """Move every parameter whose values are all equal, such as a norm's weight or a scale of 1e-6.

    ``fires``: shift batch norms towards the neurons' thresholds.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(parameter: Tensor, low: float, high: float) -> None:
        parameter.copy_(low + (high - low) * torch.rand(parameter.shape, generator=generator))

    norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.affine]
    for norm in norms if fires else ():
        uniform(norm.weight, 0.5, 1.5)
        uniform(norm.bias, 0.5, 1.2)
    for parameter in model.parameters():
        if parameter.numel() > 1 and parameter.min() == parameter.max():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)


@torch.no_grad()
def settle(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Give batch norms statistics near those of data: through untrained weights signals would fade or grow."""
    norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    model.train()(*inputs)
    generator = torch.Generator().manual_seed(4)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        if norm.running_var is not None:
            near = torch.randn(norm.num_features, generator=generator).double()
            norm.running_mean += 0.1 * near * norm.running_var.sqrt()
            norm.running_var *= 1.0 + 0.2 * torch.rand(norm.num_features, generator=generator).double()
            norm.running_var += 0.01


@torch.no_grad()
def awaken(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Bring the thresholds of neurons that never fire, or always do, into the reach of what drives them."""
    run = getattr(model, "forward_sequence", model)
    for _ in range(sum(isinstance(part, Neuron) for part in model.modules())):
        with snnkit.record(model) as tape:
            run(*inputs)
        asleep = [
            layer for layer in tape.layers.values() if constant(layer.spikes) and hasattr(layer.neuron, "v_threshold")
        ]
        if not asleep:
            return
        drive = asleep[0].currents
        asleep[0].neuron.v_threshold = max(0.3 * drive.max().item(), 1e-6)


def constant(x: Tensor) -> bool:
    """Whether all values are the same."""
    return bool((x == x.flatten()[0]).all())
